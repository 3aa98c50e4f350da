// oxlint-disable unicorn/no-thenable -- `then` is the word for a policy term's verdict
/**
 * The `gateways` of the configuration, written out as the neighbours and export policies of a speaker: what everybody
 * wants (nothing is taken in, the node stays the next hop, a gateway is never told that it is itself the next hop), and
 * what differs between gateways in a few words.
 */
import { z } from 'zod';
import { addressBits, familyOf, parseAddress } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { AnnounceOptions } from './announce.ts';

/** On what an aggregate stands for; for export policies, which take it off. A large community of AS 0, which nobody has. */
export const COVERED = '0:0:1';

/** All else is a neighbour's setting of docs/bgp.md. */
export const gatewaySchema = (prefixes: z.ZodType<readonly Prefix[]>, communities: z.ZodType<string[] | undefined>) =>
  z.looseObject({
    name: z.string().min(1),
    address: z.string().refine((text) => parseAddress(text) !== undefined, 'is no address'),
    /** Networks of the nodes whose prefixes it gets one by one. */
    segment: prefixes.refine((list) => list.length > 0, 'must name at least one network').optional(),
    send: z.enum(['nodes', 'aggregates', 'all']).default('nodes'),
    communities: communities.transform((list) => list ?? []),
    med: z.int().min(0).max(0xffffffff).optional(),
  });
export type GatewaySettings = z.output<ReturnType<typeof gatewaySchema>>;

const ownSettings = ['segment', 'send', 'communities', 'med'];

interface Written {
  readonly policies: Readonly<Record<string, unknown>>;
  readonly neighbors: readonly unknown[];
}

export function writeGateways(gateways: readonly GatewaySettings[], announce: AnnounceOptions): Written {
  const policies: Record<string, unknown> = {};
  const neighbors = gateways.map((gateway) => {
    const neighbor = Object.fromEntries(Object.entries(gateway).filter(([key]) => !ownSettings.includes(key)));
    const policy = `gateway ${gateway.name}`;
    policies[policy] = exportTerms(gateway, announce);
    const wanted = [...new Set(announce.within.map((pool) => `ipv${familyOf(pool)}`))].sort();
    const families = Object.fromEntries(wanted.map((family) => [family, {}]));
    return { import: 'reject', export: policy, nextHop: 'unchanged', families, ...neighbor };
  });
  return { policies, neighbors };
}

function exportTerms(gateway: GatewaySettings, announce: AnnounceOptions): unknown[] {
  const { segment, send, communities, med } = gateway;
  const self = ownAddresses(parseAddress(gateway.address)!, announce).map(hostOf);
  const hops = hopsOf(announce).flat().map(hostOf);
  const set = {
    removeCommunities: [COVERED],
    ...(communities.length > 0 && { addCommunities: communities }),
    ...(med !== undefined && { med }),
  };
  const take = { set, then: 'accept' };
  const leave = { then: 'reject' };
  return [
    // RFC 4271 §5.1.3: nobody is told to send to himself
    { match: { nextHop: self }, ...leave },
    // aggregates are told from the rest by their next hops, which are gateways and no nodes
    ...(hops.length > 0 ? [{ match: { nextHop: [...new Set(hops)] }, ...(send === 'nodes' ? leave : take) }] : []),
    ...(segment ? [{ match: { nextHop: segment }, ...take }] : []),
    ...(send === 'aggregates' ? [{ match: { largeCommunities: [COVERED] }, ...leave }] : []),
    segment && send === 'nodes' ? leave : take,
  ];
}

const hostOf = (address: IpAddress): string => `${address}/${addressBits(familyOf(address))}`;

/** The gateways that aggregates name, each with its address of either family. */
const hopsOf = ({ aggregate }: AnnounceOptions): (readonly IpAddress[])[] =>
  aggregate.flatMap((rule) => (rule.to === 'pool' ? [rule.nextHops] : [...rule.nextHops.values()]));

/** The session is with one address, and IPv6 routes may name the other. */
const ownAddresses = (address: IpAddress, announce: AnnounceOptions): IpAddress[] => [
  ...new Set([
    address,
    ...hopsOf(announce)
      .filter((hops) => hops.includes(address))
      .flat(),
  ]),
];
