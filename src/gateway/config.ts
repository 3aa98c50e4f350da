/**
 * The announcer's configuration: where ownership is read, what may be announced of it, the gateways, and under `bgp` the
 * speaker's own settings. What `gateways` has no words for can be said under `bgp` with neighbours and policies.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { err, GodwitError, messageOf, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { hasWildcard, isHostAddress, parseCommunity, parseConfig, section } from '../bgp/mod.ts';
import type { BgpConfig, FamilySettings, PeerSettings } from '../bgp/mod.ts';
import { addressBytes, familyOf, parseAddress, parsePrefix } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { AggregateRule } from './aggregate.ts';
import { treatments } from './announce.ts';
import type { AnnounceOptions } from './announce.ts';
import { gatewaySchema, writeGateways } from './gateways.ts';
import type { GuardOptions } from './guard.ts';

export type OwnershipSource =
  | { readonly type: 'flannel'; readonly etcdPrefix: string }
  | { readonly type: 'calico' }
  /** Without a file: the service account of the pod that the announcer runs in. */
  | { readonly type: 'kubernetes'; readonly kubeconfig: string | undefined };

export interface GatewayConfig {
  readonly source: OwnershipSource;
  readonly announce: AnnounceOptions;
  readonly guard: GuardOptions;
  readonly bgp: BgpConfig;
  /** What was announced last, kept over a restart so that the guard knows what a first list must not lose. */
  readonly stateFile: string | undefined;
}

function parsed<T>(parseText: (text: string) => T | undefined, what: string) {
  return z.string().transform((text, context): T => {
    const value = parseText(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is no ${what}` });
    return z.NEVER;
  });
}
const prefixes: z.ZodType<readonly Prefix[]> = z.array(parsed(parsePrefix, 'prefix with all host bits zero'));
const hostAddress = (text: string): IpAddress | undefined => {
  const address = parseAddress(text);
  return address !== undefined && isHostAddress(addressBytes(address)) ? address : undefined;
};
const address = parsed(hostAddress, 'address of a host');
/** One, or one of each family. */
const HOPS = 'allowed: the address of a host, or one of each family';
const nextHops = z.union(
  [
    address.transform((one): readonly IpAddress[] => [one]),
    z
      .array(address)
      .min(1)
      .refine((list) => new Set(list.map(familyOf)).size === list.length, HOPS),
  ],
  { error: () => HOPS },
);
const isCommunity = (text: string): string | undefined => {
  const community = parseCommunity(text);
  return community.ok && !hasWildcard(community.value) ? text : undefined;
};
const communities = z
  .array(parsed(isCommunity, 'community: 65000:100, 65000:1:2, rt:65000:1 or no-export are'))
  .optional();
const names = z.array(z.string().min(1).max(253)).default([]);
const treatment = (usual: (typeof treatments)[number]) => z.enum(treatments).default(usual);

const aggregate = z.discriminatedUnion('to', [
  z.strictObject({ to: z.literal('pool'), nextHop: nextHops }).transform(({ nextHop }) => ({
    ...{ to: 'pool' as const, nextHops: nextHop },
  })),
  z
    .strictObject({ to: z.literal('rack'), label: z.string().min(1), nextHop: z.record(z.string(), nextHops) })
    .transform(({ label, nextHop }) => ({
      ...{ to: 'rack' as const, label, nextHops: new Map(Object.entries(nextHop)) },
    })),
]) satisfies z.ZodType<AggregateRule>;

const absolute = z.string().startsWith('/', 'must be an absolute path');
const DEFAULT_PREFIX = '/coreos.com/network';
const sourceSchema = z.union(
  [
    z.literal('flannel').transform((type): OwnershipSource => ({ type, etcdPrefix: DEFAULT_PREFIX })),
    z.literal('calico').transform((type): OwnershipSource => ({ type })),
    z.literal('kubernetes').transform((type): OwnershipSource => ({ type, kubeconfig: undefined })),
    z
      .strictObject({ flannel: z.strictObject({ etcdPrefix: absolute }) })
      .transform(({ flannel }): OwnershipSource => ({ type: 'flannel', ...flannel })),
    z
      .strictObject({ kubernetes: z.strictObject({ kubeconfig: z.string() }) })
      .transform(({ kubernetes }): OwnershipSource => ({ type: 'kubernetes', ...kubernetes })),
  ],
  {
    error: () =>
      'allowed: flannel, calico, kubernetes, { flannel: { etcdPrefix: /PATH } } or { kubernetes: { kubeconfig: FILE } }',
  },
);

const schema = section({
  source: sourceSchema.default({ type: 'flannel', etcdPrefix: DEFAULT_PREFIX }),
  announce: section({
    within: prefixes.refine((list) => list.length > 0, 'must name at least one prefix'),
    exclude: names,
    drain: names,
    notReady: treatment('announce'),
    withoutStatus: treatment('announce'),
    cordoned: treatment('announce'),
    communities: communities.transform((list) => list ?? []),
    med: z.int().min(0).max(0xffffffff).optional(),
    aggregate: z.array(aggregate).max(1, 'one rule at most').default([]),
  }),
  guard: section({
    minimumReady: z.int().min(0).default(1),
    maxWithdrawPercent: z.number().min(0).max(100).default(30),
    alwaysWithdraw: z.int().min(0).default(2),
    window: z.number().min(0).max(86_400).default(60),
  }).prefault({}),
  stateFile: absolute.optional(),
  gateways: z.array(gatewaySchema(prefixes, communities)).default([]),
  bgp: z.looseObject(
    { policies: z.looseObject({}).optional(), neighbors: z.array(z.unknown()).optional() },
    {
      error: () => 'allowed: a mapping of the speaker’s settings, as `godwit bgp` has them (as, routerId, neighbors …)',
    },
  ),
});

/** Every problem as one line: setting, and what is wrong with it. */
export function parseGatewayConfig(
  text: string,
  readPassword: (path: string) => string | undefined = () => undefined,
): Result<GatewayConfig, readonly string[]> {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    return err([messageOf(error).split('\n')[0]!]);
  }
  const read = schema.safeParse(document ?? {});
  if (!read.success)
    return err(read.error.issues.map((issue) => `${issue.path.join('.') || 'file'}: ${issue.message}`));
  const { source, guard, gateways, stateFile } = read.data;
  const announce: AnnounceOptions = {
    ...read.data.announce,
    exclude: new Set(read.data.announce.exclude),
    drain: new Set(read.data.announce.drain),
    med: read.data.announce.med,
  };
  const written = writeGateways(gateways, announce);
  const { policies = {}, neighbors = [], ...own } = read.data.bgp;
  const bgpDocument = {
    ...own,
    policies: { ...policies, ...written.policies },
    neighbors: [...written.neighbors, ...neighbors],
  };
  const bgp = parseConfig(stringify(bgpDocument), readPassword);
  if (!bgp.ok) return err(bgp.error.map((line) => inTheirWords(line.replace(/^\d+: /, ''), gateways.length)));
  if (bgp.value.fib.type !== 'none') return err(['bgp.fib: an announcer writes no routes; leave it out']);
  const { window, ...limits } = guard;
  return ok({
    source,
    announce,
    guard: { ...limits, windowMs: window * 1000 },
    stateFile,
    bgp: deaf(bgp.value),
  });
}

/** Neighbours that were written as gateways are called so. */
function inTheirWords(line: string, gateways: number): string {
  return line.replace(/^neighbors\[(\d+)\]/, (_, index: string) =>
    Number(index) < gateways ? `gateways[${index}]` : `bgp.neighbors[${Number(index) - gateways}]`,
  );
}

/** Nothing is taken in from a neighbour that no import policy was given for, internal ones included. */
function deaf(config: BgpConfig): BgpConfig {
  const quiet = <P extends PeerSettings>(peer: P): P => ({
    ...peer,
    families: Object.fromEntries(
      Object.entries(peer.families).map(([family, settings]: [string, FamilySettings]) => [
        family,
        { ...settings, import: settings.import ?? 'reject' },
      ]),
    ),
  });
  return { ...config, neighbors: config.neighbors.map(quiet), dynamic: config.dynamic.map(quiet) };
}

/** Reads and checks a file; password files are relative to it. */
export function loadGatewayConfig(path: string): Result<GatewayConfig, GodwitError> {
  const read = (file: string) => readFileSync(resolve(dirname(path), file), 'utf8');
  try {
    const result = parseGatewayConfig(readFileSync(path, 'utf8'), (file) => {
      try {
        return read(file);
      } catch {
        return undefined;
      }
    });
    if (result.ok) return result;
    const lines = result.error.map((line) => `${path}: ${line}`).join('\n');
    return err(new GodwitError('config', lines, { hint: 'Nothing was changed; correct the file and try again.' }));
  } catch (error) {
    return err(new GodwitError('config', `read ${path}: ${messageOf(error)}`));
  }
}
