// `godwit bgp` as a program: two of them in namespaces, routes in the kernel, the control socket and its commands.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import type { NeighborStatus, ReloadReport, RouteJson, SpeakerSummary } from '../../src/bgp/mod.ts';
import { Monitor } from '../support/monitor.ts';
import { run, TestNamespaces, until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';

const here = have('BGP daemon', 'ip', 'ping');
const bun = join(repositoryRoot, 'node_modules/.bin/bun');
const main = join(repositoryRoot, 'src/main.ts');

describe.skipIf(!here)('godwit bgp', () => {
  const spaces = new TestNamespaces();
  const work = mkdtempSync(join(tmpdir(), 'godwit-bgp-'));
  const daemons = new Map<string, ChildProcess>();
  const logs: string[] = [];

  const socket = (name: string) => join(work, `${name}.sock`);
  const file = (name: string) => join(work, `${name}.yaml`);
  const configure = (name: 'a' | 'b', importPolicy = 'accept', peer = '') => {
    const [self, other, id] = name === 'a' ? ['10.9.0.1', '10.9.0.2', 1] : ['10.9.0.2', '10.9.0.1', 2];
    writeFileSync(
      file(name),
      `
routerId: 10.9.0.${id}
as: ${65000 + id}
control: ${socket(name)}
fib: kernel
gracefulRestart: { restartTime: 30, deferral: 20 }
networks: [10.24${id}.0.0/24]
neighbors:
  - { address: ${other}, name: other, as: ${65003 - id}, source: ${self}, import: ${importPolicy}, export: accept,
      timers: { hold: 9, connectRetry: 1, idleHold: 0.2 }${peer} }
policies: { small: [{ match: { prefixes: [0.0.0.0/0 ge 25] }, then: accept }] }
`,
    );
  };
  const start = (name: string, ...flags: string[]) => {
    const command = ['netns', 'exec', spaces.name(name), bun, main, 'bgp', '--config', file(name), ...flags];
    const child = spawn('ip', command, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (chunk: Buffer) => logs.push(`${name}: ${String(chunk)}`));
    daemons.set(name, child);
  };
  const ended = (name: string) => new Promise((resolve) => daemons.get(name)!.once('exit', resolve));
  const godwit = (name: string, ...args: string[]) => run(bun, main, 'bgp', ...args, '--socket', socket(name));
  const ask = <T>(name: string, ...args: string[]): T => JSON.parse(godwit(name, ...args, '--json')) as T;
  const neighbor = (name: string) => ask<NeighborStatus[]>(name, 'show', 'neighbors', 'other')[0]!;
  const kernel = (name: string) => spaces.run(name, 'ip', 'route', 'show', 'proto', 'bgp').trim();
  const established = (name: string) =>
    until(
      `${name} established\n${logs.join('')}`,
      () => {
        try {
          return neighbor(name).state === 'Established';
        } catch {
          return false; // not up yet
        }
      },
      20_000,
    );

  beforeAll(() => {
    for (const name of ['a', 'b']) spaces.add(name);
    run('ip', '-n', spaces.name('a'), 'link', 'add', 'v', 'type', 'veth', 'peer', 'v', 'netns', spaces.name('b'));
    for (const [name, id] of [
      ['a', 1],
      ['b', 2],
    ] as const) {
      run('ip', '-n', spaces.name(name), 'addr', 'add', `10.9.0.${id}/24`, 'dev', 'v');
      run('ip', '-n', spaces.name(name), 'addr', 'add', `10.24${id}.0.1/24`, 'dev', 'lo');
      run('ip', '-n', spaces.name(name), 'link', 'set', 'v', 'up');
      run('ip', '-n', spaces.name(name), 'link', 'set', 'lo', 'up');
    }
    configure('a');
    configure('b');
  });
  afterAll(() => {
    for (const child of daemons.values()) child.kill('SIGKILL');
    spaces[Symbol.dispose]();
    rmSync(work, { recursive: true, force: true });
  });

  test('sessions come up and routes go into both kernels', async () => {
    start('a', '--metrics', '127.0.0.1:9179');
    start('b');
    await established('a');
    await until('routes in a', () => kernel('a').includes('10.242.0.0/24 via 10.9.0.2 dev v'));
    await until('routes in b', () => kernel('b').includes('10.241.0.0/24 via 10.9.0.1 dev v'));
    spaces.run('a', 'ping', '-c1', '-W5', '-I', '10.241.0.1', '10.242.0.1');
    expect(statSync(socket('a')).mode & 0o777).toBe(0o600);
  });

  test('show: summary, neighbours, routes with the reason', () => {
    const summary = ask<SpeakerSummary>('a', 'show', 'summary');
    expect(summary).toMatchObject({ routerId: '10.9.0.1', asn: 65001, prefixes: { ipv4: 2 } });
    expect(godwit('a', 'show', 'summary')).toContain('Established');
    expect(neighbor('a')).toMatchObject({ state: 'Established', session: { holdTime: 9 }, type: 'external' });
    const routes = ask<RouteJson[]>('a', 'show', 'routes');
    expect(routes.map((r) => r.prefix)).toEqual(['10.241.0.0/24', '10.242.0.0/24'] as never);
    expect(routes[1]!.paths[0]).toMatchObject({ from: 'other', state: 'best', asPath: '65002', reason: 'only-path' });
    expect(godwit('a', 'show', 'routes', '10.242.0.7')).toContain('why: ');
    expect(godwit('a', 'show', 'routes', '--received', 'other')).toContain('10.242.0.0/24');
    expect(godwit('a', 'show', 'routes', '--advertised', 'other')).toContain('10.241.0.0/24');
  });

  test('announce and withdraw', async () => {
    godwit('a', 'announce', '10.77.0.0/16', '--med', '7', '--community', '65001:7', '65001:1:2');
    const find = () => ask<RouteJson[]>('b', 'show', 'routes', '10.77.0.0/16')[0]?.paths[0];
    const path = await until('announced', find);
    expect(path).toMatchObject({ med: 7, communities: ['65001:7'], largeCommunities: ['65001:1:2'] });
    godwit('a', 'withdraw', '10.77.0.0/16');
    await until('withdrawn', () => find() === undefined);
    expect(() => godwit('a', 'withdraw', '10.77.0.0/16')).toThrow('is not announced by this speaker');
    expect(() => godwit('a', 'announce', '10.77.0.1/16')).toThrow('host bits zero');
  });

  test('dry run, reload and SIGHUP leave the session up', async () => {
    configure('a', 'small', ', weight: 5, description: heavier');
    const since = neighbor('a').since;
    const plan = JSON.parse(run(bun, main, 'bgp', '--config', file('a'), '--dry-run', '--json')) as ReloadReport;
    expect(plan).toMatchObject({ applied: false, neighbors: [{ neighbor: '10.9.0.2', what: 'soft' }] });
    expect(plan.routes).toEqual([{ neighbor: '10.9.0.2', accepted: 1, wouldAccept: 0 }]);
    expect(neighbor('a').description).toBeUndefined();
    expect(ask<ReloadReport>('a', 'reload').applied).toBe(true);
    expect(neighbor('a').description).toBe('heavier');
    await until('the new policy holds', () => kernel('a') === '');
    configure('a');
    daemons.get('a')!.kill('SIGHUP');
    await until('read again', () => neighbor('a').description === undefined);
    await until('the old policy holds', () => kernel('a') !== '');
    expect(neighbor('a').since).toBe(since);
    writeFileSync(file('a'), 'routerId: nonsense\n');
    expect(() => godwit('a', 'reload')).toThrow('routerId: "nonsense" is not; allowed: a dotted IPv4 address');
    expect(() => run(bun, main, 'bgp', '--config', file('a'), '--check')).toThrow('as: is missing');
    configure('a');
    expect(run(bun, main, 'bgp', '--config', file('a'), '--check')).toContain('good');
  });

  test('metrics', () => {
    const text = spaces.run('a', bun, '-e', 'console.log(await (await fetch("http://127.0.0.1:9179/metrics")).text())');
    expect(text).toContain('godwit_bgp_neighbor_up{neighbor="10.9.0.2",asn="65002"} 1');
    expect(text).toContain('kind="accepted"} 1');
  });

  test('shut down with a text, started again', async () => {
    godwit('a', 'shutdown', 'other', 'maintenance \u001b[31m');
    const heard = 'administrative shutdown (6/2): "maintenance \\u001b[31m", hard reset';
    await until('b hears it', () => neighbor('b').lastError?.reason.includes(heard));
    await until('routes are gone', () => kernel('b') === '');
    godwit('a', 'start', 'other');
    await established('b');
    await until('routes are back', () => kernel('b') !== '' && kernel('a') !== '');
  });

  test('killed: both kernels keep the routes, and not one packet is lost', async () => {
    using traffic = new Traffic(spaces.name('b'), '10.242.0.1', '10.241.0.1');
    await traffic.flowing();
    const gone = ended('a');
    daemons.get('a')!.kill('SIGKILL');
    await gone;
    // `ip netns exec` replaces itself by the program: nothing of it is left
    await until('b keeps the routes as stale', () => neighbor('b').families[0]!.stale === 1);
    expect(kernel('b')).toContain('10.241.0.0/24');
    start('a');
    await established('a');
    await until('fresh', () => neighbor('b').families[0]!.stale === 0 && neighbor('b').state === 'Established');
    await nothingLost([traffic]);
  }, 60_000);

  test('both killed and started together: neither drops what the other has yet to tell', async () => {
    for (const name of ['a', 'b']) await until(`routes in ${name}`, () => kernel(name) !== '');
    const watch = (name: string) => Monitor.start(spaces.name(name), 'ip', 'monitor', 'route');
    const monitors = await Promise.all(['a', 'b'].map(watch));
    const gone = [ended('a'), ended('b')];
    for (const name of ['a', 'b']) daemons.get(name)!.kill('SIGKILL');
    await Promise.all(gone);
    // what nobody tells again goes in the end
    for (const name of ['a', 'b']) {
      spaces.run(name, 'ip', 'route', 'add', '10.66.0.0/16', 'dev', 'v', 'proto', 'bgp', 'metric', '20');
      start(name);
    }
    await established('a');
    await until('the rest is swept', () => !kernel('a').includes('10.66.') && !kernel('b').includes('10.66.'), 20_000);
    expect(kernel('a')).toContain('10.242.0.0/24');
    expect(kernel('b')).toContain('10.241.0.0/24');
    for (const monitor of monitors) {
      const lines = (await monitor.stop()).split('\n');
      expect(lines.filter((line) => line.startsWith('Deleted 10.66.0.0/16'))).toHaveLength(1);
      expect(lines.filter((line) => line.startsWith('Deleted 10.24'))).toEqual([]);
    }
  }, 60_000);

  test('a planned restart is the same without the violence', async () => {
    const gone = ended('a');
    godwit('a', 'restart');
    await gone;
    expect(kernel('a')).toContain('10.242.0.0/24');
    await until('stale', () => neighbor('b').families[0]!.stale === 1);
    start('a');
    await established('a');
    await until('fresh', () => neighbor('b').families[0]!.stale === 0);
    expect(kernel('a')).toContain('10.242.0.0/24');
  }, 40_000);

  test('a second daemon on the same socket is refused; SIGTERM cleans up', async () => {
    expect(() => run('ip', 'netns', 'exec', spaces.name('a'), bun, main, 'bgp', '--config', file('a'))).toThrow(
      'another speaker answers',
    );
    const gone = ended('a');
    daemons.get('a')!.kill('SIGTERM');
    await gone;
    expect(kernel('a')).toBe('');
    expect(existsSync(socket('a'))).toBe(false);
    await until('b dropped the routes', () => kernel('b') === '');
    expect(() => godwit('a', 'show', 'summary')).toThrow('no speaker answers');
  });
});
