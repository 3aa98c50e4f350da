/** A neighbour as the RIB wants it: names of policies become policies. */
import { GodwitError } from '../../base/mod.ts';
import { compilePolicy } from '../policy/mod.ts';
import type { DevicesOf } from '../policy/mod.ts';
import type { BgpConfig, FamilySettings, NeighborConfig, PrefixLimit } from '../config/mod.ts';
import type { PeerConfig, PeerFamilyConfig, RoutePolicy } from '../rib/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';

/** What the peer turned out to be, once its OPEN came. */
export interface PeerFacts {
  readonly asn?: number;
  readonly sharedSubnet?: Prefix;
}

/**
 * The policies of one configuration. Every name gives one object: the RIB shares work between neighbours whose policies
 * are the same object. One that means the same as in `before` is the same object too, so that a reload runs and sends
 * only what changed.
 */
export class PolicyBook {
  private readonly policies: ReadonlyMap<string, RoutePolicy>;
  /** All that a policy was made of, by its name. */
  private readonly sources = new Map<string, string>();
  private readonly requirePolicy: boolean;

  /** Throws GodwitError when a policy does not compile, which `loadConfig` has found out before. */
  constructor(config: BgpConfig, before?: PolicyBook, devicesOf?: DevicesOf) {
    const policies = new Map<string, RoutePolicy>();
    for (const description of config.policies) {
      const { name } = description;
      const used = new Set(description.terms.flatMap((term) => term.match?.prefixLists ?? []));
      const source = JSON.stringify([description, config.prefixLists.filter((list) => used.has(list.name))]);
      this.sources.set(name, source);
      const known = before?.sources.get(name) === source ? before.policies.get(name) : undefined;
      if (known) {
        policies.set(name, known);
        continue;
      }
      const compiled = compilePolicy(description, config.prefixLists, devicesOf);
      if (!compiled.ok) throw new GodwitError('config', compiled.error);
      policies.set(name, compiled.value);
    }
    this.policies = policies;
    this.requirePolicy = config.ebgpRequiresPolicy;
  }

  peerConfig(neighbor: NeighborConfig, facts: PeerFacts = {}): PeerConfig {
    const remoteAs = facts.asn ?? (typeof neighbor.remoteAs === 'number' ? neighbor.remoteAs : 0);
    const external = neighbor.remoteAs !== 'internal' && remoteAs !== neighbor.localAs;
    const families: { [F in Family]?: PeerFamilyConfig } = {};
    for (const family of [4, 6] as const) {
      const settings = neighbor.families[family];
      if (settings) families[family] = this.familyConfig(settings);
    }
    const strip = new Set(neighbor.stripCommunities);
    return {
      name: neighbor.name,
      address: neighbor.address,
      remoteAs: external ? remoteAs : neighbor.localAs,
      localAs: neighbor.localAs,
      localAsReplace: neighbor.localAsReplace,
      localAsNoPrepend: neighbor.localAsNoPrepend,
      reflectorClient: neighbor.reflectorClient && !external,
      allowAsIn: neighbor.allowAsIn,
      requirePolicy: this.requirePolicy,
      weight: neighbor.weight,
      honorGracefulShutdown: neighbor.honorGracefulShutdown && external,
      enforceFirstAs: external && neighbor.enforceFirstAs !== false,
      drain: neighbor.drain,
      families,
      ...(neighbor.removePrivateAs !== undefined && { removePrivateAs: neighbor.removePrivateAs }),
      ...(facts.sharedSubnet !== undefined && { sharedSubnet: facts.sharedSubnet }),
      ...(strip.size > 0 && {
        stripCommunities: {
          standard: strip.has('standard'),
          extended: strip.has('extended'),
          large: strip.has('large'),
        },
      }),
    };
  }

  private familyConfig(settings: FamilySettings): PeerFamilyConfig {
    const importPolicy = this.find(settings.import);
    const exportPolicy = this.find(settings.export);
    const limit = (l: PrefixLimit) => ({ limit: l.limit, warnPercent: l.warnPercent });
    return {
      nextHop: settings.nextHop,
      defaultOriginate: settings.defaultOriginate,
      ...(importPolicy && { importPolicy }),
      ...(exportPolicy && { exportPolicy }),
      ...(settings.maxPrefix && { maxPrefixIn: limit(settings.maxPrefix) }),
      ...(settings.maxPrefixOut && { maxPrefixOut: limit(settings.maxPrefixOut) }),
    };
  }

  private find(name: string | undefined): RoutePolicy | undefined {
    return name === undefined ? undefined : this.policies.get(name);
  }
}
