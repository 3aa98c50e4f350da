/**
 * Who reaches whom: one ICMP echo and one TCP connection for each ordered pair of endpoints of one family, sent from the sender's own
 * namespace and answered in the receiver's. No program is run; sockets are opened inside the namespaces and then driven
 * from here. Traffic is bounded: three echo requests and one connection a pair. The receiver tells which source address
 * it saw, so address translation on the way shows.
 */
import { randomBytes } from 'node:crypto';
import { sleep } from '../base/mod.ts';
import { addressBytes, familyOf } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import { beginConnect, connectionState, KernelError, NetworkNamespace, receive } from '../sys/mod.ts';
import { sendTo, socketAddress } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { encodeEchoRequest, openIcmp, receivedEchoes } from './icmp.ts';

/** Somebody by one of his addresses. */
export interface Endpoint {
  readonly name: string;
  readonly address: IpAddress;
  /** Its namespace's file. */
  readonly namespace: string;
}

export interface Outcome {
  readonly ok: boolean;
  /** Of the exchange that succeeded, milliseconds. */
  readonly ms?: number;
  /** The address the receiver saw the sender with. */
  readonly seenAs?: IpAddress;
  /** Why not. */
  readonly error?: string;
}

export interface ProbedPair {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
  readonly icmp: Outcome;
  readonly tcp: Outcome;
}

const TIMEOUT_MS = 2_000;
const ECHO_AT_MS = [0, 300, 900];
/** Pairs at a time: an endpoint has at most this many sockets open. */
const BATCH = 400;

/** All pairs, or of very many endpoints some. Throws KernelError when a namespace cannot be entered. */
export async function probeAll(endpoints: readonly Endpoint[]): Promise<ProbedPair[]> {
  using stations = new Stations(endpoints);
  const pairs: Pair[] = [];
  for (const family of [4, 6] as const) {
    const all = stations.all.filter((station) => station.family === family);
    for (const [i, from] of all.entries()) {
      for (const [j, to] of all.entries()) if (isProbed(i, j, all.length)) pairs.push(new Pair(from, to));
    }
  }
  for (let at = 0; at < pairs.length; at += BATCH) await probeBatch(stations, pairs.slice(at, at + BATCH));
  return pairs.map((pair) => pair.result());
}

/** Up to this many endpoints each is tried with every other; of more, with as many as keep the number of pairs bearable. */
const ALL_PAIRS = 64;
const SOME = 8;

/** Of many endpoints each one's next, and others evenly spread around; the same every time. */
function isProbed(from: number, to: number, count: number): boolean {
  if (from === to) return false;
  const distance = (to - from + count) % count;
  return count <= ALL_PAIRS || distance === 1 || distance % Math.ceil(count / SOME) === 0;
}

async function probeBatch(stations: Stations, pairs: readonly Pair[]): Promise<void> {
  const start = performance.now();
  const byToken = new Map(pairs.map((pair) => [pair.token, pair]));
  for (const pair of pairs) pair.connect();
  while (pairs.some((pair) => !pair.done)) {
    const elapsed = performance.now() - start;
    if (elapsed > TIMEOUT_MS) break;
    for (const pair of pairs) {
      pair.echo(elapsed);
      pair.advance();
    }
    stations.collect(byToken);
    await sleep(1);
  }
  for (const pair of pairs) pair.close();
}

interface Station extends Endpoint {
  readonly family: Family;
  readonly space: NetworkNamespace;
  readonly icmp: Fd;
  readonly port: number;
}

const TOKEN_BYTES = 8;
const tokenText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The endpoints with their sockets open: a raw ICMP one and a TCP listener that answers with its caller's address. */
class Stations implements Disposable {
  readonly all: Station[] = [];
  private readonly listeners: { stop(force: boolean): void }[] = [];

  constructor(endpoints: readonly Endpoint[]) {
    try {
      for (const endpoint of endpoints) this.open(endpoint);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  private open(endpoint: Endpoint): void {
    const space = NetworkNamespace.open(endpoint.namespace);
    const family = familyOf(endpoint.address);
    const icmp = space.run(() => openIcmp(family));
    const listener = space.run(() =>
      Bun.listen({
        hostname: family === 4 ? '0.0.0.0' : '::',
        port: 0,
        socket: {
          open: (socket) => void socket.end(socket.remoteAddress),
          data: () => {},
          error: () => {},
        },
      }),
    );
    this.listeners.push(listener);
    this.all.push({ ...endpoint, family, space, icmp, port: listener.port });
  }

  /** Takes what came to the raw sockets: requests tell who the sender looks like, replies that it got through. */
  collect(byToken: ReadonlyMap<string, Pair>): void {
    for (const station of this.all) {
      for (const { kind, payload, source } of receivedEchoes(station.icmp, station.family)) {
        const pair = byToken.get(tokenText(payload));
        if (kind === 'request' && station === pair?.to) pair.sawRequest(source);
        else if (kind === 'reply' && station === pair?.from) pair.sawReply(source);
      }
    }
  }

  [Symbol.dispose](): void {
    for (const listener of this.listeners) listener.stop(true);
    for (const { icmp, space } of this.all) {
      icmp.close();
      space[Symbol.dispose]();
    }
  }
}

class Pair {
  readonly token: string;
  readonly from: Station;
  readonly to: Station;
  private readonly payload = randomBytes(TOKEN_BYTES);
  private readonly sequence = { next: 0, sentAt: 0 };
  private icmp: Outcome = { ok: false, error: 'no reply' };
  private icmpSeenAs: IpAddress | undefined;
  private tcp: Outcome | undefined;
  private socket: Fd | undefined;
  private startedAt = 0;

  constructor(from: Station, to: Station) {
    this.from = from;
    this.to = to;
    this.token = tokenText(this.payload);
  }

  get done(): boolean {
    return this.icmp.ok && this.tcp !== undefined;
  }

  /** Sends the next echo request when its time has come. */
  echo(elapsedMs: number): void {
    if (this.icmp.ok || elapsedMs < (ECHO_AT_MS[this.sequence.next] ?? Infinity)) return;
    const request = encodeEchoRequest(this.from.family, process.pid & 0xffff, this.sequence.next++, this.payload);
    const sent = sendTo(this.from.icmp, request, socketAddress(addressBytes(this.to.address), 0));
    this.sequence.sentAt = performance.now();
    this.icmp = { ok: false, error: sent < 0 ? new KernelError('send', -sent).code : 'no reply' };
  }

  sawRequest(source: IpAddress): void {
    this.icmpSeenAs = source;
  }

  sawReply(source: IpAddress): void {
    if (this.icmp.ok || source !== this.to.address) return;
    this.icmp = { ok: true, ms: performance.now() - this.sequence.sentAt };
  }

  connect(): void {
    this.startedAt = performance.now();
    try {
      const options = { remote: addressBytes(this.to.address), port: this.to.port };
      this.socket = this.from.space.run(() => beginConnect(options));
    } catch (error) {
      this.tcp = { ok: false, error: error instanceof KernelError ? error.code : String(error) };
    }
  }

  /** Looks whether the connection is up and the receiver has said whom it sees. */
  advance(): void {
    if (this.tcp || !this.socket) return;
    const state = connectionState(this.socket);
    if (state instanceof KernelError) this.tcp = { ok: false, error: state.code };
    if (state !== 'connected') return;
    const buffer = new Uint8Array(64);
    const length = receive(this.socket, buffer);
    if (length <= 0) return;
    const seenAs = new TextDecoder().decode(buffer.subarray(0, length)) as IpAddress;
    this.tcp = { ok: true, ms: performance.now() - this.startedAt, seenAs };
    this.socket.close();
  }

  close(): void {
    this.socket?.close();
    this.tcp ??= { ok: false, error: 'no answer' };
  }

  result(): ProbedPair {
    const seenAs = this.icmpSeenAs;
    const icmp = this.icmp.ok && seenAs !== undefined ? { ...this.icmp, seenAs } : this.icmp;
    const { name: from, family } = this.from;
    return { from, to: this.to.name, family, icmp, tcp: this.tcp ?? { ok: false, error: 'no answer' } };
  }
}
