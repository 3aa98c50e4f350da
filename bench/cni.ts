// The CNI plugin against Debian's `bridge` + `host-local`, in turn, in the same namespaces: wall time of the executable,
// as a runtime sees it. `npm run bench cni [ROUNDS]`. Ours is the plugin as `godwit cni install` writes it; the complete
// program as the plugin is measured beside it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot, runTool } from '../scripts/lib/process.ts';
import { installExecutable } from '../src/cni/mod.ts';
import { makeBridge, testNetwork } from '../tests/support/cni.ts';
import { TestNamespaces } from '../tests/support/netns.ts';
import { median, quantile } from './lib/figures.ts';

const ROUNDS = Number(process.argv[2] ?? 100);
const PODS = 30;
const PARALLEL_ROUNDS = 7;

const work = mkdtempSync(join(tmpdir(), 'godwit-bench-cni-'));
const complete = join(work, 'complete');
const build = await runTool([process.execPath, join(repositoryRoot, 'scripts/build.ts'), complete]);
if (build !== 0) process.exit(build);
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

interface Contender {
  readonly name: string;
  readonly plugin: string;
  readonly config: Uint8Array;
}
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
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

function environment(verb: string, pod: (typeof pods)[number]): Record<string, string> {
  const { netns: CNI_NETNS, container: CNI_CONTAINERID } = pod;
  return { CNI_COMMAND: verb, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME: 'eth0', CNI_PATH: '/usr/lib/cni', PATH: '' };
}

function call(contender: Contender, verb: string, pod: (typeof pods)[number]): number {
  const env = environment(verb, pod);
  const started = performance.now();
  const child = Bun.spawnSync([contender.plugin], { env, stdin: contender.config, stdout: 'pipe', stderr: 'pipe' });
  const elapsed = performance.now() - started;
  if (child.exitCode !== 0)
    throw new Error(`${contender.name} ${verb}: ${child.stdout.toString()}${child.stderr.toString()}`);
  return elapsed;
}

async function callAll(contender: Contender, verb: string): Promise<number> {
  const started = performance.now();
  const statuses = pods.map((pod) => {
    const env = environment(verb, pod);
    return Bun.spawn([contender.plugin], { env, stdin: contender.config, stdout: 'ignore', stderr: 'ignore' }).exited;
  });
  const failed = (await Promise.all(statuses)).filter((status) => status !== 0).length;
  if (failed > 0) throw new Error(`${contender.name} ${verb}: ${failed} of ${PODS} failed`);
  return performance.now() - started;
}

const all = [ours, peer, whole];
const times = new Map(all.map((c) => [c, { ADD: [] as number[], DEL: [] as number[], all: [] as number[] }]));
try {
  for (let round = -3; round < ROUNDS; round++) {
    const pod = pods[(round + PODS) % PODS]!;
    for (const contender of round % 2 === 0 ? all : all.toReversed()) {
      for (const verb of ['ADD', 'DEL'] as const) {
        const elapsed = call(contender, verb, pod);
        if (round >= 0) times.get(contender)![verb].push(elapsed);
      }
    }
  }
  for (let round = -1; round < PARALLEL_ROUNDS; round++) {
    for (const contender of all) {
      const elapsed = await callAll(contender, 'ADD');
      if (round >= 0) times.get(contender)!.all.push(elapsed);
      for (const pod of pods) call(contender, 'DEL', pod);
    }
  }
} finally {
  agent.kill();
  await agent.exited;
  rmSync(work, { recursive: true, force: true });
}

const ms = (value: number): string => value.toFixed(1).padStart(7);
function report(title: string, key: 'ADD' | 'DEL' | 'all', goal: number): void {
  const [a, b] = all.map((c) => times.get(c)![key]);
  console.log(`\n${title}`);
  for (const c of all) {
    const values = times.get(c)![key];
    console.log(`  ${c.name.padEnd(20)} median ${ms(median(values))} ms   p99 ${ms(quantile(values, 0.99))} ms`);
  }
  const [middle, tail] = [0.5, 0.99].map((q) => (quantile(a!, q) / quantile(b!, q)).toFixed(2));
  console.log(`  ratio                median ${middle} ×        p99 ${tail} ×   (goal ${goal} ×)`);
}
report(`ADD, ${ROUNDS} rounds`, 'ADD', 0.8);
report(`DEL, ${ROUNDS} rounds`, 'DEL', 0.5);
report(`${PODS} ADDs at once, in all, ${PARALLEL_ROUNDS} rounds`, 'all', 0.8);
