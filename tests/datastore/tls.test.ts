// TLS and authentication: what does not verify is refused on both sides, and nothing falls back to plain text.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { chmodSync, copyFileSync } from 'node:fs';
import { openDatastore } from '../../src/datastore/mod.ts';
import type { DatastoreOptions } from '../../src/datastore/mod.ts';
import { Authority } from '../support/certificates.ts';
import type { KeyPair } from '../support/certificates.ts';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { have } from '../support/peers.ts';

type Start = (pair: KeyPair, clientCa?: string) => Promise<RunningStore>;
const servers: [name: string, here: boolean, start: Start][] = [
  [
    'etcd',
    have('TLS to etcd', 'etcd', 'openssl'),
    ({ cert, key }, clientCa) =>
      startEtcd([
        ...[`--cert-file=${cert}`, `--key-file=${key}`],
        ...(clientCa === undefined ? [] : ['--client-cert-auth', `--trusted-ca-file=${clientCa}`]),
      ]),
  ],
  [
    'the embedded store',
    have('TLS to the embedded store', 'openssl'),
    ({ cert, key }, clientCa) =>
      startGodwitStore([
        ...[`--tls-cert=${cert}`, `--tls-key=${key}`],
        ...(clientCa === undefined ? [] : [`--tls-client-ca=${clientCa}`]),
      ]),
  ],
];

/** `fine`, or the kind of error. */
async function attempt(url: string, options: DatastoreOptions = {}): Promise<string> {
  try {
    await using store = await openDatastore(url, {
      requestTimeoutMs: 10_000,
      times: { connectMs: 10_000 },
      ...options,
    });
    await store.put('/secret', 'x');
    return 'fine';
  } catch (error) {
    return (error as { kind?: string }).kind ?? String(error);
  }
}

for (const [name, here, start] of servers) {
  describe.skipIf(!here)(`TLS to ${name}`, () => {
    let authority: Authority;
    let other: Authority;
    beforeAll(() => {
      authority = new Authority();
      other = new Authority();
    });
    afterAll(() => {
      authority?.[Symbol.dispose]();
      other?.[Symbol.dispose]();
    });

    test('the right authority, the wrong one, none, and plain text', async () => {
      await using server = await start(authority.sign('server'));
      expect(await attempt(server.url, { caFile: authority.ca.cert })).toBe('fine');
      expect(await attempt(server.url, { caFile: other.ca.cert })).toBe('permission');
      expect(await attempt(server.url)).toBe('permission'); // the system's authorities do not know it
      expect(await attempt(server.url.replace('etcds:', 'etcd:'))).toBe('unavailable');
    });

    test('a certificate that ran out, and one for another address', async () => {
      await using expired = await start(authority.sign('expired', { days: -1 }));
      expect(await attempt(expired.url, { caFile: authority.ca.cert })).toBe('permission');
      await using elsewhere = await start(authority.sign('elsewhere', { address: '192.0.2.1' }));
      expect(await attempt(elsewhere.url, { caFile: authority.ca.cert })).toBe('permission');
    });

    test('clients must show a certificate', async () => {
      await using server = await start(authority.sign('server2'), authority.ca.cert);
      const caFile = authority.ca.cert;
      const files = ({ cert, key }: KeyPair): DatastoreOptions => ({ caFile, certFile: cert, keyFile: key });
      expect(await attempt(server.url, files(authority.sign('client')))).toBe('fine');
      expect(await attempt(server.url, { caFile })).not.toBe('fine');
      expect(await attempt(server.url, files(other.sign('stranger')))).not.toBe('fine');
      expect(await attempt(server.url, files(authority.sign('late', { days: -1 })))).not.toBe('fine');
    });

    test('TLS to a server that speaks plain text', async () => {
      await using server = await (name === 'etcd' ? startEtcd() : startGodwitStore());
      const url = server.url.replace('etcd:', 'etcds:');
      expect(await attempt(url, { caFile: authority.ca.cert })).not.toBe('fine');
    });
  });
}

describe.skipIf(!have('private keys', 'openssl'))('private keys', () => {
  test('a key that others may read, a missing file, a certificate without its key', async () => {
    using authority = new Authority();
    const { cert, key } = authority.sign('client');
    const loose = `${key}.loose`;
    copyFileSync(key, loose);
    chmodSync(loose, 0o640);
    const url = 'etcds://127.0.0.1:1';
    expect(await attempt(url, { certFile: cert, keyFile: loose })).toBe('permission');
    expect(await attempt(url, { caFile: `${key}.none` })).toBe('permission');
    expect(await attempt(url, { certFile: cert })).toBe('invalid');
    const serve = startGodwitStore([`--tls-cert=${cert}`, `--tls-key=${loose}`]);
    expect(await serve.then(() => 'it started', String)).toContain('others may read it');
  });
});

describe.skipIf(!have("etcd's authentication", 'etcd', 'etcdctl'))("etcd's authentication", () => {
  test('name and password, wrong ones, none; a token that ran out is renewed', async () => {
    await using server = await startEtcd(['--auth-token-ttl=1']);
    const etcdctl = (...args: string[]) => {
      const command = ['etcdctl', `--endpoints=${server.endpoint}`, ...args];
      const { exitCode, stderr } = Bun.spawnSync(command, { env: { ...process.env, ETCDCTL_API: '3' } });
      if (exitCode !== 0) throw new Error(stderr.toString());
    };
    etcdctl('user', 'add', 'root:secret');
    etcdctl('user', 'grant-role', 'root', 'root');
    etcdctl('auth', 'enable');
    const login = { username: 'root', password: 'secret' };
    expect(await attempt(server.url, login)).toBe('fine');
    expect(await attempt(server.url, { ...login, password: 'wrong' })).toBe('permission');
    expect(await attempt(server.url)).toBe('permission');
    await using store = await openDatastore(server.url, login);
    await store.put('/a', '1');
    await Bun.sleep(2_500); // the token lives for a second; there is nothing to poll for
    await store.put('/a', '2');
    expect((await store.get('/a')).kv?.value).toBe('2');
  });
});
