/** gRPC's framing and status codes, shared by client and server: five bytes (flag, length) before each message. */

export const grpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;
export type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus];

/** A call's bad end: the status the other side gave, or `unavailable` and the like when there was none. */
export class GrpcError extends Error {
  readonly status: number;
  constructor(status: number, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'GrpcError';
    this.status = status;
  }
}

const PREFIX = 5;
/** Larger messages are refused: etcd itself keeps requests under 1.5 MiB and answers to a page far under this. */
const MAX_MESSAGE = 64 * 1024 * 1024;

export function frame(message: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(PREFIX + message.length);
  out[0] = 0;
  out.writeUInt32BE(message.length, 1);
  out.set(message, PREFIX);
  return out;
}

/** Cuts a byte stream into messages again. */
export class Deframer {
  private chunks: Uint8Array[] = [];
  private length = 0;

  /** Bytes of a message that is not whole yet. */
  get waiting(): number {
    return this.length;
  }

  /** The messages that are whole with this chunk; undefined when the stream is not gRPC (compressed, or too long). */
  push(chunk: Uint8Array): Uint8Array[] | undefined {
    this.chunks.push(chunk);
    this.length += chunk.length;
    const messages: Uint8Array[] = [];
    while (this.length >= PREFIX) {
      const head = this.peek(PREFIX);
      const size = head.readUInt32BE(1);
      if (head[0] !== 0 || size > MAX_MESSAGE) return undefined;
      if (this.length < PREFIX + size) break;
      messages.push(this.take(PREFIX + size).subarray(PREFIX));
    }
    return messages;
  }

  private joined(): Buffer {
    const joined =
      this.chunks.length === 1
        ? Buffer.from(this.chunks[0]!.buffer, this.chunks[0]!.byteOffset, this.chunks[0]!.length)
        : Buffer.concat(this.chunks);
    this.chunks = [joined];
    return joined;
  }

  private peek(length: number): Buffer {
    const first = this.chunks[0]!;
    // a long message comes in many chunks: they are joined once, when the last is there
    if (first.length >= length) return Buffer.from(first.buffer, first.byteOffset, length);
    return this.joined().subarray(0, length);
  }

  private take(length: number): Buffer {
    const joined = this.joined();
    this.length -= length;
    this.chunks = this.length === 0 ? [] : [joined.subarray(length)];
    return joined.subarray(0, length);
  }
}
