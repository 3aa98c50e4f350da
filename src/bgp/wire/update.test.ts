import { describe, expect, test } from 'bun:test';
import { encodeAttributes } from './attribute-encoder.ts';
import { decodeAttributes } from './attributes.ts';
import { IPV4_UNICAST, IPV6_UNICAST, UpdateError } from './iana.ts';
import { writeHeader } from './messages.ts';
import { prefixAt } from './prefixes.ts';
import { type PathAttributes, RouteSource, type SessionContext } from './types.ts';
import { UpdateView } from './update.ts';
import { UpdateWriter } from './update-writer.ts';

const context: SessionContext = {
  fourOctetAs: true,
  extendedMessages: false,
  peerType: 'external',
  families: new Set([IPV4_UNICAST, IPV6_UNICAST]),
  extendedNextHop: new Set(),
  addPathReceive: new Set(),
  addPathSend: new Set(),
};
const hex = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.fromHex(text.replaceAll(/[^0-9a-f]/g, ''));

/** An UPDATE around these parts, given in hexadecimal with spaces. */
function update(withdrawn: string, attributes: string, nlri: string): Uint8Array {
  const [w, a, n] = [hex(withdrawn), hex(attributes), hex(nlri)];
  const u16 = (v: number) => [v >> 8, v & 0xff];
  const bytes = Uint8Array.of(...new Uint8Array(19), ...u16(w.length), ...w, ...u16(a.length), ...a, ...n);
  writeHeader(bytes, 0, bytes.length, 2);
  return bytes;
}

function view(message: Uint8Array, with_: SessionContext = context) {
  const v = new UpdateView();
  const error = v.decode(message, 0, message.length, with_);
  return { v, subcode: error?.notification.subcode };
}

const origin = '40 01 01 00';
const asPath = '40 02 06 02 01 00 00 fd e9';
const nextHop = '40 03 04 c0 00 02 01';
const basic = `${origin} ${asPath} ${nextHop}`;
const hop6 = '20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01';
const reach6 = `80 0e 1e 00 02 01 10 ${hop6} 00 40 20 01 0d b8 00 00 00 01`;
const unreach6 = '80 0f 0c 00 02 01 40 20 01 0d b8 00 00 00 02';

describe('structure', () => {
  test('plain IPv4', () => {
    const { v, subcode } = view(update('10 0a 01', basic, '18 c0 00 02 08 0a'));
    expect(subcode).toBeUndefined();
    const seen = [prefixAt(v.withdrawn, 0), prefixAt(v.nlri, 0), prefixAt(v.nlri, 1)].map(String);
    expect(seen).toEqual(['10.1.0.0/16', '192.0.2.0/24', '10.0.0.0/8']);
  });

  test('host bits are cleared, and 0.0.0.0/0 is a prefix', () => {
    const { v } = view(update('', basic, '0d 0b 0f 00 19 0a 00 00 ff'));
    expect([0, 1, 2].map((i) => String(prefixAt(v.nlri, i)))).toEqual(['11.8.0.0/13', '0.0.0.0/0', '10.0.0.128/25']);
  });

  test('the block of a plain message lies in the receive buffer', () => {
    const message = update('', basic, '18 c0 00 02');
    const { v } = view(message);
    v.block(RouteSource.Nlri);
    expect(v.blockBytes).toBe(message);
    expect(v.blockBytes.subarray(v.blockStart, v.blockEnd)).toEqual(hex(basic));
  });

  const reduced = `90 0e 00 15 00 02 01 10 ${hop6} 00`;
  test.each([
    ['first', `${reach6} ${origin} ${asPath}`, `${reduced} ${origin} ${asPath}`],
    ['in the middle', `${origin} ${reach6} ${asPath}`, `${origin} ${reduced} ${asPath}`],
    ['last, after MP_UNREACH_NLRI', `${origin} ${unreach6} ${asPath} ${reach6}`, `${origin} ${asPath} ${reduced}`],
    ['before MP_UNREACH_NLRI', `${reach6} ${origin} ${unreach6} ${asPath}`, `${reduced} ${origin} ${asPath}`],
  ])('MP_REACH_NLRI %s keeps its next hop in the block', (_name, attributes, block) => {
    const { v, subcode } = view(update('', attributes, ''));
    expect(subcode).toBeUndefined();
    expect(String(prefixAt(v.mpNlri, 0))).toBe('2001:db8:0:1::/64');
    v.block(RouteSource.MpReach);
    expect(v.blockBytes.slice(v.blockStart, v.blockEnd)).toEqual(hex(block));
    v.block(RouteSource.Nlri);
    expect(v.blockBytes.slice(v.blockStart, v.blockEnd)).toEqual(hex(`${origin} ${asPath}`));
  });

  test('both kinds of routes in one message have their own next hops', () => {
    const { v } = view(update('', `${basic} ${reach6}`, '18 c0 00 02'));
    const hops = [RouteSource.Nlri, RouteSource.MpReach].map((source) => {
      v.block(source);
      const outcome = decodeAttributes(v.blockBytes, v.blockStart, v.blockEnd, source, context);
      return 'attributes' in outcome ? outcome.attributes.nextHop.address.length : 0;
    });
    expect(hops).toEqual([4, 16]);
  });

  test('End-of-RIB of both families, RFC 4724 §2', () => {
    expect(view(update('', '', '')).v.endOfRib).toBe(IPV4_UNICAST);
    expect(view(update('', '80 0f 03 00 02 01', '')).v.endOfRib).toBe(IPV6_UNICAST);
    expect(view(update('', '90 0f 00 03 00 02 01', '')).v.endOfRib).toBe(IPV6_UNICAST);
    for (const other of [
      update('08 0a', '', ''),
      update('08 0a', '80 0f 03 00 02 01', ''),
      update('', unreach6, ''),
      update('', `${origin} 80 0f 03 00 02 01`, ''),
      update('', '80 0f 03 00 02 80', ''),
    ]) {
      expect(view(other).v.endOfRib).toBeUndefined();
    }
  });

  test('a family that was not negotiated is passed over, readable or not', () => {
    const { v, subcode } = view(update('', `${origin} ${asPath} 80 0e 08 00 01 80 01 00 00 ff ff`, ''));
    expect([subcode, v.ignoredFamily, v.mpNlri.count, v.attributesWithoutRoutes]).toEqual([undefined, 0x180, 0, false]);
    const only6 = { ...context, families: new Set([IPV6_UNICAST]) };
    expect(view(update('', basic, 'ff'), only6).v.ignoredFamily).toBe(IPV4_UNICAST);
  });

  // RFC 7606 §3 g and j, §5.3, §7.11; RFC 4271 §6.3
  test.each<[string, Uint8Array, number]>([
    ['Withdrawn Routes past the end', update('', basic, '').fill(1, 19, 21), UpdateError.MalformedAttributeList],
    ['attributes past the end', update('', basic, '').fill(1, 21, 23), UpdateError.MalformedAttributeList],
    ['a withdrawn prefix of 33 bits', update('21 0a 00 00 00 00', '', ''), UpdateError.InvalidNetworkField],
    ['a prefix of 33 bits', update('', basic, '21 0a 00 00 00 00'), UpdateError.InvalidNetworkField],
    ['a prefix cut short', update('', basic, '18 0a 00'), UpdateError.InvalidNetworkField],
    ['two MP_REACH_NLRI', update('', `${reach6} ${reach6}`, ''), UpdateError.MalformedAttributeList],
    ['two MP_UNREACH_NLRI', update('', `${unreach6} ${unreach6}`, ''), UpdateError.MalformedAttributeList],
    ['an IPv6 prefix of 129 bits', update('', '80 0f 05 00 02 01 81 00', ''), UpdateError.OptionalAttribute],
    ['MP_UNREACH_NLRI too short', update('', '80 0f 02 00 02', ''), UpdateError.OptionalAttribute],
    ['MP_REACH_NLRI too short', update('', '80 0e 04 00 02 01 00', ''), UpdateError.OptionalAttribute],
    [
      'an IPv6 next hop of 4 octets',
      update('', '80 0e 09 00 02 01 04 01 02 03 04 00', ''),
      UpdateError.OptionalAttribute,
    ],
    [
      'an IPv4 next hop of 16 octets without RFC 8950',
      update('', `80 0e 15 00 01 01 10 ${hop6} 00`, ''),
      UpdateError.OptionalAttribute,
    ],
  ])('%s resets the session', (_name, message, subcode) => {
    expect(view(message).subcode).toBe(subcode);
  });

  test('IPv4 routes with an IPv6 next hop, RFC 8950', () => {
    const extended = { ...context, extendedNextHop: new Set([IPV4_UNICAST]) };
    const { v, subcode } = view(update('', `80 0e 17 00 01 01 10 ${hop6} 00 08 0a ${origin} ${asPath}`, ''), extended);
    expect([subcode, String(prefixAt(v.mpNlri, 0))]).toEqual([undefined, '10.0.0.0/8']);
    v.block(RouteSource.MpReach);
    const outcome = decodeAttributes(v.blockBytes, v.blockStart, v.blockEnd, RouteSource.MpReach, extended);
    expect('attributes' in outcome && outcome.attributes.nextHop.address).toEqual(hex(hop6));
  });
});

describe('attributes', () => {
  const decode = (block: string, source: RouteSource = RouteSource.Nlri, with_: SessionContext = context) => {
    const bytes = hex(block);
    return decodeAttributes(bytes, 0, bytes.length, source, with_);
  };
  const treatment = (...args: Parameters<typeof decode>) => decode(...args).treatment;

  test('missing mandatory attributes, RFC 7606 §3 d', () => {
    expect(treatment(`${asPath} ${nextHop}`)).toBe('treat-as-withdraw');
    expect(treatment(`${origin} ${nextHop}`)).toBe('treat-as-withdraw');
    expect(treatment(`${origin} ${asPath}`)).toBe('treat-as-withdraw');
    expect(treatment(basic)).toBe('ok');
  });

  test('of an attribute that stands there twice the first counts, RFC 7606 §3 g', () => {
    const outcome = decode(`${basic} 80 04 04 00 00 00 01 80 04 04 00 00 00 02`);
    expect(outcome.treatment).toBe('attribute-discard');
    expect('attributes' in outcome && outcome.attributes.med).toBe(1);
  });

  test('an attribute that overruns withdraws, RFC 7606 §4', () => {
    expect(treatment(`${basic} 80 04 04 00 00`)).toBe('treat-as-withdraw');
    expect(treatment(`${basic} 80 04`)).toBe('treat-as-withdraw');
    expect(treatment(`${basic} 90 04 00`)).toBe('treat-as-withdraw');
  });

  test('the severest treatment wins, RFC 7606 §3 h', () => {
    expect(treatment(`${basic} 40 06 01 00`)).toBe('attribute-discard');
    expect(treatment(`${basic} 40 06 01 00 80 04 01 00`)).toBe('treat-as-withdraw');
    expect(treatment(`${basic} 40 06 01 00 80 04 01 00 40 63 00`)).toBe('session-reset');
  });

  test('an error without routes in sight resets, RFC 7606 §5.2', () => {
    expect(treatment('80 04 01 00', RouteSource.None)).toBe('session-reset');
    expect(treatment(`${basic} 40 06 01 00`, RouteSource.None)).toBe('attribute-discard');
    expect(treatment(origin, RouteSource.None)).toBe('ok');
  });

  test('an unknown well-known attribute resets with itself as data, RFC 4271 §6.3', () => {
    const outcome = decode(`${basic} 40 63 02 01 02`);
    expect('error' in outcome && outcome.error.notification).toEqual({
      code: 3,
      subcode: 2,
      data: hex('40 63 02 01 02'),
    });
  });

  test('NEXT_HOP beside MP_REACH_NLRI is not looked at, RFC 4760 §3', () => {
    const block = `${origin} ${asPath} 40 03 01 00 90 0e 00 15 00 02 01 10 ${hop6} 00`;
    expect(treatment(block, RouteSource.MpReach)).toBe('ok');
  });

  test('two-octet AS numbers with AS4_PATH and AS4_AGGREGATOR, RFC 6793 §4.2.3', () => {
    const old = { ...context, fourOctetAs: false };
    const as2 = '40 02 08 02 03 fd e9 5b a0 5b a0';
    const as4 = 'c0 11 0a 02 02 00 01 00 00 00 01 00 01';
    const aggregator = (asn: string) => `c0 07 06 ${asn} 0a 00 00 01 c0 12 08 00 01 00 00 0a 00 00 02`;
    const block = (asn: string) => `${origin} ${as2} ${nextHop} ${aggregator(asn)} ${as4}`;
    const merged = decode(block('5b a0'), RouteSource.Nlri, old);
    expect('attributes' in merged && [merged.attributes.asPath, merged.attributes.aggregator]).toEqual([
      [{ type: 2, asns: [65001, 65536, 65537] }],
      { asn: 65536, address: 0x0a000002 },
    ]);
    const stale = decode(block('00 07'), RouteSource.Nlri, old);
    expect('attributes' in stale && [stale.attributes.asPath, stale.attributes.aggregator]).toEqual([
      [{ type: 2, asns: [65001, 23456, 23456] }],
      { asn: 7, address: 0x0a000001 },
    ]);
  });

  test('a next hop pair, RFC 2545: what is usable is used', () => {
    const hops = (first: string, second: string) => {
      const outcome = decode(`${origin} ${asPath} 80 0e 25 00 02 01 20 ${first} ${second} 00`, RouteSource.MpReach);
      return 'attributes' in outcome ? outcome.attributes.nextHop : outcome.treatment;
    };
    const local = 'fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 09';
    const none = '00 '.repeat(16);
    expect(hops(hop6, local)).toEqual({ address: hex(hop6), linkLocal: hex(local) });
    expect(hops(hop6, none)).toEqual({ address: hex(hop6), linkLocal: undefined });
    expect(hops(none, local)).toEqual({ address: hex(local), linkLocal: undefined });
    expect(hops(local, local)).toEqual({ address: hex(local), linkLocal: hex(local) });
    expect(hops(none, none)).toBe('treat-as-withdraw');
  });

  test('what is remembered of a bad block is bounded', () => {
    const outcome = decode(`${basic} ${'40 06 01 00 '.repeat(500)} 80 04 01 00`);
    expect(outcome.treatment).toBe('treat-as-withdraw');
    expect('faults' in outcome && outcome.faults.length).toBe(16);
    expect('faults' in outcome && outcome.faults.at(-1)?.reason).toBe('MULTI_EXIT_DISC: length 1');
  });
});

describe('UpdateWriter', () => {
  const attributes = (over: Partial<PathAttributes> = {}): PathAttributes => ({
    origin: 0,
    asPath: [{ type: 2, asns: [65001] }],
    nextHop: { address: hex('c0 00 02 01'), linkLocal: undefined },
    med: undefined,
    localPref: undefined,
    atomicAggregate: false,
    aggregator: undefined,
    communities: [],
    originatorId: undefined,
    clusterList: [],
    extendedCommunities: [],
    largeCommunities: [],
    unknown: [],
    partial: 0,
    ...over,
  });

  test('the octets of small messages', () => {
    const writer = new UpdateWriter();
    writer.announce(encodeAttributes(attributes(), IPV4_UNICAST, context));
    writer.add4(0xc0000200, 24);
    writer.withdraw(IPV4_UNICAST);
    writer.add4(0x0a010000, 16);
    writer.add4(0, 0);
    writer.withdraw(IPV6_UNICAST);
    writer.add6(0x20010db8, 2, 0, 0, 64);
    writer.endOfRib(IPV4_UNICAST);
    writer.endOfRib(IPV6_UNICAST);
    writer.finish();
    const messages = [
      update('', basic, '18 c0 00 02'),
      update('10 0a 01 00', '', ''),
      update('', '90 0f 00 0c 00 02 01 40 20 01 0d b8 00 00 00 02', ''),
      update('', '', ''),
      update('', '90 0f 00 03 00 02 01', ''),
    ];
    expect(writer.out.view()).toEqual(Uint8Array.from(messages.flatMap((m) => [...m])));
  });

  test('MP_REACH_NLRI stands first, RFC 7606 §5.1', () => {
    const writer = new UpdateWriter();
    const nextHop6 = { address: hex(hop6), linkLocal: undefined };
    writer.announce(encodeAttributes(attributes({ nextHop: nextHop6 }), IPV6_UNICAST, context));
    writer.add6(0x20010db8, 1, 0, 0, 64);
    writer.finish();
    const reach = `90 0e 00 1e 00 02 01 10 ${hop6} 00 40 20 01 0d b8 00 00 00 01`;
    expect(writer.out.view()).toEqual(update('', `${reach} ${origin} ${asPath}`, ''));
  });

  test('messages are filled to the last octet', () => {
    const writer = new UpdateWriter();
    writer.withdraw(IPV4_UNICAST);
    for (let i = 0; i < 4073 / 4; i++) writer.add4(i << 8, 24);
    expect(writer.messages).toBe(2);
    writer.finish();
    // 4096 − 19 − 2 − 2 octets hold 1018 prefixes of 4 octets and leave one over
    expect((writer.out.bytes[16]! << 8) | writer.out.bytes[17]!).toBe(4095);
  });

  test('attributes that leave no room for a prefix are refused', () => {
    const many = Array.from({ length: 1010 }, (_, i) => i);
    const encoded = encodeAttributes(attributes({ communities: many }), IPV4_UNICAST, context);
    const writer = new UpdateWriter();
    expect(writer.announce(encoded)).toBe(false);
    writer.maxLength = 65535;
    expect(writer.announce(encoded)).toBe(true);
    writer.finish();
    expect(writer.out.length).toBe(0);
  });
});
