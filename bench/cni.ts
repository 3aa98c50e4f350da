// The CNI plugin against Debian's `bridge` + `host-local`, in turn, in the same namespaces: wall time of the executable,
// as a runtime sees it. `npm run bench cni [ROUNDS]`. Ours is the plugin as `godwit cni install` writes it; the complete
// program as the plugin is measured beside it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../scripts/lib/process.ts';
import { installExecutable } from '../src/cni/mod.ts';
import { makeBridge, testNetwork } from '../tests/support/cni.ts';
import { TestNamespaces } from '../tests/support/netns.ts';
import { buildComplete, callAll, inTurn, json, report } from './lib/cni-calls.ts';
import type { Contender, Verb } from './lib/cni-calls.ts';

const ROUNDS = Number(process.argv[2] ?? 100);
const PODS = 30;
const PARALLEL_ROUNDS = 7;

const work = mkdtempSync(join(tmpdir(), 'godwit-bench-cni-'));
const complete = join(work, 'complete');
await buildComplete(complete);
const godwit = join(work, 'godwit');
const socket = join(work, 'cni.sock');
installExecutable(godwit, socket, [complete]);

using spaces = new TestNamespaces();
const host = spaces.add('host');
host.enter();
makeBridge({ ...testNetwork, subnets: testNetwork.subnets.slice(0, 1) });
const pods = Array.from({ length: PODS }, (_, i) => {
  spaces.add(`p${i}`);
  return { netns: spaces.path(`p${i}`), container: `container-${i}` };
});

const script = join(repositoryRoot, 'tests/support/cni-agent.ts');
const agent = Bun.spawn([process.execPath, script, spaces.path('host'), socket, join(work, 'state')], {
  env: { ...process.env, GODWIT_TEST_FAMILIES: '4' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
await agent.stdout.getReader().read();

const ours: Contender = {
  name: 'godwit',
  plugin: godwit,
  config: json({ cniVersion: '1.0.0', name: 'ours', type: 'godwit', socket }),
};
const whole: Contender = { ...ours, name: 'complete program', plugin: complete };
const peer: Contender = {
  name: 'bridge + host-local',
  plugin: '/usr/lib/cni/bridge',
  config: json({
    ...{ cniVersion: '1.0.0', name: 'peer', type: 'bridge', bridge: 'cni1', isDefaultGateway: true, mtu: 1450 },
    hairpinMode: true,
    ipam: {
      ...{ type: 'host-local', dataDir: join(work, 'host-local') },
      ranges: [[{ subnet: '10.245.1.0/24' }]],
      routes: [{ dst: '10.245.0.0/16' }],
    },
  }),
};

const all = [ours, peer, whole];
const atOnce = new Map(all.map((c) => [c, [] as number[]]));
let times: ReturnType<typeof inTurn>;
try {
  times = inTurn(all, pods, ROUNDS);
  for (let round = -1; round < PARALLEL_ROUNDS; round++) {
    for (const contender of all) {
      const elapsed = await callAll(contender, 'ADD', pods);
      if (round >= 0) atOnce.get(contender)!.push(elapsed);
      await callAll(contender, 'DEL', pods, 1);
    }
  }
} finally {
  agent.kill();
  await agent.exited;
  rmSync(work, { recursive: true, force: true });
}

const rows = (verb: Verb) => all.map((c) => [c, times.get(c)![verb]] as const);
report(`ADD, ${ROUNDS} rounds`, rows('ADD'), '(goal 0.8 ×)');
report(`DEL, ${ROUNDS} rounds`, rows('DEL'), '(goal 0.5 ×)');
report(`${PODS} ADDs at once, in all, ${PARALLEL_ROUNDS} rounds`, [...atOnce], '(goal 0.8 ×)');
