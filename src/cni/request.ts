/**
 * What a runtime asks, in either of the two forms in which it arrives: from the complete program a line of JSON and the
 * configuration (`protocol.ts`), from the small executable its plain form (`src/shim`). The first byte tells which.
 */
import { decodePlain, encodePlainAnswer, isPlain } from '../shim/mod.ts';
import type { Variables } from './environment.ts';
import { encodeAnswer, FrameReader, parseObject } from './protocol.ts';
import type { Answer } from './protocol.ts';

export interface Request {
  /** As they came: names and values are judged later. */
  readonly env: Variables;
  readonly config: Uint8Array;
  /** The answer in the form of the request. */
  readonly encode: (answer: Answer) => Uint8Array;
}

/** Collects the pieces of one request. */
export class RequestReader {
  private readonly socketPath: string;
  private readonly framed = new FrameReader();
  private plain: Uint8Array | undefined;

  /** `socketPath`: where it arrives. */
  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  /** The request once it is whole; undefined before; `bad` when it can never become one, or is not for us. */
  push(piece: Uint8Array): Request | 'bad' | undefined {
    if (this.plain !== undefined || isPlain(piece)) return this.pushPlain(piece);
    const frame = this.framed.push(piece);
    if (frame === undefined || frame === 'bad') return frame;
    return { env: readVariables(frame.header['env']), config: frame.body, encode: encodeAnswer };
  }

  private pushPlain(piece: Uint8Array): Request | 'bad' | undefined {
    // the piece is the socket's own buffer, which it uses again
    this.plain = this.plain === undefined ? piece.slice() : Buffer.concat([this.plain, piece]);
    const request = decodePlain(this.plain);
    if (request === undefined || request === 'bad') return request;
    // the small executable knows one socket; the complete program asks whom the configuration names
    const wanted = parseObject(request.input)?.['socket'] ?? this.socketPath;
    if (wanted !== this.socketPath) return 'bad';
    const encode = ({ status, stdout }: Answer) => encodePlainAnswer(status, stdout);
    return { env: request.env, config: request.input, encode };
  }
}

function readVariables(value: unknown): Variables {
  if (typeof value !== 'object' || value === null) return {};
  const strings = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return Object.fromEntries(strings);
}
