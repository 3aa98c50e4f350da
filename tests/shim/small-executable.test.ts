import { afterAll, describe, expect, test } from 'bun:test';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodePlain, encodePlainAnswer, installPlugin, pluginFile } from '../../src/shim/mod.ts';
import type { PlainRequest, Program } from '../../src/shim/mod.ts';
import { have } from '../support/peers.ts';

const here = have('the small CNI executable', 'strace');
const emulator = '/usr/bin/qemu-aarch64-static';
const emulated = have('the small CNI executable on arm64, emulated', emulator);

/** Processors that can run here, and how a program for one is started. */
const processors: readonly { name: string; before: readonly string[]; runs: boolean }[] = [
  { name: 'x64', before: [], runs: here && process.arch === 'x64' },
  { name: 'arm64', before: process.arch === 'arm64' ? [] : [emulator], runs: process.arch === 'arm64' || emulated },
];

const LAST_WORDS = '{"cniVersion":"1.1.0","code":11,"msg":"last words"}\n';

/** How an agent treats a request: an answer, or nothing and the connection's end. */
type Conduct = (request: PlainRequest) => Uint8Array | undefined;

/** Whether less is there than the header promises. */
const isTorn = (answer: Uint8Array): boolean =>
  answer.length < 8 || answer.length < 8 + Buffer.from(answer).readUInt32LE(4);

/** An agent in a few lines, which keeps what it was asked. */
class FakeAgent implements Disposable {
  readonly asked: PlainRequest[] = [];
  private readonly listener: { stop(): void };

  constructor(path: string, conduct: Conduct, cut = Number.POSITIVE_INFINITY) {
    this.listener = Bun.listen<{ bytes: Uint8Array }>({
      unix: path,
      socket: {
        open: (socket) => void (socket.data = { bytes: new Uint8Array(0) }),
        data: (socket, piece) => {
          socket.data.bytes = Buffer.concat([socket.data.bytes, piece]);
          const request = decodePlain(socket.data.bytes);
          if (request === undefined) return;
          if (request !== 'bad') this.asked.push(request);
          const answer = request === 'bad' ? undefined : conduct(request);
          // in pieces, as a full buffer makes them
          if (answer) socket.write(answer.subarray(0, cut));
          const rest = answer?.subarray(cut);
          if (rest && rest.length > 0) setTimeout(() => void socket.write(rest), 20);
          else if (answer === undefined || isTorn(answer)) socket.end();
        },
      },
    });
  }

  [Symbol.dispose](): void {
    this.listener.stop();
  }
}

for (const { name, before, runs } of processors) {
  describe.skipIf(!runs)(`the small executable on ${name}`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'godwit-small-'));
    const socket = join(directory, 'agent.sock');
    const complete = join(directory, 'it’s complete');
    const plugin = join(directory, 'plugin');
    const program: Program = { socket, complete: [complete, 'first'], lastWords: LAST_WORDS };
    writeFileSync(plugin, pluginFile(program, name)!);
    chmodSync(plugin, 0o755);
    // tells what it was started with
    const stand = '#!/bin/sh\nprintf "complete:%s:%s:" "$CNI_COMMAND" "$*"\nexec cat\n';
    writeFileSync(complete, stand, { mode: 0o755 });
    afterAll(() => rmSync(directory, { recursive: true, force: true }));

    async function call(
      env: Readonly<Record<string, string>>,
      input: string | Uint8Array = '',
      args: readonly string[] = [],
      around: readonly string[] = [],
    ) {
      const child = Bun.spawn([...around, ...before, plugin, ...args], {
        ...{ env: { PATH: '/usr/bin:/bin', ...env }, stdout: 'pipe', stderr: 'pipe' },
        stdin: typeof input === 'string' ? new TextEncoder().encode(input) : input,
      });
      const [stdout, stderr, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
      return { status, stdout, stderr };
    }

    test('takes variables and input to the agent, and its answer and status back', async () => {
      using agent = new FakeAgent(socket, () => encodePlainAnswer(1, '{"code":7}\n'));
      const variables = { CNI_COMMAND: 'ADD', CNI_ARGS: 'A=b;C=ü', CNI: 'x', CNIX_Y: 'y', XCNI_Z: 'z' };
      expect(await call(variables, '{"name":"n"}')).toEqual({ status: 1, stdout: '{"code":7}\n', stderr: '' });
      expect({ ...agent.asked[0]!.env }).toEqual({ CNI_COMMAND: 'ADD', CNI_ARGS: 'A=b;C=ü' });
      expect(new TextDecoder().decode(agent.asked[0]!.input)).toBe('{"name":"n"}');
    });

    test('an empty answer, and long ones in pieces', async () => {
      {
        using _agent = new FakeAgent(socket, () => encodePlainAnswer(0, ''));
        expect(await call({ CNI_COMMAND: 'DEL' })).toEqual({ status: 0, stdout: '', stderr: '' });
      }
      const long = 'x'.repeat(150_000);
      for (const cut of [3, 8, 9, 70_000]) {
        using _agent = new FakeAgent(socket, () => encodePlainAnswer(0, long), cut);
        const { status, stdout } = await call({ CNI_COMMAND: 'ADD' });
        expect([cut, status, stdout === long]).toEqual([cut, 0, true]);
      }
    });

    test('the largest input goes through; a larger one goes whole to the complete program', async () => {
      using agent = new FakeAgent(socket, ({ input }) => encodePlainAnswer(0, String(input.length)));
      expect((await call({ CNI_COMMAND: 'ADD' }, new Uint8Array(1 << 20))).stdout).toBe(String(1 << 20));
      const { stdout } = await call({ CNI_COMMAND: 'ADD' }, 'y'.repeat((1 << 20) + 1));
      expect(agent.asked.length).toBe(1);
      expect(stdout.length).toBe('complete:ADD:first:'.length + (1 << 20) + 1);
    });

    test('no agent, one that hangs up, or a broken answer: the complete program, with the same input', async () => {
      const given = { CNI_COMMAND: 'CHECK' };
      const expected = { status: 0, stdout: 'complete:CHECK:first:{"a":1}', stderr: '' };
      expect(await call(given, '{"a":1}')).toEqual(expected);
      for (const length of [undefined, 0, 5, 8, 10]) {
        const torn = length === undefined ? undefined : encodePlainAnswer(0, 'xyz').slice(0, length);
        using agent = new FakeAgent(socket, () => torn);
        expect(await call(given, '{"a":1}')).toEqual(expected);
        expect(agent.asked.length).toBe(1);
      }
    });

    test('called by hand it is the complete program, with its arguments', async () => {
      const { stdout } = await call({ CNI_PATH: '/opt' }, 'typed', ['--help', 'a b']);
      expect(stdout).toBe('complete::first --help a b:typed');
    });

    test('variables that are too long go to the complete program', async () => {
      using agent = new FakeAgent(socket, () => encodePlainAnswer(0, 'agent'));
      const half = 'v'.repeat(100_000);
      expect((await call({ CNI_COMMAND: 'ADD', CNI_ARGS: half })).stdout).toBe('agent');
      const { stdout } = await call({ CNI_COMMAND: 'ADD', CNI_ARGS: half, CNI_PATH: half }, 'in');
      expect([agent.asked.length, stdout]).toEqual([1, 'complete:ADD:first:in']);
    });

    test('without the complete program: an error as the specification wants it', async () => {
      const alone = join(directory, 'alone');
      writeFileSync(alone, pluginFile({ ...program, complete: [join(directory, 'missing')] }, name)!, { mode: 0o755 });
      const child = Bun.spawnSync([...before, alone], { env: { CNI_COMMAND: 'ADD' }, stdin: new Uint8Array(0) });
      expect([child.exitCode, child.stdout.toString()]).toEqual([1, LAST_WORDS]);
    });

    test('a standard input that cannot be read is the complete program’s to tell', async () => {
      using agent = new FakeAgent(socket, () => encodePlainAnswer(0, 'agent'));
      const closed = ['sh', '-c', 'exec "$@" <&-', 'sh'];
      const { stdout } = await call({ CNI_COMMAND: 'ADD' }, '', [], closed);
      expect([agent.asked.length, stdout]).toEqual([0, 'complete:ADD:first:']);
    });
  });
}

describe.skipIf(!here || process.arch !== 'x64')('the small executable and its system calls', () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-small-'));
  const socket = join(directory, 'agent.sock');
  const plugin = join(directory, 'bin/plugin');
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const traced = async (...inject: string[]): Promise<string> => {
    const options = ['-f', '-qq', '-o', '/dev/null', ...inject.flatMap((i) => ['-e', `inject=${i}`])];
    const child = Bun.spawn(['strace', ...options, plugin], {
      ...{ env: { CNI_COMMAND: 'ADD', PATH: '/usr/bin:/bin' }, stdin: new TextEncoder().encode('in') },
      stdout: 'pipe',
    });
    await child.exited;
    return child.stdout.text();
  };

  test('is small, executable, and replaced in one step', () => {
    const program = { socket, complete: ['/bin/echo', 'complete'], lastWords: LAST_WORDS };
    installPlugin(plugin, { ...program, lastWords: 'older' });
    const [before, link] = [statSync(plugin), join(directory, 'running')];
    installPlugin(plugin, program);
    expect(readdirSync(join(directory, 'bin'))).toEqual(['plugin']);
    expect(statSync(plugin).ino).not.toBe(before.ino);
    expect(statSync(plugin).mode & 0o7777).toBe(0o755);
    expect(statSync(plugin).size).toBeLessThan(4096);
    // where it cannot be put, nothing is left lying about
    mkdirSync(join(directory, 'taken/plugin'), { recursive: true });
    expect(() => installPlugin(join(directory, 'taken/plugin'), program)).toThrow();
    expect(readdirSync(join(directory, 'taken'))).toEqual(['plugin']);
    expect(() => installPlugin(link, { ...program, socket: `/${'s'.repeat(107)}` })).toThrow('too long');
  });

  test('an interrupted call is made again; one that takes too long is told to the complete program', async () => {
    using agent = new FakeAgent(socket, () => encodePlainAnswer(0, 'answered'));
    expect(await traced('recvfrom:error=EINTR:when=1', 'sendto:error=EINTR:when=1')).toBe('answered');
    expect(agent.asked.length).toBe(1);
    expect(await traced('recvfrom:error=EAGAIN:when=1')).toBe('complete --no-answer\n');
    expect(await traced('sendto:error=EAGAIN:when=1')).toBe('complete --no-answer\n');
    expect(await traced('sendto:error=EPIPE:when=1')).toBe('complete\n');
    expect(await traced('connect:error=EAGAIN')).toBe('complete\n');
    expect(await traced('memfd_create:error=EMFILE', 'connect:error=ECONNREFUSED')).toBe(LAST_WORDS);
  });
});
