/** Our OPEN for a neighbour: what its configuration allows us to offer; and what comes of the neighbour's own. */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { addressBytes } from '../../net/mod.ts';
import type { Family, IpAddress } from '../../net/mod.ts';
import {
  Afi,
  AS_TRANS,
  BGP_VERSION,
  decodeOpen,
  IPV4_UNICAST,
  IPV6_UNICAST,
  negotiate,
  openAsn,
  validateOpen,
} from '../wire/mod.ts';
import type { AfiSafi, Capability, Negotiated, OpenMessage, ProtocolError } from '../wire/mod.ts';
import type { BgpConfig, PeerSettings } from '../config/mod.ts';

export const wireFamily: Record<Family, AfiSafi> = { 4: IPV4_UNICAST, 6: IPV6_UNICAST };
export const familyOfWire = (family: AfiSafi): Family | undefined =>
  family === IPV4_UNICAST ? 4 : family === IPV6_UNICAST ? 6 : undefined;

export const familiesOf = (settings: PeerSettings): Family[] =>
  ([4, 6] as const).filter((family) => settings.families[family] !== undefined);

/** An IPv4 address as the number that OPEN carries. */
export function identifierOf(routerId: IpAddress): number {
  const b = addressBytes(routerId);
  return ((b[0]! << 24) | (b[1]! << 16) | (b[2]! << 8) | b[3]!) >>> 0;
}

/** How this speaker stands after its start, for the graceful restart capability (RFC 4724 §3). */
export interface RestartState {
  /** The R bit: this life follows another, and End-of-RIB is awaited. */
  readonly restarting: boolean;
  /** The F bit: forwarding went on meanwhile. */
  readonly forwardingPreserved: boolean;
}

export function buildOpen(config: BgpConfig, settings: PeerSettings, restart: RestartState): OpenMessage {
  const families = familiesOf(settings);
  const capabilities: Capability[] = families.map((f) => ({ type: 'multiprotocol', family: wireFamily[f] }));
  capabilities.push({ type: 'route-refresh' }, { type: 'enhanced-route-refresh' });
  capabilities.push({ type: 'four-octet-as', asn: settings.localAs });
  if (settings.extendedNextHop && families.includes(4)) {
    capabilities.push({ type: 'extended-next-hop', entries: [{ family: IPV4_UNICAST, nextHopAfi: Afi.IPv6 }] });
  }
  if (settings.extendedMessages) capabilities.push({ type: 'extended-message' });
  const { notifications } = config.gracefulRestart;
  const { gracefulRestart: mode, restartTime = config.gracefulRestart.restartTime } = settings;
  if (mode !== 'off') {
    capabilities.push({
      type: 'graceful-restart',
      restarting: restart.restarting,
      notification: notifications,
      restartTime: mode === 'on' ? restartTime : 0,
      // a helper lists no family: it keeps the peer's routes but asks for nothing
      families:
        mode === 'on'
          ? families.map((f) => ({ family: wireFamily[f], forwardingPreserved: restart.forwardingPreserved }))
          : [],
    });
  }
  return {
    version: BGP_VERSION,
    myAs: settings.localAs > 0xffff ? AS_TRANS : settings.localAs,
    holdTime: settings.timers.hold,
    identifier: identifierOf(config.routerId),
    capabilities,
  };
}

/** The neighbour's OPEN in `bytes[start, end)` against ours: what the two agree on, or what is wrong with it. */
export function answerOpen(
  bytes: Uint8Array,
  start: number,
  end: number,
  sent: OpenMessage,
  { remoteAs }: PeerSettings,
): Result<Negotiated, ProtocolError> {
  const decoded = decodeOpen(bytes, start, end);
  if (!decoded.ok) return decoded;
  const error = validateOpen(decoded.value, {
    localAsn: openAsn(sent),
    localIdentifier: sent.identifier,
    remoteAs: typeof remoteAs === 'object' ? new Set(remoteAs) : remoteAs,
  });
  return error ? err(error) : ok(negotiate(sent, decoded.value));
}
