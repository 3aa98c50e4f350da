/** What the block network has to say of this node: why it is not ready, its blocks, its sessions. */
import { printable } from '../../base/mod.ts';
import type { Peer } from '../../bgp/speaker/mod.ts';
import { comparePrefixes } from '../../net/mod.ts';
import type { BgpSessionStatus, BlocksStatus, ProblemStatus, PublishedStatus, TunnelStatus } from '../../status/mod.ts';
import type { NetworkReport } from '../network.ts';
import { routeItems } from '../report.ts';
import type { NodeBgpRunner } from './bgp.ts';
import { BGP } from './fib.ts';
import type { BlockNetwork } from './network.ts';

export function reportOf(network: BlockNetwork): NetworkReport {
  const { knowledge, context } = network;
  const sessions = sessionsOf(network.bgp);
  const tunnels = network.overlay.tunnels.status();
  const { reasons, warnings } = judge(network, sessions, tunnels);
  const problems = [
    ...(network.bgp.plan?.problems ?? []).map((reason): ProblemStatus => ({ object: 'bgp', kind: 'bgp', reason })),
    ...knowledge
      .oddities()
      .map(({ key, reason }): ProblemStatus => ({ object: `key ${key}`, kind: 'unusable', reason })),
  ];
  const { stale, complete, copyOf, revision } = knowledge;
  return {
    ...{ reasons, warnings, problems },
    // a neighbour that is not there keeps what is stale, and is told of as a session
    answersFor: [BGP],
    datastore: {
      state: stale === undefined ? 'in-sync' : copyOf ? 'copy' : complete ? 'stale' : 'connecting',
      ...(copyOf && { copyOf: copyOf.toISOString() }),
      ...(stale === undefined ? {} : { reason: stale }),
      ...(revision === undefined ? {} : { revision }),
    },
    routes: () => routeItems(context.routes, network.bgp.fib.routes),
    sections: () => ({ blocks: blocksStatus(network, sessions, tunnels) }),
    published: () => ({ inUse: network.tunnelEnds(), blocks: publishedBlocks(network, sessions, tunnels) }),
    metrics: () => [
      ['godwit_blocks', 'Blocks of this node.', [{ value: knowledge.blocks().length }]],
      [
        'godwit_bgp_session_up',
        'Whether a session is Established (1) or not (0).',
        sessions.map(({ name, state }) => ({ labels: { session: name }, value: Number(state === 'Established') })),
      ],
      [
        'godwit_bgp_routes',
        'Routes taken from a neighbour, and announced to it.',
        sessions.flatMap(({ name, accepted, advertised }) => [
          { labels: { session: name, direction: 'in' }, value: accepted },
          { labels: { session: name, direction: 'out' }, value: advertised },
        ]),
      ],
    ],
  };
}

function judge(network: BlockNetwork, sessions: readonly BgpSessionStatus[], tunnelStatus: readonly TunnelStatus[]) {
  const { knowledge, nodeResource } = network;
  const { plan, speaker } = network.bgp;
  const { tunnels } = network.overlay;
  const reasons: string[] = [];
  const warnings: string[] = [];
  const { copyOf } = knowledge;
  if (copyOf) reasons.push(`datastore: running from the copy of ${copyOf.toISOString()}: ${knowledge.stale}`);
  else if (!knowledge.complete) reasons.push(`datastore: ${knowledge.stale ?? 'the first list is not complete'}`);
  else if (knowledge.stale !== undefined) warnings.push(`datastore: ${knowledge.stale}; everything stays as it was`);
  if (nodeResource.problem !== undefined)
    (plan ? warnings : reasons).push(`node: ${printable(nodeResource.problem, 500)}`);
  if (speaker.problem !== undefined) reasons.push(`bgp: ${printable(speaker.problem, 500)}`);
  else if (!speaker.speaker) reasons.push('bgp: the speaker is not started yet');
  const faults = sessions.flatMap((session) => faultOf(session, network.settled) ?? []);
  // once this node was ready, a neighbour that goes is the neighbour's trouble: one node less must not take all others
  // with it. A node that most of its neighbours are away from is in trouble itself
  if (network.settled && faults.length * 2 <= sessions.length) warnings.push(...faults);
  else reasons.push(...faults);
  if (network.unconfirmed !== undefined && !reasons.some((reason) => reason.startsWith('session ')))
    reasons.push(`bgp: ${network.unconfirmed}`);
  for (const { device, needed, inPlace, problem } of tunnelStatus) {
    if (!needed) continue;
    if (!inPlace) reasons.push(`tunnel ${device}: ${problem ?? 'not in place yet'}`);
    else if (problem !== undefined) warnings.push(`tunnel ${device}: ${printable(problem, 500)}`);
  }
  for (const range of tunnels.refusedRanges)
    warnings.push(`externalNodesList: ${range} has more than 1,024 addresses, and nobody in it is believed`);
  for (const problem of plan?.problems ?? []) warnings.push(`bgp: ${printable(problem, 500)}`);
  for (const { key, reason } of knowledge.oddities()) warnings.push(`key ${key}: ${reason}`);
  return { reasons, warnings };
}

function faultOf({ name, state, reason, endOfRib, inStep }: BgpSessionStatus, settled: boolean): string | undefined {
  if (state !== 'Established') return `session ${name}: ${state}${reason === undefined ? '' : `, ${reason}`}`;
  if (!endOfRib) return `session ${name}: it has not told everything yet`;
  // later it is always in the middle of being told something
  return settled || inStep ? undefined : `session ${name}: it has not been told everything yet`;
}

function blocksStatus(
  { knowledge, bgp: { node, speaker } }: BlockNetwork,
  sessions: readonly BgpSessionStatus[],
  tunnels: readonly TunnelStatus[],
): BlocksStatus {
  const pools = [...knowledge.resources.list('IPPool')].map(({ name, spec }) => {
    const { ipipMode, vxlanMode } = spec;
    const encapsulation =
      ipipMode !== 'Never' ? `IPIP ${ipipMode}` : vxlanMode !== 'Never' ? `VXLAN ${vxlanMode}` : 'none';
    return { name, cidr: spec.cidr, encapsulation };
  });
  const running = speaker.speaker;
  return {
    pools: pools.sort((a, b) => (a.name < b.name ? -1 : 1)),
    blocks: knowledge.blocks(),
    tunnels,
    ...(node &&
      running && {
        bgp: {
          ...{ as: running.config.asn, routerId: running.config.routerId, port: node.listenPort },
          announced: [...speaker.announcements.keys()].sort(comparePrefixes),
          sessions,
        },
      }),
  };
}

/** The part of the published status: sessions in a few words, and what of others is in this node's kernel. */
function publishedBlocks(
  network: BlockNetwork,
  sessions: readonly BgpSessionStatus[],
  tunnels: readonly TunnelStatus[],
): NonNullable<PublishedStatus['blocks']> {
  const down = sessions.filter(({ state }) => state !== 'Established').map(({ name }) => name);
  return {
    ...{ blocks: network.knowledge.blocks(), tunnels },
    sessions: { wanted: sessions.length, established: sessions.length - down.length, down: down.slice(0, 20) },
    installed: Object.fromEntries(
      [...network.bgp.fib.installed()].map(([hop, prefixes]) => [hop, prefixes.sort(comparePrefixes)]),
    ),
  };
}

function sessionsOf({ plan, speaker }: NodeBgpRunner): BgpSessionStatus[] {
  return [...(plan?.sessions.values() ?? [])].map((session): BgpSessionStatus => {
    const { name, neighbor, remoteAs, family } = session;
    const peer = speaker.speaker?.peers.get(neighbor);
    const live = peer?.session?.active === true ? peer.session : undefined;
    const counters = peer && speaker.speaker?.rib.counters(peer.id, family);
    const reason = live ? undefined : downReason(peer);
    return {
      ...{ name, neighbor, remoteAs, state: peer?.state ?? 'Idle' },
      ...(live && { since: live.since }),
      ...{ accepted: counters?.accepted ?? 0, advertised: counters?.advertised ?? 0 },
      endOfRib: live?.finished.has(family) ?? false,
      inStep: counters?.behind === 0,
      ...(reason !== undefined && { reason }),
    };
  });
}

function downReason(peer: Peer | undefined): string | undefined {
  if (!peer) return undefined;
  return peer.config.enabled ? peer.lastError?.reason : 'its password is not known';
}
