import { afterAll, describe, expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { chmodSync, chownSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { godwit } from '../support/lab.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

// As a user without any rights: uid and gid nobody has, in namespaces of the user's own.
const UID = 100_000 + (process.pid % 1_000_000);
const asUser = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--no-new-privs'];
const permits = (...command: string[]) => spawnSync(asUser[0]!, [...asUser.slice(1), ...command]).status === 0;
const readable = () => {
  const bun = join(import.meta.dir, '../../node_modules/.bin/bun');
  accessSync(bun, constants.X_OK);
  return permits(bun, '--version');
};
const here =
  have('lab without root', 'setpriv', 'unshare', 'nsenter') &&
  (permits('unshare', '-Urnm', 'true') || have('lab without root', 'a kernel that lets users make namespaces')) &&
  (readable() || have('lab without root', 'a checkout that other users may read'));

describe.skipIf(!here)('a lab without root', () => {
  const home = mkdtempSync(join(tmpdir(), 'godwit-user-'));
  chmodSync(home, 0o700);
  chownSync(home, UID, UID);
  const outside = join(home, `godwit-lab-${UID}`);
  const environment = { PATH: process.env['PATH'] ?? '', HOME: home, TMPDIR: home };

  const start = (...args: string[]) =>
    Bun.spawn([...asUser, ...godwit, 'lab', ...args], {
      cwd: '/',
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const lab = async (...args: string[]) => {
    const child = start(...args);
    const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { stdout, stderr, status };
  };
  const processesOfUser = () =>
    readdirSync('/proc').filter((pid) => {
      try {
        return (
          /^\d+$/.test(pid) && new RegExp(`^Uid:\\s+${UID}\\s`, 'm').test(readFileSync(`/proc/${pid}/status`, 'utf8'))
        );
      } catch {
        return false;
      }
    });

  afterAll(async () => {
    if (existsSync(outside)) await lab('down', '--all', '--now');
    for (const pid of processesOfUser()) process.kill(Number(pid), 'SIGKILL');
    rmSync(home, { recursive: true, force: true });
  });

  test('run, check, take down: one command', async () => {
    const { stdout, status, stderr } = await lab('run', 'host-gw', '--check', '--json');
    expect(stderr).toContain('pod4: 10.244.2.2 on node3');
    expect(JSON.parse(stdout)).toMatchObject({ ok: true, reachability: { passed: 42, total: 42 } });
    expect(status).toBe(0);
  });

  test('without a name it shows a scenario that needs no more rights; one that does is refused at once', async () => {
    const { stdout, status } = await lab('run', '--check', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      lab: 'calico-vxlan',
      reachability: { passed: 56, total: 56 },
    });
    expect(status).toBe(0);
    const frr = await lab('run', 'gateway-announcer', '--check');
    expect(frr.status).toBe(1);
    expect(frr.stderr).toMatch(/only real root can|there is no \/usr/);
  });

  test.skipIf(permits('unshare', '-Urn', 'ip', 'link', 'add', 'x', 'type', 'ipip'))(
    'IPIP where the kernel has none is refused at once',
    async () => {
      const ipip = await lab('up', 'calico-ipip');
      expect(ipip.status).toBe(1);
      expect(ipip.stderr).toContain('this kernel has no ipip.ko');
      expect(JSON.parse((await lab('list', '--json')).stdout)).toEqual([]);
    },
  );

  test('left running, it is there for later commands; after down nothing is left, nor a process', async () => {
    expect(await lab('up', 'host-gw', '--detach')).toMatchObject({ status: 0 });
    expect(existsSync('/run/netns/host-gw-node1')).toBe(false);
    const [list, check, exec] = await Promise.all([
      lab('list', '--json'),
      lab('check', '--json'),
      lab('exec', 'pod1', '--', 'sh', '-c', 'cat /proc/net/route | wc -l; exit 3'),
    ]);
    expect(JSON.parse(list.stdout)).toMatchObject([{ name: 'host-gw', state: 'up', hosts: 3, pods: 4 }]);
    expect(JSON.parse(check.stdout)).toMatchObject({ ok: true });
    expect(exec.status).toBe(3);
    expect(Number(exec.stdout)).toBeGreaterThan(1);
    expect(await lab('down')).toMatchObject({ status: 0 });
    await until('the holder leaves', () => !existsSync(outside) && processesOfUser().length === 0);
  });

  test('the holder killed: the lab can be reached and taken down all the same', async () => {
    expect(await lab('up', 'host-gw', '--detach')).toMatchObject({ status: 0 });
    const [pid] = readFileSync(join(outside, 'holder'), 'utf8').split(' ');
    process.kill(Number(pid), 'SIGKILL');
    expect(JSON.parse((await lab('check', '--json')).stdout)).toMatchObject({ ok: true });
    expect(await lab('down')).toMatchObject({ status: 0 });
    await until('all are gone', () => processesOfUser().length === 0);
    // and the next command makes a new sandbox, whose holder leaves nothing behind
    expect(JSON.parse((await lab('list', '--json')).stdout)).toEqual([]);
    await until('the new holder leaves', () => !existsSync(outside) && processesOfUser().length === 0);
  });

  test('many at once find one sandbox', async () => {
    const results = await Promise.all([1, 2, 3, 4].map(() => lab('list', '--json')));
    for (const { stdout, status } of results)
      expect({ stdout: stdout.trim(), status }).toEqual({ stdout: '[]', status: 0 });
  });

  test('SIGTERM to the command outside takes down what it holds', async () => {
    const child = start('run', 'host-gw', '--json');
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill('SIGTERM');
    expect(await child.exited).toBe(0);
    expect(JSON.parse((await lab('list', '--json')).stdout)).toEqual([]);
  });
});
