/**
 * Protocol buffers (proto3 wire format) from field tables: a message is described once, as an object of fields, and its
 * TypeScript type follows from the table. Absent fields decode to their default, as proto3 has it; absent sub-messages to
 * undefined. 64-bit numbers come in two kinds: `int64` is a JavaScript number (revisions, counts, seconds), `id64` and
 * `uid64` keep all 64 bits as decimal text (lease, cluster and member ids).
 *
 * A table of our own because of memory: the general libraries cost an idle agent 8 to 14 MiB.
 */
import { Reader, Writer } from '../../base/mod.ts';

const wireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** How one kind of field is written and read. `T` is what it decodes to, `In` what may be given to encode. */
export interface Field<T, In = T> {
  readonly number: number;
  /** The value of an absent field; made anew for each message, as arrays are filled in place. */
  initial(): T;
  /** Writes tag and value; nothing for the default. */
  write(writer: Writer, value: In): void;
  /** Reads one occurrence; gives the field's new value. */
  read(reader: Reader, wire: number, before: T, depth: number): T;
}

type Fields = Readonly<Record<string, Field<unknown, never>>>;
type Simplify<T> = { [K in keyof T]: T[K] };
export type DecodedFields<F> = Simplify<{ [K in keyof F]: F[K] extends Field<infer T, never> ? T : never }>;
export type OutgoingFields<F> = Simplify<{
  readonly [K in keyof F]?: (F[K] extends Field<infer _, infer In> ? In : never) | undefined;
}>;

export interface MessageType<T, In = T> {
  encode(message: In): Buffer;
  /** Undefined when the bytes are not this message; unknown fields are skipped. */
  decode(bytes: Uint8Array): T | undefined;
  writeTo(writer: Writer, message: In): void;
  readFrom(reader: Reader, depth: number): T;
}
/** The decoded form of a message type, and the form that is sent (any field may be left out). */
export type Decoded<M> = M extends MessageType<infer T, never> ? T : never;
export type Outgoing<M> = M extends MessageType<infer _, infer In> ? In : never;

/** Messages nested deeper are refused: etcd's own nest a handful, and transactions in transactions are a user's. */
const MAX_DEPTH = 40;

function writeVarint(writer: Writer, value: number): void {
  let rest = value;
  while (rest > 0x7f) {
    writer.u8((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 128);
  }
  writer.u8(rest);
}

function writeVarintBig(writer: Writer, value: bigint): void {
  let rest = BigInt.asUintN(64, value);
  while (rest > 0x7fn) {
    writer.u8(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  writer.u8(Number(rest));
}

/** The low and high 32 bits of the last varint read; one pair, read at once after `readVarint`. */
let low = 0;
let high = 0;

function readVarint(reader: Reader): void {
  low = 0;
  high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    const byte = reader.u8();
    const bits = byte & 0x7f;
    if (shift < 28) low |= bits << shift;
    else if (shift === 28) {
      low |= bits << 28;
      high |= bits >>> 4;
    } else if (shift < 63) high |= bits << (shift - 32);
    else high |= (bits & 1) << 31;
    if (byte < 0x80) return;
  }
  reader.failed = true;
}

function readNumber(reader: Reader): number {
  readVarint(reader);
  return (high | 0) * 0x1_0000_0000 + (low >>> 0);
}

function skip(reader: Reader, wire: number): void {
  if (wire === wireType.varint) readVarint(reader);
  else if (wire === wireType.fixed64) reader.skip(8);
  else if (wire === wireType.fixed32) reader.skip(4);
  else if (wire === wireType.bytes) reader.skip(readNumber(reader));
  else reader.failed = true;
}

interface Scalar<T> {
  readonly wire: number;
  readonly zero: T;
  write(writer: Writer, value: T): void;
  read(reader: Reader): T;
}

function scalar<T>(number: number, kind: Scalar<T>): Field<T> {
  return {
    number,
    initial: () => kind.zero,
    write(writer, value) {
      // empty bytes too: etcd takes an empty range end that is there for "no end", and an absent one for "one key"
      if (value === kind.zero || (value instanceof Uint8Array && value.length === 0)) return;
      writeVarint(writer, number * 8 + kind.wire);
      kind.write(writer, value);
    },
    read(reader, wire, before) {
      if (wire === kind.wire) return kind.read(reader);
      reader.failed = true;
      return before;
    },
  };
}

const numbers: Scalar<number> = {
  wire: wireType.varint,
  zero: 0,
  write: (w, value) => (value < 0 ? writeVarintBig(w, BigInt(value)) : writeVarint(w, value)),
  read: readNumber,
};
const booleans: Scalar<boolean> = {
  wire: wireType.varint,
  zero: false,
  write: (w, value) => void w.u8(value ? 1 : 0),
  read: (r) => readNumber(r) !== 0,
};
const ids = (signed: boolean): Scalar<string> => ({
  wire: wireType.varint,
  zero: '0',
  write: (w, value) => writeVarintBig(w, BigInt(value)),
  read(r) {
    readVarint(r);
    if (high === 0) return String(low >>> 0);
    const bits = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    return String(signed ? BigInt.asIntN(64, bits) : bits);
  },
});
const signedIds = ids(true);
const unsignedIds = ids(false);

const utf8 = new TextDecoder();
const strings: Scalar<string> = {
  wire: wireType.bytes,
  zero: '',
  write(w, value) {
    const encoded = Buffer.from(value);
    writeVarint(w, encoded.length);
    w.put(encoded);
  },
  read: (r) => utf8.decode(r.view(readNumber(r))),
};
const NO_BYTES = new Uint8Array(0);
const byteStrings: Scalar<Uint8Array> = {
  wire: wireType.bytes,
  zero: NO_BYTES,
  write(w, value) {
    writeVarint(w, value.length);
    w.put(value);
  },
  read: (r) => r.view(readNumber(r)),
};

export const int32 = (number: number): Field<number> => scalar(number, numbers);
export const int64 = (number: number): Field<number> => scalar(number, numbers);
export const bool = (number: number): Field<boolean> => scalar(number, booleans);
export const id64 = (number: number): Field<string> => scalar(number, signedIds);
export const uid64 = (number: number): Field<string> => scalar(number, unsignedIds);
export const string = (number: number): Field<string> => scalar(number, strings);
/** Decodes to a view of the received bytes: copy what is kept. */
export const bytes = (number: number): Field<Uint8Array> => scalar(number, byteStrings);

const repeat = <T>(number: number, kind: Scalar<T>): Field<T[], readonly T[]> => ({
  number,
  initial: () => [],
  write(writer, values) {
    for (const value of values) {
      writeVarint(writer, number * 8 + kind.wire);
      kind.write(writer, value);
    }
  },
  read(reader, wire, before) {
    if (wire === kind.wire) before.push(kind.read(reader));
    else if (wire === wireType.bytes) {
      // packed, as proto3 writes repeated numbers
      const packed = reader.sub(readNumber(reader));
      while (packed.remaining > 0 && !packed.failed) before.push(kind.read(packed));
      if (packed.failed) reader.failed = true;
    } else reader.failed = true;
    return before;
  },
});
export const repeatedInt32 = (number: number): Field<number[], readonly number[]> => repeat(number, numbers);
export const repeatedString = (number: number): Field<string[], readonly string[]> => repeat(number, strings);
export const repeatedBytes = (number: number): Field<Uint8Array[], readonly Uint8Array[]> =>
  repeat(number, byteStrings);

function writeMessage<In>(writer: Writer, number: number, type: MessageType<unknown, In>, value: In): void {
  writeVarint(writer, number * 8 + wireType.bytes);
  const start = writer.length;
  type.writeTo(writer, value);
  // the length stands before the content but is known only now: move the content up by the length's own size
  const length = writer.length - start;
  const size = length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x20_0000 ? 3 : length < 0x1000_0000 ? 4 : 5;
  writer.zeros(size);
  writer.bytes.copyWithin(start + size, start, start + length);
  writer.length = start;
  writeVarint(writer, length);
  writer.length = start + size + length;
}

function readMessage<T>(reader: Reader, wire: number, type: MessageType<T, never>, depth: number): T | undefined {
  if (wire !== wireType.bytes || depth >= MAX_DEPTH) {
    reader.failed = true;
    return undefined;
  }
  const inner = reader.sub(readNumber(reader));
  const value = type.readFrom(inner, depth + 1);
  if (inner.failed) reader.failed = true;
  return value;
}

/** A sub-message; `type` is given as a function so that messages may contain each other. */
export const sub = <T, In>(number: number, type: () => MessageType<T, In>): Field<T | undefined, In> => ({
  number,
  initial: () => undefined,
  write: (writer, value) => writeMessage(writer, number, type(), value),
  read: (reader, wire, _before, depth) => readMessage(reader, wire, type(), depth),
});

export const repeated = <T, In>(number: number, type: () => MessageType<T, In>): Field<T[], readonly In[]> => ({
  number,
  initial: () => [],
  write(writer, values) {
    for (const value of values) writeMessage(writer, number, type(), value);
  },
  read(reader, wire, before, depth) {
    const value = readMessage(reader, wire, type(), depth);
    if (value !== undefined) before.push(value);
    return before;
  },
});

/** The message of these fields. Names are ours; numbers and kinds are what is on the wire. */
export function message<F extends Fields>(fields: F): MessageType<DecodedFields<F>, OutgoingFields<F>> {
  const names = Object.keys(fields);
  const table = names.map((name) => fields[name]! as unknown as Field<unknown, unknown>);
  const byNumber = new Map(table.map((field, index) => [field.number, index]));
  const type: MessageType<DecodedFields<F>, OutgoingFields<F>> = {
    writeTo(writer, value) {
      const record = value as Record<string, unknown>;
      for (let i = 0; i < table.length; i++) {
        const given = record[names[i]!];
        if (given !== undefined) table[i]!.write(writer, given);
      }
    },
    readFrom(reader, depth) {
      const out: Record<string, unknown> = {};
      for (let i = 0; i < table.length; i++) out[names[i]!] = table[i]!.initial();
      while (reader.remaining > 0 && !reader.failed) {
        const tag = readNumber(reader);
        const index = byNumber.get(Math.floor(tag / 8));
        if (index === undefined) skip(reader, tag % 8);
        else out[names[index]!] = table[index]!.read(reader, tag % 8, out[names[index]!], depth);
      }
      return out as DecodedFields<F>;
    },
    encode(value) {
      const writer = new Writer(128);
      type.writeTo(writer, value);
      return Buffer.from(writer.bytes.buffer, 0, writer.length);
    },
    decode(received) {
      const reader = new Reader(received);
      const value = type.readFrom(reader, 0);
      return reader.failed ? undefined : value;
    },
  };
  return type;
}
