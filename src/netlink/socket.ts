/**
 * A netlink socket for requests. Synchronous on purpose: the kernel does the work inside the send call, and the answers
 * are there when it returns. It belongs to the network namespace it was opened in, wherever the thread goes later.
 */
import { write } from 'node:fs';
import { bindSocket, check, errno, isErrno, KernelError, openSocket, receive, send, setOption } from '../sys/mod.ts';
import { socketName } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { AF, MSG, SO, SOCK, SOL } from '../sys/mod.ts';
import { Reader } from '../base/mod.ts';
import { NETLINK, NLM_F, NLMSG } from './codes.ts';
import { Batch, forEachAttribute, forEachMessage, readString } from './message.ts';
import type { MessageHeader } from './message.ts';

/** Answers to a full batch must fit in the receive buffer, or the kernel drops them and says ENOBUFS. */
export const MAX_BATCH = 256;
const RECEIVE_BUFFER_BYTES = 4 << 20;
const RECEIVE_TIMEOUT_SECONDS = 30;
const DUMP_ATTEMPTS = 20;

const ERROR_ATTRIBUTE_MESSAGE = 1;

export function openNetlink(protocol: number): Fd {
  const fd = openSocket(AF.NETLINK, SOCK.RAW, protocol);
  setOption(fd, SOL.NETLINK, NETLINK.CAP_ACK, 1);
  setOption(fd, SOL.NETLINK, NETLINK.EXT_ACK, 1);
  return fd;
}

/** The error number and the kernel's words in an NLMSG_ERROR or NLMSG_DONE body. */
function readError(header: MessageHeader, body: Reader): { errno: number; message: string } {
  const number = -body.i32le();
  let message = '';
  if (header.type === NLMSG.ERROR) body.skip(16);
  if ((header.flags & NLM_F.ACK_TLVS) !== 0) {
    forEachAttribute(body, (type, value) => {
      if (type === ERROR_ATTRIBUTE_MESSAGE) message = readString(value);
    });
  }
  return { errno: number, message };
}

export class NetlinkSocket implements Disposable {
  /** The kernel's name for this socket; in what it tells others of a change, the name of who asked for it. */
  readonly portId: number;
  private readonly fd: Fd;
  private readonly buffer = new Uint8Array(1 << 16);

  constructor(protocol: number = NETLINK.ROUTE) {
    this.fd = openNetlink(protocol);
    setOption(
      this.fd,
      SOL.SOCKET,
      SO.RCVTIMEO,
      new Uint8Array(BigInt64Array.of(BigInt(RECEIVE_TIMEOUT_SECONDS), 0n).buffer),
    );
    try {
      setOption(this.fd, SOL.SOCKET, SO.RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
    } catch (error) {
      // without CAP_NET_ADMIN in the first user namespace the system's limit holds
      if (!isErrno(error, errno.EPERM)) throw error;
      setOption(this.fd, SOL.SOCKET, SO.RCVBUF, RECEIVE_BUFFER_BYTES);
    }
    if (protocol === NETLINK.ROUTE) setOption(this.fd, SOL.NETLINK, NETLINK.GET_STRICT_CHK, 1);
    // struct sockaddr_nl; the kernel chooses the port id
    const address = Uint8Array.of(AF.NETLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    bindSocket(this.fd, address);
    this.portId = new DataView(socketName(this.fd, address.length).buffer).getUint32(4, true);
  }

  /** One datagram; a view that the next call overwrites. */
  private read(operation: string): Uint8Array {
    for (;;) {
      const length = receive(this.fd, this.buffer);
      if (length === -errno.EINTR) continue;
      return this.buffer.subarray(0, check(operation, length));
    }
  }

  /**
   * Runs every request of the batch (at most MAX_BATCH, each to be acknowledged: NLM_F_ACK is set by the builders) and
   * gives one entry a request: undefined, or what the kernel refused. A refused request does not stop the others.
   */
  execute(batch: Batch): (KernelError | undefined)[] {
    const results: (KernelError | undefined)[] = Array.from({ length: batch.count });
    if (batch.count === 0) return results;
    if (batch.count > MAX_BATCH) throw new Error(`a netlink batch holds ${MAX_BATCH} requests, not ${batch.count}`);
    check(`netlink ${batch.names[0]}`, send(this.fd, batch.bytes()));
    return this.acknowledgements(batch, results);
  }

  /**
   * As `execute`, with the kernel's work on another thread: deleting a link blocks its caller for some 20 ms. The socket
   * serves nothing else until the promise settles.
   */
  async executeAside(batch: Batch): Promise<(KernelError | undefined)[]> {
    const results: (KernelError | undefined)[] = Array.from({ length: batch.count });
    if (batch.count === 0) return results;
    if (batch.count > MAX_BATCH) throw new Error(`a netlink batch holds ${MAX_BATCH} requests, not ${batch.count}`);
    // write(2) on a netlink socket is send(2) to the kernel, and the runtime has a thread pool for writes
    const refused = await new Promise<NodeJS.ErrnoException | null>((resolve) => {
      write(this.fd.number, batch.bytes(), (error) => resolve(error));
    });
    if (refused) return results.map((_, i) => new KernelError(batch.names[i]!, Math.abs(refused.errno ?? errno.EIO)));
    return this.acknowledgements(batch, results);
  }

  private acknowledgements(batch: Batch, results: (KernelError | undefined)[]): (KernelError | undefined)[] {
    for (let left = batch.count; left > 0;) {
      forEachMessage(this.read(`netlink ${batch.names[0]}`), (header, body) => {
        if (header.type !== NLMSG.ERROR) return;
        const { errno: number, message } = readError(header, body);
        const index = header.sequence - 1;
        if (number !== 0) results[index] = new KernelError(batch.names[index] ?? 'netlink request', number, message);
        left--;
      });
    }
    return results;
  }

  /** Runs the batch; throws the first refusal. */
  request(batch: Batch): void {
    for (const error of this.execute(batch)) if (error) throw error;
  }

  /** One object; undefined when the kernel has none (`absent` is the error number it says then). */
  get<T>(
    type: number,
    name: string,
    absent: number,
    build: (batch: Batch) => void,
    decode: (body: Reader) => T | undefined,
  ): T | undefined {
    const batch = new Batch().begin(type, 0, name);
    build(batch);
    check(`netlink ${name}`, send(this.fd, batch.end().bytes()));
    let item: T | undefined;
    let refusal: KernelError | undefined;
    forEachMessage(this.read(`netlink ${name}`), (header, body) => {
      if (header.type !== NLMSG.ERROR) {
        item = decode(body);
        return;
      }
      const { errno: number, message } = readError(header, body);
      if (number !== absent) refusal = new KernelError(name, number, message);
    });
    if (refusal) throw refusal;
    return item;
  }

  /**
   * Sends the batch as one message sequence that takes effect whole or not at all (nfnetlink), and throws the first
   * refusal. Requests need not ask for acknowledgements: refusals always come, and are there when the send call returns.
   */
  requestWhole(batch: Batch): void {
    check(`netlink ${batch.names[0]}`, send(this.fd, batch.bytes()));
    let refused: KernelError | undefined;
    for (;;) {
      const length = receive(this.fd, this.buffer, MSG.DONTWAIT);
      if (length === -errno.EINTR) continue;
      if (length === -errno.EAGAIN) break;
      check('netlink answers', length);
      forEachMessage(this.buffer.subarray(0, length), (header, body) => {
        if (header.type !== NLMSG.ERROR) return;
        const { errno: number, message } = readError(header, body);
        if (number === 0) return;
        refused ??= new KernelError(batch.names[header.sequence - 1] ?? 'netlink request', number, message);
      });
    }
    if (refused) throw refused;
  }

  /**
   * A whole table. `build` writes the fixed part and filters of the request. The kernel marks a dump that raced with a
   * change (NLM_F_DUMP_INTR) or says EINTR: what was read may be inconsistent, and the dump starts over.
   */
  dump<T>(
    type: number,
    name: string,
    build: (batch: Batch) => void,
    decode: (type: number, body: Reader) => T | undefined,
  ): T[] {
    for (let attempt = 1; ; attempt++) {
      const batch = new Batch().begin(type, NLM_F.DUMP, name);
      build(batch);
      check(`netlink ${name}`, send(this.fd, batch.end().bytes()));
      const items: T[] = [];
      let interrupted = false;
      let finished: { errno: number; message: string } | undefined;
      while (!finished) {
        forEachMessage(this.read(`netlink ${name}`), (header, body) => {
          if ((header.flags & NLM_F.DUMP_INTR) !== 0) interrupted = true;
          if (header.type === NLMSG.DONE || header.type === NLMSG.ERROR) {
            finished = readError(header, body);
          } else {
            const item = decode(header.type, body);
            if (item !== undefined) items.push(item);
          }
        });
      }
      if (finished.errno === errno.EINTR) interrupted = true;
      else if (finished.errno !== 0) throw new KernelError(name, finished.errno, finished.message);
      if (!interrupted) return items;
      if (attempt >= DUMP_ATTEMPTS)
        throw new KernelError(`${name} (changed during each of ${attempt} dumps)`, errno.EINTR);
    }
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}
