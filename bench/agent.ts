// The node agent, as its own processes in namespaces with a real etcd: memory before and after 1,000 leases, CPU when
// nothing happens, and the time from a lease in the datastore to its route in the kernel of every other node.
// Arguments: `memory`, `latency [NODES]`; both when there are none. GODWIT_EXECUTABLE=$PWD/dist/godwit measures the built
// executable in place of the source.
import { readFileSync } from 'node:fs';
import { monitorKernel } from '../src/netlink/mod.ts';
import { Cluster } from '../tests/agent/cluster.ts';
import type { Node } from '../tests/agent/cluster.ts';
import { until } from '../tests/support/netns.ts';
import { quantile } from './lib/figures.ts';
import { cpuSeconds, memoryOf } from './lib/usage.ts';
import type { Memory } from './lib/usage.ts';

const LEASES = 1_000;
const IDLE_SECONDS = 60;
const PUTS = 40;

const pidOf = (node: Node): number => Number(readFileSync(`${node.directory}/run/agent.pid`, 'utf8'));

const show = ({ resident, own }: Memory): string =>
  `${resident.toFixed(1)} MiB resident, ${own.toFixed(1)} MiB its own`;

async function memory(): Promise<void> {
  await using cluster = await Cluster.start({ nodes: [2], config: { SubnetLen: 24, Network: '10.240.0.0/12' } });
  const node = cluster.node(2);
  await node.up();
  const pid = pidOf(node);
  await Bun.sleep(3_000);
  const before = memoryOf(pid);
  const peers = Array.from({ length: LEASES }, (_, i) => [
    `10.${241 + (i >> 8)}.${i & 255}.0/24`,
    `10.168.0.${10 + (i % 240)}`,
  ]);
  const started = performance.now();
  for (const [subnet, address] of peers) await cluster.putLease(subnet!, address!);
  await until('all routes', async () => (await node.status()).routes.installed >= LEASES, 60_000);
  const seconds = (performance.now() - started) / 1000;
  await Bun.sleep(3_000);
  const after = memoryOf(pid);
  const from = cpuSeconds(pid);
  await Bun.sleep(IDLE_SECONDS * 1000);
  const cpu = ((cpuSeconds(pid) - from) / IDLE_SECONDS) * 100;
  const idle = memoryOf(pid);
  console.log(`memory, alone in the network        ${show(before)}`);
  console.log(
    `memory, after ${LEASES} leases           ${show(after)} (goal: under 64 resident; put in ${seconds.toFixed(1)} s)`,
  );
  console.log(`memory, ${IDLE_SECONDS} s later                ${show(idle)}`);
  console.log(`CPU, idle with ${LEASES} leases, ${IDLE_SECONDS} s     ${cpu.toFixed(2)} % (goal: under 0.2)`);
  await node.stop('SIGKILL');
  const again = performance.now();
  await node.up();
  await until('all routes', async () => (await node.status()).routes.installed >= LEASES, 60_000);
  console.log(
    `restart, to ready with ${LEASES} leases  ${((performance.now() - again) / 1000).toFixed(2)} s, memory ${show(memoryOf(pidOf(node)))}`,
  );
}

async function latency(count: number): Promise<void> {
  const numbers = Array.from({ length: count }, (_, i) => i + 2);
  await using cluster = await Cluster.start({ nodes: numbers });
  const started = performance.now();
  for (const node of cluster.nodes.values()) node.start(['--listen', 'off']);
  for (const node of cluster.nodes.values())
    await until(node.space, async () => (await node.ask<{ ready: boolean }>('/readyz'))?.ready, 120_000);
  await until(
    'a full mesh',
    async () => {
      const installed = await Promise.all(
        [...cluster.nodes.values()].map(async (n) => (await n.status()).routes.installed),
      );
      return installed.every((n) => n === count - 1);
    },
    60_000,
  );
  console.log(
    `${count} agents, each a process, from nothing to a full mesh of routes: ${((performance.now() - started) / 1000).toFixed(1)} s`,
  );
  const seen = new Map<string, number[]>();
  const monitors: Disposable[] = [];
  for (const node of cluster.nodes.values()) {
    monitors.push(
      node.namespace.run(() =>
        monitorKernel(
          (event) => {
            if (event.type === 'route' && !event.gone) seen.get(event.route.destination)?.push(performance.now());
          },
          { groups: ['IPV4_ROUTE'] },
        ),
      ),
    );
  }
  await Bun.sleep(2_000);
  const all: number[] = [];
  const slowest: number[] = [];
  for (let i = 0; i < PUTS; i++) {
    const subnet = `10.244.${200 + (i % 50)}.0/24`;
    // a subnet that no agent took
    if ((await cluster.store.get(`/coreos.com/network/subnets/${subnet.replace('/', '-')}`)).kv) continue;
    const times: number[] = [];
    seen.set(subnet, times);
    const { id } = await cluster.store.grantLease(3600);
    const value = JSON.stringify({ PublicIP: '10.168.0.250', PublicIPv6: null, BackendType: 'host-gw' });
    const put = performance.now();
    await cluster.store.put(`/coreos.com/network/subnets/${subnet.replace('/', '-')}`, value, id);
    await until(`${subnet} everywhere`, () => times.length >= count, 20_000);
    for (const time of times) all.push(time - put);
    slowest.push(Math.max(...times) - put);
    await Bun.sleep(100);
  }
  for (const monitor of monitors) monitor[Symbol.dispose]();
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  console.log(`lease put → route in the kernel of ${count} nodes, ${slowest.length} times`);
  console.log(`  one node   p50 ${ms(quantile(all, 0.5))}, p99 ${ms(quantile(all, 0.99))} (goal: p99 under 50 ms)`);
  console.log(`  all nodes  p50 ${ms(quantile(slowest, 0.5))}, worst ${ms(Math.max(...slowest))}`);
}

const [what, nodes] = process.argv.slice(2);
if (what === undefined || what === 'memory') await memory();
if (what === undefined || what === 'latency') await latency(Number(nodes ?? 50));
process.exit(0);
