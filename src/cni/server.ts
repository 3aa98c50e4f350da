/**
 * The agent's half: a unix socket that only root can open, one request a connection. It begins to listen at once and
 * answers when it has recovered; so no request of a runtime is lost over a restart, it waits.
 */
import { chmodSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Socket, UnixSocketListener } from 'bun';
import { compileSoon, GodwitError, messageOf, printable, sleep } from '../base/mod.ts';
import type { Clock, Logger, Result } from '../base/mod.ts';
import type { PodNetwork } from '../desired/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import { Attachments } from './attachments.ts';
import { isDeferred, readDeferred, settleDeferred } from './deferred.ts';
import { CniError, codes, formatError } from './error.ts';
import { PodNamespaces } from './namespace.ts';
import { parseObject } from './protocol.ts';
import type { Answer } from './protocol.ts';
import { RequestReader } from './request.ts';
import type { Request } from './request.ts';
import { ENDPOINT_ROUTES } from './routed.ts';
import type { RoutedOptions } from './routed.ts';
import { answerVerb } from './verbs.ts';
import type { VerbContext } from './verbs.ts';
import { answerVersion } from './versions.ts';

const MAX_CONNECTIONS = 512;
/** A client sends its request at once; one that does not is not ours. */
const IDLE_SECONDS = 10;
const CATCH_UP_INTERVAL_MS = 30_000;
const OWNER_ONLY = 0o600;

export interface CniServerOptions {
  /** `/run/godwit/cni.sock`; each node of a lab has its own. */
  readonly socketPath: string;
  /** Where attachments are recorded: `/var/lib/godwit/cni`. Made when missing. */
  readonly stateDirectory: string;
  /** The pod network of this node, or why there is none yet; asked for at every ADD and STATUS. */
  readonly network: () => Result<PodNetwork, string>;
  /** What routed networks need besides; without it there are none. */
  readonly routed?: RoutedOptions;
  readonly log: Logger;
  readonly clock: Clock;
  /** Called after an attachment came or went. */
  readonly onChange?: () => void;
}

export interface CniServer {
  /**
   * Serves in the network namespace this thread is in now, until the signal; then answers what has begun. Throws
   * GodwitError (`cni-socket`) when another agent listens, and what the file system says.
   */
  run(signal: AbortSignal): Promise<void>;
  /** Whether it has recovered and answers. */
  readonly ready: boolean;
  attachments(): readonly Attachment[];
  /**
   * Sets the MTU of all running pods, both ends of their pairs: after a change of mode or uplink. Tells how many were
   * changed, and what hindered the others.
   */
  setMtu(mtu: number): { readonly changed: number; readonly faults: readonly string[] };
}

interface Outcome {
  readonly answer: Answer;
  /** Writes the log's line. */
  readonly report: () => void;
}

interface Connection {
  readonly reader: RequestReader;
  asked: boolean;
  output: Uint8Array;
}

export function createCniServer(options: CniServerOptions): CniServer {
  return new Server(options);
}

class Server implements CniServer {
  private readonly options: CniServerOptions;
  private held: Attachments | undefined;
  private recovered = false;
  private readonly pending = new Set<Promise<void>>();
  private connections = 0;

  constructor(options: CniServerOptions) {
    this.options = options;
    // nothing of theirs is swept before they are known
    options.routed?.routes.expect(ENDPOINT_ROUTES);
  }

  setMtu(mtu: number): { readonly changed: number; readonly faults: readonly string[] } {
    return this.held && this.recovered ? this.held.setMtu(mtu) : { changed: 0, faults: [] };
  }

  get ready(): boolean {
    return this.recovered;
  }

  attachments(): readonly Attachment[] {
    return this.held?.list() ?? [];
  }

  async run(signal: AbortSignal): Promise<void> {
    const { socketPath, stateDirectory, log, clock, onChange, routed } = this.options;
    using attachments = new Attachments({
      ...{ stateDirectory, log, clock, onChange: onChange ?? (() => {}), routed },
    });
    this.held = attachments;
    const started = Promise.withResolvers<void>();
    started.promise.catch(() => {}); // told by `run` itself
    const onAsked = (container: string, name: string) => settleDeferred(socketPath, container, name);
    const namespaces = new PodNamespaces();
    const onIgnored = (pod: string, annotations: readonly string[]) => {
      const hint = 'the bandwidth plugin, behind this one in the configuration, sets limits';
      log.warn({ pod: printable(pod, 300), annotations, hint }, 'annotations of a pod have no effect here');
    };
    const context = { attachments, namespaces, network: this.options.network, onAsked, onIgnored };
    const listener = await this.listen(context, started.promise);
    const mine = statSync(socketPath).ino;
    const ending = new AbortController();
    let settling: Promise<void> | undefined;
    try {
      await attachments.recover();
      await this.catchUp(attachments);
      this.recovered = true;
      settling = attachments.settle(ending.signal);
      started.resolve();
      log.info({ socket: socketPath }, 'CNI requests are answered');
      while (!signal.aborted) {
        await sleep(CATCH_UP_INTERVAL_MS, signal, clock);
        await this.catchUp(attachments);
      }
    } catch (error) {
      started.reject(error);
      throw error;
    } finally {
      this.recovered = false;
      listener.stop();
      await Promise.allSettled(this.pending);
      ending.abort();
      await settling;
      // the next agent may listen there already
      if (statSync(socketPath, { throwIfNoEntry: false })?.ino === mine) rmSync(socketPath, { force: true });
    }
  }

  /** DELs that the executable put off while nobody took its connection. */
  private async catchUp(attachments: Attachments): Promise<void> {
    const { socketPath, log } = this.options;
    attachments.catchUp();
    for (const [container, name] of readDeferred(socketPath)) {
      // an ADD takes the note back in the step in which it queues; so what is still there comes before any such ADD
      if (!isDeferred(socketPath, container, name)) continue;
      try {
        await attachments.remove(container, name);
        settleDeferred(socketPath, container, name);
        log.info({ container, interface: name }, 'a DEL that was put off is done');
      } catch (error) {
        log.warn({ container, interface: name, error: messageOf(error) }, 'a DEL that was put off fails; it is kept');
      }
    }
  }

  private async listen(context: VerbContext, started: Promise<void>): Promise<UnixSocketListener<Connection>> {
    const { socketPath } = this.options;
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
    if (await somebodyListens(socketPath)) {
      const hint = 'stop the other agent, or give this one a socket of its own';
      throw new GodwitError('cni-socket', `another process listens on ${socketPath}`, { hint });
    }
    rmSync(socketPath, { force: true });
    // the socket is never there with other rights, not even for a moment
    const mask = process.umask(0o777 & ~OWNER_ONLY);
    try {
      const listener = Bun.listen<Connection>({
        unix: socketPath,
        socket: {
          open: (socket) => this.open(socket),
          data: (socket, piece) => this.receive(socket, piece, context, started),
          drain: flush,
          timeout: (socket) => void socket.end(),
          close: () => void this.connections--,
          error: () => {}, // a client that is gone; `close` follows
        },
      });
      chmodSync(socketPath, OWNER_ONLY);
      return listener;
    } finally {
      process.umask(mask);
    }
  }

  private open(socket: Socket<Connection>): void {
    socket.data = { reader: new RequestReader(this.options.socketPath), asked: false, output: new Uint8Array(0) };
    socket.timeout(IDLE_SECONDS);
    if (++this.connections > MAX_CONNECTIONS) socket.end();
  }

  private receive(socket: Socket<Connection>, piece: Uint8Array, context: VerbContext, started: Promise<void>): void {
    if (socket.data.asked) return;
    const request = socket.data.reader.push(piece);
    if (request === undefined) return;
    // closed without a word: the small executable becomes the complete program then
    if (request === 'bad') {
      socket.end();
      return;
    }
    socket.data.asked = true;
    socket.timeout(0);
    // more pods may come with this one
    compileSoon();
    const work = this.answer(request, context, started).then(({ answer, report }) => {
      socket.data.output = request.encode(answer);
      flush(socket);
      // the runtime waits for the answer, nobody for the line in the log
      report();
    });
    this.pending.add(work);
    void work.finally(() => this.pending.delete(work));
  }

  /** Never rejects. */
  private async answer(request: Request, context: VerbContext, started: Promise<void>): Promise<Outcome> {
    const { log, clock } = this.options;
    const { env, config } = request;
    const shown = (text = '') => printable(text, 128);
    const [verb, container, name] = [shown(env.CNI_COMMAND), shown(env.CNI_CONTAINERID), shown(env.CNI_IFNAME)];
    const fields = { verb, container, interface: name };
    const begin = clock.now();
    try {
      await started;
      const stdout = await answerVerb(context, env, config);
      const ms = Math.round((clock.now() - begin) * 10) / 10;
      return { answer: { status: 0, stdout }, report: () => log.info({ ...fields, ms }, 'CNI request answered') };
    } catch (error) {
      const known = error instanceof CniError ? error : new CniError(codes.io, 'godwit agent', messageOf(error));
      const { code, message, details } = known;
      const words = { code, error: printable(message), details: printable(details) };
      const version = answerVersion(parseObject(config)?.['cniVersion']);
      const answer = { status: 1, stdout: formatError(version, known) };
      return { answer, report: () => log.warn({ ...fields, ...words }, 'CNI request refused') };
    }
  }
}

function flush(socket: Socket<Connection>): void {
  const { output, asked } = socket.data;
  if (!asked || output.length === 0) return;
  const written = Math.max(0, socket.write(output));
  socket.data.output = output.subarray(written);
  if (socket.data.output.length === 0) socket.end();
}

async function somebodyListens(path: string): Promise<boolean> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {} } });
    socket.end();
    return true;
  } catch {
    return false;
  }
}
