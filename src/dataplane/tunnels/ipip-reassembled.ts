/**
 * IPIP that arrives in fragments, for the BPF form. A node with the kernel's form copies "don't fragment" from the inner
 * packet, so a router with a smaller link may cut what it sends; and a program at the uplink sees no more than the pieces.
 * It lets those of known nodes pass, the kernel puts them together and finds that nobody speaks protocol 4 but a raw socket:
 * this one. What comes out of it has its outer header taken off and goes into the tunnel device by its descriptor. That is
 * slow, and only as long as this process lives; nodes that know the path's size send nothing that way.
 */
import { writeSync } from 'node:fs';
import { addressFromBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { AF, openSocket, SOCK } from '../../sys/mod.ts';
import type { Fd } from '../../sys/mod.ts';

const IPIP_PROTOCOL = 4;
const HEADER = 20;

export interface OuterPacket {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  /** What it carries. */
  readonly inner: Uint8Array;
}

/** Reads whole IPv4 packets, one behind the other; what is not one ends it. */
export function* outerPackets(bytes: Uint8Array): Generator<OuterPacket> {
  for (let rest = bytes; rest.length >= HEADER;) {
    const header = (rest[0]! & 0xf) * 4;
    const length = (rest[2]! << 8) | rest[3]!;
    if (rest[0]! >> 4 !== 4 || header < HEADER || length < header || length > rest.length) return;
    const [source, destination] = [addressFromBytes(rest.subarray(12, 16)), addressFromBytes(rest.subarray(16, 20))];
    yield { source, destination, inner: rest.subarray(header, length) };
    rest = rest.subarray(length);
  }
}

/**
 * Unpacks until disposed, in the namespace this thread is in now; throws KernelError. `takes` judges outer source and
 * destination: packets that came by another device than the uplink were judged by nobody.
 */
export function unpackReassembled(tun: Fd, takes: (source: IpAddress, destination: IpAddress) => boolean): Disposable {
  const opened = Bun.connect({
    // @ts-expect-error -- `fd` is missing in the runtime's types
    fd: openSocket(AF.INET, SOCK.RAW | SOCK.NONBLOCK, IPIP_PROTOCOL).release(),
    socket: {
      data: (_socket, data) => {
        for (const { source, destination, inner } of outerPackets(data)) {
          if (!takes(source, destination)) continue;
          try {
            writeSync(tun.number, inner);
          } catch {
            // the device is down or gone, or what is inside is no packet: lost, as with any device
          }
        }
      },
      error: () => {},
    },
  });
  void opened.then((socket) => socket.unref());
  return { [Symbol.dispose]: () => void opened.then((socket) => socket.end()) };
}
