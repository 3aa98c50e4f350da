// Real processes on real etcd, killed with SIGKILL wherever they happen to be; etcd itself is killed as well. An address
// that a process was told it has stays its own until it gives it back, is never anybody else's, and nothing is left over.
import { describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import { addressOf, audit, BlockIpam, decodeBlock, readPicture } from '../../src/ipam/blocks/mod.ts';
import { parseGiven, ResourceClient } from '../../src/model/mod.ts';
import { ip, prefix, prefixContains } from '../../src/net/mod.ts';
import { startEtcd } from '../support/datastores.ts';
import { have } from '../support/peers.ts';

const here = have('block IPAM under SIGKILL', 'etcd');
const ROUNDS = 12;
const NODES = ['n0', 'n1', 'n2', 'n3'];

interface Rules {
  readonly name: string;
  /** As the worker takes them. */
  readonly families: '4' | '46';
  readonly pools: readonly { readonly cidr: string; readonly blockSize: number }[];
  readonly config?: string;
  readonly reserved?: readonly string[];
}
const rules: readonly Rules[] = [
  { name: 'one family, borrowing', families: '4', pools: [{ cidr: '10.0.0.0/22', blockSize: 28 }] },
  {
    ...{ name: 'both families, strictAffinity, eight blocks a node, reservations', families: '46' },
    pools: [
      { cidr: '10.0.0.0/22', blockSize: 28 },
      { cidr: 'fd00:233::/118', blockSize: 124 },
    ],
    config: '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":8}',
    reserved: ['10.0.0.0/25', '10.0.1.3/32', 'fd00:233::/121'],
  },
];

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

  get said(): number {
    return this.lines.length;
  }

  get addresses(): string[] {
    return [...this.held.values()].flatMap((text) => text.split(','));
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
    for (const one of address!.split(','))
      for (const [other, its] of this.held)
        if (its.split(',').includes(one)) this.faults.push(`${one} has ${other} and ${handle}`);
    this.held.set(handle, address!);
  }
}

function spawnWorker(url: string, node: string, prefix: string, families: string, ledger: Ledger) {
  const worker = join(import.meta.dir, '../support/ipam-worker.ts');
  const child = Bun.spawn([process.execPath, worker, url, node, prefix, families], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
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
  test.each(rules)(
    'of clients and of the datastore: $name',
    async ({ families, pools, config, reserved }) => {
      await using etcd = await startEtcd();
      await using store = await openDatastore(etcd.url);
      const put = async (kind: string, name: string, spec: object) => {
        const parsed = parseGiven({ kind, apiVersion: 'projectcalico.org/v3', metadata: { name }, spec });
        if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
        await new ResourceClient(store).create(parsed.value);
      };
      for (const [i, spec] of pools.entries()) await put('IPPool', `p${i}`, spec);
      if (reserved) await put('IPReservation', 'r', { reservedCIDRs: reserved });
      if (config !== undefined) await store.put('/calico/ipam/v2/config', config);
      const ledger = new Ledger();
      let generation = 0;
      const start = (node: string) => spawnWorker(etcd.url, node, `${node}-${generation++}`, families, ledger);
      const workers = NODES.map(start);
      for (let round = 0; round < ROUNDS; round++) {
        await Bun.sleep(200 + Math.random() * 500);
        // on a busy machine they take longer to have said as much
        while (ledger.said < (round + 1) * 40) await Bun.sleep(10);
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
      for (const [handle, text] of ledger.held)
        for (const address of text.split(',')) expect([address, holders.get(address)]).toEqual([address, handle]);
      for (const address of ledger.addresses)
        for (const cidr of reserved ?? [])
          expect([address, prefixContains(prefix(cidr), ip(address))]).toEqual([address, false]);
      for (const handle of holders.values()) expect(ledger.asked.has(handle)).toBe(true);
      const found = audit(await readPicture(store, Date.now()));
      if (config !== undefined) expect(found.allocations.filter((a) => a.borrowed)).toEqual([]);
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
    },
    100_000,
  );
});
