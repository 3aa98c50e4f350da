/** The whole file: its schema, and what only makes sense when all of it is known (names, duplicates, families). */
import { z } from 'zod';
import { err, ok } from '../../../base/mod.ts';
import type { Result } from '../../../base/mod.ts';
import { familyOf, prefixContains, prefixesOverlap } from '../../../net/mod.ts';
import {
  asn,
  choice,
  field,
  flag,
  forms,
  hostAddress,
  integer,
  isMapping,
  list,
  named,
  parseOptions,
  prefix,
  routerId,
  seconds,
  section,
  string,
} from './fields.ts';
import { dynamicSchema, groupSchema, mergeGroup, neighborSchema, settle } from './neighbors.ts';
import type { RawGroup } from './neighbors.ts';
import { compilePolicy, hasWildcard, parseCommunity } from '../../policy/mod.ts';
import { describePolicies, policiesSchema, prefixListsSchema } from './policies.ts';
import { parseListen } from './listen.ts';
import { neighborKey } from '../types.ts';
import type { BgpConfig, DecisionConfig, DynamicRange, FibConfig, NeighborConfig, NetworkConfig } from '../types.ts';

/** Where something is wrong, what is there, and what may be there. */
export interface ConfigProblem {
  /** Keys and indexes from the top of the file. */
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

const listen = field('an address, as 10.0.0.1, 10.0.0.1:1179, "::" or "[fc00::1]:1179"', (value) => parseListen(value));

const restart = forms((value) =>
  isMapping(value)
    ? section({
        mode: choice('on', 'helper', 'off').default('on'),
        restartTime: integer(1, 4095, 'seconds').default(120),
        deferral: seconds(1, 3600).default(120),
        notifications: flag.default(true),
      })
    : (typeof value === 'boolean'
        ? flag.transform((on) => (on ? ('on' as const) : ('off' as const)))
        : choice('on', 'helper', 'off')
      ).transform((mode) => ({ mode, restartTime: 120, deferral: 120, notifications: true })),
);

const community = field('a community, as 65000:100, 65000:1:2, rt:65000:1 or no-export', (value) => {
  const parsed = typeof value === 'string' ? parseCommunity(value) : undefined;
  return parsed?.ok && !hasWildcard(parsed.value) ? String(value) : undefined;
});

const network = forms((value) =>
  isMapping(value)
    ? section({
        prefix,
        nextHop: hostAddress.optional(),
        med: integer(0, 0xffffffff).optional(),
        localPref: integer(0, 0xffffffff).optional(),
        communities: list(community, 'communities').default([]),
        prepend: list(asn, 'AS numbers').default([]),
      })
    : prefix.transform((p) => ({ prefix: p, communities: [], prepend: [] })),
);

const paths = integer(1, 256, 'paths');
const multipath = forms((value) =>
  isMapping(value)
    ? section({ ebgp: paths.default(1), ibgp: paths.default(1), relax: flag.default(false) })
    : paths.transform((n) => ({ ebgp: n, ibgp: n, relax: false })),
);

/** RTPROT_BGP: how `ip route` names the routes of BGP speakers. */
const BGP_PROTOCOL = 186;

const fib = forms((value): z.ZodType<FibConfig> =>
  isMapping(value)
    ? section({
        kernel: section({ protocol: integer(3, 255).default(BGP_PROTOCOL) }),
      }).transform(({ kernel }) => ({ type: 'kernel', ...kernel }))
    : choice('none', 'kernel').transform((name) =>
        name === 'none' ? { type: 'none' } : { type: 'kernel', protocol: BGP_PROTOCOL },
      ),
);

const schema = section({
  routerId,
  as: asn,
  clusterId: routerId.optional(),
  listen: list(listen, 'addresses').optional(),
  port: integer(1, 65535).default(179),
  control: forms((value) => (value === false ? flag : string(107))).optional(),
  ebgpRequiresPolicy: flag.default(true),
  gracefulRestart: restart.optional(),
  multipath: multipath.optional(),
  decision: section({
    alwaysCompareMed: flag.default(false),
    missingMedWorst: flag.default(false),
    preferOlder: flag.default(true),
  }).optional(),
  networks: list(network, 'prefixes').default([]),
  prefixLists: prefixListsSchema.default({}),
  policies: policiesSchema.default({}),
  groups: named(groupSchema, 'groups').default({}),
  neighbors: list(neighborSchema, 'neighbours').default([]),
  dynamic: list(dynamicSchema, 'dynamic ranges').default([]),
  fib: fib.default({ type: 'none' }),
});

type Raw = z.output<typeof schema>;

/** One announced prefix, as in `networks`: for what comes over the control socket. */
export function parseNetwork(value: unknown): Result<NetworkConfig, string> {
  const parsed = network.safeParse(value, parseOptions);
  if (parsed.success) return ok(parsed.data as NetworkConfig);
  return err(parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; '));
}

export const DEFAULT_CONTROL = '/run/godwit/bgp.sock';

/** Checks a parsed document. `readPassword` gives the content of a password file, or undefined when it cannot be read. */
export function configFrom(
  document: unknown,
  readPassword: (path: string) => string | undefined,
): { readonly config?: BgpConfig; readonly problems: readonly ConfigProblem[] } {
  const parsed = schema.safeParse(document ?? {}, parseOptions);
  if (!parsed.success) {
    return { problems: parsed.error.issues.map((i) => ({ path: i.path, message: i.message })) };
  }
  const builder = new Builder(parsed.data, readPassword);
  const config = builder.build();
  return builder.problems.length > 0 ? { problems: builder.problems } : { config, problems: [] };
}

class Builder {
  readonly problems: ConfigProblem[] = [];
  private readonly raw: Raw;
  private readonly readPassword: (path: string) => string | undefined;

  constructor(raw: Raw, readPassword: (path: string) => string | undefined) {
    this.raw = raw;
    this.readPassword = readPassword;
  }

  build(): BgpConfig {
    const { raw } = this;
    const restartConfig = raw.gracefulRestart ?? {
      mode: 'on' as const,
      restartTime: 120,
      deferral: 120,
      notifications: true,
    };
    const described = describePolicies(raw.policies, raw.prefixLists);
    this.checkPolicyReferences(new Set(described.prefixLists.map((l) => l.name)));
    for (const policy of described.policies) {
      const compiled = this.problems.length === 0 && compilePolicy(policy, described.prefixLists);
      if (compiled && !compiled.ok) this.fault(['policies', policy.name], compiled.error);
    }
    const policyNames = new Set(described.policies.map((p) => p.name));
    const globals = { asn: raw.as, gracefulRestart: restartConfig.mode };
    const keys = new Map<string, number>();
    const names = new Map<string, string>();

    const neighbors = raw.neighbors.map((n, index): NeighborConfig => {
      const at = ['neighbors', index];
      const { address: scoped, name: given, group, ...rest } = n;
      const { address: peer } = scoped;
      const own = scoped.device === undefined ? rest : { ...rest, device: scoped.device };
      const merged = this.resolve(own, group, at, policyNames);
      const key = neighborKey(peer, merged.device);
      const name = given ?? key;
      if (rest.device !== undefined && rest.device !== own.device) {
        this.fault([...at, 'device'], `is not the ${own.device} of its address`);
      }
      const earlier = keys.get(key);
      if (earlier !== undefined) this.fault([...at, 'address'], `is already neighbors[${earlier}]`);
      keys.set(key, index);
      this.uniqueName(names, name, at);
      if (merged.as === undefined) this.fault(at, 'has no setting "as"; allowed: an AS number, internal, external');
      const settings = settle(merged, familyOf(peer), globals);
      this.checkPeer(settings, merged, at);
      return {
        ...settings,
        address: peer,
        name,
        port: merged.port ?? 179,
        passive: merged.passive ?? false,
        enabled: merged.enabled ?? true,
      };
    });

    const dynamic = raw.dynamic.map((d, index): DynamicRange => {
      const at = ['dynamic', index];
      const { range, name = range, group, limit, ...own } = d;
      const merged = this.resolve(own, group, at, policyNames);
      const overlap = raw.dynamic.slice(0, index).findIndex((other) => prefixesOverlap(other.range, range));
      if (overlap >= 0) this.fault([...at, 'range'], `overlaps with dynamic[${overlap}]`);
      this.uniqueName(names, name, at);
      if (merged.as === undefined) {
        this.fault(at, 'has no setting "as"; allowed: an AS number, a list of them, internal, external, any');
      }
      const settings = settle(merged, familyOf(range), globals);
      this.checkPeer(settings, merged, at);
      return { ...settings, range, name, limit };
    });

    for (const [index, n] of neighbors.entries()) {
      const range = dynamic.find((d) => d.password !== undefined && prefixContains(d.range, n.address));
      if (range === undefined || n.password !== undefined) continue;
      // the kernel asks everybody in the range for a signature, and has no way to leave one out
      const note = `is in the range ${range.range}, which has a password: this neighbour needs one too`;
      this.fault(['neighbors', index, 'address'], note);
    }

    this.checkPasswords(neighbors);
    const control = raw.control === false || raw.control === true ? undefined : (raw.control ?? DEFAULT_CONTROL);
    return {
      routerId: raw.routerId,
      asn: raw.as,
      clusterId: raw.clusterId ?? raw.routerId,
      listen: (raw.listen ?? [parseListen('0.0.0.0')!, parseListen('::')!]).map((l) => ({
        address: l.address,
        port: l.port ?? raw.port,
      })),
      ebgpRequiresPolicy: raw.ebgpRequiresPolicy,
      gracefulRestart: restartConfig,
      decision: this.decision(),
      networks: raw.networks as NetworkConfig[],
      prefixLists: described.prefixLists,
      policies: described.policies,
      neighbors,
      dynamic,
      fib: raw.fib,
      ...(control !== undefined && { control }),
    };
  }

  private fault(path: readonly PropertyKey[], message: string): void {
    this.problems.push({ path, message });
  }

  private uniqueName(names: Map<string, string>, name: string, at: readonly PropertyKey[]): void {
    const earlier = names.get(name);
    if (earlier) this.fault([...at, 'name'], `${JSON.stringify(name)} is the name of ${earlier} already`);
    names.set(name, `${String(at[0])}[${String(at[1])}]`);
  }

  /** Applies the group, reads the password file, and checks what the settings name. */
  private resolve(
    own: RawGroup,
    group: string | undefined,
    at: readonly PropertyKey[],
    policies: Set<string>,
  ): RawGroup {
    const found = group === undefined ? undefined : this.raw.groups[group];
    if (group !== undefined && !found) {
      const known = Object.keys(this.raw.groups).join(', ') || 'none is defined';
      this.fault([...at, 'group'], `there is no group ${JSON.stringify(group)}; allowed: ${known}`);
    }
    const merged = mergeGroup(found, own);
    const check = (name: string | undefined, path: readonly PropertyKey[]) => {
      if (name === undefined || policies.has(name)) return;
      this.fault(path, `there is no policy ${JSON.stringify(name)}; allowed: ${[...policies].join(', ')}`);
    };
    for (const direction of ['import', 'export'] as const) {
      check(merged[direction], [...at, direction]);
      for (const family of ['ipv4', 'ipv6'] as const) {
        check(merged.families?.[family]?.[direction], [...at, 'families', family, direction]);
      }
    }
    if (merged.passwordFile === undefined) return merged;
    if (own.password !== undefined && own.passwordFile !== undefined) {
      this.fault([...at, 'passwordFile'], 'stands beside "password"; give one of them');
    }
    const secret = this.readPassword(merged.passwordFile)?.replace(/\r?\n$/, '');
    if (secret === undefined || secret === '' || Buffer.byteLength(secret) > 80) {
      this.fault([...at, 'passwordFile'], 'cannot be read, or does not hold 1 to 80 bytes');
      return merged;
    }
    return { ...merged, password: secret };
  }

  private checkPeer(
    settings: Omit<DynamicRange, 'range' | 'name' | 'limit'>,
    raw: RawGroup,
    at: readonly PropertyKey[],
  ): void {
    const internal = settings.remoteAs === 'internal' || settings.remoteAs === settings.localAs;
    if (settings.reflectorClient && settings.remoteAs === 'external') {
      this.fault([...at, 'routeReflectorClient'], 'only an internal neighbour can be a client (RFC 4456)');
    }
    if (internal && settings.removePrivateAs) this.fault([...at, 'removePrivateAs'], 'is for external neighbours');
    if (Object.keys(settings.families).length === 0) this.fault([...at, 'families'], 'allowed: at least one family');
    if (settings.ttlSecurity > 0 && raw.multihop !== undefined) {
      this.fault([...at, 'multihop'], 'stands beside "ttlSecurity", which sets how far the neighbour may be');
    }
    const { hold, keepalive } = settings.timers;
    if (keepalive !== undefined && hold > 0 && keepalive > hold / 3) {
      this.fault([...at, 'timers', 'keepalive'], `allowed: at most a third of the hold time, ${hold / 3} seconds`);
    }
  }

  /** The kernel has one key an address, whatever the device. */
  private checkPasswords(neighbors: readonly NeighborConfig[]): void {
    const first = new Map<string, NeighborConfig>();
    for (const [index, n] of neighbors.entries()) {
      const other = first.get(n.address);
      if (!other) first.set(n.address, n);
      else if (other.password !== n.password) {
        this.fault(['neighbors', index, 'password'], `has to be that of ${other.name}, which has the same address`);
      }
    }
  }

  private checkPolicyReferences(lists: Set<string>): void {
    for (const [name, policy] of Object.entries(this.raw.policies)) {
      for (const [index, term] of policy.terms.entries()) {
        for (const list of term.match?.prefixLists ?? []) {
          if (lists.has(list)) continue;
          this.fault(
            ['policies', name, index, 'match', 'prefixLists'],
            `there is no prefix list ${JSON.stringify(list)}`,
          );
        }
      }
    }
  }

  private decision(): DecisionConfig {
    const { decision, multipath: multi } = this.raw;
    return {
      alwaysCompareMed: decision?.alwaysCompareMed ?? false,
      missingMedWorst: decision?.missingMedWorst ?? false,
      preferOlder: decision?.preferOlder ?? true,
      multipathEbgp: multi?.ebgp ?? 1,
      multipathIbgp: multi?.ibgp ?? 1,
      multipathRelax: multi?.relax ?? false,
    };
  }
}
