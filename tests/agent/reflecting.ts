// What tests of automatic route reflectors share: nodes with a block and an address in it, the plan they follow, and
// packets between all of them of which none may be lost.
import type { ReflectorPlan } from '../../src/calc/mod.ts';
import { parsePlan, PLAN_KEY } from '../../src/reflectors/mod.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import type { Cluster } from './cluster.ts';

export const own = (n: number) => `10.233.${n}.0/26`;
/** Stands for a pod: reached by the route to the block alone. */
export const pod = (n: number) => `10.233.${n}.1`;

export async function planOf({ store }: Cluster): Promise<ReflectorPlan | undefined> {
  const { kv } = await store.get(PLAN_KEY);
  const parsed = kv && parsePlan(kv.value);
  return parsed?.ok === true ? parsed.value : undefined;
}

/** Until each of these nodes is ready and has its own block and the routes to the others. */
export async function everyRoute(cluster: Cluster, numbers: readonly number[]): Promise<void> {
  // a busy machine takes its time to start so many
  for (const n of numbers) await cluster.node(n).ready();
  for (const n of numbers) {
    const routes = numbers.filter((m) => m !== n).map((m) => `${own(m)} via 10.168.0.${m} dev eth0`);
    await cluster.node(n).hasRoutes(`blackhole ${own(n)}`, ...routes);
  }
}

/** Packets between these nodes, both ways, while `action` runs and a little longer; how many each stream sent. */
export async function withoutLoss(
  cluster: Cluster,
  between: readonly number[],
  action: () => Promise<void>,
): Promise<number[]> {
  const pairs = between.flatMap((a) => between.filter((b) => b !== a).map((b) => [a, b] as const));
  const streams = pairs.map(([a, b]) => new Traffic(cluster.spaces.name(`n${a}`), pod(a), pod(b)));
  try {
    for (const stream of streams) await stream.flowing();
    await action();
    return await nothingLost(streams);
  } finally {
    for (const stream of streams) stream[Symbol.dispose]();
  }
}
