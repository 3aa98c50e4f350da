/** A gateway that costs next to nothing: keeps the session up and counts the IPv4 routes it is told of. */
import {
  encodeKeepalive,
  encodeOpen,
  Framer,
  FrameStatus,
  HEADER_LENGTH,
  IPV4_UNICAST,
  makeOpen,
  MessageType,
} from '../../src/bgp/wire/mod.ts';

export class Sink implements Disposable {
  readonly address: string;
  readonly routes = new Set<string>();
  /** When the session's connection came in, and when End-of-RIB did: `performance.now()`. */
  connectedAt = Number.NaN;
  endOfRibAt = Number.NaN;
  /** Called for every prefix announced or withdrawn. */
  onChange: ((prefix: string, announced: boolean) => void) | undefined;
  private readonly server: Bun.TCPSocketListener;

  constructor(address: string, port: number, asn: number, identifier: number) {
    this.address = address;
    const capabilities = [
      { type: 'multiprotocol', family: IPV4_UNICAST },
      { type: 'four-octet-as', asn },
    ] as const;
    const open = encodeOpen(makeOpen(asn, 90, identifier, capabilities));
    let framer = new Framer();
    this.server = Bun.listen({
      ...{ hostname: address, port },
      socket: {
        open: (socket) => {
          framer = new Framer();
          this.connectedAt = performance.now();
          socket.write(open);
        },
        data: (socket, bytes) => {
          framer.push(bytes);
          while (framer.next() === FrameStatus.Message) {
            if (framer.type === MessageType.Open || framer.type === MessageType.Keepalive)
              socket.write(encodeKeepalive());
            else if (framer.type === MessageType.Update)
              this.update(framer.bytes, framer.start + HEADER_LENGTH, framer.end);
          }
        },
      },
    });
  }

  private update(bytes: Uint8Array, start: number, end: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const withdrawn = view.getUint16(start);
    const attributes = view.getUint16(start + 2 + withdrawn);
    if (end - start === 4 && withdrawn === 0 && attributes === 0) {
      this.endOfRibAt = performance.now();
      return;
    }
    this.prefixes(bytes, start + 2, start + 2 + withdrawn, false);
    this.prefixes(bytes, start + 4 + withdrawn + attributes, end, true);
  }

  private prefixes(bytes: Uint8Array, start: number, end: number, announced: boolean): void {
    for (let at = start; at < end;) {
      const length = bytes[at]!;
      const size = (length + 7) >> 3;
      const octets = [0, 1, 2, 3].map((i) => (i < size ? bytes[at + 1 + i]! : 0));
      const prefix = `${octets.join('.')}/${length}`;
      if (announced) this.routes.add(prefix);
      else this.routes.delete(prefix);
      this.onChange?.(prefix, announced);
      at += 1 + size;
    }
  }

  [Symbol.dispose](): void {
    this.server.stop(true);
  }
}
