// The gateway announcer as its own process: 5,000 nodes with 4 blocks of Calico's each in a real etcd, and 8 gateways.
// From its start to the complete list; from there until every gateway has every prefix; from one change in etcd until
// every gateway has it; memory. GODWIT_EXECUTABLE=$PWD/dist/godwit measures the built executable in place of the source.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../src/datastore/mod.ts';
import type { Datastore, Operation } from '../src/datastore/mod.ts';
import {
  affinityKey,
  blockKey,
  encodeAffinity,
  encodeBlock,
  give,
  hostOwner,
  newBlock,
} from '../src/ipam/blocks/mod.ts';
import { addressFromBigInt, prefix } from '../src/net/mod.ts';
import type { Prefix } from '../src/net/mod.ts';
import { startEtcd } from '../tests/support/datastores.ts';
import { freePort } from '../tests/support/ports.ts';
import { until } from '../tests/support/netns.ts';
import { quantile } from './lib/figures.ts';
import { Sink } from './gateway/sink.ts';

const NODES = Number(process.argv[2] ?? 5_000);
const BLOCKS = 4;
const GATEWAYS = 8;
const PODS_PER_BLOCK = 8;
const CHANGES = 60;
const OPERATIONS = 120;
const ALL = NODES * BLOCKS;

const nodeName = (n: number): string => `node-${String(n).padStart(5, '0')}`;
const nodeAddress = (n: number): string => addressFromBigInt(0xac10_0000n + BigInt(n + 1), 4);
const blockOf = (n: number): Prefix => prefix(`${addressFromBigInt(0x0a00_0000n + BigInt(n) * 64n, 4)}/26`);

function blockOperations(n: number, node: string): Operation[] {
  const cidr = blockOf(n);
  let block = newBlock(cidr, hostOwner(node), 1_700_000_000_000);
  for (let pod = 0; pod < PODS_PER_BLOCK; pod++) {
    const id = `${n}-${pod}`.padStart(64, 'c');
    block = give(block, pod, `k8s-pod-network.${id}`, { namespace: 'default', node, pod: `web-${n}-${pod}` });
  }
  return [
    { op: 'put', key: blockKey(cidr), value: encodeBlock(block) },
    { op: 'put', key: affinityKey(hostOwner(node), cidr), value: encodeAffinity('confirmed') },
  ];
}

function nodeOperation(n: number): Operation {
  const name = nodeName(n);
  const spec = { bgp: { ipv4Address: `${nodeAddress(n)}/16` } };
  const node = {
    kind: 'Node',
    apiVersion: 'projectcalico.org/v3',
    metadata: { name, labels: { rack: `r${n % 50}` } },
    spec,
  };
  return { op: 'put', key: `/calico/resources/v3/projectcalico.org/nodes/${name}`, value: JSON.stringify(node) };
}

async function fill(store: Datastore): Promise<void> {
  const operations: Operation[] = [];
  for (let n = 0; n < NODES; n++) operations.push(nodeOperation(n));
  for (let n = 0; n < ALL; n++) operations.push(...blockOperations(n, nodeName(n % NODES)));
  for (let at = 0; at < operations.length; at += OPERATIONS) {
    await store.transaction({ if: [], do: operations.slice(at, at + OPERATIONS) });
  }
}

function memoryOf(pid: number): Record<'VmRSS' | 'VmHWM' | 'RssAnon', number> {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1024;
  return { VmRSS: field('VmRSS'), VmHWM: field('VmHWM'), RssAnon: field('RssAnon') };
}

/** Writes, and gives the milliseconds until every gateway heard of `prefix`. */
async function change(store: Datastore, sinks: readonly Sink[], about: Prefix, write: Operation[]): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let left = sinks.length;
  const began = performance.now();
  for (const sink of sinks) {
    sink.onChange = (told) => {
      if (told === about && --left === 0) resolve(performance.now() - began);
    };
  }
  await store.transaction({ if: [], do: write });
  return promise;
}

const directory = mkdtempSync(join(tmpdir(), 'godwit-bench-gateway-'));
await using etcd = await startEtcd(['--quota-backend-bytes', String(4 * 2 ** 30)]);
await using store = await openDatastore(etcd.url);
const filling = performance.now();
await fill(store);
console.log(
  `filled etcd with ${NODES} nodes and ${ALL} blocks in ${((performance.now() - filling) / 1000).toFixed(1)} s`,
);

const port = freePort();
const sinks = Array.from(
  { length: GATEWAYS },
  (_, i) => new Sink(`127.0.1.${i + 1}`, port, 65_001 + i, 0x7f00_0101 + i),
);
const config = {
  source: 'calico',
  announce: { within: ['10.0.0.0/8'] },
  guard: { minimumReady: Math.min(1000, ALL) },
  stateFile: join(directory, 'state'),
  gateways: sinks.map(({ address }, i) => ({
    ...{ name: `gw${i + 1}`, address, as: 65_001 + i, port, multihop: 2, med: i },
    timers: { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 },
  })),
  bgp: { routerId: '127.0.0.1', as: 64_512, listen: ['127.0.0.1'], port: freePort() },
};
const file = join(directory, 'gateway.yaml');
writeFileSync(file, JSON.stringify(config));
const executable = process.env['GODWIT_EXECUTABLE'];
const program = executable === undefined ? [process.execPath, join(import.meta.dir, '../src/main.ts')] : [executable];
const started = performance.now();
const child = Bun.spawn(
  [...program, 'gateway', '--config', file, '--datastore', etcd.url, '--socket', join(directory, 'control.sock')],
  { stdio: ['ignore', 'inherit', 'pipe'] },
);
let log = '';
let syncedAt = Number.NaN;
void (async () => {
  for await (const chunk of child.stderr) {
    log += Buffer.from(chunk).toString();
    if (Number.isNaN(syncedAt) && log.includes('the first list is complete')) syncedAt = performance.now();
  }
})();
try {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
  await until(
    'all prefixes at all gateways',
    () => sinks.every((s) => s.routes.size === ALL && s.endOfRibAt > 0),
    60_000,
  );
  const last = Math.max(...sinks.map((s) => s.endOfRibAt));
  console.log(`start to the complete list       ${seconds(syncedAt - started)}`);
  console.log(
    `complete list to all announced   ${seconds(last - syncedAt)} (${ALL} prefixes, ${GATEWAYS} gateways; goal: under 1 s)`,
  );
  const show = (when: string) => {
    const { VmRSS, VmHWM, RssAnon } = memoryOf(child.pid);
    console.log(
      `memory, ${when.padEnd(25)}${VmRSS.toFixed(0)} MiB resident, ${RssAnon.toFixed(0)} MiB its own (goal: under 150)`,
    );
    console.log(`the peak until then              ${VmHWM.toFixed(0)} MiB (goal: under 150)`);
  };
  await Bun.sleep(3_000);
  show('3 s after that');
  const added: number[] = [];
  const removed: number[] = [];
  for (let i = 0; i < CHANGES; i++) {
    const node = nodeName(i * 7);
    const about = blockOf(ALL + i);
    added.push(await change(store, sinks, about, blockOperations(ALL + i, node)));
    const gone: Operation[] = [
      { op: 'delete', key: blockKey(about) },
      { op: 'delete', key: affinityKey(hostOwner(node), about) },
    ];
    removed.push(await change(store, sinks, about, gone));
    await Bun.sleep(30);
  }
  for (const [what, times] of [
    ['a new block', added],
    ['a block that goes', removed],
  ] as const) {
    const [half, most, worst] = [0.5, 0.95, 1].map((q) => quantile(times, q).toFixed(1));
    console.log(
      `${what.padEnd(33)}median ${half} ms, 95 % ${most} ms, worst ${worst} ms to the last gateway (goal: under 50)`,
    );
  }
  show('after the changes');
} catch (error) {
  console.error(log.slice(-2000));
  throw error;
} finally {
  for (const sink of sinks) sink.onChange = undefined;
  child.kill('SIGTERM');
  await child.exited;
  for (const sink of sinks) sink[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
}
