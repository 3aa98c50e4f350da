// Block IPAM on Debian's etcd: what one address costs, what many at once cost, and many nodes together. Beside it, what a
// single write to the same etcd costs: an address is meant to be one.
import { openDatastore } from '../src/datastore/mod.ts';
import { BlockIpam } from '../src/ipam/blocks/mod.ts';
import { startEtcd } from '../tests/support/datastores.ts';
import { putPool } from '../tests/support/routed.ts';

await using etcd = await startEtcd();
await using store = await openDatastore(etcd.url);
await putPool(store, 'p', { cidr: '10.233.0.0/16' });

async function times(count: number, one: (i: number) => Promise<unknown>): Promise<number[]> {
  const out: number[] = [];
  for (let i = 0; i < count; i++) {
    const started = performance.now();
    await one(i);
    out.push(performance.now() - started);
  }
  return out.sort((a, b) => a - b);
}
const show = (what: string, sorted: readonly number[]): void => {
  const at = (share: number) => sorted[Math.floor(sorted.length * share)]!.toFixed(2);
  console.log(`${what.padEnd(40)} p50 ${at(0.5)} ms  p99 ${at(0.99)} ms`);
};
const request = (handle: string) => ({
  handle,
  attributes: { pod: handle, namespace: 'default', node: 'n', timestamp: '2026-01-02 03:04:05 +0000 UTC' },
  want: [{ family: 4 as const }],
});

const ipam = new BlockIpam({ store, node: 'n' });
await ipam.warmUp();
show('one put of 2 KiB', await times(300, (i) => store.put(`/bench/${i}`, 'x'.repeat(2048))));
show('give an address', await times(300, (i) => ipam.assign(request(`a${i}`))));
show('take an address back', await times(300, (i) => ipam.release(`a${i}`)));

async function rate(what: string, total: number, parallel: number, nodes: number): Promise<void> {
  const engines = Array.from({ length: nodes }, (_, i) => new BlockIpam({ store, node: `${what}-${i}` }));
  let next = 0;
  const started = performance.now();
  const worker = async (n: number): Promise<void> => {
    const engine = engines[n % nodes]!;
    while (next < total) {
      const result = await engine.assign(request(`${what}.${next++}`));
      if (!result.ok) throw result.error;
    }
  };
  await Promise.all(Array.from({ length: parallel * nodes }, (_, n) => worker(n)));
  const seconds = (performance.now() - started) / 1000;
  console.log(`${`${total} addresses, ${nodes} node(s) × ${parallel}`.padEnd(40)} ${(total / seconds).toFixed(0)}/s`);
}
await rate('one', 500, 20, 1);
await rate('forty', 2000, 50, 40);
