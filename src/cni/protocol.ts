/**
 * Between the executable and the agent, over a unix socket, one request a connection: a line of JSON with the CNI_*
 * variables and the length of the configuration, then the configuration as it came. The answer: a line with the exit
 * status and a length, then what goes to standard output. Used by both halves; imports nothing.
 */
export const DEFAULT_SOCKET = '/run/godwit/cni.sock';

/** Configurations are a few hundred bytes; no more than this is read of one. */
export const MAX_CONFIG_BYTES = 1 << 20;
const MAX_HEADER_BYTES = 64 << 10;
const NEWLINE = 10;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export interface Answer {
  /** Exit status of the plugin. */
  readonly status: number;
  readonly stdout: string;
}

function frame(header: Readonly<Record<string, unknown>>, body: Uint8Array): Uint8Array {
  const head = encoder.encode(`${JSON.stringify({ ...header, length: body.length })}\n`);
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

export const encodeRequest = (env: Readonly<Record<string, string>>, config: Uint8Array): Uint8Array =>
  frame({ env }, config);

export const encodeAnswer = (answer: Answer): Uint8Array =>
  frame({ status: answer.status }, encoder.encode(answer.stdout));

export interface Frame {
  readonly header: Readonly<Record<string, unknown>>;
  readonly body: Uint8Array;
}

/** Collects the pieces of one frame. */
export class FrameReader {
  private bytes = new Uint8Array(0);

  /** The frame once it is whole; undefined before; `bad` when it can never become one. */
  push(piece: Uint8Array): Frame | 'bad' | undefined {
    const joined = new Uint8Array(this.bytes.length + piece.length);
    joined.set(this.bytes);
    joined.set(piece, this.bytes.length);
    this.bytes = joined;
    const end = joined.indexOf(NEWLINE);
    if (end < 0) return joined.length > MAX_HEADER_BYTES ? 'bad' : undefined;
    const header = parseObject(joined.subarray(0, end));
    const length = header?.['length'];
    if (!header || typeof length !== 'number' || !(length >= 0 && length <= 2 * MAX_CONFIG_BYTES)) return 'bad';
    const body = joined.subarray(end + 1);
    if (body.length > length) return 'bad';
    return body.length === length ? { header, body } : undefined;
  }
}

/** Undefined when the bytes are not the UTF-8 text of a JSON object. */
export function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(decoder.decode(bytes));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
