import { expect, test } from 'bun:test';
import { decodePlain, isPlain, MAGIC, MAX_INPUT } from './exchange.ts';

const encoder = new TextEncoder();

function request(variables: string, input: string, lengths?: readonly [number, number]): Uint8Array {
  const [v, i] = [encoder.encode(variables), encoder.encode(input)];
  const bytes = new Uint8Array(16 + v.length + i.length);
  bytes.set(MAGIC);
  const view = new DataView(bytes.buffer);
  view.setUint32(8, lengths?.[0] ?? v.length, true);
  view.setUint32(12, lengths?.[1] ?? i.length, true);
  bytes.set(v, 16);
  bytes.set(i, 16 + v.length);
  return bytes;
}

test('a request arrives whole however it is cut', () => {
  const bytes = request('CNI_COMMAND=ADD\0CNI_ARGS=A=ü\n\0', '{"name":"n"}');
  for (let cut = 0; cut < bytes.length; cut++) {
    expect(isPlain(bytes.subarray(0, cut))).toBe(cut > 0);
    if (cut > 0) expect(decodePlain(bytes.subarray(0, cut))).toBeUndefined();
  }
  const whole = decodePlain(bytes);
  if (whole === undefined || whole === 'bad') throw new Error(String(whole));
  expect({ ...whole.env }).toEqual({ CNI_COMMAND: 'ADD', CNI_ARGS: 'A=ü\n' });
  expect(new TextDecoder().decode(whole.input)).toBe('{"name":"n"}');
});

test('the first of two values counts, and no name reaches an object’s prototype', () => {
  const whole = decodePlain(request('CNI_A=1\0CNI_A=2\0__proto__=x\0constructor=y\0=z\0lone\0', ''));
  if (whole === undefined || whole === 'bad') throw new Error(String(whole));
  expect(Object.entries(whole.env)).toEqual([
    ['CNI_A', '1'],
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
});

test('what cannot become a request is told at once', () => {
  expect(decodePlain(encoder.encode('gwcni 2\n'))).toBe('bad');
  expect(decodePlain(encoder.encode('{"env":'))).toBe('bad');
  expect(decodePlain(request('', '', [0, MAX_INPUT + 1]))).toBe('bad');
  expect(decodePlain(request('', '', [0xffffffff, 0]))).toBe('bad');
  expect(decodePlain(request('A=b\0', 'more', [4, 3]))).toBe('bad');
});
