// oxlint-disable unicorn/no-thenable -- `then` is the word for a policy term's verdict
// Two announcers, one gateway with FRR and one with BIRD, both configured by what `print-config` says, and a real store:
// which routes the gateways' kernels hold, and what happens when announcers die and datastores fail.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { Datastore } from '../../src/datastore/mod.ts';
import { gatewayStatus, parseGatewayConfig, peerConfig } from '../../src/gateway/mod.ts';
import type { PeerFormat } from '../../src/gateway/mod.ts';
import { birdPrograms, Daemon, frrPrograms, Lan } from '../support/bgp/mod.ts';
import { startServer } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { Monitor } from '../support/monitor.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('gateway announcer with FRR and BIRD', '/usr/sbin/ip', ...frrPrograms, ...birdPrograms);
const main = join(import.meta.dir, '../../src/main.ts');
const gateways = { frr: { address: '192.168.1.1', as: 65001 }, bird: { address: '192.168.1.2', as: 65002 } } as const;
const announcers = { a1: '192.168.1.250', a2: '192.168.1.251' } as const;
type AnnouncerName = keyof typeof announcers;

const configOf = (name: AnnouncerName, directory: string, drain: string[] = []): string =>
  JSON.stringify({
    source: 'flannel',
    announce: { within: ['10.244.0.0/16'], drain },
    guard: { minimumReady: 2, maxWithdrawPercent: 30, alwaysWithdraw: 2 },
    stateFile: join(directory, `${name}.state`),
    bgp: {
      routerId: announcers[name],
      as: 64512,
      listen: [announcers[name]],
      policies: { pods: [{ then: 'accept' }] },
      neighbors: Object.entries(gateways).map(([gateway, { address, as }]) => ({
        ...{ name: gateway, address, as, import: 'reject', export: 'pods', multihop: 5 },
        ...{ families: { ipv4: { nextHop: 'unchanged' } }, timers: { connectRetry: 1, idleHold: 0.2, idleHoldMax: 1 } },
      })),
    },
  });

describe.skipIf(!here)('gateway announcer', () => {
  const lan = new Lan();
  const directory = mkdtempSync(join(tmpdir(), 'godwit-gateway-'));
  const daemons = new Map<string, Daemon>();
  let server: RunningStore;
  let store: Datastore;

  const lease = (n: number) =>
    store.put(
      `/coreos.com/network/subnets/10.244.${n}.0-24`,
      JSON.stringify({
        ...{ PublicIP: `192.168.1.${10 + n}`, PublicIPv6: null, BackendType: 'host-gw' },
      }),
    );
  const unlease = (n: number) => store.delete(`/coreos.com/network/subnets/10.244.${n}.0-24`);
  /** The gateway's own kernel routes into the pod network. */
  const kernel = (gateway: string): string[] =>
    lan.namespaces
      .run(gateway, 'ip', 'route', 'show', 'root', '10.244.0.0/16')
      .split('\n')
      .flatMap((line) => /^(10\.244\.\S+).* via (\S+) /.exec(line)?.slice(1, 3).join(' via ') ?? []);
  const both = (what: string, routes: (held: string[]) => boolean) =>
    until(what, () => Object.keys(gateways).every((gateway) => routes(kernel(gateway))));
  const numbers = (...list: number[]) => list.map((n) => `10.244.${n}.0/24 via 192.168.1.${10 + n}`);
  const holds = (list: string[]) => (held: string[]) => Bun.deepEquals([...held].sort(), [...list].sort());

  function startAnnouncer(name: AnnouncerName, drain: string[] = []): Daemon {
    const daemon = daemons.get(name) ?? new Daemon(name, lan.namespaces.name(name));
    daemons.set(name, daemon);
    writeFileSync(join(directory, `${name}.yaml`), configOf(name, directory, drain));
    const flags = ['--config', join(directory, `${name}.yaml`), '--datastore', server.url];
    daemon.spawn([process.execPath, main, 'gateway', ...flags, '--socket', join(directory, `${name}.sock`)]);
    return daemon;
  }
  /** No route into the pod network may leave a gateway's kernel meanwhile, nor in the second after. */
  async function withoutLosses(action: () => Promise<unknown>): Promise<void> {
    const watch = (gateway: string) => Monitor.start(lan.namespaces.name(gateway), 'ip', 'monitor', 'route');
    const monitors = await Promise.all(Object.keys(gateways).map(watch));
    await action();
    await Bun.sleep(1000);
    for (const monitor of monitors) expect(await monitor.stop()).not.toContain('Deleted 10.244');
  }
  const status = (name: AnnouncerName) => gatewayStatus(join(directory, `${name}.sock`)).catch(() => undefined);

  function printed(gateway: keyof typeof gateways, format: PeerFormat): string {
    return Object.keys(announcers)
      .map((name) => {
        const config = parseGatewayConfig(configOf(name as AnnouncerName, directory));
        if (!config.ok) throw new Error(config.error.join('\n'));
        const neighbor = config.value.bgp.neighbors.find((n) => n.name === gateway)!;
        return peerConfig(config.value, neighbor, announcers[name as AnnouncerName], format).replace(
          'protocol bgp godwit',
          `protocol bgp ${name}`,
        );
      })
      .join('\n');
  }

  beforeAll(async () => {
    for (const [name, { address }] of Object.entries(gateways))
      lan.join(name, address, `fd00::${address.split('.')[3]}`);
    for (const [name, address] of Object.entries(announcers)) lan.join(name, address, `fd00::${address.split('.')[3]}`);
    const socket = join(directory, 'store.sock');
    server = await startServer(`unix://${socket}`, `unix://${socket}`, (data) => [
      ...[process.execPath, main, 'store', 'serve', '--listen', `unix://${socket}`, '--data', join(data, 'store')],
    ]);
    store = await openDatastore(server.url);
    await store.put(
      '/coreos.com/network/config',
      JSON.stringify({ Network: '10.244.0.0/16', Backend: { Type: 'host-gw' } }),
    );

    const frr = new Daemon('frr', lan.namespaces.name('frr'));
    daemons.set('frr', frr);
    frr.write('zebra.conf', 'log stdout\n', 0o644);
    frr.write(
      'bgpd.conf',
      `log stdout\nrouter bgp 65001\n bgp router-id 192.168.1.1\n coalesce-time 0\nexit\n${printed('frr', 'frr')}`,
      0o644,
    );
    const common = ['--vty_socket', frr.directory, '-z', frr.file('zserv')];
    frr.spawn(['/usr/lib/frr/zebra', '-f', frr.file('zebra.conf'), '-i', frr.file('zebra.pid'), ...common]);
    await until('zebra listens', () =>
      Bun.file(frr.file('zserv'))
        .exists()
        .then((yes) => yes || Bun.spawnSync(['test', '-S', frr.file('zserv')]).exitCode === 0),
    );
    frr.spawn(['/usr/lib/frr/bgpd', '-f', frr.file('bgpd.conf'), '-i', frr.file('bgpd.pid'), ...common]);

    const bird = new Daemon('bird', lan.namespaces.name('bird'));
    daemons.set('bird', bird);
    const base =
      'log stderr all;\nrouter id 192.168.1.2;\nprotocol device {}\nprotocol direct { ipv4; }\nprotocol kernel { ipv4 { export where source = RTS_BGP; }; }\n';
    bird.write('bird.conf', base + printed('bird', 'bird'), 0o644);
    bird.spawn(['bird', '-f', '-c', bird.file('bird.conf'), '-s', bird.file('ctl'), '-P', bird.file('pid')]);
  });
  afterAll(async () => {
    for (const daemon of daemons.values()) await daemon[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    lan[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('no session before the first list is long enough; then the gateways’ kernels hold every node’s subnet', async () => {
    startAnnouncer('a1');
    startAnnouncer('a2');
    await lease(1);
    await until(
      'both wait for a second prefix',
      async () =>
        (await status('a1'))?.waitingFor?.includes('the datastore has 1') &&
        (await status('a2'))?.waitingFor !== undefined,
      20_000,
    );
    expect(kernel('bird')).toEqual([]);
    for (const n of [2, 3, 4, 5, 6]) await lease(n);
    await both('all subnets are in both kernels', holds(numbers(1, 2, 3, 4, 5, 6)));
  });

  test('nodes come and go, one by one', async () => {
    await lease(7);
    await both('the new node is there', holds(numbers(1, 2, 3, 4, 5, 6, 7)));
    await unlease(7);
    await both('it is gone', holds(numbers(1, 2, 3, 4, 5, 6)));
  });

  test('one announcer is killed: no route moves', async () => {
    const state = Bun.file(join(directory, 'a1.state'));
    await until('a1 wrote down what it announces', async () => (await state.text()).split('\n').length === 7);
    await until('a2 is up', async () => (await status('a2'))?.gateways.every((g) => g.state === 'Established'));
    await withoutLosses(() => daemons.get('a1')!.kill());
    await both('all subnets are still there', holds(numbers(1, 2, 3, 4, 5, 6)));
  });

  test('all announcers are stopped, as for an update, and come back: no route moves', async () => {
    startAnnouncer('a1');
    const up = (name: AnnouncerName) =>
      until(`${name} is up`, async () => (await status(name))?.gateways.every((g) => g.state === 'Established'));
    await up('a1');
    await withoutLosses(async () => {
      for (const name of ['a1', 'a2'] as const) await daemons.get(name)!.stop();
      await Bun.sleep(1000);
      for (const name of ['a1', 'a2'] as const) startAnnouncer(name);
      await Promise.all([up('a1'), up('a2')]);
    });
    await both('all subnets are still there', holds(numbers(1, 2, 3, 4, 5, 6)));
    await daemons.get('a1')!.kill();
  });

  test('the datastore is away: nothing changes; it comes back: changes arrive', async () => {
    await server.killAndRestart();
    await both('all subnets are still there', holds(numbers(1, 2, 3, 4, 5, 6)));
    await lease(8);
    await both('the new one arrives', holds(numbers(1, 2, 3, 4, 5, 6, 8)));
  });

  test('a list that lost most of its nodes is held, also over a restart, until somebody confirms it', async () => {
    await store.transaction({ if: [], do: [{ op: 'deletePrefix', prefix: '/coreos.com/network/subnets/' }] });
    await lease(1);
    await lease(2);
    await until('a2 holds', async () => ((await status('a2'))?.held.length ?? 0) >= 4);
    startAnnouncer('a1');
    await until('a1 holds what it remembers', async () => ((await status('a1'))?.held.length ?? 0) >= 3);
    await both('nothing was withdrawn', (held) => held.length >= 6);
    for (const name of ['a1', 'a2'] as const) {
      const confirm = Bun.spawnSync([
        process.execPath,
        main,
        'gateway',
        'confirm',
        '--socket',
        join(directory, `${name}.sock`),
      ]);
      expect(confirm.stdout.toString()).toContain('withdrawals confirmed');
    }
    await both('only the two are left', holds(numbers(1, 2)));
  });

  test('every format of print-config can be made; the CLI prints it', () => {
    const file = join(directory, 'a1.yaml');
    for (const format of ['frr', 'bird', 'cisco-ios', 'junos', 'arista-eos']) {
      const result = Bun.spawnSync([
        process.execPath,
        main,
        'gateway',
        'print-config',
        '-c',
        file,
        '--gateway',
        'frr',
        '--for',
        format,
      ]);
      expect(result.stdout.toString()).toContain('192.168.1.250');
      expect(result.stdout.toString()).toContain('64512');
    }
    const unknown = Bun.spawnSync([
      process.execPath,
      main,
      'gateway',
      'print-config',
      '-c',
      file,
      '--gateway',
      'x',
      '--for',
      'frr',
    ]);
    expect(unknown.stderr.toString()).toContain('there is frr, bird');
  });

  test('an announcer that runs prints it from what it does: its session’s address, the next hops of now', () => {
    const asked = (gateway: string, format: string) =>
      Bun.spawnSync([
        ...[process.execPath, main, 'gateway', 'print-config', '--socket', join(directory, 'a1.sock')],
        ...['--gateway', gateway, '--for', format],
      ]);
    const live = asked('frr', 'frr').stdout.toString();
    const file = Bun.spawnSync([
      ...[process.execPath, main, 'gateway', 'print-config', '-c', join(directory, 'a1.yaml')],
      ...['--gateway', 'frr', '--for', 'frr'],
    ]).stdout.toString();
    const [first, second, ...rest] = live.split('\n');
    expect(first).toBe('! 2 prefixes are announced now; the gateway needs a route to each of their next hops:');
    expect(second).toBe('! 192.168.1.11, 192.168.1.12');
    expect(rest.join('\n')).toBe(file);
    expect(asked('bird', 'bird').stdout.toString()).toStartWith('# 2 prefixes');
    const unknown = asked('x', 'frr');
    expect(unknown.exitCode).toBe(1);
    expect(unknown.stderr.toString()).toContain('there is frr, bird');
  });
});
