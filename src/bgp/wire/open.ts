/**
 * OPEN (RFC 4271 §4.2) and its optional parameters; capabilities have a module of their own.
 */
import { err, type Result } from '../../base/mod.ts';
import { ErrorCode } from './iana.ts';
import { protocolError } from './notification.ts';
import type { OpenMessage, ProtocolError } from './types.ts';

/** A whole message with header. */
export function encodeOpen(_open: OpenMessage): Uint8Array {
  throw new Error('coming with the next merge');
}

/** Decodes the whole message in `bytes[start, end)`; what the values mean is for `validateOpen`. */
export function decodeOpen(_bytes: Uint8Array, _start: number, _end: number): Result<OpenMessage, ProtocolError> {
  return err(protocolError(ErrorCode.OpenMessage, 0, 'coming with the next merge'));
}
