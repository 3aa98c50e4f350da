/**
 * An error a person reads: what was done, to which object, what the other side said, and what to do about it.
 * Callers test `kind`, never the text.
 */
export class GodwitError extends Error {
  readonly kind: string;
  /** What the reader can do about it, as a sentence; empty where there is nothing to say. */
  readonly hint: string;

  constructor(kind: string, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'GodwitError';
    this.kind = kind;
    this.hint = options.hint ?? '';
  }
}

export function messageOf(error: unknown): string {
  // Bun's fetch ends what the kernel said with a guess that fits no socket of ours
  return error instanceof Error ? error.message.replace(/: Was there a typo in the url or port\?$/, '') : String(error);
}

/** Escapes what a peer, a user or a file gave before it is shown: control characters never reach a terminal or a log. */
export function printable(text: string, maxLength = 256): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  const escaped = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => {
    return `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
  return escaped.length > maxLength ? `${escaped.slice(0, maxLength)}…` : escaped;
}
