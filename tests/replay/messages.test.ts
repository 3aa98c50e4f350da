// Messages that other daemons and captures hold: each decodes as its source says, and whatever is broken or of another
// family is at least survived.
import { describe, expect, test } from 'bun:test';
import { addressBytes, parseAddress } from '../../src/net/mod.ts';
import {
  type Capability,
  decodeNotification,
  decodeOpen,
  decodeRouteRefresh,
  encodeNotification,
  encodeOpen,
  Framer,
  FrameStatus,
  IPV4_UNICAST,
  IPV6_UNICAST,
  MAX_EXTENDED_MESSAGE_LENGTH,
  MessageType,
  type PathAttributes,
} from '../../src/bgp/wire/mod.ts';
import { nextHopText, seeUpdate, sessionContext } from '../support/bgp-decode.ts';
import { testData } from '../support/data.ts';

/** The first message in `hex`, or undefined when the header is already wrong. */
function frame(hex: string): { type: number; message: Uint8Array } | undefined {
  const framer = new Framer();
  framer.maxLength = MAX_EXTENDED_MESSAGE_LENGTH;
  framer.push(Buffer.from(hex, 'hex')); // up to the first character that is none
  if (framer.next() !== FrameStatus.Message) return undefined;
  return { type: framer.type, message: framer.bytes.slice(framer.start, framer.end) };
}

const codeOf: Record<Exclude<Capability['type'], 'unknown'>, number> = {
  multiprotocol: 1,
  'route-refresh': 2,
  'extended-next-hop': 5,
  'extended-message': 6,
  'graceful-restart': 64,
  'four-octet-as': 65,
  'add-path': 69,
  'enhanced-route-refresh': 70,
  fqdn: 73,
};

// ---- messages with the decoding of the daemon that sends them

interface ExaMessage {
  readonly id: string;
  readonly hex: string;
  readonly type: string;
  readonly asn4: boolean;
  readonly add_path: boolean;
  readonly config_command: string | null;
  readonly in_scope: boolean;
  readonly expected: {
    readonly update?: {
      readonly attribute?: {
        readonly origin?: string;
        readonly 'local-preference'?: number;
        readonly med?: number;
        readonly community?: readonly (readonly [number, number])[];
        readonly 'large-community'?: readonly (readonly [number, number, number])[];
        readonly 'extended-community'?: readonly { readonly value: number; readonly string: string }[];
        readonly aggregator?: string;
        readonly 'atomic-aggregate'?: boolean;
        readonly 'as-path'?: Readonly<Record<string, { readonly element: string; readonly value: readonly number[] }>>;
      };
      readonly announce?: Readonly<Record<string, Readonly<Record<string, readonly ExaPrefix[]>>>>;
      readonly withdraw?: Readonly<Record<string, readonly ExaPrefix[]>>;
    };
  } | null;
}
interface ExaPrefix {
  readonly nlri: string;
  readonly 'path-information'?: string;
}

function compareAttributes(a: PathAttributes, want: NonNullable<ExaMessage['expected']>): void {
  const attribute = want.update?.attribute ?? {};
  const origins: Record<string, number> = { igp: 0, egp: 1, incomplete: 2 };
  if (attribute.origin) expect(a.origin).toBe(origins[attribute.origin] as 0);
  if (attribute['local-preference'] !== undefined) expect(a.localPref).toBe(attribute['local-preference']);
  if (attribute.med !== undefined) expect(a.med).toBe(attribute.med);
  if (attribute['atomic-aggregate']) expect(a.atomicAggregate).toBe(true);
  if (attribute.community) {
    const communities = attribute.community.map(([high, low]) => high * 65536 + low);
    expect(a.communities).toEqual(communities);
  }
  if (attribute['large-community']) expect(a.largeCommunities).toEqual(attribute['large-community'].flat());
  if (attribute['extended-community']) {
    const values = attribute['extended-community'].map((c) => c.value);
    const ours: number[] = [];
    for (let i = 0; i < a.extendedCommunities.length; i += 2) {
      ours.push(a.extendedCommunities[i]! * 2 ** 32 + a.extendedCommunities[i + 1]!);
    }
    expect(ours).toEqual(values);
  }
  if (attribute['as-path']) {
    const segments = Object.values(attribute['as-path']).map((s) => ({
      type: s.element === 'as-set' ? 1 : 2,
      asns: s.value,
    }));
    const path: readonly { readonly type: number; readonly asns: readonly number[] }[] = a.asPath;
    expect(path).toEqual(segments);
  }
}

const exaPath = testData('exabgp-messages.json');
const exa: ExaMessage[] = exaPath ? (await Bun.file(exaPath).json()).messages : [];

/** What a sender can be made to send, and a receiver must not take. */
const refused: Record<string, string> = {
  'conf-attributes#3': 'treat-as-withdraw', // next hop 255.255.255.255
  'conf-ipself4#1': 'treat-as-withdraw', // next hop 127.0.0.1
  'conf-ipself6#1': 'treat-as-withdraw', // next hop ::1
  'conf-generic-attribute#2': 'session-reset', // unknown, and well-known by its flags
  'conf-generic-attribute#3': 'session-reset',
  'extended-nexthop#2': 'session-reset', // an IPv4 next hop in an IPv6 route, which no RFC provides for
};

describe.skipIf(!exaPath)('messages with a known decoding', () => {
  for (const m of exa.filter((m) => m.in_scope)) {
    test(m.id, () => {
      const framed = frame(m.hex);
      expect(framed).toBeDefined();
      const { type, message } = framed!;
      expect(type).toBe({ OPEN: 1, UPDATE: 2, NOTIFICATION: 3 }[m.type]!);
      if (type === MessageType.Open) {
        const open = decodeOpen(message, 0, message.length);
        expect(open.ok).toBe(true);
        if (open.ok) expect(decodeOpen(encodeOpen(open.value), 0, encodeOpen(open.value).length)).toEqual(open);
        return;
      }
      if (type === MessageType.Notification) {
        const notification = decodeNotification(message, 0, message.length);
        expect(encodeNotification(notification)).toEqual(message);
        return;
      }
      const context = sessionContext({ fourOctetAs: m.asn4, addPath: m.add_path, extendedNextHop: true });
      const seen = seeUpdate(message, context);
      const reaction = refused[m.id];
      if (reaction) {
        expect<string | undefined>(seen.error ? 'session-reset' : seen.outcomes[0]?.treatment).toBe(reaction);
        return;
      }
      expect(seen.error).toBeUndefined();
      const eor = /^announce eor (ipv[46]) unicast/.exec(m.config_command ?? '');
      if (eor) expect(seen.endOfRib).toBe(eor[1] === 'ipv4' ? IPV4_UNICAST : IPV6_UNICAST);
      if (!m.expected?.update) return;
      const { announce = {}, withdraw = {} } = m.expected.update;
      const hops = Object.values(announce).flatMap((family) => Object.entries(family));
      const prefixes = hops.flatMap(([, list]) => list);
      expect([...seen.nlri, ...seen.mpNlri].sort()).toEqual(prefixes.map((p) => p.nlri).sort());
      const withdrawn = Object.values(withdraw).flat();
      expect([...seen.withdrawn]).toEqual(withdrawn.map((p) => p.nlri));
      const ids = prefixes.flatMap((p) => p['path-information'] ?? []);
      if (ids.length > 0) {
        const numbers = ids.map((id) => addressBytes(parseAddress(id)!).reduce((n, b) => n * 256 + b, 0));
        expect([...seen.pathIds]).toEqual(numbers);
      }
      for (const outcome of seen.outcomes) {
        expect(['ok', 'attribute-discard']).toContain(outcome.treatment);
        if (!('attributes' in outcome)) continue;
        compareAttributes(outcome.attributes, m.expected);
        const hop = hops[0]?.[0];
        if (hop) expect<string | undefined>(nextHopText(outcome.attributes.nextHop)).toBe(parseAddress(hop));
      }
    });
  }

  test('messages of other families change nothing', () => {
    for (const m of exa.filter((m) => !m.in_scope)) {
      const framed = frame(m.hex);
      if (framed?.type !== MessageType.Update) continue;
      const seen = seeUpdate(framed.message, sessionContext({ fourOctetAs: m.asn4, addPath: m.add_path }));
      if (seen.ignoredFamily !== undefined) expect(seen.mpNlri).toEqual([]);
    }
  });
});

// ---- messages cut from captures

interface Captured {
  readonly id: string;
  readonly hex: string;
  readonly complete: boolean;
  readonly robustness_only: boolean;
  readonly tshark: { readonly malformed: boolean; readonly capabilities: readonly string[]; readonly notify: string };
}

const capturePath = testData('pcap-messages.json');
const captured: Captured[] = capturePath ? (await Bun.file(capturePath).json()).messages : [];

describe.skipIf(!capturePath)('captured messages', () => {
  for (const m of captured) {
    test(m.id, () => {
      const framed = frame(m.hex);
      if (!m.robustness_only && m.complete) expect(framed).toBeDefined();
      if (!framed) return;
      const { type, message } = framed;
      if (type === MessageType.Open) {
        const open = decodeOpen(message, 0, message.length);
        if (m.robustness_only) return;
        expect(open.ok).toBe(true);
        if (!open.ok) return;
        const codes = open.value.capabilities.map((c) => (c.type === 'unknown' ? c.code : codeOf[c.type]));
        expect(codes.map(String).sort()).toEqual([...m.tshark.capabilities].sort());
      } else if (type === MessageType.Notification) {
        expect(String(decodeNotification(message, 0, message.length).code)).toBe(m.tshark.notify);
      } else if (type === MessageType.RouteRefresh) {
        const refresh = decodeRouteRefresh(message, 0, message.length);
        if (!m.robustness_only) expect(refresh.ok).toBe(true);
      } else if (type === MessageType.Update) {
        // the AS number size of a capture's session is not known: one of them reads it
        const both = [true, false].map((fourOctetAs) => seeUpdate(message, sessionContext({ fourOctetAs })));
        if (!m.robustness_only) expect(both.some((seen) => seen.error === undefined)).toBe(true);
      }
    });
  }
});
