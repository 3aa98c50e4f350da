import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { openRouteKernel, ROUTE_PROTOCOL, RouteReconciler } from '../../src/dataplane/mod.ts';
import type { Route } from '../../src/desired/mod.ts';
import { ip, prefix } from '../../src/net/mod.ts';
import { have } from '../support/peers.ts';
import { TestNamespaces, until } from '../support/netns.ts';

const here = have('the route reconciler against the kernel', 'ip');

describe.skipIf(!here)('route reconciler in a namespace', () => {
  const spaces = new TestNamespaces();
  const stop = new AbortController();
  let reconciler: RouteReconciler;
  let running: Promise<void>;

  const route = (destination: string, device = 'eth0'): Route => ({
    ...{ destination: prefix(destination), class: 'lease', type: 'unicast' },
    nextHops: [{ via: ip('10.168.0.3'), device }],
  });
  const wanted = Array.from({ length: 50 }, (_, i) => route(`10.244.${i + 1}.0/24`));
  const own = () =>
    spaces.run('n', 'ip', 'route', 'show', 'proto', String(ROUTE_PROTOCOL)).trim().split('\n').filter(Boolean);
  const whole = () => until('all routes are there', () => own().length === 50);

  beforeAll(async () => {
    const namespace = spaces.add('n');
    spaces.run(
      'n',
      'sh',
      '-c',
      'ip link add eth0 type veth peer name far && ip link set far up && ip link set eth0 up && ip addr add 10.168.0.2/24 dev eth0',
    );
    reconciler = new RouteReconciler({ kernel: namespace.run(openRouteKernel) });
    reconciler.setDesired('lease', wanted);
    reconciler.markInSync('lease');
    running = namespace.run(() => reconciler.run(stop.signal));
    await whole();
  });
  afterAll(async () => {
    stop.abort();
    await running;
    spaces[Symbol.dispose]();
  });

  test('the line iproute2 shows', () => {
    expect(own()[0]?.trim()).toBe('10.244.1.0/24 via 10.168.0.3 dev eth0');
  });

  test('F17, F19: deleted, changed and flushed routes come back', async () => {
    spaces.run('n', 'ip', 'route', 'del', '10.244.7.0/24');
    await whole();
    spaces.run('n', 'ip', 'route', 'replace', '10.244.8.0/24', 'via', '10.168.0.77', 'proto', String(ROUTE_PROTOCOL));
    await until('the changed route is mended', () => own().every((line) => line.includes('via 10.168.0.3')));
    spaces.run('n', 'ip', 'route', 'flush', 'proto', String(ROUTE_PROTOCOL));
    await whole();
  });

  test('F16: the uplink flaps, is renamed, and is made anew under the same name', async () => {
    const up = 'ip link set eth0 up; ip addr replace 10.168.0.2/24 dev eth0';
    spaces.run('n', 'sh', '-c', `for i in $(seq 50); do ip link set eth0 down; ${up}; done`);
    await whole();
    spaces.run('n', 'sh', '-c', 'ip link set eth0 down; ip link set eth0 name moved; ip link set moved up');
    await until('the routes wait for their device', () => reconciler.status().problems.length === 50);
    expect(reconciler.status().problems[0]?.reason).toBe('there is no device eth0');
    spaces.run('n', 'sh', '-c', `ip link set moved down; ip link set moved name eth0; ${up}`);
    await whole();
    spaces.run(
      'n',
      'sh',
      '-c',
      `ip link del eth0; ip link add eth0 type veth peer name far; ip link set far up; ${up}`,
    );
    await whole();
    expect(reconciler.status().problems).toEqual([]);
  });

  test('IPv6: a route becomes one by a gateway within itself, over a tunnel, without being away for a moment', async () => {
    spaces.run(
      'n',
      'sh',
      '-ec',
      `ip link add v6 type vxlan id 4096 dstport 4789 local 10.168.0.2 dev eth0 nolearning; ip link set v6 up
       ip address add fd00::2/64 dev eth0 nodad`,
    );
    const to = (via: string, device: string, onlink: boolean): Route => ({
      ...{ destination: prefix('fc00:233::40/122'), class: 'bgp', type: 'unicast' },
      nextHops: [{ via: ip(via), device, ...(onlink && { onlink }) }],
    });
    const shown = () => spaces.run('n', 'ip', '-6', 'route', 'show', 'proto', String(ROUTE_PROTOCOL));
    const plain = /^fc00:233::40\/122 via fd00::9 dev eth0 /;
    const tunnel = /^fc00:233::40\/122 via fc00:233::40 dev v6 .*onlink/;
    reconciler.addDesired('lease', to('fd00::9', 'eth0', false));
    await until('plain', () => plain.test(shown()));
    for (let i = 0; i < 5; i++) {
      reconciler.addDesired('lease', to('fc00:233::40', 'v6', true));
      await until('by the tunnel', () => tunnel.test(shown()));
      reconciler.addDesired('lease', to('fd00::9', 'eth0', false));
      await until('plain again', () => plain.test(shown()));
    }
    // the route that helped is not left behind
    expect(shown().trim().split('\n')).toHaveLength(1);
    expect(reconciler.status().problems).toEqual([]);
    reconciler.removeDesired('lease', { destination: prefix('fc00:233::40/122') });
  });

  test('F18: routes of others are never touched; a conflict heals when the other goes', async () => {
    spaces.run('n', 'ip', 'route', 'add', '10.250.0.0/24', 'via', '10.168.0.50', 'proto', 'static');
    spaces.run('n', 'ip', 'route', 'add', '10.251.0.0/24', 'via', '10.168.0.50', 'proto', 'bird', 'metric', '32');
    reconciler.addDesired('lease', route('10.250.0.0/24'));
    reconciler.refresh();
    await until('the conflict is reported', () => reconciler.status().problems.some((p) => p.kind === 'conflict'));
    expect(spaces.run('n', 'ip', 'route', 'show', '10.250.0.0/24')).toContain('via 10.168.0.50');
    const { created, replaced } = reconciler.status().counters;
    await Bun.sleep(300);
    expect(reconciler.status().counters).toMatchObject({ created, replaced });
    spaces.run('n', 'ip', 'route', 'del', '10.250.0.0/24');
    await until('ours is there', () => own().length === 51);
    reconciler.removeDesired('lease', { destination: prefix('10.250.0.0/24') });
    await whole();
    expect(spaces.run('n', 'ip', 'route', 'show', '10.251.0.0/24')).toContain('proto bird');
  });
});
