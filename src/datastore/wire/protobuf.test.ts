import { expect, test } from 'bun:test';
import { keyValue, leaseGrantResponse, txnRequest, watchCreateRequest } from './messages.ts';
import { int64, message, repeated, string, sub } from './protobuf.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('bytes as the protobuf encoding document gives them', () => {
  const example = message({ a: int64(1), b: string(2) });
  expect(hex(example.encode({ a: 150 }))).toBe('089601');
  expect(hex(example.encode({ b: 'testing' }))).toBe('120774657374696e67');
  expect(hex(example.encode({ a: 0, b: '' }))).toBe('');
  expect(hex(keyValue.encode({ key: new Uint8Array(0) }))).toBe('');
  expect(hex(example.encode({ a: -1 }))).toBe('08ffffffffffffffffff01');
  const outer = message({ c: sub(3, () => example) });
  expect(hex(outer.encode({ c: { a: 150 } }))).toBe('1a03089601');
  expect(outer.decode(Buffer.from('1a03089601', 'hex'))).toEqual({ c: { a: 150, b: '' } });
});

test('numbers keep their value, ids all 64 bits', () => {
  const one = message({ n: int64(1) });
  for (const n of [0, 1, 127, 128, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 53 - 1, -1, -(2 ** 40)]) {
    expect(one.decode(one.encode({ n }))).toEqual({ n });
  }
  for (const id of ['1', '4294967296', '7587848391113506826', '9223372036854775807', '-9223372036854775808']) {
    expect(leaseGrantResponse.decode(leaseGrantResponse.encode({ id }))?.id).toBe(id);
  }
});

test('absent fields have their defaults, unknown fields are skipped, packed and unpacked lists are read', () => {
  const kv = keyValue.decode(new Uint8Array(0));
  expect(kv).toMatchObject({ createRevision: 0, lease: '0' });
  // field 99 as varint, fixed64, bytes and fixed32, then version 7
  const unknown = Buffer.from('980601990600000000000000009a0601619d06000000002007', 'hex');
  expect(keyValue.decode(unknown)?.version).toBe(7);
  expect(watchCreateRequest.decode(Buffer.from('2a020001', 'hex'))?.filters).toEqual([0, 1]);
  expect(watchCreateRequest.decode(Buffer.from('28002801', 'hex'))?.filters).toEqual([0, 1]);
});

test('long nested messages carry their length', () => {
  const big = { compare: [], success: [{ put: { key: Buffer.alloc(300, 1), value: Buffer.alloc(70_000, 2) } }] };
  const back = txnRequest.decode(txnRequest.encode(big));
  expect(back?.success[0]?.put?.value.length).toBe(70_000);
  expect(back?.success[0]?.range).toBeUndefined();
});

test('no bytes make the decoder throw or read past their end', () => {
  const good = txnRequest.encode({
    success: [{ txn: { failure: [{ put: { key: Buffer.from('k'), lease: '77' } }] } }],
  });
  for (let i = 0; i < good.length; i++) {
    txnRequest.decode(good.subarray(0, i));
    for (let b = 0; b < 256; b++) {
      const bad = Buffer.from(good);
      bad[i] = b;
      txnRequest.decode(bad);
    }
  }
  expect(keyValue.decode(Buffer.from('0a', 'hex'))).toBeUndefined(); // a length is missing
  expect(keyValue.decode(Buffer.from('0a05ab', 'hex'))).toBeUndefined(); // five bytes promised, one there
  expect(keyValue.decode(Buffer.from('10ffffffffffffffffffff01', 'hex'))).toBeUndefined(); // a varint of 11 bytes
  expect(keyValue.decode(Buffer.from('0801', 'hex'))).toBeUndefined(); // a number where bytes belong
});

test('nesting is bounded', () => {
  let bytes = Buffer.from('0801', 'hex');
  const node = message({ n: int64(1), children: repeated(2, (): never => node as never) });
  for (let i = 0; i < 60; i++) bytes = Buffer.concat([Buffer.from([0x12, bytes.length]), bytes]).subarray(0, 120);
  expect(node.decode(bytes)).toBeUndefined();
});
