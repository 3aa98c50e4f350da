/**
 * What the small executable and the agent say to each other, made so that a program without a JSON parser can say it. The
 * request: 8 bytes that name this form, the lengths of what follows (u32, little-endian), the CNI_* variables as
 * `NAME=VALUE`, each with a zero byte at its end, and standard input as it came. The answer: exit status and length, then
 * what goes to standard output. An agent that closes without an answer says: not to me, let the complete program do it.
 */

/** Names the form and its version: whatever changes here changes this. */
export const MAGIC = new TextEncoder().encode('gwcni 1\n');
export const REQUEST_HEADER = MAGIC.length + 8;
export const ANSWER_HEADER = 8;
/** More than the kernel lets a program have in one variable. */
export const MAX_VARIABLES = 192 << 10;
/** The largest configuration there can be; a longer one goes to the complete program, which says so. */
export const MAX_INPUT = 1 << 20;
export const MAX_ANSWER = 2 << 20;

/** Argument of the complete program when the agent took the request and did not answer in time. */
export const NO_ANSWER = '--no-answer';
export const ANSWER_TIMEOUT_SECONDS = 60;

export interface PlainRequest {
  /** A name that comes twice has the value that came first, as with getenv(3). */
  readonly env: Readonly<Record<string, string>>;
  readonly input: Uint8Array;
}

/** Whether bytes begin, as far as they go, like a request in this form. */
export const isPlain = (bytes: Uint8Array): boolean =>
  bytes.length > 0 && MAGIC.subarray(0, bytes.length).every((byte, i) => byte === bytes[i]);

/** The request once it is whole; undefined before; `bad` when it can never become one. */
export function decodePlain(bytes: Uint8Array): PlainRequest | 'bad' | undefined {
  if (!isPlain(bytes)) return 'bad';
  if (bytes.length < REQUEST_HEADER) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const variables = view.getUint32(MAGIC.length, true);
  const input = view.getUint32(MAGIC.length + 4, true);
  const body = REQUEST_HEADER + variables;
  if (variables > MAX_VARIABLES || input > MAX_INPUT || bytes.length > body + input) return 'bad';
  if (bytes.length < body + input) return undefined;
  const env: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const text of new TextDecoder().decode(bytes.subarray(REQUEST_HEADER, body)).split('\0')) {
    const at = text.indexOf('=');
    if (at > 0) env[text.slice(0, at)] ??= text.slice(at + 1);
  }
  return { env, input: bytes.subarray(body) };
}

export function encodePlainAnswer(status: number, stdout: string): Uint8Array {
  const text = new TextEncoder().encode(stdout);
  const bytes = new Uint8Array(ANSWER_HEADER + text.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, status, true);
  view.setUint32(4, text.length, true);
  bytes.set(text, ANSWER_HEADER);
  return bytes;
}
