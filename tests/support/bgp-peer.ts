import { readFileSync } from 'node:fs';
import { addressBytes, ip } from '../../src/net/mod.ts';
import { createSpeaker, parseConfig } from '../../src/bgp/mod.ts';
import type { BgpConfig, Speaker, SpeakerEvent, SpeakerOptions } from '../../src/bgp/mod.ts';
import {
  decodeNotification,
  encodeKeepalive,
  encodeNotification,
  encodeOpen,
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  MessageType,
} from '../../src/bgp/wire/mod.ts';
import type { Capability, NotificationMessage, OpenMessage } from '../../src/bgp/wire/mod.ts';
import { beginConnect, connectionState, setTimeToLive } from '../../src/sys/mod.ts';
import { until } from './until.ts';

export { until };

/** A clock, in milliseconds, that stands still while this thread could go on and others have the processor. */
function ownTime(): number {
  const [, waitedNs = '0'] = readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ');
  return performance.now() - Number(waitedNs) / 1e6;
}

export interface Message {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export function config(text: string): BgpConfig {
  const parsed = parseConfig(text);
  if (!parsed.ok) throw new Error(parsed.error.join('\n'));
  return parsed.value;
}

/** A speaker in this process, and everything it told. */
export class TestSpeaker implements AsyncDisposable {
  readonly speaker: Speaker;
  readonly events: SpeakerEvent[] = [];
  private readonly stopper = new AbortController();
  private readonly running: Promise<void>;

  private constructor(options: SpeakerOptions) {
    this.speaker = createSpeaker(options);
    this.speaker.on((event) => this.events.push(event));
    this.running = this.speaker.run(this.stopper.signal);
  }

  static async start(text: string, options: Omit<SpeakerOptions, 'config'> = {}): Promise<TestSpeaker> {
    const it = new TestSpeaker({ ...options, config: config(text) });
    await Promise.race([it.speaker.ready, it.running]);
    return it;
  }

  get port(): number {
    return this.speaker.listenPorts()[0]!;
  }

  state(neighbor: string): string {
    return this.speaker.peers.get(ip(neighbor))?.state ?? 'absent';
  }

  async stop(): Promise<void> {
    this.stopper.abort();
    await this.running;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

export interface RawOptions {
  readonly from: string;
  readonly to?: string;
  readonly port: number;
  readonly md5Key?: string;
  readonly ttl?: number;
}

/** A scripted neighbour: says what it is told to, keeps what it hears. */
export class RawPeer implements Disposable {
  readonly messages: Message[] = [];
  closed = false;
  /** Stops reading, so that the other side's queue fills. */
  private readonly framer = new Framer();
  private readonly socket: Bun.Socket;
  private backlog: Uint8Array[] = [];
  private heardAt = ownTime();
  private silence = 0;

  private constructor(socket: Bun.Socket) {
    this.socket = socket;
  }

  /** Connects, or undefined when that does not work within two seconds. */
  static async connect(options: RawOptions): Promise<RawPeer | undefined> {
    const fd = beginConnect({
      remote: addressBytes(ip(options.to ?? '127.0.0.1')),
      port: options.port,
      source: addressBytes(ip(options.from)),
      ...(options.md5Key !== undefined && { md5Key: options.md5Key }),
      ...(options.ttl !== undefined && { ttl: options.ttl }),
    });
    for (let i = 0; connectionState(fd) === 'pending' && i < 400; i++) await Bun.sleep(5);
    if (connectionState(fd) !== 'connected') {
      fd.close();
      return undefined;
    }
    return RawPeer.wrap(fd.release());
  }

  private static async wrap(fd: number): Promise<RawPeer> {
    const { promise, resolve } = Promise.withResolvers<RawPeer>();
    let peer: RawPeer | undefined;
    await Bun.connect({
      fd,
      socket: {
        open(socket: Bun.Socket) {
          peer = new RawPeer(socket);
          resolve(peer);
        },
        data: (_: Bun.Socket, bytes: Buffer) => peer?.receive(bytes),
        drain: () => peer?.drain(),
        end: () => peer && (peer.closed = true),
        close: () => peer && (peer.closed = true),
        error: () => peer && (peer.closed = true),
      },
    } as unknown as Bun.TCPSocketConnectOptions);
    return promise;
  }

  static adopt(socket: Bun.Socket): RawPeer {
    return new RawPeer(socket);
  }

  receive(bytes: Uint8Array): void {
    this.framer.push(bytes);
    const before = this.messages.length;
    while (this.framer.next() === FrameStatus.Message) {
      const { type, start, end } = this.framer;
      this.messages.push({ type, bytes: this.framer.bytes.slice(start, end) });
    }
    if (this.messages.length === before) return;
    this.silence = this.longestSilence;
    this.heardAt = ownTime();
  }

  /**
   * The longest time without a whole message of any kind so far, as a hold timer sees it; milliseconds. Speaker and peer are
   * one process: what it waited for others to leave the processor is not its silence.
   */
  get longestSilence(): number {
    return Math.max(this.silence, ownTime() - this.heardAt);
  }

  send(bytes: Uint8Array): void {
    this.backlog.push(bytes);
    this.drain();
  }

  drain(): void {
    while (this.backlog.length > 0 && !this.closed) {
      const next = this.backlog[0]!;
      const n = this.socket.write(next);
      if (n < next.length) {
        this.backlog[0] = next.subarray(Math.max(0, n));
        return;
      }
      this.backlog.shift();
    }
  }

  get sending(): boolean {
    return this.backlog.length > 0;
  }

  pause(): void {
    this.socket.pause();
  }

  setTtl(ttl: number): void {
    setTimeToLive((this.socket as unknown as { fd: number }).fd, 4, ttl, 0);
  }

  keepalive(): void {
    this.send(encodeKeepalive());
  }

  notify(notification: NotificationMessage): void {
    this.send(encodeNotification(notification));
  }

  count(type: number): number {
    return this.messages.reduce((n, m) => n + (m.type === type ? 1 : 0), 0);
  }

  get notification(): NotificationMessage | undefined {
    const found = this.messages.find((m) => m.type === MessageType.Notification);
    return found && decodeNotification(found.bytes, 0, found.bytes.length);
  }

  /** OPEN and KEEPALIVE, until the other side's first KEEPALIVE. */
  async establish(open: Partial<OpenMessage> & { asn?: number }, extra: readonly Capability[] = []): Promise<void> {
    this.send(openMessage(open, extra));
    this.keepalive();
    await until('the session comes up', () => this.count(MessageType.Keepalive) > 0 || this.closed);
    if (this.closed) throw new Error(`closed: ${JSON.stringify(this.notification)}`);
  }

  close(): void {
    this.closed = true;
    this.socket.end();
  }

  abort(): void {
    this.closed = true;
    this.socket.terminate();
  }

  [Symbol.dispose](): void {
    this.abort();
  }
}

export function openMessage(o: Partial<OpenMessage> & { asn?: number }, extra: readonly Capability[] = []): Uint8Array {
  const asn = o.asn ?? 65001;
  return encodeOpen({
    version: 4,
    myAs: asn > 0xffff ? 23456 : asn,
    holdTime: 90,
    identifier: 0x0a00_0002,
    capabilities: [
      { type: 'multiprotocol', family: IPV4_UNICAST },
      { type: 'four-octet-as', asn },
      { type: 'route-refresh' },
      ...extra,
    ],
    ...o,
  });
}

export const gracefulRestart = (
  overrides: Partial<Extract<Capability, { type: 'graceful-restart' }>> = {},
): Capability => ({
  type: 'graceful-restart',
  restarting: false,
  notification: true,
  restartTime: 60,
  families: [{ family: IPV4_UNICAST, forwardingPreserved: true }],
  ...overrides,
});

/** An UPDATE that announces /24s, `count` of them from `first` (as 10.x.y.0) on, with next hop 192.0.2.1. */
export function announcement(first: number, count: number, asns: readonly number[] = [65001]): Uint8Array {
  const path = [2, asns.length, ...asns.flatMap((a) => [a >>> 24, (a >>> 16) & 255, (a >>> 8) & 255, a & 255])];
  const attributes = [0x40, 1, 1, 0, 0x40, 2, path.length, ...path, 0x40, 3, 4, 192, 0, 2, 1];
  return update([], attributes, nlri(first, count));
}

export const withdrawal = (first: number, count: number): Uint8Array => update(nlri(first, count), [], []);
export const endOfRib = (): Uint8Array => update([], [], []);

function nlri(first: number, count: number): number[] {
  const out: number[] = [];
  for (let i = first; i < first + count; i++) out.push(24, 10, (i >> 8) & 255, i & 255);
  return out;
}

export function update(withdrawn: readonly number[], attributes: readonly number[], routes: readonly number[]) {
  const body = [
    withdrawn.length >> 8,
    withdrawn.length & 255,
    ...withdrawn,
    attributes.length >> 8,
    attributes.length & 255,
    ...attributes,
    ...routes,
  ];
  return message(MessageType.Update, body);
}

export function message(type: number, body: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(19 + body.length);
  bytes.fill(255, 0, 16);
  bytes[16] = bytes.length >> 8;
  bytes[17] = bytes.length;
  bytes[18] = type;
  bytes.set(body, 19);
  return bytes;
}

/** Routes of the speaker's table that came from a neighbour. */
export function received(speaker: Speaker, neighbor: string): { total: number; stale: number } {
  const peer = speaker.peers.get(ip(neighbor));
  if (!peer) return { total: 0, stale: 0 };
  const counters = speaker.rib.counters(peer.id, 4);
  return { total: counters.received, stale: counters.stale };
}
