/**
 * Real datastores for tests, on loopback and free ports, each in a directory of its own that goes away with it.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatastore } from '../../src/datastore/mod.ts';
import { freePort } from './ports.ts';
import { until } from './until.ts';

export interface RunningStore extends AsyncDisposable {
  /** For `openDatastore`. */
  readonly url: string;
  /** For etcdctl. */
  readonly endpoint: string;
  readonly directory: string;
  readonly pid: number;
  /** What the server printed so far. */
  log(): string;
  /** Ends the process at once, without a chance to write anything, and starts it again on the same data and port. */
  killAndRestart(): Promise<void>;
  stop(): Promise<void>;
}

export async function startEtcd(extra: readonly string[] = []): Promise<RunningStore> {
  const [client, peer] = [freePort(), freePort()];
  const secure = extra.some((argument) => argument.startsWith('--cert-file'));
  const url = `${secure ? 'https' : 'http'}://127.0.0.1:${client}`;
  return startServer(`etcd${secure ? 's' : ''}://127.0.0.1:${client}`, url, (directory) => [
    'etcd',
    ...['--data-dir', join(directory, 'etcd'), '--name', 'test', '--logger', 'zap', '--log-level', 'error'],
    ...['--listen-client-urls', url, '--advertise-client-urls', url],
    ...['--listen-peer-urls', `http://127.0.0.1:${peer}`],
    ...[
      '--initial-advertise-peer-urls',
      `http://127.0.0.1:${peer}`,
      '--initial-cluster',
      `test=http://127.0.0.1:${peer}`,
    ],
    ...extra,
  ]);
}

/** The embedded store, as its own process, as users run it. */
export async function startGodwitStore(extra: readonly string[] = []): Promise<RunningStore> {
  const port = freePort();
  const secure = extra.some((argument) => argument.startsWith('--tls-cert'));
  const listen = `http${secure ? 's' : ''}://127.0.0.1:${port}`;
  return startServer(`etcd${secure ? 's' : ''}://127.0.0.1:${port}`, listen, (directory) => [
    ...[process.execPath, join(import.meta.dir, '../../src/main.ts'), 'store', 'serve'],
    ...['--listen', listen, '--data', join(directory, 'store'), ...extra],
  ]);
}

/** Starts a server process and waits until it answers. */
export async function startServer(
  url: string,
  endpoint: string,
  command: (directory: string) => string[],
  ready: (url: string) => Promise<boolean> = answers,
): Promise<RunningStore> {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-store-'));
  let log = '';
  const spawn = () => {
    const child = Bun.spawn(command(directory), { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      void (async () => {
        for await (const chunk of stream) log += Buffer.from(chunk).toString();
      })();
    }
    return child;
  };
  let child = spawn();
  const waitReady = async () => {
    const answer = () => {
      if (child.exitCode !== null) throw new Error(`the store ended with ${child.exitCode}:\n${log}`);
      return ready(url);
    };
    await until('the store answers', answer).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${log}`, { cause: error });
    });
  };
  const stop = async () => {
    child.kill('SIGCONT');
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await child.exited;
    clearTimeout(timer);
  };
  const dispose = async () => {
    await stop();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await waitReady();
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    url,
    endpoint,
    directory,
    get pid() {
      return child.pid;
    },
    log: () => log,
    stop,
    async killAndRestart() {
      child.kill('SIGKILL');
      await child.exited;
      child = spawn();
      await waitReady();
    },
    [Symbol.asyncDispose]: dispose,
  };
}

async function answers(url: string): Promise<boolean> {
  if (url.startsWith('etcds:')) return answersTcp(url);
  await using store = await openDatastore(url, { times: { connectMs: 500, requestMs: 500 } });
  try {
    await store.get('/');
    return true;
  } catch {
    return false;
  }
}

/** Without certificates at hand all that can be seen is that the port is open. */
function answersTcp(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url.replace('etcds:', 'https:'));
  return Bun.connect({ hostname, port: Number(port), socket: { data() {} } }).then(
    (socket) => {
      socket.end();
      return true;
    },
    () => false,
  );
}
