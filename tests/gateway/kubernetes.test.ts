// Kubernetes' Nodes as the announcer's source: over TLS from an API that pages, bookmarks, forgets, restarts and exchanges
// tokens; then the whole announcer, with a Godwit speaker as the gateway.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gatewayStatus } from '../../src/gateway/mod.ts';
import { inClusterAccess, kubeconfigAccess } from '../../src/gateway/kubernetes/access.ts';
import type { ApiAccess } from '../../src/gateway/kubernetes/access.ts';
import { FactTable } from '../../src/gateway/facts.ts';
import { Plan } from '../../src/gateway/plan.ts';
import { KubernetesSource } from '../../src/gateway/sources/mod.ts';
import { prefix } from '../../src/net/mod.ts';
import { TestSpeaker } from '../support/bgp-peer.ts';
import { Authority } from '../support/certificates.ts';
import { freePort } from '../support/ports.ts';
import { FakeApi } from '../support/kubernetes.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('Kubernetes as a source', 'openssl');
const main = join(import.meta.dir, '../../src/main.ts');
/** Attempts are up to ten seconds apart. */
const PATIENCE_MS = 20_000;
const node = (
  n: number,
  more: Record<string, unknown> = {},
  conditions: Record<string, string> = { Ready: 'True' },
) => ({
  spec: { podCIDR: `10.244.${n}.0/24`, podCIDRs: [`10.244.${n}.0/24`, `fd00:${n}::/64`], ...more },
  status: {
    addresses: [
      { type: 'Hostname', address: `k${n}` },
      { type: 'ExternalIP', address: `203.0.113.${n}` },
      { type: 'InternalIP', address: `192.168.1.${n}` },
      { type: 'InternalIP', address: `fd01::${n}` },
    ],
    conditions: Object.entries(conditions).map(([type, status]) => ({ type, status })),
  },
});

describe.skipIf(!here)('Kubernetes', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-kube-'));
  const kubeconfig = join(directory, 'kubeconfig');
  const tokenFile = join(directory, 'token');
  let authority: Authority;
  let api: FakeApi;
  let access: ApiAccess;

  beforeAll(async () => {
    authority = new Authority();
    api = new FakeApi(authority.sign('server'), freePort());
    writeFileSync(tokenFile, 'first\n');
    const ca = readFileSync(authority.ca.cert).toString('base64');
    const document = {
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
      clusters: [{ name: 'c', cluster: { server: api.url, 'certificate-authority-data': ca } }],
      users: [{ name: 'u', user: { tokenFile: 'token' } }],
      contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
    };
    writeFileSync(kubeconfig, JSON.stringify(document));
    access = kubeconfigAccess(kubeconfig);
    for (const n of [1, 2, 3, 4, 5]) api.put(`k${n}`, node(n));
  });
  afterAll(async () => {
    await api[Symbol.asyncDispose]();
    authority[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('nodes, and every way in which the API interrupts', async () => {
    const facts = new FactTable();
    const none = new Set<string>();
    const plan = new Plan(facts, {
      ...{ within: [prefix('10.244.0.0/16'), prefix('fd00::/16')], exclude: none, drain: none, communities: [] },
      ...{ notReady: 'exclude', withoutStatus: 'announce', cordoned: 'drain', med: undefined, aggregate: [] },
    });
    const source = new KubernetesSource(access);
    const stop = new AbortController();
    /** What was said of the picture's age, one entry a change. */
    const ages: (string | undefined)[] = [];
    const running = source.run(facts, stop.signal, () => {
      plan.refresh();
      if (ages.length === 0 || ages.at(-1) !== source.stale) ages.push(source.stale);
    });
    const has = (...numbers: number[]) =>
      until(
        `prefixes of ${numbers.join(', ')}, have ${[...plan.wanted.keys()].join(' ')}`,
        () => {
          const held = [...plan.wanted].filter(([p]) => p.startsWith('10.')).map(([p, a]) => `${p} ${a.nextHop}`);
          return Bun.deepEquals(held.sort(), numbers.map((n) => `10.244.${n}.0/24 192.168.1.${n}`).sort());
        },
        PATIENCE_MS,
      );
    const fresh = () => until('it is fresh', () => source.inSync && source.stale === undefined, PATIENCE_MS);
    const listsOf = () => api.requests.filter((r) => r === 'list').length;

    await has(1, 2, 3, 4, 5);
    await fresh();
    expect(plan.wanted.get(prefix('fd00:3::/64'))?.nextHop as string).toBe('fd01::3');
    const lists = listsOf();
    expect(lists).toBe(3); // pages

    // changes as they come
    api.put('k1', node(1, {}, { Ready: 'Unknown' }));
    api.put('k2', node(2, {}, { Ready: 'True', NetworkUnavailable: 'True' }));
    api.put('k6', node(6));
    api.delete('k5');
    await has(3, 4, 6);
    api.put('k3', node(3, { unschedulable: true }));
    await until('k3 drains', () => plan.wanted.get(prefix('10.244.3.0/24'))?.draining);

    // a watch that ends is taken up where the bookmark was, though what lies before is forgotten
    api.forget();
    api.bookmark();
    api.endWatches();
    await until('a new watch', () => api.requests.filter((r) => r.startsWith('watch')).length >= 2);
    api.put('k1', node(1));
    await has(1, 3, 4, 6);
    expect(listsOf()).toBe(lists);

    // the place is gone, told in the watch, then as an answer: a new list, and the difference
    api.expireWatches();
    api.delete('k4');
    await has(1, 3, 6);
    expect(listsOf()).toBeGreaterThan(lists);
    const before = listsOf();
    api.endWatches();
    api.forget();
    api.put('k7', node(7));
    await has(1, 3, 6, 7);
    expect(listsOf()).toBeGreaterThan(before);

    // away: what is known stays; back with another token, which the file has
    await api.stop();
    await until('it is known to be old', () => source.stale !== undefined);
    expect(plan.wanted.size).toBe(8);
    api.token = 'second';
    api.delete('k7');
    api.start();
    // the old token is refused, and the picture stays old though it is tried again and again
    const [said, asked] = [ages.length, api.requests.length];
    await until('the old token is tried', () => api.requests.length >= asked + 2, PATIENCE_MS);
    expect(ages.slice(said)).toEqual([]);
    writeFileSync(tokenFile, 'second\n');
    await has(1, 3, 6);
    await fresh();
    stop.abort();
    await running;
  }, 60_000);

  test('the pod’s own service account; another authority’s server is refused', async () => {
    const account = join(directory, 'account');
    await Bun.write(join(account, 'token'), `${api.token}\n`);
    await Bun.write(join(account, 'ca.crt'), readFileSync(authority.ca.cert));
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: new URL(api.url).port };
    const follow = async (with_: ApiAccess) => {
      const source = new KubernetesSource(with_);
      const stop = new AbortController();
      const reasons = new Set<string>();
      const running = source.run(new FactTable(), stop.signal, () => reasons.add(source.stale ?? 'fresh'));
      await until('an outcome', () => [...reasons].some((reason) => reason !== 'not connected yet'));
      stop.abort();
      await running;
      return [...reasons];
    };
    expect(await follow(inClusterAccess(env, account))).toContain('fresh');
    using stranger = new Authority();
    await Bun.write(join(account, 'ca.crt'), readFileSync(stranger.ca.cert));
    expect((await follow(inClusterAccess(env, account))).join()).toMatch(/certificate|issuer|verify/i);
    expect(() => inClusterAccess({})).toThrow('KUBERNETES_SERVICE_HOST');
  });

  test('the announcer, from pod CIDRs to a gateway', async () => {
    const [port, own] = [freePort(), freePort()];
    await using gateway = await TestSpeaker.start(
      `{ routerId: 10.0.0.1, as: 65001, listen: ['127.0.0.2'], port: ${port}, control: false,
         neighbors: [{ address: 127.0.0.1, as: 64512, import: accept, passive: true, multihop: 2 }] }`,
    );
    const file = join(directory, 'gateway.yaml');
    const config = {
      source: { kubernetes: { kubeconfig } },
      announce: { within: ['10.244.0.0/16'] },
      gateways: [
        { name: 'gw', address: '127.0.0.2', as: 65001, port, multihop: 2, timers: { connectRetry: 1 } },
        // never there, and nobody waits for it
        { name: 'away', address: '127.0.0.3', as: 65002, port, multihop: 2 },
      ],
      bgp: { routerId: '10.0.0.9', as: 64512, listen: ['127.0.0.1'], port: own },
    };
    writeFileSync(file, JSON.stringify(config));
    const socket = join(directory, 'sock');
    const child = Bun.spawn([process.execPath, main, 'gateway', '-c', file, '--socket', socket], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    try {
      const paths = () => gateway.speaker.rib.counters(gateway.speaker.peers.values().next().value!.id, 4).accepted;
      await until('all nodes, ready or not', () => paths() === 4);
      api.put('k8', node(8));
      await until('another', () => paths() === 5);
      const status = await gatewayStatus(socket);
      expect(status.announced.map((a) => `${a.prefix} ${a.node}`)).toContain('10.244.8.0/24 k8');
    } finally {
      child.kill('SIGTERM');
      await child.exited;
    }
  }, 40_000);
});
