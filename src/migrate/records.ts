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
}

const stagesSchema = z.record(z.string().max(253), z.enum(stages));
const count = z.number().int().min(0);
const reportSchema = z.object({
  networks: z.array(z.enum(stages)).max(2),
  stage: z.enum(stages),
  ready: z.boolean(),
  reason: z.string().max(2000).optional(),
  device: z.string().max(15).optional(),
  pods: z.object({ subnets: count, blocks: count }),
});

export function parseStages(text: string): Result<Stages, string> {
  const parsed = parseRecord(stagesSchema, text);
  return parsed.ok ? ok(new Map(Object.entries(parsed.value))) : parsed;
}
export const encodeStages = (of: Stages): string =>
  JSON.stringify(Object.fromEntries([...of].sort(([a], [b]) => (a < b ? -1 : 1))));

export const parseMigrationReport = (text: string): Result<MigrationReport, string> => parseRecord(reportSchema, text);
export const encodeMigrationReport = (report: MigrationReport): string => JSON.stringify(report);
