/**
 * What applying a new configuration would do to every neighbour, decided before anything is done: a session that does
 * not need to end stays up, and a change of policy alone is applied to the routes already received.
 */
import { neighborKey } from './types.ts';
import type { BgpConfig, DynamicRange, NeighborConfig, PeerSettings } from './types.ts';

export type NeighborChange =
  | { readonly what: 'added' | 'removed' }
  | { readonly what: 'unchanged' }
  /** The session stays; import or export is run again. `because` names the settings. */
  | { readonly what: 'soft'; readonly because: readonly string[] }
  /** The session ends and comes back: something that OPEN or the connection settled has changed. */
  | { readonly what: 'reset'; readonly because: readonly string[] };

export interface ConfigDiff {
  /** By `neighborKey`, or prefix of a dynamic range. */
  readonly neighbors: ReadonlyMap<string, NeighborChange>;
  readonly dynamic: ReadonlyMap<string, NeighborChange>;
  readonly networks: {
    readonly added: readonly string[];
    readonly removed: readonly string[];
    readonly changed: readonly string[];
  };
  /** Settings of the whole speaker that end every session: router id, AS, cluster id. */
  readonly global: readonly string[];
  /** Listening addresses, control socket, FIB: taken over without touching sessions, or only by a restart. */
  readonly listeners: boolean;
  readonly needsRestart: readonly string[];
}

/** Settings that are not in an OPEN nor on a socket: changing them keeps the session. */
const soft = new Set<string>([
  'description',
  'name',
  'families',
  'allowAsIn',
  'removePrivateAs',
  'weight',
  'stripCommunities',
  'honorGracefulShutdown',
  'enforceFirstAs',
  'drain',
  'limit',
  'passive',
  'reflectorClient',
  'localAsReplace',
  'localAsNoPrepend',
]);
/** Timers that take effect at the next occasion. */
const softTimers = new Set<string>(['connectRetry', 'delayOpen', 'open', 'sendHold', 'idleHold', 'idleHoldMax']);

const same = (a: unknown, b: unknown): boolean => Bun.deepEquals(a, b, true);

/** Policies that are defined differently now: whoever uses one is changed although its own settings are not. */
function changedPolicies(before: BgpConfig, after: BgpConfig): Set<string> {
  const changed = new Set<string>();
  const lists = new Set<string>();
  const byName = <T extends { readonly name: string }>(items: readonly T[]) => new Map(items.map((i) => [i.name, i]));
  const [oldLists, newLists] = [byName(before.prefixLists), byName(after.prefixLists)];
  for (const name of new Set([...oldLists.keys(), ...newLists.keys()])) {
    if (!same(oldLists.get(name), newLists.get(name))) lists.add(name);
  }
  const [oldPolicies, newPolicies] = [byName(before.policies), byName(after.policies)];
  for (const [name, policy] of newPolicies) {
    const uses = policy.terms.some((term) => term.match?.prefixLists?.some((l) => lists.has(l)));
    if (uses || !same(oldPolicies.get(name), policy)) changed.add(name);
  }
  return changed;
}

interface Around {
  /** Policies that mean something else now. */
  readonly policies: ReadonlySet<string>;
  /** Settings of the whole speaker that end every session, or concern the routes of every one. */
  readonly reset: readonly string[];
  readonly soft: readonly string[];
}

function compare(before: PeerSettings, after: PeerSettings, { policies, reset, soft: mildly }: Around): NeighborChange {
  const hard: string[] = [...reset];
  const mild: string[] = [...mildly];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof PeerSettings>;
  for (const key of keys) {
    if (same(before[key], after[key])) continue;
    if (key === 'timers') {
      for (const [name, value] of Object.entries(after.timers)) {
        if (same(before.timers[name as keyof typeof before.timers], value)) continue;
        (softTimers.has(name) ? mild : hard).push(`timers.${name}`);
      }
      if (before.timers.keepalive !== undefined && after.timers.keepalive === undefined) hard.push('timers.keepalive');
    } else if (key === 'families' && !same(Object.keys(before.families), Object.keys(after.families))) {
      hard.push('families');
    } else (soft.has(key) ? mild : hard).push(key);
  }
  for (const family of Object.values(after.families)) {
    for (const name of [family.import, family.export]) {
      if (name !== undefined && policies.has(name)) mild.push(`policy ${name}`);
    }
  }
  if (hard.length > 0) return { what: 'reset', because: hard };
  return mild.length > 0 ? { what: 'soft', because: [...new Set(mild)] } : { what: 'unchanged' };
}

function compareAll<T extends NeighborConfig | DynamicRange>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
  around: Around,
): Map<string, NeighborChange> {
  const old = new Map(before.map((item) => [keyOf(item), item]));
  const changes = new Map<string, NeighborChange>();
  for (const item of after) {
    const was = old.get(keyOf(item));
    old.delete(keyOf(item));
    if (!was) changes.set(keyOf(item), { what: 'added' });
    else changes.set(keyOf(item), compare(was, item, around));
  }
  for (const key of old.keys()) changes.set(key, { what: 'removed' });
  return changes;
}

export function diffConfig(before: BgpConfig, after: BgpConfig): ConfigDiff {
  const global = (['routerId', 'asn', 'clusterId'] as const).filter((key) => before[key] !== after[key]);
  const reset = [...global, ...(same(before.gracefulRestart, after.gracefulRestart) ? [] : ['gracefulRestart'])];
  const around: Around = {
    policies: changedPolicies(before, after),
    reset,
    soft: before.ebgpRequiresPolicy === after.ebgpRequiresPolicy ? [] : ['ebgpRequiresPolicy'],
  };
  const old = new Map(before.networks.map((n) => [n.prefix, n]));
  const now = new Map(after.networks.map((n) => [n.prefix, n]));
  return {
    neighbors: compareAll(before.neighbors, after.neighbors, (n) => neighborKey(n.address, n.device), around),
    dynamic: compareAll(before.dynamic, after.dynamic, (d) => d.range, around),
    networks: {
      added: [...now.keys()].filter((p) => !old.has(p)),
      removed: [...old.keys()].filter((p) => !now.has(p)),
      changed: [...now.keys()].filter((p) => old.has(p) && !same(old.get(p), now.get(p))),
    },
    global,
    listeners: !same(before.listen, after.listen),
    needsRestart: [...global, ...(['control', 'fib', 'decision'] as const).filter((k) => !same(before[k], after[k]))],
  };
}

/** What a start with this configuration would do: the difference to a speaker that has none of it. */
export function startsFrom(config: BgpConfig): ConfigDiff {
  return diffConfig({ ...config, neighbors: [], dynamic: [], networks: [] }, config);
}
