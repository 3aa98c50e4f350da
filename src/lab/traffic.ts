/**
 * Traffic that flows all the time while something is done to a lab: an ICMP echo every ten milliseconds for each stream, and
 * the count of those that were never answered. No program is run; the sockets are opened in the senders' namespaces.
 */
import { randomBytes } from 'node:crypto';
import { sleep } from '../base/mod.ts';
import { addressBytes, familyOf } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import { NetworkNamespace, sendTo, socketAddress } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { encodeEchoRequest, openIcmp, receivedEchoes } from './icmp.ts';

export interface TrafficEnds {
  readonly from: string;
  readonly to: string;
  /** The sender's namespace. */
  readonly namespace: string;
  readonly destination: IpAddress;
}

export interface TrafficCount {
  readonly from: string;
  readonly to: string;
  /** Where the packets went. */
  readonly address: IpAddress;
  readonly sent: number;
  readonly lost: number;
}

const INTERVAL_MS = 10;
/** How long an answer may take before its packet counts as lost. */
const PATIENCE_MS = 500;
const TOKEN_BYTES = 8;

export class Traffic implements Disposable {
  private readonly flows: Flow[] = [];
  private readonly timer: ReturnType<typeof setInterval>;

  /** Throws KernelError when a namespace cannot be entered. */
  constructor(streams: readonly TrafficEnds[]) {
    try {
      for (const stream of streams) this.flows.push(new Flow(stream));
    } catch (error) {
      for (const flow of this.flows) flow.close();
      throw error;
    }
    this.timer = setInterval(() => this.turn(), INTERVAL_MS);
  }

  /** Sent and lost since the last call; takes half a second, in which traffic goes on. */
  async count(): Promise<TrafficCount[]> {
    const marks = this.flows.map((flow) => flow.mark());
    await sleep(PATIENCE_MS);
    this.turn();
    return this.flows.map((flow, i) => flow.countUpTo(marks[i]!));
  }

  private turn(): void {
    for (const flow of this.flows) flow.collect();
    for (const flow of this.flows) flow.send();
  }

  [Symbol.dispose](): void {
    clearInterval(this.timer);
    for (const flow of this.flows) flow.close();
  }
}

class Flow {
  private readonly ends: TrafficEnds;
  private readonly family: Family;
  private readonly socket: Fd;
  private readonly target: Uint8Array;
  /** A token that makes the packets this flow's, and the number of the packet. */
  private readonly payload = Buffer.concat([randomBytes(TOKEN_BYTES), Buffer.alloc(4)]);
  private readonly unanswered = new Set<number>();
  private next = 0;
  private counted = 0;

  constructor(ends: TrafficEnds) {
    this.ends = ends;
    this.family = familyOf(ends.destination);
    this.target = socketAddress(addressBytes(ends.destination), 0);
    using namespace = NetworkNamespace.open(ends.namespace);
    this.socket = namespace.run(() => openIcmp(this.family));
  }

  send(): void {
    this.payload.writeUInt32BE(this.next, TOKEN_BYTES);
    this.unanswered.add(this.next);
    // an error counts as well: the packet is not answered
    const request = encodeEchoRequest(this.family, process.pid & 0xffff, this.next & 0xffff, this.payload);
    sendTo(this.socket, request, this.target);
    this.next++;
  }

  collect(): void {
    const token = this.payload.subarray(0, TOKEN_BYTES);
    for (const echo of receivedEchoes(this.socket, this.family)) {
      if (echo.kind !== 'reply' || echo.payload.length !== this.payload.length) continue;
      const payload = Buffer.from(echo.payload);
      if (token.equals(payload.subarray(0, TOKEN_BYTES))) this.unanswered.delete(payload.readUInt32BE(TOKEN_BYTES));
    }
  }

  mark = (): number => this.next;

  countUpTo(mark: number): TrafficCount {
    const { from, to, destination: address } = this.ends;
    const lost = [...this.unanswered].filter((packet) => packet < mark);
    for (const packet of lost) this.unanswered.delete(packet);
    const sent = mark - this.counted;
    this.counted = mark;
    return { from, to, address, sent, lost: lost.length };
  }

  close(): void {
    this.socket.close();
  }
}
