/**
 * The complete program as the CNI plugin: it reads the environment and standard input, asks the node's agent, prints the
 * answer and ends. A runtime that starts the small executable (`src/shim`) comes here only when that one cannot go on: no
 * agent, or one on another socket. Where the complete program is installed as the plugin it starts for every pod, so this
 * file and what it imports load nothing but `node:fs`.
 */
import { readSync, writeSync } from 'node:fs';
import { ANSWER_TIMEOUT_SECONDS, NO_ANSWER } from '../shim/mod.ts';
import { defer, settleDeferred } from './deferred.ts';
import { parseEnvironment, variables } from './environment.ts';
import type { Environment } from './environment.ts';
import { CniError, codes, formatError } from './error.ts';
import { DEFAULT_SOCKET, encodeRequest, FrameReader, MAX_CONFIG_BYTES, parseObject } from './protocol.ts';
import type { Answer } from './protocol.ts';
import { answerVersion, formatVersions, latestVersion } from './versions.ts';

/** Runtimes give up after minutes; an agent that is stopped is told apart from a slow one here. */
const noAnswer = (socketPath: string): CniError =>
  new CniError(codes.tryAgain, `godwit agent: no answer within ${ANSWER_TIMEOUT_SECONDS} s`, socketPath);

const STDIN = 0;
const STDOUT = 1;

function readStdin(): Uint8Array {
  let bytes = new Uint8Array(16_384);
  let length = 0;
  for (;;) {
    if (length === bytes.length) {
      if (length > MAX_CONFIG_BYTES) throw new CniError(codes.decode, 'the configuration is larger than 1 MiB');
      const larger = new Uint8Array(2 * length);
      larger.set(bytes);
      bytes = larger;
    }
    const count = readSync(STDIN, bytes, length, bytes.length - length, null);
    if (count === 0) return bytes.subarray(0, length);
    length += count;
  }
}

function finish(answer: Answer): never {
  const bytes = new TextEncoder().encode(answer.stdout);
  for (let at = 0; at < bytes.length;) at += writeSync(STDOUT, bytes, at);
  process.exit(answer.status);
}

/** Asks the agent; undefined when none listens. Rejects with CniError when it does not answer. */
function ask(socketPath: string, request: Uint8Array): Promise<Answer | undefined> {
  return new Promise((resolve, reject) => {
    const reader = new FrameReader();
    let sent = 0;
    const lost = (why: string) => reject(new CniError(codes.tryAgain, `godwit agent: ${why}`, socketPath));
    const timer = setTimeout(() => reject(noAnswer(socketPath)), 1000 * ANSWER_TIMEOUT_SECONDS);
    const connecting = Bun.connect({
      unix: socketPath,
      socket: {
        open: (socket) => void (sent = Math.max(0, socket.write(request))),
        drain: (socket) => void (sent += Math.max(0, socket.write(request.subarray(sent)))),
        data: (_socket, piece) => {
          const frame = reader.push(piece);
          if (frame === undefined) return;
          clearTimeout(timer);
          const status = frame === 'bad' ? undefined : frame.header['status'];
          if (frame === 'bad' || typeof status !== 'number') lost('its answer is not one of this version');
          else resolve({ status, stdout: new TextDecoder().decode(frame.body) });
        },
        close: () => lost('it ended before it answered'),
        error: (_socket, error) => lost(error.message),
      },
    });
    connecting.catch(() => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}

/** What to answer when no agent listens. */
async function withoutAgent(environment: Environment, socketPath: string, request: Uint8Array): Promise<Answer> {
  const { verb, container, interface: name } = environment;
  const hint = `is \`godwit agent\` running on this node? nothing listens on ${socketPath}`;
  if (verb === 'STATUS') throw new CniError(codes.notAvailable, 'the godwit agent is not reachable', hint);
  if (verb !== 'DEL') throw new CniError(codes.tryAgain, 'the godwit agent is not reachable', hint);
  try {
    defer(socketPath, container, name);
  } catch (error) {
    const reason = `and the DEL cannot be put off: ${error instanceof Error ? error.message : String(error)}`;
    throw new CniError(codes.tryAgain, 'the godwit agent is not reachable', `${hint}; ${reason}`);
  }
  // an agent that began to listen in between may have missed the note
  const answer = await ask(socketPath, request);
  if (answer) settleDeferred(socketPath, container, name);
  return answer ?? { status: 0, stdout: '' };
}

async function handle(): Promise<Answer> {
  const env: Record<string, string> = {};
  for (const name of variables) {
    const value = process.env[name];
    if (value !== undefined) env[name] = value;
  }
  let version: string = latestVersion;
  try {
    const environment = parseEnvironment(env);
    const bytes = readStdin();
    if (bytes.length > MAX_CONFIG_BYTES) throw new CniError(codes.decode, 'the configuration is larger than 1 MiB');
    const config = parseObject(bytes);
    version = answerVersion(config?.['cniVersion']);
    if (environment.verb === 'VERSION') return { status: 0, stdout: formatVersions(config?.['cniVersion']) };
    if (!config) throw new CniError(codes.decode, 'the configuration on standard input is not a JSON object');
    const socketPath = config['socket'] ?? DEFAULT_SOCKET;
    if (typeof socketPath !== 'string' || !socketPath.startsWith('/')) {
      throw new CniError(codes.invalidConfig, 'socket: not an absolute path');
    }
    // the small executable has waited already
    if (process.argv.includes(NO_ANSWER)) throw noAnswer(socketPath);
    const request = encodeRequest(env, bytes);
    return (await ask(socketPath, request)) ?? (await withoutAgent(environment, socketPath, request));
  } catch (error) {
    const known = error instanceof CniError ? error : new CniError(codes.io, `godwit: ${String(error)}`);
    return { status: 1, stdout: formatError(version, known) };
  }
}

/** Runs the plugin and ends the process. */
export function runPlugin(): void {
  void handle().then(finish);
}
