import { expect, test } from 'bun:test';
import { Framer, FrameStatus } from './framing.ts';
import { MAX_EXTENDED_MESSAGE_LENGTH, MessageType } from './iana.ts';
import { encodeKeepalive, encodeNotification, writeHeader } from './messages.ts';

function message(length: number, type: MessageType): Uint8Array {
  const bytes = new Uint8Array(length);
  writeHeader(bytes, 0, length, type);
  for (let i = 19; i < length; i++) bytes[i] = i;
  return bytes;
}

/** Feeds `stream` in pieces of `size` octets; gives the messages found, copied, and the error's code and data. */
function run(stream: Uint8Array, size: number, maxLength?: number) {
  const framer = new Framer();
  if (maxLength) framer.maxLength = maxLength;
  const messages: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += size) {
    framer.push(stream.subarray(at, at + size));
    for (;;) {
      const status = framer.next();
      if (status === FrameStatus.Incomplete) break;
      if (status === FrameStatus.Error) return { messages, error: framer.error!.notification };
      messages.push(framer.bytes.slice(framer.start, framer.end));
    }
  }
  return { messages, error: undefined };
}

const stream = [message(29, 1), encodeKeepalive(), message(4096, 2), message(23, 5), message(500, 2)];
const joined = Uint8Array.from(stream.flatMap((m) => [...m]));

test.each([1, 2, 18, 19, 20, 100, 4095, 4096, 5000])('messages come out of pieces of %d octets', (size) => {
  expect(run(joined, size)).toEqual({ messages: stream, error: undefined });
});

test('whole messages are not copied', () => {
  const framer = new Framer();
  framer.push(joined);
  framer.next();
  expect(framer.bytes).toBe(joined);
  expect([framer.start, framer.end, framer.type]).toEqual([0, 29, MessageType.Open]);
});

test('a chunk may be given up half read', () => {
  const framer = new Framer();
  const chunk = joined.slice();
  framer.push(chunk);
  framer.next();
  framer.detach();
  chunk.fill(0);
  framer.push(encodeKeepalive());
  const types: number[] = [];
  while (framer.next() === FrameStatus.Message) types.push(framer.type);
  expect(types).toEqual([4, 2, 5, 2, 4]);
});

test('65535 octets need RFC 8654', () => {
  const long = message(65535, 2);
  expect(run(long, 1000, MAX_EXTENDED_MESSAGE_LENGTH).messages).toEqual([long]);
  expect(run(long, 1000).error).toEqual({ code: 1, subcode: 2, data: Uint8Array.of(0xff, 0xff) });
});

// RFC 4271 §6.1: subcode, data
const bad: [string, (m: Uint8Array) => void, number, number[]][] = [
  ['a marker that is not all ones', (m) => (m[7] = 0xfe), 1, []],
  ['a length under 19', (m) => (m[17] = 18), 2, [0, 18]],
  ['a length over 4096', (m) => m.set([0x10, 0x01], 16), 2, [0x10, 0x01]],
  ['a KEEPALIVE with a body', (m) => m.set([0, 20, 4], 16), 2, [0, 20]],
  ['a short OPEN', (m) => m.set([0, 28, 1], 16), 2, [0, 28]],
  ['a short UPDATE', (m) => m.set([0, 22, 2], 16), 2, [0, 22]],
  ['a short NOTIFICATION', (m) => m.set([0, 20, 3], 16), 2, [0, 20]],
  ['a short ROUTE-REFRESH', (m) => m.set([0, 22, 5], 16), 2, [0, 22]],
  ['type 0', (m) => (m[18] = 0), 3, [0]],
  ['type 99', (m) => (m[18] = 99), 3, [99]],
];
test.each(bad)('%s is a header error', (_name, spoil, subcode, data) => {
  const bytes = message(40, 2);
  spoil(bytes);
  for (const size of [1, 40]) {
    const { error, messages } = run(Uint8Array.of(...encodeKeepalive(), ...bytes), size);
    expect(error).toEqual({ code: 1, subcode, data: Uint8Array.from(data) });
    expect(messages.length).toBe(1);
  }
});

test('nothing follows an error', () => {
  const framer = new Framer();
  framer.push(new Uint8Array(19));
  expect(framer.next()).toBe(FrameStatus.Error);
  framer.push(encodeNotification({ code: 6, subcode: 2, data: new Uint8Array(0) }));
  expect(framer.next()).toBe(FrameStatus.Error);
});
