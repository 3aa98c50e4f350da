// Debian's etcdctl against the embedded store: what an operator types works as with etcd.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { have } from '../support/peers.ts';
import { until } from '../support/until.ts';

const here = have('etcdctl against the embedded store', 'etcdctl');
const environment = { ...process.env, ETCDCTL_API: '3' };

describe.skipIf(!here)('etcdctl', () => {
  let server: RunningStore;
  let socket: string;
  beforeAll(async () => {
    socket = join(mkdtempSync(join(tmpdir(), 'godwit-socket-')), 'store.sock');
    server = await startGodwitStore(['--listen', `unix://${socket}`]);
  });
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(dirname(socket), { recursive: true });
  });

  const command = (...args: string[]) => ['etcdctl', `--endpoints=${server.endpoint}`, ...args];

  async function etcdctl(args: string[], input = ''): Promise<string> {
    const child = Bun.spawn(command(...args), {
      env: environment,
      stdin: Buffer.from(input),
      stdout: 'pipe',
      stderr: 'pipe',
    });
    const [out, error, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (status !== 0) throw new Error(`etcdctl ${args.join(' ')}: ${error}${out}`);
    return out.trim();
  }

  /** A command that goes on until the test is over, and its lines so far. */
  function background(...args: string[]): { lines: () => string[] } & Disposable {
    const child = Bun.spawn(command(...args), { env: environment, stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' });
    let out = '';
    void (async () => {
      for await (const chunk of child.stdout) out += Buffer.from(chunk).toString();
    })();
    return { lines: () => out.split('\n').slice(0, -1), [Symbol.dispose]: () => child.kill() };
  }

  test('put, get --prefix, del, as text and as JSON', async () => {
    expect(await etcdctl(['put', '/t/a', '1'])).toBe('OK');
    await etcdctl(['put', '/t/b'], '2');
    expect(await etcdctl(['get', '--prefix', '/t/'])).toBe('/t/a\n1\n/t/b\n2');
    expect(await etcdctl(['get', '--prefix', '/t/', '--keys-only', '--sort-by=key', '--order=descend'])).toBe(
      '/t/b\n\n/t/a',
    );
    const json = JSON.parse(await etcdctl(['get', '/t/a', '--write-out=json'])) as {
      header: { revision: number };
      kvs: { key: string; value: string; version: number }[];
      count: number;
    };
    expect(json).toMatchObject({ kvs: [{ key: btoa('/t/a'), value: btoa('1'), version: 1 }], count: 1 });
    expect(await etcdctl(['get', '/t/a', '--print-value-only', `--rev=${json.header.revision - 1}`])).toBe('1');
    expect(await etcdctl(['put', '/t/a', '3', '--prev-kv'])).toBe('OK\n/t/a\n1');
    expect(await etcdctl(['del', '--prefix', '/t/'])).toBe('2');
  });

  test('watch', async () => {
    using watch = background('watch', '--prefix', '/w/', '--prev-kv');
    // the watch says nothing when it is ready: something is written until it tells of it
    await until('the watch', async () => {
      await etcdctl(['put', '/w/ready', 'x']);
      return watch.lines().length > 0;
    });
    const before = watch.lines().length;
    await etcdctl(['put', '/w/a', '1']);
    await etcdctl(['del', '/w/a']);
    await until('two events', () => watch.lines().includes('DELETE'));
    const lines = watch.lines().slice(before).join(' ');
    expect(lines).toContain('PUT /w/a 1');
    expect(lines).toContain('DELETE /w/a 1 /w/a');
  });

  test('txn', async () => {
    await etcdctl(['put', '/x/a', '1']);
    const success = 'value("/x/a") = "1"\nversion("/x/new") = "0"\n\nput /x/new made\nget /x/a\n\nput /x/never n\n\n';
    expect(await etcdctl(['txn'], success)).toBe('SUCCESS\n\nOK\n\n/x/a\n1');
    expect(await etcdctl(['txn'], 'mod("/x/a") < "1"\n\nput /x/a 9\n\nget /x/new\n\n')).toBe('FAILURE\n\n/x/new\nmade');
  });

  test('lease: grant, timetolive --keys, keep-alive, list, revoke', async () => {
    const id = (await etcdctl(['lease', 'grant', '100'])).split(' ')[1]!;
    await etcdctl(['put', '/l/a', '1', `--lease=${id}`]);
    const told = await etcdctl(['lease', 'timetolive', id, '--keys']);
    expect(told).toMatch(
      new RegExp(`^lease ${id} granted with TTL\\(100s\\), remaining\\(\\d+s\\), .*keys\\(\\[/l/a\\]\\)`),
    );
    expect(await etcdctl(['lease', 'keep-alive', '--once', id])).toBe(`lease ${id} keepalived with TTL(100)`);
    expect(await etcdctl(['lease', 'list'])).toContain(id);
    expect(await etcdctl(['lease', 'revoke', id])).toBe(`lease ${id} revoked`);
    expect(await etcdctl(['get', '/l/a'])).toBe('');
    expect(await etcdctl(['lease', 'timetolive', id])).toBe(`lease ${id} already expired`);
  });

  test('compaction', async () => {
    const { header } = JSON.parse(await etcdctl(['put', '/c/a', '1', '--write-out=json'])) as {
      header: { revision: number };
    };
    await etcdctl(['put', '/c/a', '2']);
    expect(await etcdctl(['compact', String(header.revision + 1)])).toBe(`compacted revision ${header.revision + 1}`);
    const past = await etcdctl(['get', '/c/a', `--rev=${header.revision}`]).catch(String);
    expect(past).toContain('has been compacted');
    expect(await etcdctl(['get', '/c/a', '--print-value-only'])).toBe('2');
  });

  test('endpoint status and health, member list, alarm list, defrag', async () => {
    const status = JSON.parse(await etcdctl(['endpoint', 'status', '--write-out=json'])) as { Status: object }[];
    expect(status[0]?.Status).toMatchObject({ version: expect.stringMatching(/^3\./) as string });
    const health = Bun.spawn(command('endpoint', 'health'), { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    expect(await health.stderr.text()).toContain('is healthy');
    expect(await etcdctl(['member', 'list'])).toContain('godwit');
    expect(await etcdctl(['alarm', 'list'])).toBe('');
    expect(await etcdctl(['defrag'])).toContain('Finished defragmenting');
  });

  test('over the unix socket, which only its owner may open', async () => {
    const endpoint = `--endpoints=unix://${socket}`;
    expect(await etcdctl([endpoint, 'put', '/u', '1'])).toBe('OK');
    expect(await etcdctl([endpoint, 'get', '/u', '--print-value-only'])).toBe('1');
    expect(statSync(socket).mode & 0o777).toBe(0o600);
  });

  test('lock and elect, which live on leases, watches and transactions', async () => {
    using first = background('lock', 'mutex');
    await until('the lock', () => first.lines().length > 0);
    using second = background('lock', 'mutex');
    using leader = background('elect', 'seat', 'first');
    await until('the seat', () => leader.lines().includes('first'));
    expect(second.lines()).toEqual([]);
    first[Symbol.dispose]();
    await until('the lock to pass on', () => second.lines().length > 0, 70_000);
  });

  test('bytes that are not HTTP/2 cost only their own connection', async () => {
    const { port } = new URL(server.endpoint);
    const junk = [
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      '\x16\x03\x01\x02\x00\x01\x00',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + '\xff'.repeat(4000),
      '\0'.repeat(70_000),
      crypto.getRandomValues(new Uint8Array(30_000)),
      '',
    ];
    const sockets = junk.map((data) => {
      const socket = connect({ host: '127.0.0.1', port: Number(port) });
      socket.on('error', () => {});
      socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
      return socket;
    });
    expect(await etcdctl(['put', '/junk', 'survived'])).toBe('OK');
    expect(await etcdctl(['get', '/junk', '--print-value-only'])).toBe('survived');
    for (const socket of sockets) socket.destroy();
  });
});
