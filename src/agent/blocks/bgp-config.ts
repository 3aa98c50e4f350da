/**
 * The sessions that the resources ask for, as the configuration of the embedded speaker. Pure. What leaves the node is
 * decided here: what lies in the pools and in the ranges of services, unless a filter says otherwise. A gateway is a way out
 * and no part of the cluster: it is told what is this node's, and of what it tells only the pools' routes are taken, unless
 * a filter says otherwise. No neighbour outside the cluster may tell this node where its own blocks are.
 */
import type { BgpConfig, FamilySettings, NeighborConfig, TimerConfig } from '../../bgp/config/mod.ts';
import type { PolicyDescription, PolicyTerm, PrefixList } from '../../bgp/policy/mod.ts';
import type { BgpSession, NodeBgp, SecretReference } from '../../calc/mod.ts';
import { addressBits, familyOf, prefixLength } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { ruleTerms } from './rules.ts';

/** Calico's, where nobody says otherwise; seconds. */
const RESTART_TIME = 120;
/** Neighbours that never come back must not hold up what is new for longer than this, seconds. */
const DEFERRAL = 60;
const TIMERS: TimerConfig = {
  ...{ hold: 90, connectRetry: 5, delayOpen: 0, open: 60, sendHold: 'auto', idleHold: 1, idleHoldMax: 20 },
};
/** As many equal paths as the kernel is given for one destination. */
const MULTIPATH = 16;

export interface BgpConfigInputs {
  readonly node: NodeBgp;
  /** For a node that has no IPv4 address. */
  readonly routerId: IpAddress;
  /** This node's own. */
  readonly blocks: readonly Prefix[];
  /** The password itself; undefined when it is nowhere to be found. */
  readonly secret: (reference: SecretReference) => string | undefined;
}

export interface SpeakerPlan {
  readonly config: BgpConfig;
  /** The session of each neighbour. */
  readonly sessions: ReadonlyMap<IpAddress, BgpSession>;
  /** What cannot be done as it is asked for. */
  readonly problems: readonly string[];
  /** Whether policies know this node's blocks: only then is another block another plan. */
  readonly guarding: boolean;
}

export function speakerPlan(inputs: BgpConfigInputs): SpeakerPlan {
  const { node, secret } = inputs;
  const problems: string[] = [];
  const policies = new PolicyWriter(node, inputs.blocks);
  const sessions = new Map<IpAddress, BgpSession>();
  const neighbors: NeighborConfig[] = [];
  for (const session of node.sessions) {
    const holder = sessions.get(session.neighbor);
    if (holder) {
      problems.push(`session ${session.name}: ${holder.name} is with the same address already`);
      continue;
    }
    sessions.set(session.neighbor, session);
    const password = session.password && secret(session.password);
    if (session.password && password === undefined) {
      const { name, key } = session.password;
      problems.push(`session ${session.name}: there is no secret ${name}/${key}; it stays down until there is`);
    }
    neighbors.push(neighborOf(session, node, policies, password));
  }
  const routerId = node.routerId ?? inputs.routerId;
  const families = new Set<Family>([4, ...node.sessions.map(({ family }) => family)]);
  const anywhere = [...families].map((family) => (family === 4 ? '0.0.0.0' : '::') as IpAddress);
  const addresses = node.listenAddresses.length > 0 ? node.listenAddresses : anywhere;
  return {
    sessions,
    problems,
    guarding: policies.guarding,
    config: {
      ...{ routerId, asn: node.as, clusterId: clusterIdOf(node) ?? routerId },
      listen: addresses.map((address) => ({ address, port: node.listenPort })),
      ebgpRequiresPolicy: false,
      gracefulRestart: {
        ...{ mode: 'on', restartTime: RESTART_TIME, deferral: DEFERRAL, notifications: true },
      },
      decision: {
        ...{ alwaysCompareMed: false, missingMedWorst: false, preferOlder: true },
        ...{ multipathEbgp: MULTIPATH, multipathIbgp: MULTIPATH, multipathRelax: false },
      },
      networks: [],
      prefixLists: policies.lists,
      policies: policies.policies,
      ...{ neighbors, dynamic: [], fib: { type: 'none' } },
    },
  };
}

const clusterIdOf = (node: NodeBgp): IpAddress | undefined =>
  node.sessions.find(({ clusterId }) => clusterId !== undefined)?.clusterId;

function neighborOf(
  session: BgpSession,
  node: NodeBgp,
  policies: PolicyWriter,
  password: string | undefined,
): NeighborConfig {
  const localAs = session.localAs ?? node.as;
  const external = session.remoteAs !== localAs;
  const nextHop = ({ auto: 'auto', self: 'self', keep: 'unchanged' } as const)[session.nextHop];
  const settings: FamilySettings = {
    ...{ import: policies.importOf(session, external), export: policies.exportOf(session, external) },
    ...{ nextHop, defaultOriginate: false },
  };
  const keepalive = session.keepaliveTime;
  return {
    ...{ address: session.neighbor, name: session.name, port: session.port, passive: session.passive },
    enabled: session.password === undefined || password !== undefined,
    ...{ remoteAs: session.remoteAs, localAs, localAsReplace: session.localAs !== undefined, localAsNoPrepend: true },
    ...(password !== undefined && { password }),
    ttlSecurity: session.ttlSecurityHops ?? 0,
    // as Calico: a peer may be anywhere
    multihop: 255,
    ...(session.sourceAddress !== undefined && { source: session.sourceAddress }),
    timers:
      keepalive === undefined || keepalive === 0
        ? TIMERS
        : { ...TIMERS, keepalive, hold: Math.max(TIMERS.hold, 3 * keepalive) },
    families: { [session.family]: settings },
    ...{ allowAsIn: session.allowedLocalAs, reflectorClient: session.reflectorClient, weight: 0 },
    ...{ stripCommunities: [], gracefulRestart: 'on', extendedMessages: true, extendedNextHop: false },
    ...(session.restartTime !== undefined && { restartTime: session.restartTime }),
    ...{ honorGracefulShutdown: true, drain: false },
  };
}

/** The policies of the sessions; sessions with the same rules share theirs, and with it the work of exporting. */
class PolicyWriter {
  readonly policies: PolicyDescription[] = [
    { name: 'accept', terms: [], default: 'accept' },
    { name: 'reject', terms: [], default: 'reject' },
  ];
  readonly lists: PrefixList[] = [];
  /** Whether a policy asked for the terms about this node's blocks. */
  guarding = false;
  private readonly ending: readonly PolicyTerm[];
  private readonly blocks: readonly Prefix[];
  private own: readonly PolicyTerm[] | undefined;
  private readonly reflects: boolean;
  private readonly marks: readonly PolicyTerm[];

  constructor(node: NodeBgp, blocks: readonly Prefix[]) {
    this.blocks = blocks;
    this.reflects = clusterIdOf(node) !== undefined;
    const kept = node.pools.filter((pool) => !pool.export).map(({ cidr }) => cidr);
    const told = node.pools.filter((pool) => pool.export).map(({ cidr }) => cidr);
    this.marks = node.advertisements.map(({ cidr, communities }, i) => ({
      name: `communities of ${cidr}`,
      match: { prefixLists: [this.within(`communities ${i + 1}`, [cidr])] },
      set: { addCommunities: communities },
      // oxlint-disable-next-line unicorn/no-thenable -- the word for a term's verdict; never awaited
      then: 'continue',
    }));
    // each prefix on its own: a pool may lie within another one
    this.ending = [
      ...this.term('pools that stay', kept, 'reject'),
      ...this.term('pools', told, 'accept'),
      ...this.term('services', node.serviceRanges, 'accept'),
    ];
  }

  importOf(session: BgpSession, external: boolean): string {
    const guarded = external || session.toGateway ? this.ownBlocks() : [];
    if (session.importRules.length === 0 && guarded.length === 0 && !session.toGateway) return 'accept';
    const name = this.name('import', session, external);
    if (this.has(name)) return name;
    const { terms, lists } = ruleTerms(name, session.importRules, session.family, external);
    const all = [...guarded, ...terms, ...(session.toGateway ? this.ending : [])];
    this.add({ name, terms: all, default: session.toGateway ? 'reject' : 'accept' }, lists);
    return name;
  }

  exportOf(session: BgpSession, external: boolean): string {
    // a reflector tells its gateway what its clients told it; any other node would be a way through
    const ownOnly = session.toGateway && !this.reflects;
    const plain = session.exportRules.length === 0 && !ownOnly;
    const name = plain ? 'export' : this.name('export', session, external);
    if (this.has(name)) return name;
    const { terms, lists } = ruleTerms(name, session.exportRules, session.family, external);
    // oxlint-disable-next-line unicorn/no-thenable -- the word for a term's verdict; never awaited
    const others: PolicyTerm = { name: 'of others', match: { source: ['ebgp', 'ibgp'] }, then: 'reject' };
    const all = [...this.marks, ...terms, ...(ownOnly ? [others] : []), ...this.ending];
    this.add({ name, terms: all, default: 'reject' }, lists);
    return name;
  }

  /**
   * A gateway that gives back what this node or an announcer told it, or makes something of it: nothing of the blocks
   * themselves, and no part of them but single addresses, which other nodes may have borrowed.
   */
  private ownBlocks(): readonly PolicyTerm[] {
    this.guarding = true;
    return (this.own ??= this.guard());
  }

  private guard(): PolicyTerm[] {
    const rules = this.blocks.flatMap((prefix) => {
      const [length, bits] = [prefixLength(prefix), addressBits(familyOf(prefix))];
      return length < bits ? [{ prefix, permit: true, ge: length, le: bits - 1 }] : [];
    });
    if (rules.length === 0) return [];
    this.lists.push({ name: 'own blocks', rules });
    // oxlint-disable-next-line unicorn/no-thenable -- the word for a term's verdict; never awaited
    return [{ name: 'own blocks', match: { prefixLists: ['own blocks'] }, then: 'reject' }];
  }

  private name(direction: 'import' | 'export', session: BgpSession, external: boolean): string {
    const kind = `${session.toGateway ? 'gateway ' : ''}${external ? 'eBGP' : 'iBGP'}`;
    return `${direction} IPv${session.family} ${kind} ${session.filters.join(' ')}`;
  }

  private has(name: string): boolean {
    return this.policies.some((policy) => policy.name === name);
  }

  private add(policy: PolicyDescription, lists: readonly PrefixList[]): void {
    this.policies.push(policy);
    this.lists.push(...lists);
  }

  private within(name: string, prefixes: readonly Prefix[]): string {
    const rules = prefixes.map((prefix) => ({ prefix, permit: true, le: addressBits(familyOf(prefix)) }));
    this.lists.push({ name, rules });
    return name;
  }

  private term(name: string, prefixes: readonly Prefix[], then: 'accept' | 'reject'): PolicyTerm[] {
    // oxlint-disable-next-line unicorn/no-thenable -- the word for a term's verdict; never awaited
    return prefixes.length === 0 ? [] : [{ name, match: { prefixLists: [this.within(name, prefixes)] }, then }];
  }
}
