import { expect, test } from 'bun:test';
import { encodeAnswer, encodeRequest, FrameReader, parseObject } from './protocol.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

test('a frame arrives whole however it is cut', () => {
  const bytes = encodeRequest({ CNI_COMMAND: 'ADD', CNI_ARGS: 'A=ü\n' }, new TextEncoder().encode('{"name":"n"}'));
  for (let cut = 0; cut <= bytes.length; cut++) {
    const reader = new FrameReader();
    const first = reader.push(bytes.subarray(0, cut));
    const frame = cut === bytes.length ? first : (expect(first).toBeUndefined(), reader.push(bytes.subarray(cut)));
    if (frame === undefined || frame === 'bad') throw new Error(`cut at ${cut}: ${frame}`);
    expect(frame.header['env']).toEqual({ CNI_COMMAND: 'ADD', CNI_ARGS: 'A=ü\n' });
    expect(text(frame.body)).toBe('{"name":"n"}');
  }
});

test('an empty answer is a frame, too', () => {
  const frame = new FrameReader().push(encodeAnswer({ status: 0, stdout: '' }));
  expect(frame).toMatchObject({ header: { status: 0 } });
});

test('what cannot become a frame is told as soon as it can be known', () => {
  const encode = (s: string) => new TextEncoder().encode(s);
  for (const bad of [
    'x\n',
    '[]\n',
    '{}\n',
    '{"length":-1}\n',
    '{"length":"1"}\n',
    '{"length":1e9}\n',
    '{"length":0}\nx',
  ]) {
    expect(new FrameReader().push(encode(bad))).toBe('bad');
  }
  expect(new FrameReader().push(encode('x'.repeat(70_000)))).toBe('bad');
  expect(new FrameReader().push(encode('{"length":1}\n'))).toBeUndefined();
});

test('objects only, of valid UTF-8 only', () => {
  expect(parseObject(new TextEncoder().encode('{"a":1}'))).toEqual({ a: 1 });
  for (const bytes of [[0x7b, 0xff, 0x7d], [0x5b, 0x5d], [0x31], []]) {
    expect(parseObject(Uint8Array.from(bytes))).toBeUndefined();
  }
});
