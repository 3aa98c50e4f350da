// godwit get, apply, … as a person uses them, on Debian's etcd.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { encodeBlock, hostOwner, newBlock } from '../../src/ipam/blocks/mod.ts';
import { prefix } from '../../src/net/mod.ts';
import { startEtcd } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { run } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('resources on the command line', 'etcd', 'etcdctl');
let etcd: RunningStore;
let directory: string;

beforeAll(async () => {
  if (!here) return;
  etcd = await startEtcd();
  directory = mkdtempSync(join(tmpdir(), 'godwit-cli-'));
});
afterAll(async () => {
  if (!here) return;
  await etcd[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

const program = join(import.meta.dir, '../../src/main.ts');
function godwit(args: readonly string[], input = ''): { status: number; out: string; error: string } {
  const env = { ...process.env, GODWIT_DATASTORE: etcd.url, NO_COLOR: '1' };
  const result = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', input, env });
  return { status: result.status ?? -1, out: result.stdout.trimEnd(), error: result.stderr.trimEnd() };
}
const get = (key: string): string =>
  run('env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', etcd.endpoint, 'get', key, '--print-value-only').trimEnd();
const poolKey = (name: string): string => `/calico/resources/v3/projectcalico.org/ippools/${name}`;

const pools = `
# two documents and a list
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: one, labels: {zone: a}}
spec: {cidr: 10.1.0.0/16, ipipMode: CrossSubnet, natOutgoing: true}
---
kind: IPPoolList
apiVersion: projectcalico.org/v3
items:
- metadata: {name: two}
  spec: {cidr: 10.2.0.0/16, nodeSelector: zone == "b"}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: tor}
spec: {peerIP: 192.168.1.1, asNumber: 65001, filters: [out]}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: out}
spec: {exportV4: [{action: Accept, cidr: 10.0.0.0/8, matchOperator: In}]}
`;

describe.skipIf(!here)('resources', () => {
  test('apply, get, replace with a resource version, patch, delete', () => {
    expect(godwit(['apply', '-f', '-', '--dry-run'], pools.replace('filters: [out]', 'filters: []')).out).toContain(
      'IPPool one applied (dry run, nothing was written)',
    );
    expect(get(poolKey('one'))).toBe('');
    // the filter is created before the peer that refers to it, whatever the order of the file
    expect(godwit(['apply', '-f', '-'], pools)).toEqual({
      status: 0,
      out: 'IPPool one applied\nIPPool two applied\nBGPFilter out applied\nBGPPeer tor applied',
      error: '',
    });
    expect(get(poolKey('one'))).toMatch(
      /^\{"kind":"IPPool","apiVersion":"projectcalico.org\/v3","metadata":\{"name":"one","uid":"[0-9a-f-]{36}","creationTimestamp":"20[^"]+Z","labels":\{"zone":"a"\}\},"spec":\{"cidr":"10.1.0.0\/16","vxlanMode":"Never","ipipMode":"CrossSubnet","natOutgoing":true,"blockSize":26,"nodeSelector":"all\(\)","allowedUses":\["Workload","Tunnel"\],"assignmentMode":"Automatic"\}\}$/,
    );
    expect(godwit(['get', 'pools']).out).toBe(
      'NAME  CIDR         SELECTOR\none   10.1.0.0/16  all()\ntwo   10.2.0.0/16  zone == "b"',
    );
    expect(godwit(['get', 'ipp', 'one', '-o', 'wide']).out.split('\n')[1]).toBe(
      'one   10.1.0.0/16  true  CrossSubnet  Never      false     false             all()     Automatic',
    );
    expect(godwit(['get', 'bgppeer,'.slice(0, -1), '-o', 'name']).out).toBe('bgppeer/tor');
    expect(JSON.parse(godwit(['get', 'pool', '-o', 'json']).out)).toMatchObject({
      kind: 'IPPoolList',
      items: [{ metadata: { name: 'one' } }, {}],
    });

    const file = join(directory, 'one.yaml');
    writeFileSync(
      file,
      godwit(['get', 'pool', 'one', '-o', 'yaml']).out.replace('natOutgoing: true', 'natOutgoing: false'),
    );
    const before = (parse(godwit(['get', 'pool', 'one', '-o', 'yaml']).out) as { metadata: { uid: string } }).metadata
      .uid;
    expect(godwit(['replace', '-f', file]).out).toBe('IPPool one replaced');
    const again = godwit(['replace', '-f', file]);
    expect([again.status, again.error]).toEqual([
      1,
      expect.stringMatching(/IPPool one was changed: resource version \d+ was edited, \d+ is there; get it again/),
    ]);
    expect(get(poolKey('one'))).toContain(`"uid":"${before}"`);
    expect(get(poolKey('one'))).not.toContain('natOutgoing');

    expect(
      godwit(['patch', 'pool', 'one', '-p', '{"spec":{"disabled":true,"ipipMode":null}}', '-o', 'yaml']).out,
    ).toContain('disabled: true');
    expect(get(poolKey('one'))).toContain('"ipipMode":"Never"');
    expect(godwit(['patch', 'pool', 'one', '-p', '{"spec":{"cidr":"10.3.0.0/16"}}']).error).toContain(
      'spec.cidr: cannot change from 10.1.0.0/16 to 10.3.0.0/16',
    );
    expect(godwit(['delete', 'pool', 'one', 'nothing'])).toMatchObject({
      status: 1,
      out: 'IPPool one deleted',
      error: 'godwit: IPPool nothing does not exist',
    });
    expect(godwit(['delete', 'pool', 'nothing', '--skip-not-exists']).status).toBe(0);
    expect(godwit(['delete', '-f', '-'], pools).out).toContain('IPPool two deleted');
  });

  test('what is wrong is said with file, line, path, value and what is allowed; and nothing is written', () => {
    const file = join(directory, 'bad.yaml');
    writeFileSync(
      file,
      `${pools}---\napiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: bad}\nspec:\n  cidr: 10.3.0.0/16\n  blockSize: 12\n  blokSize: 26\n`,
    );
    const result = godwit(['apply', '-f', file]);
    expect(result.status).toBe(1);
    expect(result.error).toContain(
      `${file}:24: IPPool bad: spec.blokSize: is not known here; allowed: cidr, vxlanMode`,
    );
    expect(result.error).toContain('Nothing was written.');
    expect(get(poolKey('one'))).toBe('');
    expect(godwit(['validate', '-f', file]).status).toBe(1);
    expect(godwit(['validate', '-f', '-'], pools).out).toBe('4 resources are valid.');
    expect(godwit(['validate', '-f', '-'], pools.replace('10.2.0.0/16', '10.1.128.0/17')).error).toContain(
      'spec.cidr: 10.1.0.0/16 overlaps pool two (10.1.128.0/17)',
    );
    expect(godwit(['validate', '-f', '-'], 'a: [').error).toContain('stdin:1:');
    expect(godwit(['validate', '-f', '-'], '{"__proto__": {"kind": "IPPool"}}').error).toContain('"__proto__"');
    expect(godwit(['get', 'nonsense']).error).toContain('nonsense is no kind of resource');
  });

  test('as hands have it from kubectl: KIND/NAME, ends of documents with nothing after them, kinds without objects', () => {
    expect(godwit(['apply', '-f', '-'], `---\n${pools}---\n# nothing here\n---\n`).status).toBe(0);
    expect(godwit(['get', 'pool/one', 'bgppeer/tor', '-o', 'name']).out).toBe('ippool/one\nbgppeer/tor');
    expect(godwit(['get', 'pool/one', 'two']).error).toContain('two is not KIND/NAME');
    expect(godwit(['delete', ...godwit(['get', 'pools', '-o', 'name']).out.split('\n')]).out).toBe(
      'IPPool one deleted\nIPPool two deleted',
    );
    expect(godwit(['get', 'pools'])).toEqual({ status: 0, out: '', error: 'there is no IPPool' });
    expect(JSON.parse(godwit(['get', 'pools', '-o', 'json']).out)).toMatchObject({ kind: 'IPPoolList', items: [] });
    // an object that is not there is no empty list
    expect(godwit(['get', 'pool', 'one', '-o', 'json'])).toEqual({
      ...{ status: 1, out: '', error: 'godwit: IPPool one does not exist' },
    });
    expect(godwit(['delete', '-f', '-', '--skip-not-exists'], pools).status).toBe(0);
  });

  test('what was meant otherwise is refused, not passed over', () => {
    expect(godwit(['get', 'pool', '-f', '-'], pools).error).toContain('either names or files (-f), not both');
    expect(godwit(['get']).error).toContain('Name a kind');
    expect(godwit(['delete', 'pool']).error).toContain('which pool? Name at least one.');
    expect(godwit(['apply', '-f', '-'], '---\n').error).toContain('there is no resource in standard input');
    expect(godwit(['get', 'pools', '--datastore', 'http://me:secret@[::1]:2379']).error).toBe(
      'godwit: not a datastore URL: http://…@[::1]:2379; want etcd://HOST:PORT[,HOST:PORT], etcds://… or unix:///PATH',
    );
  });

  test('kinds are explained, in the words of their errors', () => {
    expect(godwit(['explain']).out).toMatch(/^IPPool +projectcalico\.org\/v3 +no +ippools, ipp/m);
    expect(godwit(['explain', 'pool']).out).toMatch(/^spec\.cidr +\(required\) +an IPv4 or IPv6 prefix/m);
    expect(godwit(['explain', 'clusterconfig.routeReflectors.holdDown']).out).toContain('30s');
    expect(godwit(['explain', 'bgpfilter.spec.importV4.operations']).out.split('\n')).toHaveLength(8);
    expect(godwit(['explain', 'pool.nothing']).error).toContain('IPPool has no field spec.nothing');
    expect(godwit(['explain', 'nothing']).error).toContain('nothing is no kind');
  });

  test('what needs the datastore to judge', () => {
    expect(godwit(['create', '-f', '-'], pools).status).toBe(0);
    const overlapping =
      'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: three}\nspec: {cidr: 10.0.0.0/8}';
    expect(godwit(['create', '-f', '-'], overlapping).error).toContain(
      'spec.cidr: 10.0.0.0/8 overlaps pool one (10.1.0.0/16)',
    );
    expect(godwit(['create', '-f', '-'], pools).error).toContain('IPPool one exists already');
    const peer =
      'apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 1.2.3.4, filters: [none]}';
    expect(godwit(['apply', '-f', '-'], peer).error).toContain('there is no BGPFilter none; allowed: out');
  });

  test('--skip-exists; a pool in use is not deleted without a word', () => {
    const pool = 'apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: used}\nspec: {cidr: 10.77.0.0/24}';
    expect(godwit(['create', '-f', '-'], pool).status).toBe(0);
    expect(godwit(['create', '-f', '-'], pool)).toMatchObject({
      status: 1,
      error: 'godwit: IPPool used exists already',
    });
    expect(godwit(['create', '-f', '-', '--skip-exists'], pool)).toEqual({ status: 0, out: '', error: '' });
    const block = newBlock(prefix('10.77.0.0/26'), hostOwner('n1'), 0);
    const allocations = block.allocations.map((_, ordinal) => (ordinal < 2 ? 0 : null));
    const unallocated = block.unallocated.filter((ordinal) => ordinal >= 2);
    const attribute = { handle: 'h', secondary: {}, releasedAt: undefined, others: {} };
    const given = encodeBlock({ ...block, allocations, unallocated, attributes: [attribute] });
    run('etcdctl', '--endpoints', etcd.endpoint, 'put', '/calico/ipam/v2/assignment/ipv4/block/10.77.0.0-26', given);
    for (const dry of [['--dry-run'], []]) {
      const deleted = godwit(['delete', 'pool', 'used', ...dry]);
      expect(deleted.status).toBe(0);
      expect(deleted.error).toContain('IPPool used: 2 addresses of it are given: their users are not reached');
    }
    expect(get(poolKey('used'))).toBe('');
    run('etcdctl', '--endpoints', etcd.endpoint, 'del', '--prefix', '/calico/ipam/v2/');
  });

  test('broken objects are reported, the others shown', () => {
    run('env', 'ETCDCTL_API=3', 'etcdctl', '--endpoints', etcd.endpoint, 'put', poolKey('broken'), '{"kind":"IPPool"');
    const result = godwit(['get', 'pools']);
    expect(result.out).toContain('one ');
    expect([result.status, result.error]).toEqual([
      1,
      expect.stringContaining('ippools/broken is broken: is not JSON'),
    ]);
    expect(godwit(['delete', 'pool', 'broken']).out).toBe('IPPool broken deleted');
    expect(godwit(['get', 'pools']).status).toBe(0);
  });

  test('namespaces', () => {
    const endpoint = (namespace: string) =>
      `apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata: {name: n1-k8s-p-eth0, namespace: ${namespace}}\nspec: {node: n1, orchestrator: k8s, pod: p, endpoint: eth0, ipNetworks: [10.1.0.1/32], interfaceName: cali1}`;
    expect(godwit(['apply', '-f', '-'], `${endpoint('default')}\n---\n${endpoint('other')}`).status).toBe(0);
    expect(godwit(['get', 'wep']).out.split('\n')).toHaveLength(2);
    expect(godwit(['get', 'wep', '-A']).out).toBe(
      'NAMESPACE  WORKLOAD  NODE  NETWORKS     INTERFACE\ndefault    p         n1    10.1.0.1/32  cali1\nother      p         n1    10.1.0.1/32  cali1',
    );
    expect(godwit(['get', 'wep', 'n1-k8s-p-eth0', '-n', 'other', '-o', 'yaml']).out).toContain('namespace: other');
    expect(godwit(['delete', 'wep', 'n1-k8s-p-eth0', '-n', 'other']).status).toBe(0);
  });

  test('IPAM’s configuration is one thing with its resource', () => {
    const config =
      'apiVersion: projectcalico.org/v3\nkind: IPAMConfiguration\nmetadata: {name: default}\nspec: {strictAffinity: true, maxBlocksPerHost: 4}';
    expect(godwit(['apply', '-f', '-'], config).status).toBe(0);
    expect(get('/calico/ipam/v2/config')).toBe(
      '{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4}',
    );
  });

  test('our own configuration of the cluster, under a key of our own', () => {
    const config = (spec: string, version = 'godwit.io/v1') =>
      `apiVersion: ${version}\nkind: ClusterConfiguration\nmetadata: {name: default}\nspec: {routeReflectors: {${spec}}}`;
    expect(godwit(['apply', '-f', '-'], config('mode: auto, count: 17')).error).toContain(
      'spec.routeReflectors.count: 17 is not; allowed: a whole number from 1 to 16',
    );
    expect(godwit(['apply', '-f', '-'], config('mode: auto', 'projectcalico.org/v3')).error).toContain(
      'apiVersion: "projectcalico.org/v3" is not; allowed: godwit.io/v1',
    );
    expect(godwit(['apply', '-f', '-'], config('mode: auto, failureDomain: rack, holdDown: 90s')).status).toBe(0);
    expect(get('/godwit/v1/resources/clusterconfigurations/default')).toContain(
      '"spec":{"routeReflectors":{"mode":"auto","failureDomain":"rack","holdDown":"1m30s"}}',
    );
    expect(godwit(['get', 'clusterconfig']).out).toBe(
      'NAME     ROUTEREFLECTORS  COUNT  THRESHOLD\ndefault  auto             2      100',
    );
    expect(godwit(['delete', 'clusterconfig', 'default']).status).toBe(0);
  });

  test('Felix’s settings: kept, and said to be without meaning', () => {
    const felix =
      'apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {ipipMTU: 1400, bpfEnabled: false}';
    expect(godwit(['apply', '-f', '-'], felix).error).toContain('without meaning here: spec.bpfEnabled');
    expect(get('/calico/resources/v3/projectcalico.org/felixconfigurations/default')).toContain(
      '"spec":{"ipipMTU":1400,"bpfEnabled":false}',
    );
  });
});
