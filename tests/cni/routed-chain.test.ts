import { describe, expect, test } from 'bun:test';
import { runPlugin } from '../support/cni.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { putPools, RoutedNode } from '../support/routed.ts';

const [portmap, bandwidth] = ['/usr/lib/cni/portmap', '/usr/lib/cni/bandwidth'];
const here = have('chaining behind routed pods', 'ip', 'iptables', 'nc', 'tc', portmap, bandwidth);

describe.skipIf(!here)('chain of a routed pod', () => {
  test('portmap and bandwidth take our result: a port of the host leads to the pod, and the pod is slowed down', async () => {
    using spaces = new TestNamespaces();
    const store = new MemoryStore().client();
    await putPools(store);
    await using node = new RoutedNode(spaces, store);
    await node.start();
    // a client beyond the node
    spaces.add('client');
    const up = `ip link add up1 type veth peer name eth0 netns ${spaces.name('client')}; ip link set up1 up;
      ip addr add 198.51.100.1/24 dev up1`;
    spaces.run('host', 'sh', '-c', up);
    spaces.run('client', 'sh', '-c', 'ip link set eth0 up; ip addr add 198.51.100.2/24 dev eth0');

    const netns = node.pod('p1');
    const call = (config: Record<string, unknown>) => ({ container: 'mapped', netns, config });
    const chained = (type: string, runtimeConfig: Record<string, unknown>) => {
      return { cniVersion: '1.0.0', name: 'k8s-pod-network', type, runtimeConfig };
    };
    const mapping = {
      ...chained('portmap', { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }),
      snat: true,
    };
    const limit = chained('bandwidth', {
      bandwidth: { ingressRate: 8_000_000, ingressBurst: 800_000, egressRate: 8_000_000, egressBurst: 800_000 },
    });
    const own = (more: Record<string, unknown> = {}) =>
      node.config({ cniVersion: '1.0.0', name: 'k8s-pod-network', ...more });
    const added = await runPlugin('ADD', call(own()));
    expect(added.status).toBe(0);
    const host = added.json.interfaces![0]!.name;
    const limited = await runPlugin('ADD', call({ ...limit, prevResult: added.json }), bandwidth);
    expect(limited).toMatchObject({ status: 0 });
    const mapped = await runPlugin('ADD', call({ ...mapping, prevResult: limited.json }), portmap);
    expect(mapped).toMatchObject({ status: 0 });
    expect(mapped.json.ips).toEqual(added.json.ips);
    expect(spaces.run('host', 'tc', 'qdisc', 'show', 'dev', host)).toContain('tbf');

    const server = Bun.spawn(['ip', 'netns', 'exec', spaces.name('p1'), 'nc', '-4', '-lk', '-p', '80'], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    try {
      const reachable = () => spaces.status('client', 'nc', '-z', '-w1', '198.51.100.1', '8080') === 0;
      await until('the mapped port answers', reachable);
      // from the pod itself, and from the node by its loopback address, too
      const from = (where: string, address: string) => spaces.status(where, 'nc', '-z', '-w1', address, '8080') === 0;
      await until('the pod’s own answer', () => from('p1', '198.51.100.1'));
      await until('the answer on the loopback address', () => from('host', '127.0.0.1'));
      expect((await runPlugin('CHECK', call(own({ prevResult: mapped.json })))).stdout).toBe('');
      for (const [config, plugin] of [
        [mapping, portmap],
        [limit, bandwidth],
      ] as const)
        expect((await runPlugin('DEL', call({ ...config, prevResult: mapped.json }), plugin)).status).toBe(0);
      expect((await runPlugin('DEL', call(own({ prevResult: mapped.json })))).status).toBe(0);
      expect(reachable()).toBe(false);
      expect(spaces.run('host', 'ip', '-br', 'link')).not.toMatch(/cali|bwp/);
    } finally {
      server.kill('SIGKILL');
      await server.exited;
    }
  });
});
