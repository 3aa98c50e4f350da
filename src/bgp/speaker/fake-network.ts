/**
 * A network inside one process, for tests: any number of hosts, no kernel, time as the test's clock has it. Bytes arrive
 * in the next microtask; a socket takes at most `window` bytes that the other side has not read.
 */
import type { Clock } from '../../base/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { DialOptions, Listener, Network, Socket, SocketHandlers } from './network.ts';

export class FakeNetwork {
  /** Bytes on their way per direction before a sender is held back. */
  window = 65536;
  /** Hosts that answer nothing, and are told nothing. */
  readonly down = new Set<IpAddress>();
  /** Every connection made, newest last. */
  readonly connections: { readonly from: IpAddress; readonly to: IpAddress; readonly at: number }[] = [];
  private readonly listeners = new Map<string, (socket: Socket) => void>();
  private readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** The network as the host with this address sees it. */
  host(address: IpAddress): Network {
    return {
      listen: (at, port, accept) => this.listen(at, port, accept),
      dial: (options, connected, failed) => this.dial(options.source ?? address, options, connected, failed),
    };
  }

  private listen(address: IpAddress, port: number, accept: (socket: Socket) => void): Listener {
    const key = `${address} ${port}`;
    if (this.listeners.has(key)) throw new Error('EADDRINUSE');
    this.listeners.set(key, accept);
    return {
      port,
      family: familyOf(address),
      setPassword: () => {},
      setMinimumTtl: () => {},
      [Symbol.dispose]: () => void this.listeners.delete(key),
    };
  }

  private dial(
    from: IpAddress,
    { remote, port }: DialOptions,
    connected: (socket: Socket) => void,
    failed: (detail: string) => void,
  ): Disposable {
    return this.clock.after(1, () => {
      if (this.down.has(remote) || this.down.has(from)) return; // no answer: whoever dials has a timer
      this.connections.push({ from, to: remote, at: this.clock.now() });
      const accept = this.listeners.get(`${remote} ${port}`);
      if (!accept) {
        failed('ECONNREFUSED');
        return;
      }
      const mine = new FakeSocket(this, from, remote, port);
      const theirs = new FakeSocket(this, remote, from, 40000 + this.connections.length);
      mine.peer = theirs;
      theirs.peer = mine;
      connected(mine);
      accept(theirs);
    });
  }
}

export class FakeSocket implements Socket {
  handlers: SocketHandlers | undefined;
  peer: FakeSocket | undefined;
  /** Time to live of what is sent, and the least accepted, as they were set last. */
  hops: readonly [ttl: number, minimum: number] | undefined;
  readonly remotePort: number;
  readonly local: IpAddress;
  readonly remote: IpAddress;
  private readonly network: FakeNetwork;
  private readonly inbox: Uint8Array[] = [];
  private unread = 0;
  private held = false;
  private ended = false;

  constructor(network: FakeNetwork, local: IpAddress, remote: IpAddress, remotePort: number) {
    this.network = network;
    this.local = local;
    this.remote = remote;
    this.remotePort = remotePort;
  }

  write(bytes: Uint8Array): number {
    const { peer } = this;
    if (this.ended || !peer) return -1;
    const taken = Math.min(bytes.length, Math.max(0, this.network.window - peer.unread));
    if (taken < bytes.length) peer.held = true;
    if (taken === 0) return 0;
    peer.inbox.push(bytes.slice(0, taken));
    peer.unread += taken;
    queueMicrotask(() => peer.read());
    return taken;
  }

  private read(): void {
    if (this.network.down.has(this.local) || this.network.down.has(this.remote)) return;
    while (this.inbox.length > 0) {
      const bytes = this.inbox.shift()!;
      this.unread -= bytes.length;
      this.handlers?.data(bytes);
    }
    if (!this.held) return;
    this.held = false;
    this.peer?.handlers?.drain();
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.handlers = undefined;
    const { peer } = this;
    queueMicrotask(() => queueMicrotask(() => peer?.gone('the peer closed the connection')));
  }

  abort(): void {
    this.close();
  }

  setTimeToLive(ttl: number, minimum: number): void {
    this.hops = [ttl, minimum];
  }

  private gone(detail: string): void {
    if (this.ended || this.network.down.has(this.local) || this.network.down.has(this.remote)) return;
    this.ended = true;
    const { handlers } = this;
    this.handlers = undefined;
    handlers?.closed(detail);
  }
}
