/**
 * Path MTU of the underlay (RFC 1191), for IPIP. A link on the way that is smaller than this node's uplink answers a packet
 * it cannot pass on with ICMP, to the address of the outer header: this node. With the kernel's ipip device the kernel
 * learns from it; with the BPF form nobody would, and every large packet would vanish. So the answers are read here, and
 * routes by the tunnel get the size that fits: then the kernel itself tells pods, or cuts what may be cut, before packets
 * go into the tunnel.
 */
import { Reader, systemClock } from '../../base/mod.ts';
import type { Clock } from '../../base/mod.ts';
import type { IpipTunnel } from '../../desired/mod.ts';
import { addressFromBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { openTooBig } from '../../sys/mod.ts';

const IPIP_PROTOCOL = 4;
/** What is learned is forgotten after this long, as the kernel does: the path may have changed. */
const LIFETIME_MS = 600_000;
/** Less than this is believed of nobody (the kernel's min_pmtu): it would be an attack or a fault. */
const SMALLEST = 552;

export interface TooBig {
  /** Who tells it. */
  readonly from: IpAddress;
  /** The outer addresses of the packet that was too big. */
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** Bytes that would have passed, outer header included. */
  readonly mtu: number;
}

/** Reads an IPv4 packet with ICMP "fragmentation needed"; undefined for anything else. */
export function parseTooBig(packet: Uint8Array): TooBig | undefined {
  const ip = new Reader(packet);
  const headerBytes = (ip.u8() & 0xf) * 4;
  ip.skip(11);
  const from = ip.view(4);
  ip.skip(headerBytes - 16);
  const [type, code] = [ip.u8(), ip.u8()];
  ip.skip(4);
  const mtu = ip.u16();
  // the header that did not pass
  const version = ip.u8() >> 4;
  ip.skip(8);
  const protocol = ip.u8();
  ip.skip(2);
  const [source, destination] = [ip.view(4), ip.view(4)];
  if (ip.failed || type !== 3 || code !== 4 || version !== 4 || protocol !== IPIP_PROTOCOL) return undefined;
  const [told, own, peer] = [from, source, destination].map(addressFromBytes);
  return { from: told!, source: own!, destination: peer!, mtu };
}

export interface PathMtuOptions {
  /** Something was learned, or forgotten. */
  readonly changed: () => void;
  /** Whether an address is a pod's: pods are on no way between nodes, and what one of them tells is a lie. */
  readonly isPod?: (address: IpAddress) => boolean;
  readonly clock?: Clock;
}

export class PathMtus {
  private readonly known = new Map<IpAddress, { readonly mtu: number; readonly timer: Disposable }>();
  private readonly options: PathMtuOptions;
  private readonly clock: Clock;
  private tunnel: IpipTunnel | undefined;

  constructor(options: PathMtuOptions) {
    this.options = options;
    this.clock = options.clock ?? systemClock;
  }

  /** Whose packets to believe in: ours, to the tunnel's peers, of at most its size. */
  setTunnel(tunnel: IpipTunnel | undefined): void {
    this.tunnel = tunnel;
  }

  /** The largest outer packet that gets to a node, where it is less than the uplink's. */
  values(): ReadonlyMap<IpAddress, number> {
    return new Map([...this.known].map(([peer, { mtu }]) => [peer, mtu]));
  }

  /** Takes one message; anybody can send one, so what does not fit is passed over. */
  learn({ from, source, destination, mtu }: TooBig): void {
    const { tunnel } = this;
    const before = this.known.get(destination);
    if (!tunnel || source !== tunnel.local || !tunnel.peers.has(destination)) return;
    if (this.options.isPod?.(from) === true) return;
    if (mtu < SMALLEST || mtu >= (before?.mtu ?? tunnel.mtu + 20)) return;
    before?.timer[Symbol.dispose]();
    const timer = this.clock.after(LIFETIME_MS, () => {
      this.known.delete(destination);
      this.options.changed();
    });
    this.known.set(destination, { mtu, timer });
    this.options.changed();
  }

  /** Listens until disposed, in the namespace this thread is in now; throws KernelError. */
  watch(): Disposable {
    const opened = Bun.connect({
      // @ts-expect-error -- `fd` is missing in the runtime's types
      fd: openTooBig(IPIP_PROTOCOL).release(),
      socket: {
        data: (_socket, data) => {
          const tooBig = parseTooBig(data);
          if (tooBig) this.learn(tooBig);
        },
        error: () => {},
      },
    });
    return {
      [Symbol.dispose]: () => {
        void opened.then((socket) => socket.end());
        for (const { timer } of this.known.values()) timer[Symbol.dispose]();
        this.known.clear();
      },
    };
  }
}
