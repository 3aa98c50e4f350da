import { expect, test } from 'bun:test';
import { AuthorityMender } from './authority.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const frame = (type: number, flags: number, payload: Buffer): Buffer => {
  const header = Buffer.from([0, 0, 0, type, flags, 0, 0, 0, 1]);
  header.writeUIntBE(payload.length, 0, 3);
  return Buffer.concat([header, payload]);
};
const literal = (value: string) => Buffer.concat([Buffer.from([0x41, value.length]), Buffer.from(value)]);
// RFC 7541 C.4.1: the Huffman form of www.example.com
const huffman = Buffer.from('418cf1e3c2e5f23a6ba0ab90f4ff', 'hex');

function mend(bytes: Buffer, chunk = bytes.length): Buffer {
  const mender = new AuthorityMender();
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += chunk)
    out.push(Buffer.from(mender.push(Buffer.from(bytes.subarray(at, at + chunk)))));
  return Buffer.concat(out);
}

test('plain values', () => {
  const request = (authority: string) =>
    Buffer.concat([
      PREFACE,
      frame(4, 0, Buffer.alloc(0)),
      frame(1, 4, Buffer.concat([Buffer.from([0x83, 0x86]), literal(authority)])),
    ]);
  expect(mend(request('/run/store.sock'))).toEqual(request('.run.store.sock'));
  expect(mend(request('http://127.0.0.1:2379'))).toEqual(request('http:..127.0.0.1:2379'));
  for (let chunk = 1; chunk < 60; chunk++) expect(mend(request('/a/b'), chunk)).toEqual(request('.a.b'));
});

test('Huffman values: a slash becomes a dot, a host name stays', () => {
  const good = Buffer.concat([PREFACE, frame(1, 4, huffman)]);
  expect(mend(good)).toEqual(good);
  // "/a/:x." by hand: 011000 00011 011000 1011100 1111001 010111, padded with ones
  const bits = ['011000', '00011', '011000', '1011100', '1111001', '010111'].join('');
  const pack = (text: string) => {
    const padded = text.padEnd(Math.ceil(text.length / 8) * 8, '1');
    return Buffer.from((padded.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
  };
  const request = (value: Buffer) =>
    Buffer.concat([PREFACE, frame(1, 4, Buffer.concat([Buffer.from([0x41, 0x80 | value.length]), value]))]);
  expect(mend(request(pack(bits)))).toEqual(request(pack(bits.replaceAll('011000', '010111'))));
});

test('other fields, other frames, padding and priority', () => {
  const path = Buffer.concat([Buffer.from([0x44, 4]), Buffer.from('/a/b')]); // :path keeps its slashes
  const named = Buffer.concat([Buffer.from([0x40, 1, 0x78, 2]), Buffer.from('/y')]);
  const payload = Buffer.concat([path, named, literal('/z')]);
  const padded = Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 9]), payload, Buffer.alloc(3)]);
  const mended = Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 9]), path, named, literal('.z'), Buffer.alloc(3)]);
  const data = frame(0, 0, Buffer.from('A\x02/z/z/z'));
  expect(mend(Buffer.concat([PREFACE, data, frame(1, 0x2c, padded), data]), 7)).toEqual(
    Buffer.concat([PREFACE, data, frame(1, 0x2c, mended), data]),
  );
});

test('nothing is lost, held back for ever or thrown, whatever comes', () => {
  let seed = 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let i = 0; i < 2000; i++) {
    const body = Buffer.from(Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * 256)));
    const bytes = Buffer.concat([PREFACE, frame(1, Math.floor(random() * 256), body)]);
    expect(mend(bytes).length).toBe(bytes.length);
    expect(mend(Buffer.concat([PREFACE, body])).length).toBeLessThanOrEqual(PREFACE.length + body.length);
  }
});
