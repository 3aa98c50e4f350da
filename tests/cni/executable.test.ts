import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot } from '../../scripts/lib/process.ts';
import { installExecutable } from '../../src/cni/mod.ts';
import { runPlugin, TestNode } from '../support/cni.ts';
import { run, TestNamespaces } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const here = have('the built CNI executable', 'ip', 'strace');

describe.skipIf(!here)('the built executable as a plugin', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-built-'));
  const executable = join(directory, 'godwit');
  const spaces = new TestNamespaces();
  let node: TestNode;

  beforeAll(async () => {
    run(process.execPath, join(repositoryRoot, 'scripts/build.ts'), executable);
    node = new TestNode(spaces);
    await node.start();
  }, 60_000);
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    spaces[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('attaches and detaches like the source does', async () => {
    const netns = node.pod('p1');
    const call = { container: 'built', netns, config: node.config() };
    const added = await runPlugin('ADD', call, executable);
    expect(added).toMatchObject({ status: 0, json: { ips: [{ address: '10.244.1.2/24' }, {}] } });
    const checked = await runPlugin('CHECK', { ...call, config: node.config({ prevResult: added.json }) }, executable);
    expect(checked.status).toBe(0);
    expect(await runPlugin('DEL', call, executable)).toMatchObject({ status: 0, stdout: '' });
    expect((await runPlugin('VERSION', { config: {} }, executable)).json.supportedVersions).toContain('1.1.0');
  });

  test('installs the small executable, which asks an agent on another socket by way of this one', async () => {
    const elsewhere = join(directory, 'elsewhere');
    const command = [
      'cni',
      'install',
      '--bin-dir',
      directory,
      '--name',
      'elsewhere',
      '--socket',
      '/nonexistent/socket',
    ];
    expect(run(executable, ...command)).toBe(`${elsewhere}\n`);
    const netns = node.pod('p2');
    const call = { container: 'elsewhere', netns, config: node.config() };
    expect((await runPlugin('ADD', call, elsewhere)).status).toBe(0);
    expect(
      (await runPlugin('STATUS', { config: { ...call.config, socket: '/nonexistent' } }, elsewhere)).json.code,
    ).toBe(50);
    // an agent listens, but the configuration names another
    const other = join(directory, 'other');
    installExecutable(other, node.socketPath, [executable]);
    expect((await runPlugin('STATUS', { config: node.config() }, other)).status).toBe(0);
    expect((await runPlugin('STATUS', { config: node.config({ socket: '/nonexistent' }) }, other)).json.code).toBe(50);
    expect(await runPlugin('DEL', call, other)).toMatchObject({ status: 0, stdout: '' });
    const version = await runPlugin('VERSION', { config: { cniVersion: '0.4.0' } }, elsewhere);
    expect(version.json).toMatchObject({ cniVersion: '0.4.0' });
  });

  test('reads nothing of the directory it is started in', () => {
    const hostile = mkdtempSync(join(tmpdir(), 'godwit-hostile-'));
    try {
      // a runtime may start it anywhere: no environment, preload or compiler setting comes from there
      writeFileSync(join(hostile, '.env'), 'CNI_CONTAINERID=../evil\nCNI_COMMAND=DEL\n');
      writeFileSync(join(hostile, 'bunfig.toml'), 'preload = ["./evil.ts"]\n');
      writeFileSync(join(hostile, 'evil.ts'), 'console.log("evil"); process.exit(0);\n');
      writeFileSync(join(hostile, 'tsconfig.json'), '{"compilerOptions":{"paths":{"*":["./evil.ts"]}}}\n');
      const trace = join(directory, 'trace');
      const command = ['strace', '-f', '-qq', '-e', 'trace=openat,open', '-o', trace, executable];
      const child = Bun.spawnSync(command, {
        ...{ cwd: hostile, env: { CNI_COMMAND: 'VERSION', PATH: process.env['PATH'] ?? '' } },
        stdin: new TextEncoder().encode('{"cniVersion":"1.0.0"}'),
      });
      expect(JSON.parse(child.stdout.toString())).toMatchObject({ cniVersion: '1.0.0' });
      const opened = readFileSync(trace, 'utf8').split('\n');
      expect(opened.filter((line) => line.includes(hostile) || /"(\.\/)?(\.env|bunfig|tsconfig)/.test(line))).toEqual(
        [],
      );
    } finally {
      rmSync(hostile, { recursive: true, force: true });
    }
  });
});
