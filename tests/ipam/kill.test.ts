// Real processes on real etcd, killed with SIGKILL wherever they happen to be; etcd itself is killed as well. An address
// that a process was told it has stays its own until it gives it back, is never anybody else's, and nothing is left over.
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import { addressOf, audit, BlockIpam, decodeBlock, readPicture } from '../../src/ipam/blocks/mod.ts';
import { parseGiven, ResourceClient } from '../../src/model/mod.ts';
import { startEtcd } from '../support/datastores.ts';
import { have } from '../support/peers.ts';

const here = have('block IPAM under SIGKILL', 'etcd');
const ROUNDS = 12;
const NODES = ['n0', 'n1', 'n2', 'n3'];

/** What the processes said: every handle ever asked for, and who must still have what. */
class Ledger {
  readonly asked = new Set<string>();
  readonly held = new Map<string, string>();
  readonly faults: string[] = [];
  private readonly lines: (readonly [number, string])[] = [];

  take(line: string): void {
    const space = line.indexOf(' ');
    this.lines.push([Number(line.slice(0, space)), line.slice(space + 1)]);
  }

  /** In the order things were said, whatever order the pipes were read in. */
  settle(): void {
    for (const [, text] of this.lines.sort(([a], [b]) => a - b)) this.line(text);
  }

  private line(text: string): void {
    const [verb, handle, address] = text.split(' ') as [string, string, string | undefined];
    if (verb === 'ask') this.asked.add(handle);
    if (verb === 'drop') this.held.delete(handle);
    if (verb !== 'have') return;
    for (const [other, its] of this.held)
      if (its === address) this.faults.push(`${address} has ${other} and ${handle}`);
    this.held.set(handle, address!);
  }
}

function spawnWorker(url: string, node: string, prefix: string, ledger: Ledger) {
  const worker = join(import.meta.dir, '../support/ipam-worker.ts');
  const child = Bun.spawn([process.execPath, worker, url, node, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
  const done = (async () => {
    let rest = '';
    for await (const chunk of child.stdout) {
      const lines = (rest + Buffer.from(chunk).toString()).split('\n');
      rest = lines.pop()!;
      for (const line of lines) ledger.take(line);
    }
    // a line cut off by the kill: what it would have said was not said
  })();
  return { kill: () => child.kill('SIGKILL'), done };
}

describe.skipIf(!here)('SIGKILL', () => {
  test('of clients and of the datastore', async () => {
    await using etcd = await startEtcd();
    await using store = await openDatastore(etcd.url);
    const pool = parseGiven({
      kind: 'IPPool',
      apiVersion: 'projectcalico.org/v3',
      metadata: { name: 'p' },
      spec: { cidr: '10.0.0.0/22', blockSize: 28 },
    });
    if (!pool.ok) throw new Error('pool');
    await new ResourceClient(store).create(pool.value);
    const ledger = new Ledger();
    let generation = 0;
    const start = (node: string) => spawnWorker(etcd.url, node, `${node}-${generation++}`, ledger);
    const workers = NODES.map(start);
    for (let round = 0; round < ROUNDS; round++) {
      await Bun.sleep(200 + Math.random() * 500);
      if (round === ROUNDS / 2) await etcd.killAndRestart();
      const victim = round % NODES.length;
      workers[victim]!.kill();
      await workers[victim]!.done;
      workers[victim] = start(NODES[victim]!);
    }
    for (const worker of workers) worker.kill();
    await Promise.all(workers.map((worker) => worker.done));

    ledger.settle();
    expect(ledger.faults).toEqual([]);
    expect(ledger.asked.size).toBeGreaterThan(100);
    const holders = new Map<string, string>();
    for (const kv of (await store.list('/calico/ipam/v2/assignment/')).kvs) {
      const block = decodeBlock(kv.value);
      if (!block.ok) throw new Error(`${kv.key} ${block.error}`);
      for (const [ordinal, index] of block.value.allocations.entries())
        if (index !== null) holders.set(addressOf(block.value, ordinal), block.value.attributes[index]!.handle!);
    }
    for (const [handle, address] of ledger.held) expect([address, holders.get(address)]).toEqual([address, handle]);
    for (const handle of holders.values()) expect(ledger.asked.has(handle)).toBe(true);
    const found = audit(await readPicture(store, Date.now()));
    expect([found.affinityFaults, found.brokenBlocks, found.leakedHandles, found.missingHandles]).toEqual([
      [],
      [],
      [],
      [],
    ]);

    // the runtime's DEL of every sandbox there ever was
    const ipam = new BlockIpam({ store, node: 'n0' });
    await Promise.all([...ledger.asked].map((handle) => ipam.release(handle)));
    expect((await store.list('/calico/ipam/v2/handle/')).kvs).toEqual([]);
    expect(audit(await readPicture(store, Date.now())).allocations).toEqual([]);
  }, 100_000);
});
