import { expect, test } from 'bun:test';
import { decodeEcho, encodeEchoRequest } from './icmp.ts';

const fromHex = (text: string) => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

test('an echo request has the checksum other stacks compute', () => {
  // ping -c1 -s 4 -p 61626364, identifier 0x1234, sequence 1
  expect(Buffer.from(encodeEchoRequest(4, 0x1234, 1, fromHex('61626364'))).toString('hex')).toBe(
    '080021041234000161626364',
  );
  expect(Buffer.from(encodeEchoRequest(4, 0, 0, fromHex('ff'))).toString('hex')).toBe('0800f8fe00000000ff');
});

const header = '45000020 00004000 4001 0000 0af40102 0af40002';

test('what a raw socket gives is decoded, options of the IP header passed over', () => {
  const payload = fromHex('61626364');
  expect(decodeEcho(4, fromHex(`${header} 0000 0000 1234 0001 61626364`))).toEqual({
    kind: 'reply',
    payload,
  });
  const withOption = `46${header.slice(2)} 94040000`;
  expect(decodeEcho(4, fromHex(`${withOption} 0800 0000 1234 0001 61626364`))?.kind).toBe('request');
});

test('anything else is nothing, at every length', () => {
  const whole = fromHex(`${header} 0000 0000 1234 0001`);
  expect(decodeEcho(4, whole)?.payload).toEqual(new Uint8Array(0));
  for (let length = 0; length < whole.length; length++)
    expect(decodeEcho(4, whole.subarray(0, length))).toBeUndefined();
  expect(decodeEcho(4, fromHex(`${header} 0301 0000 0000 0000 45000020`))).toBeUndefined(); // unreachable
  expect(decodeEcho(4, fromHex(`44${header.slice(2)} 0000 0000 1234 0001`))).toBeUndefined(); // IP header too short
});

test('over IPv6 there is no IP header, and the checksum is the kernel’s', () => {
  const payload = fromHex('61626364');
  expect(Buffer.from(encodeEchoRequest(6, 0x1234, 1, payload)).toString('hex')).toStartWith('8000');
  expect(decodeEcho(6, fromHex('8100 0000 1234 0001 61626364'))).toEqual({ kind: 'reply', payload });
  expect(decodeEcho(6, fromHex('8700 0000 0000 0000'))).toBeUndefined(); // neighbour solicitation
  expect(decodeEcho(6, fromHex('8100 0000 1234 00'))).toBeUndefined();
});
