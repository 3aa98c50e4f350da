// Many clients on several nodes over one datastore, one of them working as Calico's do (each record written alone), in every order a seeded scheduler can think of. Any operation may be
// lost, may take place without an answer, or may take place long after the client was told it failed; a client may be
// killed at any operation and a new one takes its place. After every single change of the store the invariants are
// checked; when all is released and quiet, nothing may be left.
import { expect, test } from 'bun:test';
import { ManualClock } from '../../src/base/mod.ts';
import {
  addressOf,
  BlockIpam,
  decodeAffinity,
  decodeBlock,
  faultOf,
  parseAffinityKey,
  parseBlockKey,
  parseHandleKey,
  affinityKey,
  CONFIG_KEY,
} from '../../src/ipam/blocks/mod.ts';
import type { Block } from '../../src/ipam/blocks/mod.ts';
import { resourceKey } from '../../src/model/mod.ts';
import { prefix } from '../../src/net/mod.ts';
import { CalicoActor } from '../support/calico-actor.ts';
import { MemoryStore } from '../support/memory-store.ts';
import type { Fate } from '../support/memory-store.ts';

/** A small fast generator with a seed: mulberry32. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Pending {
  readonly client: number;
  readonly run: () => void;
  readonly resolve: (fate: Fate) => void;
}

class World {
  readonly memory = new MemoryStore();
  readonly random: () => number;
  readonly clock: ManualClock;
  readonly pending: Pending[] = [];
  /** Operations whose client was told they failed, or is dead, and which the network still carries. */
  readonly late: (() => void)[] = [];
  readonly dead = new Set<number>();
  /** What clients were given and have not asked to release: handle → address. */
  readonly confirmed = new Map<string, string>();
  faults = true;
  private clients = 0;

  constructor(seed: number) {
    this.random = generator(seed);
    this.clock = new ManualClock(0, 1_700_000_000_000);
    this.memory.onChange = () => this.check();
  }

  private store(id: number) {
    return this.memory.client(
      (_, run) => new Promise<Fate>((resolve) => this.pending.push({ client: id, run, resolve })),
    );
  }

  calico(node: string): { readonly id: number; readonly actor: CalicoActor } {
    const id = ++this.clients;
    return { id, actor: new CalicoActor(this.store(id), node, BLOCKS, () => this.clock.wallNow()) };
  }

  client(node: string): { readonly id: number; readonly ipam: BlockIpam } {
    const id = ++this.clients;
    const store = this.store(id);
    return { id, ipam: new BlockIpam({ store, node, clock: this.clock, random: this.random, patienceMs: 1e9 }) };
  }

  /** One thing happens: an operation is carried out in some way, or time passes. */
  step(): void {
    const choice = this.random();
    if (this.late.length > 0 && choice < 0.1) {
      this.late.splice(Math.floor(this.random() * this.late.length), 1)[0]!();
      return;
    }
    const [operation] = this.pending.splice(Math.floor(this.random() * this.pending.length), 1);
    if (!operation) {
      this.clock.advance(500);
      return;
    }
    if (this.dead.has(operation.client)) {
      // its last words may still reach the store
      if (this.random() < 0.5) this.late.push(operation.run);
      return;
    }
    const luck = this.faults ? this.random() : 1;
    if (luck < 0.05) this.late.push(operation.run);
    if (luck < 0.15) operation.resolve(luck < 0.05 ? 'late' : luck < 0.1 ? 'lost' : 'unknown');
    else operation.resolve('runs');
  }

  blocks(): Block[] {
    const out: Block[] = [];
    for (const kv of this.memory.data.values()) {
      if (parseBlockKey(kv.key) === undefined) continue;
      const block = decodeBlock(kv.value);
      if (!block.ok) throw new Error(`${kv.key} ${block.error}`);
      out.push(block.value);
    }
    return out;
  }

  check(): void {
    const holders = new Map<string, string>();
    for (const block of this.blocks()) {
      const fault = faultOf(block);
      if (fault !== undefined) throw new Error(`${block.cidr}: ${fault}`);
      for (const [ordinal, index] of block.allocations.entries()) {
        if (index !== null) holders.set(addressOf(block, ordinal), block.attributes[index]!.handle ?? '');
      }
    }
    // an address that was given stays with its holder until it asks to be rid of it: so none is given twice
    for (const [handle, address] of this.confirmed) {
      if (holders.get(address) !== handle)
        throw new Error(`${address} was given to ${handle} and is now with ${holders.get(address) ?? 'nobody'}`);
    }
    if (new Set(this.confirmed.values()).size !== this.confirmed.size) throw new Error('an address was given twice');
  }
}

/** The blocks of the pool, for a client that tries them in order. */
const BLOCKS = [0, 4, 8, 12].map((n) => prefix(`10.0.0.${n}/30`));

/** Lets the world run until `promises` are settled, or the steps are used up. */
async function settle(world: World, promises: readonly Promise<unknown>[], steps: number): Promise<boolean> {
  let open = promises.length;
  for (const promise of promises) void promise.then(() => open--);
  for (let step = 0; step < steps && open > 0; step++) {
    world.step();
    // all promises that can go on do so before the next thing happens
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return open === 0;
}

const pool = (cidr: string, blockSize: number): string =>
  JSON.stringify({
    kind: 'IPPool',
    apiVersion: 'projectcalico.org/v3',
    metadata: { name: 'p' },
    spec: { cidr, blockSize, nodeSelector: 'all()', allowedUses: ['Workload', 'Tunnel'], assignmentMode: 'Automatic' },
  });

async function scenario(seed: number): Promise<{ granted: number; operations: number }> {
  const world = new World(seed);
  const cooldown = seed % 3 === 0 ? 30 : 0;
  const strict = seed % 4 === 0;
  world.memory.run({
    if: [],
    do: [
      { op: 'put', key: resourceKey('IPPool', 'p'), value: pool('10.0.0.0/28', 30) },
      {
        op: 'put',
        key: CONFIG_KEY,
        value: JSON.stringify({ strict_affinity: strict, auto_allocate_blocks: true, ipCooldownSeconds: cooldown }),
      },
    ],
  });
  const nodes = ['a', 'b', 'c'];
  const handles = new Set<string>();
  let granted = 0;
  const open: Promise<unknown>[] = [];

  const life = async (node: string, number: number): Promise<void> => {
    let { id, ipam } = world.client(node);
    for (let turn = 0; turn < 4; turn++) {
      const handle = `${node}${number}.${turn}`;
      handles.add(handle);
      const jobs = ipam.assign({ handle, attributes: { node }, want: [{ family: 4 }] });
      if (world.random() < 0.25) {
        // killed: the runtime asks again with a new process, or gives the container up
        await Promise.race([
          jobs,
          new Promise((resolve) => world.clock.after(world.random() * 2000, () => resolve(0))),
        ]);
        world.dead.add(id);
        ({ id, ipam } = world.client(node));
      }
      const result = await (world.random() < 0.5
        ? jobs
        : ipam.assign({ handle, attributes: { node }, want: [{ family: 4 }] }));
      const usable = result.ok && !world.dead.has(id);
      if (usable) {
        granted++;
        world.confirmed.set(handle, result.value[0]!.address);
        world.check();
      }
      if (world.random() < 0.7) {
        world.confirmed.delete(handle);
        await ipam.release(handle);
      }
    }
  };
  /** A Calico node: what it was interrupted in is its runtime's to delete, by whatever client does that. */
  const calicoLife = async (node: string): Promise<void> => {
    let { id, actor } = world.calico(node);
    for (let turn = 0; turn < 15; turn++) {
      const handle = `${node}.${turn}`;
      handles.add(handle);
      const attempt = actor.assign(handle).catch(() => undefined);
      if (world.random() < 0.3) {
        await Promise.race([attempt, new Promise((resolve) => world.clock.after(200, () => resolve(0)))]);
        world.dead.add(id);
        ({ id, actor } = world.calico(node));
        continue;
      }
      const address = await attempt;
      if (address !== undefined) {
        granted++;
        world.confirmed.set(handle, address);
        world.check();
      }
      if (world.random() < 0.5) continue;
      world.confirmed.delete(handle);
      await actor.release(handle).catch(() => undefined);
    }
  };
  if (seed % 2 === 0) {
    const ends = new Promise((resolve) => world.clock.after(600_000, () => resolve(0)));
    open.push(Promise.race([calicoLife('d'), ends]));
    if (seed % 5 === 0) open.push(Promise.race([calicoLife('a'), ends])); // a Calico process beside ours on one node
  }
  for (const node of nodes) {
    for (let n = 0; n < 3; n++) {
      open.push(Promise.race([life(node, n), new Promise((resolve) => world.clock.after(600_000, () => resolve(0)))]));
    }
  }
  expect(await settle(world, open, 60_000)).toBe(true);

  // quiet: what was under way arrives, and a healthy client cleans up after everybody
  world.faults = false;
  for (const run of world.late.splice(0)) run();
  for (const operation of world.pending.splice(0)) if (!world.dead.has(operation.client)) operation.resolve('lost');
  world.confirmed.clear();
  for (const node of nodes) {
    const { ipam } = world.client(node);
    const releases = [...handles].map((handle) => ipam.release(handle));
    expect(await settle(world, releases, 60_000)).toBe(true);
    for (const release of releases) expect((await release).ok).toBe(true);
  }
  world.clock.advance(60_000);
  const { ipam } = world.client('a');
  for (let n = 0; n < 2; n++) await settle(world, [ipam.release('nothing')], 1000);

  const owned = new Set<string>();
  for (const block of world.blocks()) {
    const live = block.attributes.filter((attribute) => attribute.releasedAt === undefined);
    expect(live).toEqual([]);
    expect(block.affinity).toBeDefined();
    owned.add(affinityKey(block.affinity!, block.cidr));
  }
  for (const key of world.memory.data.keys()) {
    expect(parseHandleKey(key)).toBeUndefined();
    // a claim that Calico did not complete may be left: it counts for nothing until somebody completes or drops it
    const kv = world.memory.data.get(key)!;
    if (parseAffinityKey(key) && decodeAffinity(kv.value) === 'confirmed') expect(owned.has(key)).toBe(true);
  }
  return { granted, operations: world.memory.operations };
}

test('250 worlds: an address is never given twice, and nothing is left behind', async () => {
  let granted = 0;
  for (let seed = 1; seed <= 250; seed++) {
    try {
      granted += (await scenario(seed)).granted;
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  expect(granted).toBeGreaterThan(250 * 10);
}, 110_000);
