import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { join } from 'node:path';
import { readdirSync, statSync } from 'node:fs';
import { silentLogger, systemClock } from '../../src/base/mod.ts';
import { createCniServer } from '../../src/cni/mod.ts';
import { run } from '../support/netns.ts';
import { runPlugin, TestNode } from '../support/cni.ts';
import { TestNamespaces } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('CNI hostile input', 'ip');

describe.skipIf(!here)('CNI hostile input', () => {
  const spaces = new TestNamespaces();
  let node: TestNode;
  let netns: string;

  beforeAll(async () => {
    node = new TestNode(spaces);
    await node.start();
    netns = node.pod('p1');
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
  });

  /** Refused with `code`, whoever decides: the executable, or the agent when it is asked past the executable. */
  async function refused(code: number, env: Record<string, string>, config?: unknown): Promise<void> {
    const call = { container: 'good', netns, config: config ?? node.config(), env };
    const answer = await runPlugin('ADD', call);
    expect([env, answer.status, answer.json.code]).toEqual([env, 1, code]);
    const bytes = call.config instanceof Uint8Array ? call.config : encode(JSON.stringify(call.config));
    if (Object.values(env).join('').includes('\0') || bytes.length > 1 << 20) return;
    const all = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'good', CNI_NETNS: netns, CNI_IFNAME: 'eth0', ...env };
    expect([env, (await askAgent(all, bytes))['code']]).toEqual([env, code]);
  }
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

  /** The socket's protocol by hand: the agent must not trust the executable. */
  async function askAgent(env: Record<string, string>, config: Uint8Array): Promise<Record<string, unknown>> {
    const { promise, resolve } = Promise.withResolvers<string>();
    let [text, sent] = ['', 0];
    await Bun.connect({
      unix: node.socketPath,
      socket: {
        open: (socket) => {
          socket.write(`${JSON.stringify({ env, length: config.length })}\n`);
          sent = socket.write(config);
        },
        drain: (socket) => void (sent += socket.write(config.subarray(sent))),
        data: (_socket, piece) => void (text += piece.toString()),
        close: () => resolve(text),
      },
    });
    const [, body] = (await promise).split('\n');
    return JSON.parse(body || '{}') as Record<string, unknown>;
  }

  const badIds = ['', '../../etc/passwd', '/abs', '.hidden', '-dash', 'a/b', 'a b', 'ä', 'a\nb', 'x'.repeat(129)];
  test.each(badIds)('container id %j', (id) => refused(4, { CNI_CONTAINERID: id }));

  const badNames = ['', '.', '..', '../x', 'a/b', 'eth 0', 'eth:0', 'sixteen-letters-', 'eth\t0', 'ëth0', '%s\u007f'];
  test.each(badNames)('interface name %j', (name) => refused(4, { CNI_IFNAME: name }));

  test('commands, arguments, and namespaces that are none', async () => {
    for (const verb of ['', 'add', 'ADD ', 'UPDATE', '__proto__']) await refused(4, { CNI_COMMAND: verb });
    for (const args of ['novalue', '=x', 'FOO=bar', 'IP=999.1.1.1', 'IP=../x', 'MAC=zz', `A=${'x'.repeat(20_000)}`]) {
      await refused(4, { CNI_ARGS: args });
    }
    const fifo = join(node.directory, 'fifo');
    run('mkfifo', fifo);
    const paths = ['', 'relative', '/nonexistent', '/etc/passwd', '/dev/null', '/tmp', fifo, '/proc/self/ns/mnt'];
    for (const path of paths) await refused(4, { CNI_NETNS: path });
  });

  test('the host’s own namespace, by any path (F08)', async () => {
    for (const path of [
      spaces.path('host'),
      `/proc/${process.pid}/ns/net`,
      `/proc/${process.pid}/root/proc/self/ns/net`,
    ]) {
      await refused(4, { CNI_NETNS: path });
    }
    // a DEL never looks at the namespace, so a stale path does no harm
    const call = { container: 'good', netns: spaces.path('host'), interface: 'cni0', config: node.config() };
    expect((await runPlugin('DEL', call)).status).toBe(0);
    expect(spaces.run('host', 'ip', 'link', 'show', 'cni0')).toContain('cni0');
  });

  test('standard input that is not a configuration', async () => {
    for (const text of ['', '{', 'null', '[]', '"x"', '7', '{}x', '\0', '{"a":1}{"b":2}']) {
      await refused(6, {}, encode(text));
    }
    await refused(6, {}, encode('['.repeat(500_000)));
    await refused(6, {}, Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d));
    await refused(6, {}, encode(`{"cniVersion":"1.0.0","name":"${'x'.repeat(1 << 20)}"}`));
    const socket = JSON.stringify(node.socketPath);
    const deep = `{"cniVersion":"1.0.0","name":"n","socket":${socket},"x":${'['.repeat(5000)}${']'.repeat(5000)}}`;
    await refused(7, {}, encode(deep));
  });

  test('keys that would reach an object’s prototype, and values of the wrong kind', async () => {
    const socket = JSON.stringify(node.socketPath);
    const json = (rest: string) => encode(`{"cniVersion":"1.1.0","name":"n","socket":${socket},${rest}}`);
    await refused(7, {}, json('"__proto__":{"polluted":true}'));
    await refused(7, {}, json('"\\u005f_proto__":{"polluted":true}'));
    await refused(7, {}, json('"args":{"cni":{"constructor":{"prototype":{"polluted":true}}}}'));
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
    const wrong: Record<string, unknown>[] = [
      ...[{ name: '../x' }, { name: '' }, { name: 7 }, { name: undefined }, { name: 'x'.repeat(129) }],
      ...[{ mtu: 10 }, { mtu: '1500' }, { mtu: 1e9 }, { routes: [{ dst: '10.0.0.1/8' }] }, { routes: {} }],
      ...[{ runtimeConfig: { mac: 'zz' } }, { runtimeConfig: { ips: ['x'] } }, { runtimeConfig: 1 }],
      ...[{ prevResult: 'x' }, { prevResult: { ips: [{ address: 1 }] } }, { dns: { nameservers: 'x' } }],
    ];
    for (const config of wrong) await refused(7, {}, node.config(config));
    expect((await runPlugin('ADD', { container: 'good', netns, config: node.config({ socket: 'x' }) })).json.code).toBe(
      7,
    );
  });

  test('fields of other plugins that we would not honour: code 2 with key and value', async () => {
    for (const config of [{ ipam: { type: 'host-local' } }, { vlan: 7 }, { bridge: 'br0' }]) {
      await refused(2, {}, node.config(config));
      const answer = await runPlugin('ADD', { container: 'good', netns, config: node.config(config) });
      const [key] = Object.keys(config);
      expect(answer.json.msg).toContain(key);
      expect(answer.json.msg).toContain(JSON.stringify(Object.values(config)[0]));
    }
    // what was never attached can be deleted, else its pod could not end
    const call = { container: 'good', netns, config: node.config({ ipam: { type: 'dhcp' } }) };
    expect((await runPlugin('DEL', call)).status).toBe(0);
  });

  test('what speaks another protocol on the socket is cut off, and the agent goes on', async () => {
    const garbage = [
      'GET / HTTP/1.1\r\n\r\n',
      'x'.repeat(70_000),
      '{"env":{},"length":-1}\n',
      '{"length":1e300}\n',
      '\n',
    ];
    for (const bytes of garbage) {
      const { promise, resolve } = Promise.withResolvers<string>();
      let answer = '';
      await Bun.connect({
        unix: node.socketPath,
        socket: {
          open: (socket) => void socket.write(bytes),
          data: (_socket, piece) => void (answer += piece.toString()),
          close: () => resolve(answer),
        },
      });
      expect(await promise).toBe('');
    }
    expect((await runPlugin('STATUS', { config: node.config() })).status).toBe(0);
  });

  test('the socket is root’s alone, and nothing was made by all this', () => {
    expect(statSync(node.socketPath).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(node.stateDirectory, 'attachments'))).toEqual([]);
    expect(spaces.run('p1', 'ip', '-o', 'link').trim().split('\n').length).toBe(1);
    expect(spaces.run('host', 'ip', '-o', 'link')).not.toContain('veth');
  });

  test('a second agent on the same socket is refused, and the first goes on', async () => {
    const { socketPath, stateDirectory } = node;
    const options = { network: () => node.network, log: silentLogger, clock: systemClock };
    const second = createCniServer({ socketPath, stateDirectory, ...options });
    expect(second.run(new AbortController().signal)).rejects.toThrow('another process listens');
    expect((await runPlugin('STATUS', { config: node.config() })).status).toBe(0);
  });
});
