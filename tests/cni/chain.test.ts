import { describe, expect, test } from 'bun:test';
import { runPlugin, TestNode } from '../support/cni.ts';
import { TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const portmap = '/usr/lib/cni/portmap';
const here = have('CNI chaining with portmap', 'ip', 'iptables', 'nc', portmap);

describe.skipIf(!here)('CNI chain', () => {
  test('portmap behind us maps a port of the host to the pod, and takes it away', async () => {
    using spaces = new TestNamespaces();
    await using node = new TestNode(spaces);
    await node.start();
    // a client beyond the node
    spaces.add('client');
    const up = `ip link add up0 type veth peer name eth0 netns ${spaces.name('client')}; ip link set up0 up;
      ip addr add 192.0.2.1/24 dev up0; echo 1 > /proc/sys/net/ipv4/ip_forward; ip link set lo up`;
    spaces.run('host', 'sh', '-c', up);
    spaces.run('client', 'sh', '-c', 'ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0');

    const netns = node.pod('p1');
    const call = (config: Record<string, unknown>) => ({ container: 'mapped', netns, config });
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };
    const chained = { cniVersion: '1.0.0', name: 'pods', type: 'portmap', snat: true, runtimeConfig };
    const added = await runPlugin('ADD', call(node.config({ cniVersion: '1.0.0' })));
    const mapped = await runPlugin('ADD', call({ ...chained, prevResult: added.json }), portmap);
    expect(mapped.status).toBe(0);
    expect(mapped.json.ips).toEqual(added.json.ips);

    const server = Bun.spawn(['ip', 'netns', 'exec', spaces.name('p1'), 'nc', '-4', '-lk', '-p', '80'], {
      stdio: ['ignore', 'ignore', 'ignore'],
    });
    try {
      const reachable = () => spaces.status('client', 'nc', '-z', '-w1', '192.0.2.1', '8080') === 0;
      await until('the mapped port answers', reachable);
      // as a runtime checks us: with the result of the whole chain (Debian's portmap fails its own CHECK on nf_tables)
      const checked = await runPlugin('CHECK', call(node.config({ cniVersion: '1.0.0', prevResult: mapped.json })));
      expect(checked).toMatchObject({ status: 0 });
      expect((await runPlugin('DEL', call({ ...chained, prevResult: mapped.json }), portmap)).status).toBe(0);
      const deleted = await runPlugin('DEL', call(node.config({ cniVersion: '1.0.0', prevResult: mapped.json })));
      expect(deleted.status).toBe(0);
      expect(reachable()).toBe(false);
    } finally {
      server.kill('SIGKILL');
      await server.exited;
    }
  });
});
