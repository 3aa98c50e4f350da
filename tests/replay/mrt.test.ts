// MRT dumps of route collectors and daemons: real prefixes, real attributes, with the decoding of other programs.
import { describe, expect, test } from 'bun:test';
import { readdirSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { addressFromBytes, parseAddress } from '../../src/net/mod.ts';
import {
  AttributeCursor,
  AttributeType,
  decodeAttributes,
  encodeAttributes,
  formatAsPath,
  formatCommunity,
  IPV4_UNICAST,
  IPV6_UNICAST,
  MessageType,
  type PathAttributes,
  RouteSource,
} from '../../src/bgp/wire/mod.ts';
import { nextHopText, seeUpdate, sessionContext } from '../support/bgp-decode.ts';
import { testData } from '../support/data.ts';
import { type MrtMessage, type MrtRoute, readMrt } from '../support/mrt.ts';

const folder = testData('mrt');
const files = folder ? readdirSync(folder).filter((f) => /\.(gz|mrt)$/.test(f) && !f.includes('.expect.')) : [];

async function load(name: string): Promise<Uint8Array> {
  const bytes = await Bun.file(`${folder}/${name}`).bytes();
  return name.endsWith('.gz') ? new Uint8Array(gunzipSync(bytes)) : bytes;
}

const ORIGIN = ['IGP', 'EGP', 'INCOMPLETE'];
const special: Record<number, string> = { 0xffffff01: 'no-export', 0xffffff02: 'no-advertise' };

/** The fields of a `bgpdump -m` line that come from attributes. */
function dumpFields(a: PathAttributes): string {
  const aggregator = a.aggregator
    ? `${a.aggregator.asn} ${addressFromBytes(new Uint8Array(new Uint32Array([a.aggregator.address]).buffer).reverse())}`
    : '';
  return [
    formatAsPath(a.asPath),
    ORIGIN[a.origin],
    nextHopText(a.nextHop),
    a.localPref ?? 0,
    a.med ?? 0,
    a.communities.map((c) => special[c] ?? formatCommunity(c)).join(' '),
    a.atomicAggregate ? 'AG' : 'NAG',
    aggregator,
    '',
  ].join('|');
}

function messageLines(m: MrtMessage): string[] {
  if (m.message[18] !== MessageType.Update) return [];
  const seen = seeUpdate(m.message, sessionContext({ fourOctetAs: m.fourOctetAs, addPath: m.addPath }));
  const head = (what: string) => `BGP4MP|${m.time}|${what}|${m.peer}|${m.peerAs}|`;
  const lines = seen.withdrawn.map((p) => head('W') + p);
  for (const outcome of seen.outcomes) {
    if (!('attributes' in outcome)) continue;
    const prefixes = outcome.attributes.nextHop.address.length === 4 ? seen.nlri : seen.mpNlri;
    for (const p of prefixes) lines.push(`${head('A')}${p}|${dumpFields(outcome.attributes)}`);
  }
  return lines;
}

/** Table dumps may keep only the next hop of MP_REACH_NLRI: makes the attribute whole again. */
function wholeBlock(route: MrtRoute): { block: Uint8Array; source: RouteSource } {
  const out: number[] = [];
  // some dumps leave the next hop out altogether
  let source: RouteSource = RouteSource.None;
  const cursor = new AttributeCursor(route.attributes, 0, route.attributes.length);
  while (cursor.next()) {
    const value = route.attributes.subarray(cursor.valueStart, cursor.valueEnd);
    if (cursor.type === AttributeType.MpReachNlri && value[0] !== 0) {
      source = RouteSource.MpReach;
      out.push(0x80, 14, value.length + 4, 0, 2, 1, ...value, 0);
    } else {
      if (cursor.type === AttributeType.MpReachNlri) source = RouteSource.MpReach;
      if (cursor.type === AttributeType.NextHop) source = RouteSource.Nlri;
      out.push(...route.attributes.subarray(cursor.start, cursor.valueEnd));
    }
  }
  return { block: Uint8Array.from(out), source };
}

function decodeRoute(route: MrtRoute) {
  const { block, source } = wholeBlock(route);
  const context = sessionContext({ fourOctetAs: route.fourOctetAs });
  return decodeAttributes(block, 0, block.length, source, context);
}

function routeLines(route: MrtRoute): string[] {
  const outcome = decodeRoute(route);
  if (!('attributes' in outcome)) return [];
  const format = route.pathId === undefined ? 'TABLE_DUMP2' : 'TABLE_DUMP2_AP';
  const path = route.pathId === undefined ? '' : `${route.pathId}|`;
  const head = `${format}|${route.time}|B|${route.peer}|${route.peerAs}|${route.prefix}|`;
  const fields = dumpFields(outcome.attributes).split('|');
  // what bgpdump prints where there is no next hop
  if (wholeBlock(route).source === RouteSource.None) fields[2] = '255.255.255.255';
  return [`${head}${path}${fields.join('|')}`];
}

describe.skipIf(!folder)('MRT dumps', () => {
  for (const file of files) {
    test(`${file}: every message and route decodes and survives a round trip`, async () => {
      let count = 0;
      for (const record of readMrt(await load(file))) {
        count++;
        if (record.kind === 'message') {
          if (record.message[18] !== MessageType.Update) continue;
          const context = sessionContext({ fourOctetAs: record.fourOctetAs, addPath: record.addPath });
          for (const outcome of seeUpdate(record.message, context).outcomes) roundTrip(outcome);
        } else if (wholeBlock(record).source !== RouteSource.None) roundTrip(decodeRoute(record));
      }
      // two files hold only records of obsolete types
      if (!/^ris-rrc00|table-mp/.test(file)) expect(count).toBeGreaterThan(0);
    });
  }

  function roundTrip(outcome: ReturnType<typeof decodeAttributes>): void {
    if (!('attributes' in outcome)) return;
    const { attributes } = outcome;
    const family = attributes.nextHop.address.length === 4 ? IPV4_UNICAST : IPV6_UNICAST;
    for (const fourOctetAs of [true, false]) {
      const context = sessionContext({ fourOctetAs });
      const { octets, mpReach } = encodeAttributes(attributes, family, context);
      const block = mpReach ? new Uint8Array([0x80, 14, mpReach.length, ...mpReach, ...octets]) : octets;
      const source = mpReach ? RouteSource.MpReach : RouteSource.Nlri;
      const again = decodeAttributes(block, 0, block.length, source, context);
      if (again.treatment !== 'ok') throw new Error(JSON.stringify(again));
      const partial = attributes.unknown.map((u) => ({ ...u, flags: u.flags | 0x20 }));
      expect(again.attributes).toEqual({ ...attributes, unknown: partial });
    }
  }

  for (const file of files.filter((f) => f.startsWith('bgpdump-'))) {
    test(`${file}: as bgpdump reads it`, async () => {
      const expected = new TextDecoder()
        .decode(await load(file.replace(/\.gz$/, '.expect.gz')))
        .trim()
        .split('\n')
        .filter((line) => !line.includes('|STATE|'));
      const lines: string[] = [];
      for (const record of readMrt(await load(file))) {
        lines.push(...(record.kind === 'message' ? messageLines(record) : routeLines(record)));
      }
      const ours = new Set(lines);
      const missing = expected.map(canonical).filter((line) => !ours.has(line));
      expect(missing.filter((line) => !excused(line))).toEqual([]);
      const routes = lines.filter((line) => !excused(line));
      expect(routes.length).toBe(expected.filter((line) => !excused(line)).length);
    });
  }
});

/** bgpdump shortens single zero groups, which RFC 5952 forbids. */
const canonical = (line: string): string =>
  line
    .split('|')
    .map((field) => (field.includes('::') && !field.includes('/') ? (parseAddress(field) ?? field) : field))
    .join('|');

/**
 * Routes that a session must not take: unspecified next hops; NLRI with a stray octet at the end. And the collector's own
 * routes, which have no attributes at all.
 */
const excused = (line: string): boolean =>
  line.split('|')[8] === '::' || line.includes('|11.8.0.0/13|') || /\|B\|(0\.0\.0\.0|::)\|0\|/.test(line);

interface DecodedUpdate {
  readonly bgp_hex: string;
  readonly peer_as: number;
  readonly bgp: {
    readonly type: string;
    readonly withdrawn: readonly DecodedPrefix[];
    readonly nlri: readonly DecodedPrefix[];
    readonly attrs: {
      readonly types: readonly number[];
      readonly origin?: number;
      readonly as_path?: readonly (readonly [number, readonly number[]])[];
      readonly next_hop?: string;
      readonly med?: number;
      readonly local_pref?: number;
      readonly communities?: readonly string[];
      readonly mp_reach?: { afi: number; safi: number; next_hop: string; nlri: readonly DecodedPrefix[] };
      readonly mp_unreach?: { afi: number; safi: number; nlri: readonly DecodedPrefix[] };
    };
  };
}
type DecodedPrefix = readonly [string, number | null];

describe.skipIf(!folder)("daemons' own dumps", () => {
  for (const file of files.filter((f) => f.startsWith('mrtparse-'))) {
    test(`${file}: as another decoder reads it`, async () => {
      const records: DecodedUpdate[] = await Bun.file(`${folder}/${file.replace(/\.mrt$/, '.decoded.json')}`).json();
      let unicast = 0;
      for (const record of records) {
        if (record.bgp?.type !== 'UPDATE') continue;
        const { attrs, nlri, withdrawn } = record.bgp;
        const mp = attrs.mp_reach ?? attrs.mp_unreach;
        // other families, and what the other decoder could not read (path identifiers without ADD-PATH in the record)
        if (mp ? mp.safi !== 1 : attrs.types.includes(AttributeType.MpReachNlri)) continue;
        const addPath = [...nlri, ...withdrawn, ...(mp?.nlri ?? [])].some(([, id]) => id !== null);
        const seen = seeUpdate(Uint8Array.fromHex(record.bgp_hex), sessionContext({ addPath }));
        expect(seen.error).toBeUndefined();
        const text = (list: readonly DecodedPrefix[] | undefined) => (list ?? []).map(([prefix]) => prefix);
        expect(seen.nlri).toEqual(text(nlri));
        expect(seen.mpNlri).toEqual(text(attrs.mp_reach?.nlri));
        expect(seen.withdrawn).toEqual([...text(withdrawn), ...text(attrs.mp_unreach?.nlri)]);
        if (addPath) {
          const ids = [...nlri, ...(attrs.mp_reach?.nlri ?? [])].map(([, id]) => id);
          expect<(number | null)[]>([...seen.pathIds]).toEqual(ids);
        }
        const outcome = seen.outcomes[0];
        if (!outcome || !('attributes' in outcome)) continue;
        const a = outcome.attributes;
        expect(a.origin).toBe(attrs.origin as 0);
        expect(a.asPath.map((s) => [s.type, s.asns])).toEqual(attrs.as_path as never);
        expect<string>(nextHopText(a.nextHop)).toBe(attrs.mp_reach?.next_hop ?? attrs.next_hop!);
        expect(a.med).toBe(attrs.med);
        expect(a.localPref).toBe(attrs.local_pref);
        expect(a.communities.map(formatCommunity)).toEqual([...(attrs.communities ?? [])]);
        unicast++;
      }
      // dumps of tables hold no messages, two others none that the other decoder could read
      if (file.endsWith('_bgp.mrt') && !/bird6?_bgp/.test(file)) expect(unicast).toBeGreaterThan(0);
    });
  }
});
