/**
 * Plans and reports as the datastore holds them. What is there is not trusted: a plan that cannot be read is as if it were
 * not told, so the last good one stays in force.
 */
import { z } from 'zod';
import { ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import type { ReflectorPlan, TopologyReport } from '../calc/mod.ts';
import { parseRecord } from '../datastore/mod.ts';

export const PLAN_KEY = '/godwit/v1/reflectors/plan';
/** Held under a lease by the node that makes the next plan. */
export const COORDINATOR_KEY = '/godwit/v1/reflectors/coordinator';
/** One report a node, under the node's lease. */
export const REPORTS_PREFIX = '/godwit/v1/reflectors/nodes/';
export const reportKey = (node: string): string => `${REPORTS_PREFIX}${node}`;

const names = z.array(z.string().max(253)).max(100_000);
const sorted = names.transform((list) => [...new Set(list)].sort());
const topology = z.object({ mesh: z.boolean(), reflectors: sorted, direct: sorted });
const plan = z.object({
  generation: z.number().int().min(0),
  target: topology,
  keep: topology.optional(),
  members: sorted,
});
const report = z.object({
  generation: z.number().int().min(0),
  state: z.enum(['synced', 'sessions', 'routes']),
  missing: names.max(64),
  ready: z.boolean(),
});

export function parsePlan(text: string): Result<ReflectorPlan, string> {
  const parsed = parseRecord(plan, text);
  return parsed.ok ? ok({ ...parsed.value, keep: parsed.value.keep }) : parsed;
}
export const parseReport = (text: string): Result<TopologyReport, string> => parseRecord(report, text);

export const encodePlan = (value: ReflectorPlan): string => JSON.stringify(value);
export const encodeReport = (value: TopologyReport): string => JSON.stringify(value);
