// Calico's network at the size where it still is a full mesh: agents with `--network blocks`, each its own process in its
// own namespace on one segment, with a real etcd and a BGP session between any two. From the commit of a node's new block to
// its route in the kernel of all other nodes, and the memory and CPU of each agent (which, unlike times, hardly depend on
// what else the machine does). `npm run bench mesh [NODES [SETTLE_SECONDS]]`;
// GODWIT_EXECUTABLE=dist/godwit measures the built executable in place of the source. A hundred nodes take some 9 GB, and
// two processors two minutes to bring up.
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { makeRoom, putBack } from '../src/lab/mod.ts';
import { monitorKernel } from '../src/netlink/mod.ts';
import type { KernelEvent } from '../src/netlink/mod.ts';
import { Cluster } from '../tests/agent/cluster.ts';
import { claim, poolOf, putResource } from '../tests/support/calico.ts';
import { until } from '../tests/support/netns.ts';
import { median, quantile } from './lib/figures.ts';
import { cpuSeconds, memoryOf } from './lib/usage.ts';

const NODES = Number(process.argv[2] ?? 100);
/** Between the last route and the measurements: the agents’ second housekeeping is 30 to 90 s after their start’s. */
const SETTLE_SECONDS = Number(process.argv[3] ?? 75);
const BLOCKS = 20;
/** Nodes and blocks are numbered in one octet. */
const FIRST_BLOCK = 200;
if (!(NODES >= 2 && NODES < FIRST_BLOCK)) throw new Error(`NODES is 2 to ${FIRST_BLOCK - 1}`);

const ms = (value: number) => `${value.toFixed(1)} ms`;
const megabytes = (values: readonly number[]) =>
  `median ${median(values).toFixed(1)} MiB, most ${Math.max(...values).toFixed(1)} MiB`;

// all of them share one kernel and its table of neighbours
const limits = `${tmpdir()}/godwit-bench-mesh-limits.json`;
const { refused } = makeRoom(limits, (family) => (family === 4 ? NODES * (NODES - 1) : 0));
if (refused.length > 0) throw new Error(`the kernel keeps too few neighbours: sysctl -w ${refused.join(' ')}`);
process.on('exit', () => putBack(limits));

const numbers = Array.from({ length: NODES }, (_, i) => i + 1);
const cluster = await Cluster.start({ nodes: numbers });
const nodes = [...cluster.nodes.values()];
await putResource(cluster.store, poolOf('10.233.0.0/16'));
for (const n of numbers) await claim(cluster.store, `n${n}`, `10.233.${n}.0/26`);

const started = performance.now();
for (const node of nodes) node.start(['--network', 'blocks', '--listen', 'off']);
// one after the other: asking all of them all the time would be most of the load
for (const node of nodes) {
  const complete = async () => {
    const installed = (await node.ask<{ routes: { installed: number } }>('/status'))?.routes.installed ?? 0;
    // with the blackhole of its own block
    if (installed >= NODES) return true;
    await Bun.sleep(200);
    return false;
  };
  await until(`${node.space} has all routes`, complete, 300_000);
}
const seconds = (performance.now() - started) / 1000;
const sessions = (NODES * (NODES - 1)) / 2;
console.log(`${NODES} agents, ${sessions} sessions, from nothing to all routes: ${seconds.toFixed(1)} s`);

const pids = nodes.map((node) => Number(readFileSync(`${node.directory}/run/agent.pid`, 'utf8')));
/** Milliseconds of CPU since the start, of an agent on average. */
const cpu = () => (1000 * pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)) / NODES;
function reportMemory(when: string): void {
  const all = pids.map(memoryOf);
  console.log(`memory of an agent, ${when}`);
  console.log(`  resident   ${megabytes(all.map(({ resident }) => resident))} (goal: under 64)`);
  console.log(`  its own    ${megabytes(all.map(({ own }) => own))}`);
}
const atStart = cpu();
console.log(`CPU of an agent until then: ${ms(atStart)}`);
reportMemory('at that time');
await Bun.sleep(SETTLE_SECONDS * 1000);
/** Milliseconds of CPU a second. */
const idle = (cpu() - atStart) / SETTLE_SECONDS;
console.log(`CPU of an agent that has nothing to do: ${ms(idle)} a second`);
reportMemory(`${SETTLE_SECONDS} s later`);

/** When a node had the route, by destination and node. */
const seen = new Map<string, Map<string, number>>();
{
  using monitors = new DisposableStack();
  for (const { space, namespace } of nodes) {
    const heard = (event: KernelEvent) => {
      if (event.type !== 'route' || event.gone) return;
      const times = seen.get(event.route.destination);
      if (times && !times.has(space)) times.set(space, performance.now());
    };
    monitors.use(namespace.run(() => monitorKernel(heard, { groups: ['IPV4_ROUTE'] })));
  }
  const before = { cpu: cpu(), at: performance.now() };
  const each: number[] = [];
  const slowest: number[] = [];
  for (let i = 0; i < BLOCKS; i++) {
    const owner = nodes[(i * 7) % NODES]!.space;
    const block = `10.233.${FIRST_BLOCK + i}.0/26`;
    const times = new Map<string, number>();
    seen.set(block, times);
    // before the commit, as our own clock is the only one: etcd's part is counted with ours
    const put = performance.now();
    await claim(cluster.store, owner, block);
    const others = () => [...times].filter(([space]) => space !== owner).map(([, time]) => time - put);
    await until(`${block} everywhere`, () => others().length === NODES - 1, 20_000);
    each.push(...others());
    slowest.push(Math.max(...others()));
    // what the agents say of it afterwards, every three seconds, is not part of the next one’s time
    await Bun.sleep(1_500);
  }
  console.log(`block committed → route in the kernel of ${NODES - 1} other nodes, ${BLOCKS} times`);
  console.log(`  one node   p50 ${ms(quantile(each, 0.5))}, p99 ${ms(quantile(each, 0.99))} (goal: p99 under 100 ms)`);
  const rest = (idle * (performance.now() - before.at)) / 1000;
  console.log(
    `  CPU of an agent ${ms((cpu() - before.cpu - rest) / BLOCKS)} for each block, what it says of it included`,
  );
  console.log(`  all nodes  p50 ${ms(quantile(slowest, 0.5))}, worst ${ms(Math.max(...slowest))}`);
}
await cluster[Symbol.asyncDispose]();
process.exit(0);
