// Routed pods with addresses from Calico's blocks in a real etcd, against Debian's `ptp` + `host-local`, which has no
// datastore at all: wall time of the executable, as a runtime sees it, in turn and in one run. Then as many pods as a big
// node has, 20 at a time. `npm run bench cni-blocks [ROUNDS [PODS]]`.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot, runTool } from '../scripts/lib/process.ts';
import { installExecutable } from '../src/cni/mod.ts';
import { openDatastore } from '../src/datastore/mod.ts';
import { AgentProcess } from '../tests/support/cni.ts';
import { startEtcd } from '../tests/support/datastores.ts';
import { TestNamespaces } from '../tests/support/netns.ts';
import { putPool, RoutedNode } from '../tests/support/routed.ts';
import { median, quantile } from './lib/figures.ts';

const ROUNDS = Number(process.argv[2] ?? 100);
const PODS = Number(process.argv[3] ?? 500);
const AT_ONCE = 20;

const work = mkdtempSync(join(tmpdir(), 'godwit-bench-blocks-'));
const complete = join(work, 'complete');
const build = await runTool([process.execPath, join(repositoryRoot, 'scripts/build.ts'), complete]);
if (build !== 0) process.exit(build);

using spaces = new TestNamespaces();
await using node = new RoutedNode(spaces);
const plugin = join(work, 'godwit');
installExecutable(plugin, node.socketPath, [complete]);
await using etcd = await startEtcd();
{
  await using store = await openDatastore(etcd.url);
  await putPool(store, 'pods', { cidr: '10.233.0.0/16', blockSize: 26 });
}
process.env['GODWIT_TEST_FAMILIES'] = '4';
await using _agent = await AgentProcess.start(spaces.path('host'), node, etcd.url);

const pods = Array.from({ length: PODS }, (_, i) => ({ netns: node.pod(`p${i}`), container: `container-${i}` }));
type Pod = (typeof pods)[number];

interface Contender {
  readonly name: string;
  readonly plugin: string;
  readonly config: Uint8Array;
}
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const ours: Contender = {
  name: 'godwit, blocks in etcd',
  plugin,
  config: json({ ...node.config({ cniVersion: '1.0.0', name: 'k8s-pod-network' }) }),
};
const peer: Contender = {
  name: 'ptp + host-local',
  plugin: '/usr/lib/cni/ptp',
  config: json({
    ...{ cniVersion: '1.0.0', name: 'peer', type: 'ptp', mtu: 1480 },
    ipam: {
      ...{ type: 'host-local', dataDir: join(work, 'host-local') },
      ranges: [[{ subnet: '10.245.0.0/16' }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  }),
};
const both = [ours, peer];

function environment(verb: string, pod: Pod): Record<string, string> {
  const { netns: CNI_NETNS, container: CNI_CONTAINERID } = pod;
  const CNI_ARGS = `IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=${CNI_CONTAINERID};K8S_POD_UID=u`;
  return {
    CNI_COMMAND: verb,
    CNI_CONTAINERID,
    CNI_NETNS,
    CNI_ARGS,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/usr/lib/cni',
    PATH: '',
  };
}

function call(contender: Contender, verb: string, pod: Pod): number {
  const env = environment(verb, pod);
  const started = performance.now();
  const child = Bun.spawnSync([contender.plugin], { env, stdin: contender.config, stdout: 'pipe', stderr: 'pipe' });
  const elapsed = performance.now() - started;
  if (child.exitCode !== 0)
    throw new Error(`${contender.name} ${verb}: ${child.stdout.toString()}${child.stderr.toString()}`);
  return elapsed;
}

/** All pods, never more than AT_ONCE at a time; milliseconds. */
async function callAll(contender: Contender, verb: string): Promise<number> {
  const queue = [...pods];
  let failed = 0;
  const started = performance.now();
  const worker = async () => {
    for (let pod = queue.shift(); pod; pod = queue.shift()) {
      const stdio = { stdin: contender.config, stdout: 'ignore', stderr: 'ignore' } as const;
      if ((await Bun.spawn([contender.plugin], { env: environment(verb, pod), ...stdio }).exited) !== 0) failed++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failed > 0) throw new Error(`${contender.name} ${verb}: ${failed} of ${PODS} failed`);
  return performance.now() - started;
}

const times = new Map(both.map((c) => [c, { ADD: [] as number[], DEL: [] as number[] }]));
const all = new Map(both.map((c) => [c, { ADD: 0, DEL: 0 }]));
try {
  for (let round = -3; round < ROUNDS; round++) {
    const pod = pods[(round + PODS) % PODS]!;
    for (const contender of round % 2 === 0 ? both : both.toReversed()) {
      for (const verb of ['ADD', 'DEL'] as const) {
        const elapsed = call(contender, verb, pod);
        if (round >= 0) times.get(contender)![verb].push(elapsed);
      }
    }
  }
  for (const contender of both)
    for (const verb of ['ADD', 'DEL'] as const) all.get(contender)![verb] = await callAll(contender, verb);
} finally {
  rmSync(work, { recursive: true, force: true });
}

const ms = (value: number): string => value.toFixed(1).padStart(7);
for (const verb of ['ADD', 'DEL'] as const) {
  console.log(`\n${verb}, ${ROUNDS} rounds`);
  const [mine, theirs] = both.map((c) => times.get(c)![verb]) as [number[], number[]];
  for (const c of both) {
    const values = times.get(c)![verb];
    console.log(`  ${c.name.padEnd(22)} median ${ms(median(values))} ms   p99 ${ms(quantile(values, 0.99))} ms`);
  }
  const [middle, tail] = [0.5, 0.99].map((q) => (quantile(mine, q) / quantile(theirs, q)).toFixed(2));
  const goal = verb === 'ADD' ? '   (goal 1.0 × at the median)' : '';
  console.log(`  ratio                  median ${middle} ×        p99 ${tail} ×${goal}`);
}
console.log(`\n${PODS} pods on one node, ${AT_ONCE} at a time`);
for (const c of both) {
  const rate = (verb: 'ADD' | 'DEL'): string => ((1000 * PODS) / all.get(c)![verb]).toFixed(0).padStart(5);
  console.log(`  ${c.name.padEnd(22)} ${rate('ADD')} ADDs a second   ${rate('DEL')} DELs a second`);
}
