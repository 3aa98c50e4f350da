/**
 * What a node's agent says of itself in the datastore, under a lease that ends soon after the agent does: to gateways
 * (whether to send packets here), to the collector of leaked addresses (which ones are in use), to its neighbours (whose
 * routes it has). Fields are only ever added.
 */
import { z } from 'zod';
import { parseAddress, parsePrefix } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';
import type { Readiness, TunnelStatus } from './node.ts';

export const STATUS_PREFIX = '/godwit/v1/status/nodes/';
export const statusKey = (node: string): string => `${STATUS_PREFIX}${node}`;

export interface PublishedStatus extends Readiness {
  readonly node: string;
  readonly networks: readonly string[];
  readonly addresses: readonly { readonly family: 4 | 6; readonly address: IpAddress }[];
  /** Addresses of its pods and its tunnels' ends. */
  readonly inUse: readonly IpAddress[];
  readonly routes: { readonly wanted: number; readonly installed: number };
  readonly blocks?: {
    readonly blocks: readonly Prefix[];
    readonly tunnels: readonly TunnelStatus[];
    readonly sessions: { readonly wanted: number; readonly established: number; readonly down: readonly string[] };
    /** By the other node's address: the prefixes it announced that are in this node's kernel. */
    readonly installed: Readonly<Record<string, readonly Prefix[]>>;
  };
}

const address = z.string().transform((text, context): IpAddress => {
  const parsed = parseAddress(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('no address');
  return z.NEVER;
});
const prefix = z.string().transform((text, context): Prefix => {
  const parsed = parsePrefix(text);
  if (parsed !== undefined) return parsed;
  context.addIssue('no prefix');
  return z.NEVER;
});
const schema = z.looseObject({
  ready: z.boolean(),
  addresses: z.array(z.looseObject({ address: address.optional() })).default([]),
  inUse: z.array(address).default([]),
  blocks: z.looseObject({ installed: z.record(z.string(), z.array(prefix)).default({}) }).optional(),
});

/** As much of a status as other nodes act on. */
export interface HeardStatus {
  readonly ready: boolean;
  /** The node's own. */
  readonly addresses: readonly IpAddress[];
  readonly inUse: readonly IpAddress[];
  readonly installed: ReadonlyMap<string, readonly Prefix[]>;
}

/** undefined for what is no status: then the node says nothing of itself. */
export function parsePublished(text: string): HeardStatus | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) return undefined;
  const { ready, inUse, blocks } = parsed.data;
  const addresses = parsed.data.addresses.flatMap(({ address: own }) => own ?? []);
  return { ready, addresses, inUse, installed: new Map(Object.entries(blocks?.installed ?? {})) };
}
