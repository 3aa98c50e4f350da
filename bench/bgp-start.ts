/**
 * Cold start of `godwit bgp`: from exec to the TCP connection and to the first OPEN at a neighbour. Built as it is shipped
 * (`npm run build`), and from source beside it.
 *
 *     npm run bench bgp-start
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { repositoryRoot, runTool } from '../scripts/lib/process.ts';

const RUNS = 15;
const work = mkdtempSync(join(tmpdir(), 'godwit-start-'));
const config = join(work, 'bgp.yaml');

interface Times {
  connected: number;
  open: number;
}

async function measure(command: readonly string[]): Promise<Times> {
  const { promise, resolve } = Promise.withResolvers<Times>();
  let [started, connected] = [0, 0];
  using listener = Bun.listen({
    hostname: '127.0.0.2',
    port: 0,
    socket: {
      open: () => void (connected = performance.now() - started),
      data: () => resolve({ connected, open: performance.now() - started }),
    },
  });
  writeFileSync(
    config,
    `routerId: 10.0.0.1
as: 65000
listen: []
control: ${join(work, 'bgp.sock')}
neighbors: [{ address: 127.0.0.2, port: ${listener.port}, as: 65001, import: accept, export: accept }]
`,
  );
  started = performance.now();
  const child = Bun.spawn([...command, 'bgp', '--config', config, '--log-level', 'error'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const times = await promise;
  child.kill();
  await child.exited;
  return times;
}

async function report(name: string, command: readonly string[]): Promise<void> {
  const all: Times[] = [];
  for (let i = 0; i < RUNS; i++) all.push(await measure(command));
  const line = (key: keyof Times) => {
    const sorted = all.map((t) => t[key]).sort((a, b) => a - b);
    return `median ${sorted[RUNS >> 1]!.toFixed(1)} ms, best ${sorted[0]!.toFixed(1)}, worst ${sorted.at(-1)!.toFixed(1)}`;
  };
  console.log(`${name.padEnd(12)} connection ${line('connected')}\n${''.padEnd(12)} first OPEN ${line('open')}`);
}

try {
  const built = join(repositoryRoot, 'dist/godwit');
  if (!existsSync(built)) await runTool([process.execPath, 'scripts/build.ts']);
  await report('dist/godwit', [built]);
  await report('from source', [process.execPath, join(repositoryRoot, 'src/main.ts')]);
} finally {
  rmSync(work, { recursive: true, force: true });
}
