// godwit ipam on Debian's etcd.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { BlockIpam, handleKey } from '../../src/ipam/blocks/mod.ts';
import { parseGiven, ResourceClient } from '../../src/model/mod.ts';
import { startEtcd } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { have } from '../support/peers.ts';

const here = have('ipam on the command line', 'etcd');
let etcd: RunningStore;
let store: Datastore;
let directory: string;

async function put(kind: string, name: string, spec: object, namespace?: string): Promise<void> {
  const given = parseGiven({ kind, apiVersion: 'projectcalico.org/v3', metadata: { name, namespace }, spec });
  if (!given.ok) throw new Error(JSON.stringify(given.error));
  const result = await new ResourceClient(store).apply(given.value);
  if (!result.ok) throw new Error(result.error.message);
}
async function give(node: string, pod: string): Promise<string> {
  const ipam = new BlockIpam({ store, node });
  const result = await ipam.assign({
    handle: `net.${pod}`,
    attributes: { pod, namespace: 'default', node },
    want: [{ family: 4 }],
  });
  if (!result.ok) throw result.error;
  return result.value[0]!.address;
}
const endpoint = (node: string, pod: string, address: string) =>
  put(
    'WorkloadEndpoint',
    `${node}-k8s-${pod}-eth0`,
    { node, orchestrator: 'k8s', pod, endpoint: 'eth0', ipNetworks: [`${address}/32`] },
    'default',
  );

beforeAll(async () => {
  if (!here) return;
  etcd = await startEtcd();
  store = await openDatastore(etcd.url);
  directory = mkdtempSync(join(tmpdir(), 'godwit-ipam-'));
  await put('IPPool', 'p', { cidr: '10.0.0.0/28', blockSize: 29 });
  for (const node of ['n1', 'n2', 'n3']) await put('Node', node, {});
});
afterAll(async () => {
  if (!here) return;
  await store[Symbol.asyncDispose]();
  await etcd[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const program = join(import.meta.dir, '../../src/main.ts');
function ipam(...args: readonly string[]): { status: number; out: string; error: string } {
  const env = { ...process.env, GODWIT_DATASTORE: etcd.url, NO_COLOR: '1' };
  const result = spawnSync(process.execPath, [program, 'ipam', ...args], { encoding: 'utf8', env });
  return { status: result.status ?? -1, out: result.stdout.trimEnd(), error: result.stderr.trimEnd() };
}

describe.skipIf(!here)('ipam', () => {
  test('show', async () => {
    const a = await give('n1', 'a');
    await endpoint('n1', 'a', a);
    await give('n2', 'b');
    const c = await give('n3', 'c'); // borrowed: both blocks have an owner
    expect(ipam('show').out).toBe(
      'GROUPING  CIDR         IPS TOTAL  IPS IN USE  IPS FREE\nIP Pool   10.0.0.0/28  16         3 (19%)     13 (81%)',
    );
    expect(ipam('show', '--show-blocks').out).toContain('host:n1');
    expect(ipam('show', '--ip', a).out).toContain(`${a} is in use\nhandle   net.a\nnode     n1\npod      default/a`);
    expect(ipam('show', '--ip', '10.0.0.15').out).toBe('10.0.0.15 is not assigned (pool p)');
    expect(ipam('show', '--show-borrowed').out).toContain(`${c}  n3`);
    expect(JSON.parse(ipam('show', '-o', 'json').out)).toEqual([
      { pool: 'p', cidr: '10.0.0.0/28', total: 16, inUse: 3, free: 13 },
    ]);
    expect(ipam('show', '--ip', 'x').status).toBe(2);
  });

  test('configure, with the rules between the settings', () => {
    expect(ipam('configure', '--max-blocks-per-host', '4').error).toContain('needs strictAffinity true');
    expect(ipam('configure', '--strictaffinity', 'true', '--max-blocks-per-host', '4').out).toBe(
      'strictAffinity is true\nmaxBlocksPerHost is 4',
    );
    expect(ipam('configure', '--ip-cooldown-seconds', '0').out).toBe('ipCooldownSeconds is 0');
    expect(ipam('show', '--show-configuration').out).toContain('strictAffinity                true');
    expect(ipam('configure').error).toContain('nothing to change');
  });

  test('check and release without a lock: only what is a leak then and now, and long enough', async () => {
    const report = join(directory, 'report.json');
    const [leak, again] = [await give('n1', 'leak'), await give('n1', 'again')];
    const late = await give('n1', 'late');
    await store.put(handleKey('ghost'), '{"block":{"10.0.0.0/29":1},"deleted":false}');
    const checked = ipam('check', '--show-problem-ips', '-o', report);
    expect(checked.status).toBe(1);
    expect(checked.out).toContain('5 given and used by nobody we know');
    expect(checked.out).toContain(`  ${leak} pod default/leak on n1, handle net.leak`);
    expect(checked.out).toContain('1 handles without an address\n  ghost');
    // meanwhile, and nobody locked anything: one pod comes up, one is deleted and comes back, the rest stay leaks
    await endpoint('n1', 'late', late);
    const n1 = new BlockIpam({ store, node: 'n1' });
    await n1.release('net.again');
    await n1.assign({
      handle: 'net.again',
      attributes: { pod: 'again', namespace: 'default', node: 'n1' },
      want: [{ address: again as never }],
    });
    expect(ipam('release', '--from-report', report).out).toContain('3 are suspected for less than the grace of 900 s');
    expect(ipam('release', '--from-report', report, '--grace', '0s', '--dry-run').out).toContain(
      '3 addresses and 1 handles would be released',
    );
    expect(ipam('release', '--from-report', report, '--grace', '0s').out).toBe(
      '3 addresses and 1 handles released\n1 are in use now\n1 were given anew meanwhile',
    );
    expect(ipam('show', '--ip', leak).out).toContain('is not assigned');
    expect(ipam('show', '--ip', again).out).toContain('is assigned');
    expect(ipam('release', '--ip', late).error).toContain(`${late} is in use by Workload(default/n1-k8s-late-eth0)`);
    expect(ipam('release', '--ip', again).out).toBe(`${again} released`);
    expect(ipam('check').out).toContain('No problems.');
    writeFileSync(report, readFileSync(report, 'utf8').replace('godwit/1', 'v3'));
    expect(ipam('release', '--from-report', report).error).toContain('it is no report');
  });

  test('split is one transaction, and addresses stay', async () => {
    const before = (await store.list('/calico/ipam/v2/assignment/')).kvs.map((kv) => kv.value);
    expect(ipam('split', '3', '--name', 'p').error).toContain('not a power of two');
    expect(ipam('split', '4', '--name', 'p').error).toContain('has no 4 parts of at least one block of /29');
    expect(ipam('split', '2', '--cidr', '10.0.0.0/28').out).toBe(
      'pool p (10.0.0.0/28) is split into\n  split-p-0 10.0.0.0/29\n  split-p-1 10.0.0.8/29',
    );
    expect((await store.list('/calico/ipam/v2/assignment/')).kvs.map((kv) => kv.value)).toEqual(before);
    const pools = await new ResourceClient(store).list('IPPool');
    expect(pools.items.map((pool) => [pool.name, pool.spec.cidr as string])).toEqual([
      ['split-p-0', '10.0.0.0/29'],
      ['split-p-1', '10.0.0.8/29'],
    ]);
  });
});
