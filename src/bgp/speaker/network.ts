/**
 * The TCP edge. A `Network` listens and dials; what comes of either is a `Socket`, whose owner sets `handlers`. Nothing
 * above this file knows of descriptors. Written bytes may be taken in part: the rest is the caller's to keep until
 * `drain`.
 */
import { familyOf, addressBytes, isLinkLocal, parseAddress, prefixAddress, prefixLength } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { messageOf } from '../../base/mod.ts';
import type { Clock } from '../../base/mod.ts';
import { beginConnect, connectionState, peerDevice, setTcpMd5Key, setTimeToLive } from '../../sys/mod.ts';

export interface SocketHandlers {
  /** The bytes are valid during the call only. */
  data(bytes: Uint8Array): void;
  drain(): void;
  /** The connection is gone; told once, and not after `close`. */
  closed(detail: string): void;
}

export interface Socket {
  readonly remote: IpAddress;
  /** Where a link-local IPv6 `remote` is; absent for every other address. */
  readonly device?: string;
  readonly local: IpAddress;
  readonly remotePort: number;
  /** To be set before control returns to the event loop. */
  handlers: SocketHandlers | undefined;
  /** How many of the bytes were taken; −1 when the connection is gone. */
  write(bytes: Uint8Array): number;
  /** Sends what was taken, then ends. Nothing is told to `handlers` afterwards. */
  close(): void;
  /** Ends at once with a reset; costs the other side's state, not ours. */
  abort(): void;
  /** Time to live of what is sent, and the least accepted. */
  setTimeToLive(ttl: number, minimum: number): void;
}

export interface DialOptions {
  readonly remote: IpAddress;
  readonly port: number;
  readonly source?: IpAddress;
  readonly device?: string;
  readonly password?: string;
  readonly ttl: number;
  readonly minimumTtl: number;
}

export interface Listener extends Disposable {
  readonly port: number;
  /** Requires TCP MD5 of this address, or of all in the prefix; without a key no longer. */
  setPassword(peer: IpAddress | Prefix, key: string | undefined): void;
  /** The least time to live of any packet, from the first SYN on; 0: any. */
  setMinimumTtl(minimum: number): void;
  readonly family: Family;
}

export interface Network {
  /** Throws when the address cannot be had. `accept` must set the socket's handlers or abort it. */
  listen(address: IpAddress, port: number, accept: (socket: Socket) => void): Listener;
  /** Exactly one of the callbacks is called, unless the attempt is disposed of before. */
  dial(options: DialOptions, connected: (socket: Socket) => void, failed: (detail: string) => void): Disposable;
}

export class BunSocket implements Socket {
  handlers: SocketHandlers | undefined;
  readonly remote: IpAddress;
  readonly device?: string;
  readonly local: IpAddress;
  readonly remotePort: number;
  private readonly raw: Bun.Socket<BunSocket>;
  private ended = false;

  private constructor(raw: Bun.Socket<BunSocket>) {
    this.raw = raw;
    this.remote = withoutZone(raw.remoteAddress);
    this.local = withoutZone(raw.localAddress);
    this.remotePort = raw.remotePort;
    // the runtime leaves the scope of an address out
    const scoped = familyOf(this.remote) === 6 && isLinkLocal(this.remote);
    const device = scoped ? peerDevice((raw as unknown as { fd: number }).fd) : undefined;
    if (device !== undefined) this.device = device;
  }

  /** The socket; undefined when the connection was reset before anybody saw it: then it has no addresses any more. */
  static of(raw: Bun.Socket<BunSocket>): BunSocket | undefined {
    if (typeof raw.remoteAddress !== 'string' || typeof raw.localAddress !== 'string') {
      raw.terminate();
      return undefined;
    }
    const socket = new BunSocket(raw);
    raw.data = socket;
    return socket;
  }

  write(bytes: Uint8Array): number {
    return this.ended ? -1 : this.raw.write(bytes);
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.handlers = undefined;
    this.raw.end();
  }

  abort(): void {
    this.ended = true;
    this.handlers = undefined;
    this.raw.terminate();
  }

  setTimeToLive(ttl: number, minimum: number): void {
    const { fd } = this.raw as unknown as { fd: number };
    setTimeToLive(fd, familyOf(this.remote), ttl, minimum);
  }

  gone(detail: string): void {
    this.ended = true;
    const { handlers } = this;
    this.handlers = undefined;
    handlers?.closed(detail);
  }
}

function withoutZone(text: string): IpAddress {
  return parseAddress(text.replace(/%.*$/, '')) ?? ('0.0.0.0' as IpAddress);
}

const socketHandlers = {
  // Buffers are objects of another class: code compiled for arrays would be compiled again for them
  binaryType: 'uint8array' as const,
  data: (raw: Bun.Socket<BunSocket>, bytes: Uint8Array) => raw.data?.handlers?.data(bytes),
  drain: (raw: Bun.Socket<BunSocket>) => raw.data?.handlers?.drain(),
  // a half-closed BGP connection is of no use
  end: (raw: Bun.Socket<BunSocket>) => raw.data?.gone('the peer closed the connection'),
  close: (raw: Bun.Socket<BunSocket>, error?: Error) =>
    raw.data?.gone(error ? messageOf(error) : 'the peer closed the connection'),
  error: (raw: Bun.Socket<BunSocket>, error: Error) => raw.data?.gone(messageOf(error)),
};

export class TcpNetwork implements Network {
  private readonly clock: Clock;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  listen(address: IpAddress, port: number, accept: (socket: Socket) => void): Listener {
    const listener = Bun.listen<BunSocket>({
      hostname: address,
      port,
      ipv6Only: familyOf(address) === 6,
      socket: {
        ...socketHandlers,
        open(raw) {
          const socket = BunSocket.of(raw);
          if (!socket) return;
          raw.setNoDelay(true);
          accept(socket);
        },
      },
    } as Bun.TCPSocketListenOptions<BunSocket>);
    const { fd } = listener as unknown as { fd: number };
    // the kernel answers a SYN with the listener's time to live, and a neighbour with GTSM (RFC 5082) looks at it
    setTimeToLive(fd, familyOf(address), 255, 0);
    return {
      port: listener.port,
      family: familyOf(address),
      setMinimumTtl: (minimum) => setTimeToLive(fd, familyOf(address), 255, minimum),
      setPassword(peer, key) {
        const slash = peer.includes('/');
        const target = slash ? prefixAddress(peer as Prefix) : (peer as IpAddress);
        if (familyOf(target) !== familyOf(address)) return;
        setTcpMd5Key(fd, addressBytes(target), key ?? '', slash ? prefixLength(peer as Prefix) : undefined);
      },
      [Symbol.dispose]: () => listener.stop(),
    };
  }

  dial(options: DialOptions, connected: (socket: Socket) => void, failed: (detail: string) => void): Disposable {
    const attempt = new DialAttempt(this.clock, connected, failed);
    attempt.begin(options);
    return attempt;
  }
}

/** The runtime takes a connection only when it is up and has no event for that, so this looks, less and less often. */
class DialAttempt implements Disposable {
  private readonly clock: Clock;
  private readonly connected: (socket: Socket) => void;
  private readonly failed: (detail: string) => void;
  private fd: ReturnType<typeof beginConnect> | undefined;
  private timer: Disposable | undefined;
  private over = false;

  constructor(clock: Clock, connected: (socket: Socket) => void, failed: (detail: string) => void) {
    this.clock = clock;
    this.connected = connected;
    this.failed = failed;
  }

  begin(options: DialOptions): void {
    try {
      this.fd = beginConnect({
        remote: addressBytes(options.remote),
        port: options.port,
        ttl: options.ttl,
        minimumTtl: options.minimumTtl,
        ...(options.source !== undefined && { source: addressBytes(options.source) }),
        ...(options.device !== undefined && { device: options.device }),
        ...(options.password !== undefined && { md5Key: options.password }),
      });
      this.look(0);
    } catch (error) {
      // told later: whoever dials is not yet ready for the answer
      this.timer = this.clock.after(0, () => this.fail(messageOf(error)));
    }
  }

  private look(delay: number): void {
    this.timer = this.clock.after(delay, () => {
      const state = connectionState(this.fd!);
      if (state === 'pending') this.look(Math.min(delay * 2 + 0.5, 50));
      else if (state === 'connected') this.handOver();
      else this.fail(state.message);
    });
  }

  private handOver(): void {
    const number = this.fd!.release();
    this.fd = undefined;
    const options = {
      fd: number,
      socket: {
        ...socketHandlers,
        open: (raw: Bun.Socket<BunSocket>) => {
          const socket = BunSocket.of(raw);
          if (!socket) this.fail('the peer reset the connection');
          else if (this.over) socket.abort();
          else {
            this.over = true;
            this.connected(socket);
          }
        },
        connectError: (_raw: Bun.Socket<BunSocket>, error: Error) => this.fail(messageOf(error)),
      },
    };
    Bun.connect(options as unknown as Bun.TCPSocketConnectOptions<BunSocket>).catch((error: unknown) =>
      this.fail(messageOf(error)),
    );
  }

  private fail(detail: string): void {
    this.fd?.close();
    this.fd = undefined;
    if (this.over) return;
    this.over = true;
    this.failed(detail);
  }

  [Symbol.dispose](): void {
    this.over = true;
    this.timer?.[Symbol.dispose]();
    this.fd?.close();
    this.fd = undefined;
  }
}
