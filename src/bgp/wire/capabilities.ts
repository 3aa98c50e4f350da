/**
 * Capabilities of OPEN (RFC 5492 §4): code, length, value. One whose value does not fit its code is kept as unknown: it was
 * not understood, and capabilities not understood are passed over.
 */
import type { Writer } from '../../base/mod.ts';
import { afiOf, type AfiSafi, afiSafi, CapabilityCode as Code, safiOf } from './iana.ts';
import { u32 } from './communities.ts';
import type { Capability } from './types.ts';

/** Flags of the graceful restart capability, RFC 4724 §3 and RFC 8538 §2. */
const GR_RESTARTING = 0x80;
const GR_NOTIFICATION = 0x40;
const GR_FORWARDING = 0x80;

/** Capabilities in `bytes[start, end)`; undefined when one runs past the end. */
export function decodeCapabilities(bytes: Uint8Array, start: number, end: number): Capability[] | undefined {
  const capabilities: Capability[] = [];
  let at = start;
  while (at < end) {
    const next = at + 2 + bytes[at + 1]!;
    if (at + 2 > end || next > end) return undefined;
    const code = bytes[at]!;
    const value = bytes.slice(at + 2, next);
    capabilities.push(decodeValue(code, value) ?? { type: 'unknown', code, value });
    at = next;
  }
  return capabilities;
}

function decodeValue(code: number, v: Uint8Array): Capability | undefined {
  switch (code) {
    case Code.MultiProtocol: // AFI (2), reserved (1), SAFI (1), RFC 4760 §8
      return v.length === 4 ? { type: 'multiprotocol', family: afiSafi(u16(v, 0), v[3]!) } : undefined;
    case Code.RouteRefresh:
      return v.length === 0 ? { type: 'route-refresh' } : undefined;
    case Code.EnhancedRouteRefresh:
      return v.length === 0 ? { type: 'enhanced-route-refresh' } : undefined;
    case Code.ExtendedMessage:
      return v.length === 0 ? { type: 'extended-message' } : undefined;
    case Code.FourOctetAs:
      return v.length === 4 ? { type: 'four-octet-as', asn: u32(v, 0) } : undefined;
    case Code.ExtendedNextHop: // AFI (2), SAFI (2), next hop AFI (2), RFC 8950 §3
      if (v.length % 6 !== 0) return undefined;
      return {
        type: 'extended-next-hop',
        entries: each(v, 0, 6, (at) => ({ family: afiSafi(u16(v, at), u16(v, at + 2)), nextHopAfi: u16(v, at + 4) })),
      };
    case Code.GracefulRestart: // flags and time (2), then AFI (2), SAFI (1), flags (1)
      if (v.length < 2 || (v.length - 2) % 4 !== 0) return undefined;
      return {
        type: 'graceful-restart',
        restarting: (v[0]! & GR_RESTARTING) !== 0,
        notification: (v[0]! & GR_NOTIFICATION) !== 0,
        restartTime: u16(v, 0) & 0xfff,
        families: each(v, 2, 4, (at) => ({
          family: afiSafi(u16(v, at), v[at + 2]!),
          forwardingPreserved: (v[at + 3]! & GR_FORWARDING) !== 0,
        })),
      };
    case Code.AddPath: // AFI (2), SAFI (1), 1 receive, 2 send, 3 both, RFC 7911 §4
      if (v.length % 4 !== 0) return undefined;
      return {
        type: 'add-path',
        entries: each(v, 0, 4, (at) => ({
          family: afiSafi(u16(v, at), v[at + 2]!),
          receive: v[at + 3] === 1 || v[at + 3] === 3,
          send: v[at + 3] === 2 || v[at + 3] === 3,
        })),
      };
    case Code.Fqdn:
      return decodeFqdn(v);
    default:
      return undefined;
  }
}

/** Host name and domain, each after its length. */
function decodeFqdn(v: Uint8Array): Capability | undefined {
  const hostEnd = 1 + (v[0] ?? 0);
  const domainEnd = hostEnd + 1 + (v[hostEnd] ?? 0);
  if (hostEnd >= v.length || domainEnd !== v.length) return undefined;
  try {
    const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const host = utf8.decode(v.subarray(1, hostEnd));
    return { type: 'fqdn', host, domain: utf8.decode(v.subarray(hostEnd + 1, domainEnd)) };
  } catch {
    return undefined;
  }
}

export function encodeCapability(c: Capability, w: Writer): void {
  w.u8(c.type === 'unknown' ? c.code : codes[c.type]).u8(0);
  const start = w.length;
  encodeValue(c, w);
  // a value holds 255 octets; more families than that do not exist
  const length = Math.min(255, w.length - start);
  w.length = start + length;
  w.bytes[start - 1] = length;
}

const codes: Record<Exclude<Capability['type'], 'unknown'>, number> = {
  multiprotocol: Code.MultiProtocol,
  'route-refresh': Code.RouteRefresh,
  'extended-next-hop': Code.ExtendedNextHop,
  'extended-message': Code.ExtendedMessage,
  'graceful-restart': Code.GracefulRestart,
  'four-octet-as': Code.FourOctetAs,
  'add-path': Code.AddPath,
  'enhanced-route-refresh': Code.EnhancedRouteRefresh,
  fqdn: Code.Fqdn,
};

function encodeValue(c: Capability, w: Writer): void {
  switch (c.type) {
    case 'multiprotocol':
      w.u16(afiOf(c.family)).u8(0).u8(safiOf(c.family));
      break;
    case 'route-refresh':
    case 'enhanced-route-refresh':
    case 'extended-message':
      break;
    case 'four-octet-as':
      w.u32(c.asn);
      break;
    case 'extended-next-hop':
      for (const e of c.entries) w.u16(afiOf(e.family)).u16(safiOf(e.family)).u16(e.nextHopAfi);
      break;
    case 'graceful-restart': {
      const flags = (c.restarting ? GR_RESTARTING : 0) | (c.notification ? GR_NOTIFICATION : 0);
      w.u16((flags << 8) | (c.restartTime & 0xfff));
      for (const f of c.families) family(w, f.family).u8(f.forwardingPreserved ? GR_FORWARDING : 0);
      break;
    }
    case 'add-path':
      for (const e of c.entries) family(w, e.family).u8((e.receive ? 1 : 0) | (e.send ? 2 : 0));
      break;
    case 'fqdn':
      for (const name of [c.host, c.domain]) {
        const utf8 = new TextEncoder().encode(name).subarray(0, 64);
        w.u8(utf8.length).put(utf8);
      }
      break;
    case 'unknown':
      w.put(c.value);
      break;
  }
}

const family = (w: Writer, f: AfiSafi): Writer => w.u16(afiOf(f)).u8(safiOf(f));

const u16 = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;

function each<T>(v: Uint8Array, from: number, size: number, read: (at: number) => T): T[] {
  const out: T[] = [];
  for (let at = from; at + size <= v.length; at += size) out.push(read(at));
  return out;
}
