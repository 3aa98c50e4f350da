// The agent's loop that looks for leaked addresses, on a real etcd, with its own times on a clock that the test moves.
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { collectLeaks } from '../../src/agent/blocks/collector.ts';
import { ManualClock, silentLogger } from '../../src/base/mod.ts';
import type { Logger } from '../../src/base/mod.ts';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore, LeaseId } from '../../src/datastore/mod.ts';
import { audit, BlockIpam, readPicture } from '../../src/ipam/blocks/mod.ts';
import { statusKey } from '../../src/status/mod.ts';
import { poolOf, putResource } from '../support/calico.ts';
import { startEtcd } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('the collector of leaked addresses', 'etcd');
const PAUSE_MS = 5 * 60_000;
const TURN = '/godwit/v1/ipam/collector';

/** Counts how often the loop lay down to sleep: after each look. */
class LoopClock extends ManualClock {
  looks = -1;
  override after(delayMs: number, run: () => void): Disposable {
    if (delayMs === PAUSE_MS) this.looks++;
    return super.after(delayMs, run);
  }
}

describe.skipIf(!here)('on etcd', () => {
  let etcd: RunningStore;
  let store: Datastore;
  let stop: AbortController;
  let running: Promise<void>[];
  let told: string[];
  const clocks = new Map<string, LoopClock>();
  const log: Logger = {
    ...silentLogger,
    warn: (fields, message) => void told.push(`${message}: ${JSON.stringify(fields)}`),
  };

  beforeEach(async () => {
    etcd = await startEtcd();
    store = await openDatastore(etcd.url, { requestTimeoutMs: 3_000 });
    stop = new AbortController();
    running = [];
    told = [];
    clocks.clear();
    await putResource(store, poolOf('10.233.0.0/24', { blockSize: 29 }));
    for (const name of ['n1', 'n2']) await putResource(store, { kind: 'Node', metadata: { name }, spec: {} });
  });
  afterEach(async () => {
    stop.abort();
    await Promise.allSettled(running);
    await store[Symbol.asyncDispose]();
    await etcd[Symbol.asyncDispose]();
  });

  const give = async (node: string, pod: string) => {
    const given = await new BlockIpam({ store, node }).assign({
      ...{ handle: `net.${pod}`, want: [{ family: 4 }] },
      attributes: { pod, namespace: 'shop', node },
    });
    if (!given.ok) throw given.error;
    return given.value[0]!.address;
  };
  /** What the agent of a node says of itself. */
  const says = (node: string, ...inUse: string[]) =>
    store.put(statusKey(node), JSON.stringify({ node, ready: true, reasons: [], warnings: [], inUse }));
  const given = async () => audit(await readPicture(store, 0)).allocations.map(({ address }) => address as string);
  /** A node’s collector, until the end or until its lease is gone. */
  const collect = async (node: string): Promise<LeaseId> => {
    const clock = new LoopClock();
    clocks.set(node, clock);
    const { id } = await store.grantLease(600);
    const ipam = new BlockIpam({ store, node, clock });
    running.push(collectLeaks({ store, ipam, lease: id, clock, log }, stop.signal));
    return id;
  };
  const turnOf = (node: string) =>
    until(`${node} has its turn`, async () => {
      clocks.get(node)!.advance(100);
      return (await store.get(TURN)).kv?.value === node && clocks.get(node)!.looks === 0;
    });
  const looks = async (node: string, times = 1) => {
    const clock = clocks.get(node)!;
    for (let i = 0; i < times; i++) {
      const before = clock.looks;
      clock.advance(PAUSE_MS);
      await until('it has looked', () => clock.looks > before, 20_000);
    }
  };
  const endpointOf = (pod: string, address: string) => ({
    ...{ kind: 'WorkloadEndpoint', metadata: { name: `n1-k8s-${pod}-eth0`, namespace: 'shop' } },
    spec: { node: 'n1', orchestrator: 'k8s', pod, endpoint: 'eth0', ipNetworks: [`${address}/32`] },
  });

  test('frees what nobody uses after the grace, and never what anybody may use', async () => {
    const [known, running, late, leaked] = [
      await give('n1', 'known'),
      await give('n1', 'running'),
      await give('n1', 'late'),
      await give('n1', 'leaked'),
    ];
    const silent = await give('n2', 'silent');
    await putResource(store, endpointOf('known', known));
    await says('n1', running);
    await collect('n1');
    await turnOf('n1');
    await looks('n1', 3);
    expect(await given()).toContain(leaked);
    await says('n1', running, late);
    await looks('n1');
    const live = [known, running, late, silent];
    expect((await given()).toSorted()).toEqual(live.toSorted());
    expect(told).toEqual([`a leaked address is free again: {"address":"${leaked}","handle":"net.leaked"}`]);

    // pods live on without an agent, however long
    await store.delete(statusKey('n1'));
    await looks('n1', 6);
    expect((await given()).toSorted()).toEqual(live.toSorted());

    // an agent that is back and does not know an address: only from then on it is suspected
    await says('n1', running, late);
    await says('n2');
    await looks('n1', 3);
    expect(await given()).toContain(silent);
    await looks('n1');
    expect((await given()).toSorted()).toEqual([known, running, late].toSorted());
  });

  test('a datastore that hangs in the middle of it is told, and looked at again', async () => {
    const leaked = await give('n1', 'leaked');
    await says('n1');
    await says('n2');
    await collect('n1');
    await turnOf('n1');
    await looks('n1', 3);
    process.kill(etcd.pid, 'SIGSTOP');
    await looks('n1');
    process.kill(etcd.pid, 'SIGCONT');
    expect(told.join()).toContain('cannot look for leaked addresses; trying again');
    expect(await given()).toEqual([leaked]);
    await looks('n1');
    expect(await given()).toEqual([]);
  });

  test('a resource that cannot be read: nothing is freed, because it might use anything', async () => {
    const leaked = await give('n1', 'leaked');
    await says('n1');
    await says('n2');
    const key = '/calico/resources/v3/projectcalico.org/workloadendpoints/shop/n1-k8s-x-eth0';
    await store.put(key, '{"garbage":1}');
    await collect('n1');
    await turnOf('n1');
    await looks('n1', 8);
    expect(told.join()).toContain('n1-k8s-x-eth0');
    await store.delete(key);
    expect(await given()).toEqual([leaked]);
    await looks('n1', 4);
    expect(await given()).toEqual([]);
  });

  test('one node at a time; the next one begins anew when its lease is gone', async () => {
    const leaked = await give('n1', 'leaked');
    await says('n1');
    await says('n2');
    const lease = await collect('n1');
    await turnOf('n1');
    await collect('n2');
    await looks('n1', 3);
    for (let i = 0; i < 20; i++) clocks.get('n2')!.advance(PAUSE_MS);
    expect(await given()).toEqual([leaked]);
    await store.revokeLease(lease);
    await turnOf('n2');
    await looks('n2', 3);
    expect(await given()).toEqual([leaked]);
    await looks('n2');
    expect(await given()).toEqual([]);
  });
});
