/**
 * A move from one kind of network to the other, as the datastore holds it: from which network new pods of each node come.
 * Both kinds stay reachable throughout, so any mixture of stages works, for as long as one likes; that is what makes each
 * step one that can be taken back.
 */
import { z } from 'zod';
import { ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { parseRecord } from '../datastore/mod.ts';

/** Leases (Flannel) or blocks (Calico). */
export const stages = ['subnets', 'blocks'] as const;
export type Stage = (typeof stages)[number];

export const MIGRATION_KEY = '/godwit/v1/migration/stages';
/** One report a node, under the node's lease. */
export const MIGRATION_REPORTS = '/godwit/v1/migration/nodes/';
export const migrationReportKey = (node: string): string => `${MIGRATION_REPORTS}${node}`;

/** The stage of each node that was given one; the others follow their configuration. */
export type Stages = ReadonlyMap<string, Stage>;

/** What is decided of a cluster. */
export interface Decisions {
  readonly stages: Stages;
  /** The leases' network is given up on every node, those still to come included; there is no way back. */
  readonly finished: boolean;
}

/** What an agent that runs both kinds says of its node. */
export interface MigrationReport {
  /** In the order of the agent's configuration. */
  readonly networks: readonly Stage[];
  /** Where new pods come from now. */
  readonly stage: Stage;
  /** Whether a pod could be attached to it now, with all routes to the others in place. */
  readonly ready: boolean;
  /** Why not. */
  readonly reason?: string | undefined;
  /** The interface of the node's address. */
  readonly device?: string | undefined;
  /** Running pods, by where their addresses come from. */
  readonly pods: { readonly subnets: number; readonly blocks: number };
  /** Who uses the bridge: pods by `namespace/name`, interfaces of others by theirs. */
  readonly bridgeUsers: readonly string[];
  /** Of a migration that is finished: what of the leases' network is still there. Absent before. */
  readonly leftovers?: readonly string[] | undefined;
}

/** More users, or leftovers, than this are not written down. */
const MOST_TOLD = 20;

const decisionsSchema = z.object({
  nodes: z.record(z.string().max(253), z.enum(stages)),
  finished: z.boolean().default(false),
});
const told = z.array(z.string().max(300)).max(MOST_TOLD);
const count = z.number().int().min(0);
const reportSchema = z.object({
  networks: z.array(z.enum(stages)).max(2),
  stage: z.enum(stages),
  ready: z.boolean(),
  reason: z.string().max(2000).optional(),
  device: z.string().max(15).optional(),
  pods: z.object({ subnets: count, blocks: count }),
  bridgeUsers: told.default([]),
  leftovers: told.optional(),
});

export function parseDecisions(text: string): Result<Decisions, string> {
  const parsed = parseRecord(decisionsSchema, text);
  if (!parsed.ok) return parsed;
  const { nodes, finished } = parsed.value;
  return ok({ stages: new Map(Object.entries(nodes)), finished });
}
export const encodeDecisions = ({ stages: of, finished }: Decisions): string =>
  JSON.stringify({
    nodes: Object.fromEntries([...of].sort(([a], [b]) => (a < b ? -1 : 1))),
    ...(finished && { finished }),
  });

export const parseMigrationReport = (text: string): Result<MigrationReport, string> => parseRecord(reportSchema, text);
export const encodeMigrationReport = (report: MigrationReport): string =>
  JSON.stringify({
    ...report,
    bridgeUsers: report.bridgeUsers.slice(0, MOST_TOLD),
    leftovers: report.leftovers?.slice(0, MOST_TOLD),
  });
