/** What the RIB remembers of each neighbour, and what follows from its configuration and session. */
import { addressBytes, prefixAddress, prefixLength } from '../../net/mod.ts';
import type { Family } from '../../net/mod.ts';
import type { UpdateGroup } from './group.ts';
import type { Member } from './member.ts';
import type { ExportRules, RouteOrigin } from './outbound.ts';
import { selfNextHop } from './outbound.ts';
import { contextIndex } from './set-tags.ts';
import type { SetOrigin } from './set-columns.ts';
import type { MaxPrefix, PeerConfig, PeerId, PeerSession, RibEvents } from './types.ts';

export interface OutSide {
  readonly group: UpdateGroup;
  readonly member: Member;
}

export interface Peer {
  readonly id: PeerId;
  config: PeerConfig;
  session: PeerSession | undefined;
  /** As the attribute sets see it. */
  origin: SetOrigin;
  /** As the exports see it. */
  source: RouteOrigin;
  /** How octets from it are to be read. */
  context: number;
  readonly out: { [F in Family]?: OutSide };
  /** Families of which routes of the last session are kept; what is stale otherwise is being refreshed in this one. */
  readonly kept: Set<Family>;
  /** Limits that were reported and are still exceeded. */
  readonly limits: Set<string>;
}

export function makePeer(id: PeerId, config: PeerConfig): Peer {
  const peer: Peer = {
    id,
    config,
    session: undefined,
    origin: setOrigin(id, config, 0, undefined),
    source: routeOrigin(config, 0),
    context: 0,
    out: {},
    kept: new Set(),
    limits: new Set(),
  };
  return peer;
}

export function configure(peer: Peer, config: PeerConfig, session: PeerSession | undefined): void {
  const routerId = session?.routerId ?? peer.origin.routerId;
  peer.config = config;
  peer.session = session;
  peer.origin = setOrigin(peer.id, config, routerId, session ? session.device : peer.origin.device);
  peer.source = routeOrigin(config, routerId);
  if (session) peer.context = contextIndex(session.context);
}

const kindOf = (config: PeerConfig): 'ebgp' | 'ibgp' => (config.remoteAs === config.localAs ? 'ibgp' : 'ebgp');

function setOrigin(id: PeerId, config: PeerConfig, routerId: number, device: string | undefined): SetOrigin {
  const kind = kindOf(config);
  return {
    id,
    kind,
    weight: config.weight ?? 0,
    routerId,
    device,
    localAs: config.localAs,
    allowAsIn: config.allowAsIn ?? 0,
    honorGracefulShutdown: config.honorGracefulShutdown ?? kind === 'ebgp',
  };
}

function routeOrigin(config: PeerConfig, routerId: number): RouteOrigin {
  return {
    kind: kindOf(config),
    reflectorClient: config.reflectorClient ?? false,
    routerId,
    from: { name: config.name, address: config.address, asn: config.remoteAs },
  };
}

/** What announcements to this peer look like; undefined when it is announced nothing. */
export function exportRules(peer: Peer, family: Family, ownAs: number, clusterId: number): ExportRules | undefined {
  const { config, session } = peer;
  const settings = config.families[family];
  if (!session || !settings) return undefined;
  const kind = kindOf(config);
  if (settings.exportPolicy?.rejectsAll && !settings.defaultOriginate) return undefined;
  // RFC 8212 §3
  const nothing = kind === 'ebgp' && config.requirePolicy && !settings.exportPolicy;
  if (nothing && !settings.defaultOriginate) return undefined;
  return {
    family,
    kind,
    reflectorClient: config.reflectorClient ?? false,
    context: session.context,
    localAs: config.localAs,
    ownAs,
    localAsReplace: config.localAsReplace ?? false,
    clusterId,
    nextHop: settings.nextHop ?? 'auto',
    self: selfNextHop(family, session.localAddress, session.localLinkLocal, session.context),
    sharedSubnet: config.sharedSubnet && {
      address: addressBytes(prefixAddress(config.sharedSubnet)),
      length: prefixLength(config.sharedSubnet),
    },
    removePrivateAs: config.removePrivateAs,
    strip: config.stripCommunities ?? {},
    policy: nothing ? rejectAll : settings.exportPolicy,
    defaultOriginate: settings.defaultOriginate ?? false,
    drain: config.drain ?? false,
  };
}

export const rejectAll = {
  name: 'reject',
  perPrefix: false,
  rejectsAll: true,
  apply: () => ({ accept: false, reason: 'no policy (RFC 8212)' }) as const,
};

/** Reports a limit that is crossed, once until the count falls below it again. */
export function checkLimit(
  peer: Peer,
  family: Family,
  direction: 'in' | 'out',
  count: number,
  limit: MaxPrefix,
  events: RibEvents,
): void {
  for (const level of ['warn', 'exceeded'] as const) {
    const key = `${direction} ${family} ${level}`;
    const over = level === 'warn' ? count * 100 >= limit.limit * limit.warnPercent : count > limit.limit;
    if (!over) peer.limits.delete(key);
    else if (!peer.limits.has(key)) {
      peer.limits.add(key);
      events.maxPrefix(peer.id, family, direction, level, count);
    }
  }
}
