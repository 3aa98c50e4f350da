// The announcer on a real kube-apiserver with Debian's etcd beneath: a service account with no more rights than the
// documentation asks for, lists in pages, what is done to nodes, and every way in which the API can be away.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import { gatewayStatus } from '../../src/gateway/mod.ts';
import type { AnnouncerStatus } from '../../src/gateway/mod.ts';
import { TestSpeaker } from '../support/bgp-peer.ts';
import { Authority } from '../support/certificates.ts';
import { startEtcd } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { ApiServer, kubeApiserver } from '../support/kube-apiserver.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { freePort } from '../support/ports.ts';

const here = have('the announcer with a real kube-apiserver', 'etcd', 'openssl', kubeApiserver);
const main = join(import.meta.dir, '../../src/main.ts');
/** Attempts are up to ten seconds apart. */
const PATIENCE_MS = 30_000;
/** More than one page of a list. */
const NODES = 520;
const NAMESPACE = 'kube-system';
const ACCOUNT = 'godwit-gateway';

const prefixOf = (n: number): string => `10.${100 + (n >> 8)}.${n & 255}.0/24`;
const addressOf = (n: number): string => `192.168.${n >> 8}.${n & 255}`;
const nodesPath = '/api/v1/nodes';

describe.skipIf(!here)('kube-apiserver', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-kube-'));
  const tokenFile = join(directory, 'token');
  const socket = join(directory, 'sock');
  const authority = new Authority();
  let etcd: RunningStore;
  let api: ApiServer;
  let gateway: TestSpeaker;
  let announcer: Bun.Subprocess;

  async function putNode(n: number, port?: number): Promise<void> {
    const name = `k${n}`;
    await api.ask('POST', nodesPath, { metadata: { name }, spec: { podCIDRs: [prefixOf(n)] } }, port);
    const status = {
      addresses: [
        { type: 'Hostname', address: name },
        { type: 'InternalIP', address: addressOf(n) },
      ],
      conditions: [{ type: 'Ready', status: 'True' }],
    };
    await api.ask('PATCH', `${nodesPath}/k${n}/status`, { status }, port);
  }
  const patch = (n: number, body: object, what = '') => api.ask('PATCH', `${nodesPath}/k${n}${what}`, body);
  const status = (): Promise<AnnouncerStatus> => gatewayStatus(socket);
  /** How many prefixes the gateway has. */
  const held = (): number => {
    const [peer] = gateway.speaker.peers.values();
    return gateway.speaker.rib.counters(peer!.id, 4).accepted;
  };
  const has = (count: number) => until(`${count} prefixes at the gateway`, () => held() === count, PATIENCE_MS);
  const announcementOf = async (n: number) => (await status()).announced.find(({ prefix }) => prefix === prefixOf(n));
  const newToken = async () => writeFileSync(tokenFile, `${await api.token(NAMESPACE, ACCOUNT)}\n`);

  beforeAll(async () => {
    etcd = await startEtcd();
    api = await ApiServer.start(etcd.endpoint, authority);
    await until('the namespace', () => api.ask('GET', `/api/v1/namespaces/${NAMESPACE}`).catch(() => false));
    await api.ask('POST', `/api/v1/namespaces/${NAMESPACE}/serviceaccounts`, { metadata: { name: ACCOUNT } });
    await newToken();
    const kubeconfig = join(directory, 'kubeconfig');
    const document = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
      clusters: [{ name: 'c', cluster: { server: api.url, 'certificate-authority': authority.ca.cert } }],
      users: [{ name: 'u', user: { tokenFile } }],
      contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
    };
    writeFileSync(kubeconfig, JSON.stringify(document));
    for (let n = 0; n < NODES; n += 20) await Promise.all(Array.from({ length: 20 }, (_, i) => putNode(n + i)));

    const [port, own] = [freePort(), freePort()];
    gateway = await TestSpeaker.start(
      `{ routerId: 10.0.0.1, as: 65001, listen: ['127.0.0.2'], port: ${port}, control: false,
         neighbors: [{ address: 127.0.0.1, as: 64512, import: accept, passive: true, multihop: 2 }] }`,
    );
    const config = {
      source: { kubernetes: { kubeconfig } },
      announce: { within: ['10.96.0.0/11'], ...{ notReady: 'exclude', cordoned: 'drain' } },
      gateways: [{ name: 'gw', address: '127.0.0.2', as: 65001, port, multihop: 2, timers: { connectRetry: 1 } }],
      bgp: { routerId: '10.0.0.9', as: 64512, listen: ['127.0.0.1'], port: own },
    };
    const file = join(directory, 'gateway.yaml');
    writeFileSync(file, JSON.stringify(config));
    announcer = Bun.spawn([process.execPath, main, 'gateway', '-c', file, '--socket', socket], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
  }, 110_000);
  afterAll(async () => {
    announcer?.kill('SIGTERM');
    await announcer?.exited;
    await gateway?.[Symbol.asyncDispose]();
    await api?.[Symbol.asyncDispose]();
    await etcd?.[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('without rights nothing is announced, and the status says why', async () => {
    const refused = await until(
      'a refusal',
      () =>
        status().then(
          ({ datastore }) => (datastore.stale?.includes('403') === true ? datastore.stale : undefined),
          () => undefined,
        ),
      PATIENCE_MS,
    );
    expect(refused).toContain(`system:serviceaccount:${NAMESPACE}:${ACCOUNT}`);
    expect(held()).toBe(0);
  }, 40_000);

  test('get, list and watch of nodes are all it takes', async () => {
    const group = 'rbac.authorization.k8s.io';
    const metadata = { name: 'godwit-gateway' };
    const rules = [{ apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] }];
    await api.ask('POST', `/apis/${group}/v1/clusterroles`, { metadata, rules });
    await api.ask('POST', `/apis/${group}/v1/clusterrolebindings`, {
      metadata,
      roleRef: { apiGroup: group, kind: 'ClusterRole', name: metadata.name },
      subjects: [{ kind: 'ServiceAccount', name: ACCOUNT, namespace: NAMESPACE }],
    });
    await has(NODES);
    expect(await announcementOf(259)).toMatchObject({ nextHop: addressOf(259), node: 'k259', draining: false });
  }, 40_000);

  test('nodes that come, go, are cordoned or not ready', async () => {
    await putNode(NODES);
    await has(NODES + 1);
    await patch(1, { spec: { unschedulable: true } });
    await until('k1 drains', async () => (await announcementOf(1))?.draining);
    await patch(1, { spec: { unschedulable: null } });
    await until('k1 does not', async () => (await announcementOf(1))?.draining === false);
    await patch(2, { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } }, '/status');
    await has(NODES);
    const { leftOut } = await status();
    expect(leftOut).toMatchObject([{ prefix: prefixOf(2), node: 'k2', reason: 'its node is not ready' }]);
    const fine = [
      { type: 'Ready', status: 'True' },
      { type: 'NetworkUnavailable', status: 'True' },
    ];
    await patch(3, { status: { conditions: fine } }, '/status');
    await has(NODES - 1);
    await api.ask('DELETE', `${nodesPath}/k4`);
    await has(NODES - 2);
  }, 60_000);

  test('a server that dies and comes back on the same history', async () => {
    await api.kill();
    await until('it is known to be old', async () => (await status()).datastore.stale, PATIENCE_MS);
    expect(held()).toBe(NODES - 2);
    await newTokenAfter(() => api.start());
    await until('it is fresh', async () => (await status()).datastore.stale === undefined, PATIENCE_MS);
    expect(held()).toBe(NODES - 2);
    await putNode(NODES + 1);
    await has(NODES - 1);
  }, 80_000);

  test('a server that has forgotten where the announcer was: 410, and only the difference is told', async () => {
    const { metadata } = (await api.ask('GET', `${nodesPath}?limit=1`)) as { metadata: { resourceVersion: string } };
    await api.kill();
    // where the announcer does not look
    const elsewhere = freePort();
    await api.start(elsewhere);
    await putNode(NODES + 2, elsewhere);
    await api.ask('DELETE', `${nodesPath}/k5`, undefined, elsewhere);
    await api.ask('DELETE', `${nodesPath}/k6`, undefined, elsewhere);
    {
      await using store = await openDatastore(etcd.url);
      await store.compact((await store.status()).revision);
    }
    await api.kill();
    expect(held()).toBe(NODES - 1);
    await api.start();
    const query = `watch=1&timeoutSeconds=1&resourceVersion=${metadata.resourceVersion}`;
    expect(await api.ask('GET', `${nodesPath}?${query}`)).toMatchObject({ type: 'ERROR', object: { code: 410 } });
    await has(NODES - 2);
    expect(await announcementOf(NODES + 2)).toMatchObject({ node: `k${NODES + 2}` });
    expect((await status()).datastore.stale).toBeUndefined();
  }, 100_000);

  /** Tokens are read again with each request: the announcer comes back with the new one. */
  async function newTokenAfter(start: () => Promise<void>): Promise<void> {
    writeFileSync(tokenFile, 'no token at all\n');
    await start();
    await until(
      'the wrong token was tried',
      () => readFileSync(join(api.directory, 'log'), 'utf8').includes('Unable to authenticate'),
      PATIENCE_MS,
    );
    expect((await status()).datastore.stale).toBeDefined();
    await newToken();
  }
});
