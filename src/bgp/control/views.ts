/** What a speaker looks like from outside, as plain JSON: for the control socket, the agent's status and metrics. */
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { PathView, PeerId, RouteView } from '../rib/mod.ts';
import type { Peer, Speaker } from '../speaker/mod.ts';
import { formatAsPath, formatCommunity, formatExtendedCommunities, formatLargeCommunities } from '../wire/mod.ts';
import type { PathAttributes } from '../wire/mod.ts';
import { addressFromBytes } from '../../net/mod.ts';

export interface FamilyStatus {
  readonly family: 'ipv4' | 'ipv6';
  readonly received: number;
  readonly accepted: number;
  readonly advertised: number;
  readonly stale: number;
  readonly behind: number;
  readonly endOfRib: boolean;
}

export interface NeighborStatus {
  /** Its `neighborKey`. */
  readonly address: string;
  readonly name: string;
  readonly description?: string;
  readonly remoteAs: string;
  readonly localAs: number;
  readonly type: 'internal' | 'external' | 'unknown';
  readonly state: string;
  /** Milliseconds since the epoch, of the session that is up. */
  readonly since?: number;
  readonly dynamicRange?: string;
  readonly shutdown?: string;
  readonly lastError?: { readonly reason: string; readonly at: number };
  /** UPDATEs that RFC 7606 had to be applied to, and what became of the last. */
  readonly badUpdates?: {
    readonly count: number;
    readonly treatment: string;
    readonly reason: string;
    readonly at: number;
  };
  readonly families: readonly FamilyStatus[];
  readonly messages: { readonly received: number; readonly sent: number; readonly updatesReceived: number };
  readonly bytes: { readonly received: number; readonly sent: number };
  readonly sessions: { readonly established: number; readonly lost: number };
  readonly session?: {
    readonly localAddress: IpAddress;
    readonly routerId: string;
    readonly holdTime: number;
    readonly capabilities: readonly string[];
    readonly restartTime?: number;
  };
}

export interface SpeakerSummary {
  readonly routerId: IpAddress;
  readonly asn: number;
  readonly startedAt: number;
  readonly prefixes: { readonly ipv4: number; readonly ipv6: number };
  readonly paths: { readonly ipv4: number; readonly ipv6: number };
  readonly attributeSets: number;
  readonly updateGroups: number;
  readonly tableBytes: number;
  readonly neighbors: readonly NeighborStatus[];
}

export const familyName = (family: Family): 'ipv4' | 'ipv6' => (family === 4 ? 'ipv4' : 'ipv6');

const dotted = (n: number): string => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.');

export function summaryOf(speaker: Speaker): SpeakerSummary {
  const stats = speaker.rib.stats();
  return {
    routerId: speaker.config.routerId,
    asn: speaker.config.asn,
    startedAt: speaker.startedAt,
    prefixes: { ipv4: stats.prefixes[4], ipv6: stats.prefixes[6] },
    paths: { ipv4: stats.paths[4], ipv6: stats.paths[6] },
    attributeSets: stats.attributeSets,
    updateGroups: stats.updateGroups,
    tableBytes: stats.bytes,
    neighbors: [...speaker.peers.values()].map((peer) => neighborStatus(speaker, peer)),
  };
}

export function neighborStatus(speaker: Speaker, peer: Peer): NeighborStatus {
  const { config, session, counts } = peer;
  const live = session?.active ? session : undefined;
  const remoteAs = live?.negotiated.peerAsn ?? config.remoteAs;
  const families = ([4, 6] as const).filter((f) => config.families[f]);
  const connection = live?.connection;
  return {
    address: peer.key,
    name: config.name,
    remoteAs: String(remoteAs),
    localAs: config.localAs,
    type:
      remoteAs === 'internal' || remoteAs === config.localAs
        ? 'internal'
        : remoteAs === 'any' || typeof remoteAs === 'object'
          ? 'unknown'
          : 'external',
    state: peer.state,
    families: families.map((family) => {
      const c = speaker.rib.counters(peer.id, family);
      return { family: familyName(family), ...c, endOfRib: live?.finished.has(family) ?? false };
    }),
    messages: { received: counts.messagesIn, sent: counts.messagesOut, updatesReceived: counts.updatesIn },
    bytes: { received: connection?.bytesIn ?? 0, sent: connection?.bytesOut ?? 0 },
    sessions: { established: counts.established, lost: counts.flaps },
    ...(config.description !== undefined && { description: config.description }),
    ...(live && { since: live.since }),
    ...(peer.range !== undefined && { dynamicRange: peer.range }),
    ...(peer.shutdown !== undefined && { shutdown: peer.shutdown }),
    ...(peer.lastError && { lastError: peer.lastError }),
    ...(peer.lastBadUpdate && { badUpdates: { count: counts.updatesBad, ...peer.lastBadUpdate } }),
    ...(live && { session: sessionStatus(live) }),
  };
}

function sessionStatus(session: NonNullable<Peer['session']>): NonNullable<NeighborStatus['session']> {
  const { negotiated, connection, families } = session;
  const { context } = negotiated;
  const capabilities = families.map((f) => `${familyName(f)} unicast`);
  if (context.fourOctetAs) capabilities.push('4-octet AS');
  if (context.extendedMessages) capabilities.push('extended messages');
  if (context.extendedNextHop.size > 0) capabilities.push('extended next hop');
  if (negotiated.enhancedRouteRefresh) capabilities.push('enhanced route refresh');
  else if (negotiated.routeRefresh) capabilities.push('route refresh');
  if (negotiated.gracefulRestart) {
    capabilities.push(`graceful restart${negotiated.gracefulNotification ? ' with notifications' : ''}`);
  }
  const restartTime = negotiated.gracefulRestart?.restartTime;
  return {
    localAddress: connection.socket.local,
    routerId: dotted(negotiated.peerIdentifier),
    holdTime: negotiated.holdTime,
    capabilities,
    ...(restartTime !== undefined && { restartTime }),
  };
}

// ---- routes

export interface AttributesJson {
  readonly origin: 'igp' | 'egp' | 'incomplete';
  readonly asPath: string;
  readonly nextHop: IpAddress | undefined;
  readonly linkLocalNextHop?: IpAddress;
  readonly med?: number;
  readonly localPref?: number;
  readonly communities?: readonly string[];
  readonly largeCommunities?: readonly string[];
  readonly extendedCommunities?: readonly string[];
  readonly originatorId?: string;
  readonly clusterList?: readonly string[];
  readonly atomicAggregate?: true;
  readonly aggregator?: string;
  readonly unknown?: readonly string[];
}

export interface PathJson extends AttributesJson {
  /** Name of the neighbour; `local` for routes of this speaker. */
  readonly from: string;
  readonly state: PathView['state'];
  readonly stale: boolean;
  readonly reason: string;
  readonly why: string;
}

export interface RouteJson {
  readonly prefix: Prefix;
  readonly paths: readonly PathJson[];
}

const origins = ['igp', 'egp', 'incomplete'] as const;

export function attributesJson(a: PathAttributes): AttributesJson {
  const address = a.nextHop.address;
  const list = <T>(key: string, items: readonly T[]) => (items.length > 0 ? { [key]: items } : {});
  return {
    origin: origins[a.origin],
    asPath: formatAsPath(a.asPath),
    nextHop: address.length === 4 || address.length === 16 ? addressFromBytes(address) : undefined,
    ...(a.nextHop.linkLocal && { linkLocalNextHop: addressFromBytes(a.nextHop.linkLocal) }),
    ...(a.med !== undefined && { med: a.med }),
    ...(a.localPref !== undefined && { localPref: a.localPref }),
    ...list('communities', a.communities.map(formatCommunity)),
    ...list('largeCommunities', formatLargeCommunities(a.largeCommunities)),
    ...list('extendedCommunities', formatExtendedCommunities(a.extendedCommunities)),
    ...(a.originatorId !== undefined && { originatorId: dotted(a.originatorId) }),
    ...list('clusterList', a.clusterList.map(dotted)),
    ...(a.atomicAggregate && { atomicAggregate: true }),
    ...(a.aggregator && { aggregator: `${a.aggregator.asn} ${dotted(a.aggregator.address)}` }),
    ...list(
      'unknown',
      a.unknown.map((u) => `${u.type}: ${u.value.toHex()}`),
    ),
  };
}

export function peerName(speaker: Speaker, id: PeerId): string {
  if (id === 0) return 'local';
  for (const peer of speaker.peers.values()) if (peer.id === id) return peer.config.name;
  return '?';
}

export function routeJson(route: RouteView, nameOf: (id: PeerId) => string): RouteJson {
  return {
    prefix: route.prefix,
    paths: route.paths.map((path) => ({
      from: nameOf(path.peer),
      state: path.state,
      stale: path.stale,
      reason: path.reason,
      why: path.why,
      ...attributesJson(path.attributes),
    })),
  };
}
