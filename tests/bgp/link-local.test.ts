// Neighbours with link-local addresses: the same address on two links is two neighbours. A router with a cable to BIRD and
// one to another Godwit, which both are fe80::2.
import { describe, expect, test } from 'bun:test';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { ControlClient } from '../../src/bgp/mod.ts';
import type { NeighborStatus } from '../../src/bgp/mod.ts';
import { birdPrograms, Daemon } from '../support/bgp/mod.ts';
import { run, TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('link-local neighbours', '/usr/sbin/ip', '/usr/bin/ping', ...birdPrograms);

class Spoken implements AsyncDisposable {
  readonly daemon: Daemon;
  readonly control: ControlClient;

  constructor(spaces: TestNamespaces, name: string, text: string) {
    this.daemon = new Daemon(name, spaces.name(name));
    this.control = new ControlClient(this.daemon.file('ctl'));
    const all = `control: ${this.daemon.file('ctl')}\nfib: kernel\nlisten: ['::']\ngroups: { g: { import: accept, export: accept,
  timers: { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 } } }\n`;
    this.daemon.write('bgp.yaml', all + text);
    const main = `${repositoryRoot}/src/main.ts`;
    this.daemon.spawn([process.execPath, main, 'bgp', '--config', this.daemon.file('bgp.yaml')]);
  }

  async established(): Promise<string[]> {
    if (!(await this.control.alive())) return [];
    const all = await this.control.get<NeighborStatus[]>('/neighbors');
    return all.filter((n) => n.state === 'Established').map((n) => n.address);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.daemon[Symbol.asyncDispose]();
  }
}

const bird = `
log stderr all;
router id 10.0.0.3;
protocol device { scan time 1; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol static { ipv6; route fd03::/64 blackhole; }
protocol bgp hub {
  local fe80::2 as 65003;
  neighbor fe80::1%up as 65001;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv6 { import all; export where source = RTS_STATIC; };
}
`;

describe.skipIf(!here)('link-local neighbours', () => {
  test('two with one address, on two links', async () => {
    using spaces = new TestNamespaces();
    for (const name of ['hub', 'own', 'bird']) {
      spaces.add(name);
      // no link-local address but the one given
      spaces.run(name, 'sysctl', '-qw', 'net.ipv6.conf.default.addr_gen_mode=1', 'net.ipv6.conf.all.forwarding=1');
    }
    for (const [name, pod] of [
      ['own', 'fd02::2'],
      ['bird', 'fd03::2'],
    ] as const) {
      const cable = ['link', 'add', name, 'type', 'veth', 'peer', 'name', 'up', 'netns', spaces.name(name)];
      run('ip', '-n', spaces.name('hub'), ...cable);
      run('ip', '-n', spaces.name('hub'), 'link', 'set', 'dev', name, 'up');
      run('ip', '-n', spaces.name('hub'), 'addr', 'add', 'fe80::1/64', 'dev', name, 'nodad');
      run('ip', '-n', spaces.name(name), 'link', 'set', 'dev', 'up', 'up');
      run('ip', '-n', spaces.name(name), 'link', 'set', 'lo', 'up');
      run('ip', '-n', spaces.name(name), 'addr', 'add', 'fe80::2/64', 'dev', 'up', 'nodad');
      run('ip', '-n', spaces.name(name), 'addr', 'add', `${pod}/128`, 'dev', 'lo');
    }
    const kernel = (name: string) => spaces.run(name, 'ip', '-6', 'route', 'show', 'proto', 'bgp');

    await using hub = new Spoken(
      spaces,
      'hub',
      `routerId: 10.0.0.1\nas: 65001\nneighbors:
  - { address: fe80::2%own, as: 65002, group: g }
  - { address: 'fe80::2', device: bird, as: 65003, group: g }`,
    );
    await using _own = new Spoken(
      spaces,
      'own',
      `routerId: 10.0.0.2\nas: 65002\nnetworks: [fd02::/64]\nneighbors: [{ address: fe80::1%up, as: 65001, group: g }]`,
    );
    await using other = new Daemon('bird', spaces.name('bird'));
    other.write('bird.conf', bird);
    other.spawn(['bird', '-f', '-c', other.file('bird.conf'), '-s', other.file('ctl')]);

    const keys = ['fe80::2%bird', 'fe80::2%own'];
    await until('both sessions', async () => (await hub.established()).sort().join() === keys.join(), 30_000);
    await until('both routes, each on its link', () => {
      const routes = kernel('hub');
      return routes.includes('fd02::/64 via fe80::2 dev own') && routes.includes('fd03::/64 via fe80::2 dev bird');
    });
    await until('the way back', () => kernel('own').includes('fd03::/64 via fe80::1 dev up'));
    const reaches = () => spaces.status('own', 'ping', '-6', '-c1', '-W1', '-I', 'fd02::2', 'fd03::2') === 0;
    await until('one end reaches the other', reaches, 20_000);

    // one is asked for by its whole name, and ends alone
    await hub.control.post('/shutdown', { neighbor: 'fe80::2%own', reason: 'x' });
    await until('its route is gone', () => !kernel('hub').includes('fd02::/64'));
    expect(kernel('hub')).toContain('fd03::/64 via fe80::2 dev bird');
    expect(await hub.established()).toEqual(['fe80::2%bird']);
    await hub.control.post('/start', { neighbor: 'fe80::2%own' });
    await until('and is back', () => kernel('hub').includes('fd02::/64 via fe80::2 dev own'), 20_000);
  }, 100_000);
});
