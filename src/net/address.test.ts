import { describe, expect, test } from 'bun:test';
import {
  addressBytes,
  addressFromBytes,
  comparePrefixes,
  ip,
  nthAddress,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
  prefix,
  prefixContains,
  prefixCovers,
  prefixesOverlap,
  PrefixMap,
} from './mod.ts';

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '10.0.0.1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['2001:DB8::0001', '2001:db8::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1::', '1::'],
    ['::ffff:10.1.2.3', '::ffff:10.1.2.3'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is canonically %s', (text, canonical) => {
    expect(parseAddress(text)).toBe(canonical as ReturnType<typeof ip>);
    expect(addressFromBytes(addressBytes(ip(text)))).toBe(ip(canonical));
  });

  test.each([
    '',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '1.2.3.4.5',
    '1.2.3.4.',
    '.1.2.3',
    '1..2.3',
    '1.2.3.00',
    '1.2.3.0004',
    '+1.2.3.4',
    ' 1.2.3.4',
    '1.2.3.4x',
    '1.2.3.',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    'fe80::1%eth0',
    '1.2.3.4::',
    '12345::',
    '1:2:3:4:5:6:7:8::',
  ])('%j is no address', (text) => expect(parseAddress(text)).toBeUndefined());
});

describe('prefixes', () => {
  test('host bits must be zero', () => {
    expect(parsePrefix('10.244.1.0/24')).toBe(prefix('10.244.1.0/24'));
    expect(parsePrefix('10.244.1.1/24')).toBeUndefined();
    expect(parsePrefix('0.0.0.0/0')).toBe(prefix('0.0.0.0/0'));
    expect(parsePrefix('10.0.0.0/33')).toBeUndefined();
    expect(parsePrefix('10.0.0.0/08')).toBeUndefined();
    expect(parseInterfaceAddress('10.244.1.1/24')).toEqual({ address: ip('10.244.1.1'), prefixLength: 24 });
  });

  test('containment and order', () => {
    expect(prefixContains(prefix('10.244.0.0/16'), ip('10.244.255.255'))).toBe(true);
    expect(prefixContains(prefix('10.244.0.0/16'), ip('10.245.0.0'))).toBe(false);
    expect(prefixContains(prefix('::/0'), ip('10.0.0.1'))).toBe(false);
    expect(prefixContains(prefix('0.0.0.0/0'), ip('255.0.0.1'))).toBe(true);
    expect(prefixContains(prefix('128.0.0.0/1'), ip('255.0.0.1'))).toBe(true);
    expect(prefixContains(prefix('128.0.0.0/1'), ip('127.255.255.255'))).toBe(false);
    expect(prefixContains(prefix('255.0.0.1/32'), ip('255.0.0.1'))).toBe(true);
    expect(prefixContains(prefix('255.0.0.1/32'), ip('255.0.0.0'))).toBe(false);
    expect(prefixCovers(prefix('10.0.0.0/8'), prefix('10.1.0.0/16'))).toBe(true);
    expect(prefixCovers(prefix('10.1.0.0/16'), prefix('10.0.0.0/8'))).toBe(false);
    expect(prefixesOverlap(prefix('10.1.0.0/16'), prefix('10.0.0.0/8'))).toBe(true);
    const sorted = [prefix('fc00::/7'), prefix('10.2.0.0/16'), prefix('10.0.0.0/8'), prefix('9.0.0.0/8')].sort(
      comparePrefixes,
    );
    expect(sorted).toEqual([prefix('9.0.0.0/8'), prefix('10.0.0.0/8'), prefix('10.2.0.0/16'), prefix('fc00::/7')]);
    expect(nthAddress(prefix('10.244.1.0/24'), 1)).toBe(ip('10.244.1.1'));
    expect(() => nthAddress(prefix('10.244.1.0/24'), 256)).toThrow();
  });

  test('longest match wins, and falls back when it goes', () => {
    const map = new PrefixMap<string>();
    map.set(prefix('0.0.0.0/0'), 'default');
    map.set(prefix('10.0.0.0/8'), 'eight');
    map.set(prefix('10.1.2.0/24'), 'twentyfour');
    expect(map.lookup(ip('10.1.2.3'))?.[1]).toBe('twentyfour');
    map.delete(prefix('10.1.2.0/24'));
    expect(map.lookup(ip('10.1.2.3'))?.[1]).toBe('eight');
    expect(map.lookup(ip('11.0.0.1'))?.[1]).toBe('default');
    expect(map.lookup(ip('fc00::1'))).toBeUndefined();
  });
});
