// Routed pods with addresses from Calico's blocks in a real etcd, against Debian's `ptp` + `host-local`, which has no
// datastore at all: wall time of the executable, as a runtime sees it, in turn and in one run. Then as many pods as a big
// node has, 20 at a time. `npm run bench cni-blocks [ROUNDS [PODS]]`.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installExecutable } from '../src/cni/mod.ts';
import { openDatastore } from '../src/datastore/mod.ts';
import { AgentProcess } from '../tests/support/cni.ts';
import { startEtcd } from '../tests/support/datastores.ts';
import { TestNamespaces } from '../tests/support/netns.ts';
import { putPool, RoutedNode } from '../tests/support/routed.ts';
import { buildComplete, callAll, inTurn, json, report } from './lib/cni-calls.ts';
import type { Contender, Verb } from './lib/cni-calls.ts';

const ROUNDS = Number(process.argv[2] ?? 100);
const PODS = Number(process.argv[3] ?? 500);
const AT_ONCE = 20;

const work = mkdtempSync(join(tmpdir(), 'godwit-bench-blocks-'));
const complete = join(work, 'complete');
await buildComplete(complete);

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

const all = new Map(both.map((c) => [c, { ADD: 0, DEL: 0 }]));
let times: ReturnType<typeof inTurn>;
try {
  times = inTurn(both, pods, ROUNDS);
  for (const contender of both)
    for (const verb of ['ADD', 'DEL'] as const) {
      all.get(contender)![verb] = await callAll(contender, verb, pods, AT_ONCE);
    }
} finally {
  rmSync(work, { recursive: true, force: true });
}

for (const verb of ['ADD', 'DEL'] as const) {
  const rows = both.map((c) => [c, times.get(c)![verb]] as const);
  report(`${verb}, ${ROUNDS} rounds`, rows, verb === 'ADD' ? '(goal 1.0 × at the median)' : '');
}
console.log(`\n${PODS} pods on one node, ${AT_ONCE} at a time`);
for (const c of both) {
  const rate = (verb: Verb): string => ((1000 * PODS) / all.get(c)![verb]).toFixed(0).padStart(5);
  console.log(`  ${c.name.padEnd(22)} ${rate('ADD')} ADDs a second   ${rate('DEL')} DELs a second`);
}
