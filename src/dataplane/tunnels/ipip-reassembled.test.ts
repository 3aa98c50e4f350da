import { expect, test } from 'bun:test';
import { ip } from '../../net/mod.ts';
import { outerPackets } from './ipip-reassembled.ts';

const packet = (header: number, length: number, fill: number): number[] => {
  const head = [
    0x40 | (header / 4),
    0,
    length >> 8,
    length & 255,
    0,
    1,
    0,
    0,
    64,
    4,
    0,
    0,
    192,
    168,
    1,
    2,
    192,
    168,
    2,
    2,
  ];
  return [
    ...head,
    ...Array.from({ length: header - 20 }, () => 1),
    ...Array.from({ length: length - header }, () => fill),
  ];
};

test('packets with and without options, one behind the other', () => {
  const bytes = Uint8Array.from([...packet(20, 30, 7), ...packet(28, 29, 8)]);
  const [source, destination] = [ip('192.168.1.2'), ip('192.168.2.2')];
  expect([...outerPackets(bytes)]).toEqual([
    { source, destination, inner: new Uint8Array(10).fill(7) },
    { source, destination, inner: new Uint8Array(1).fill(8) },
  ]);
});

test('what is no packet, or not whole, gives nothing', () => {
  const whole = packet(20, 40, 7);
  for (let length = 0; length < 40; length++)
    expect([...outerPackets(Uint8Array.from(whole.slice(0, length)))]).toEqual([]);
  for (const [at, value] of [
    [0, 0x65],
    [0, 0x44],
    [0, 0x4f],
    [2, 255],
    [3, 19],
  ] as const) {
    const bytes = Uint8Array.from(whole);
    bytes[at] = value;
    expect([...outerPackets(bytes)]).toEqual([]);
  }
});
