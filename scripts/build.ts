// Makes dist/godwit: one executable that is everything, the CNI plugin included. A runtime starts the plugin for every
// pod, so the bundle is split: `main.ts` and the plugin's client are a small chunk, and the command line is loaded from
// the others only when it is asked for. Nothing is read from the directory the program is started in.
//
// It is built twice: the first one is run to see which functions a start needs, and in the second their bytecode lies
// together, so that a process reads and holds less of the file. Only the layout differs.
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HOLDING_BACK } from '../src/base/compiler.ts';
import { repositoryRoot, runTool } from './lib/process.ts';

/** The speaker is through with its warm-up, and with that has run most of what it has. */
const SPEAKER_MS = 2000;

const outfile = process.argv[2] ?? join(repositoryRoot, 'dist/godwit');
mkdirSync(join(outfile, '..'), { recursive: true });

async function build(more: readonly string[] = []): Promise<void> {
  const status = await runTool([
    process.execPath,
    'build',
    ...['--compile', '--minify', '--bytecode', '--format=esm', '--splitting', '--target=bun'],
    ...['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig'],
    ...['--no-compile-autoload-tsconfig', '--no-compile-autoload-package-json'],
    `--compile-jit-policy=${HOLDING_BACK}`,
    ...more,
    join(repositoryRoot, 'src/main.ts'),
    `--outfile=${outfile}`,
  ]);
  if (status !== 0) process.exit(status);
}

/** Runs what has just been built in the ways it is started most; gives the files that say what ran, the first one first. */
async function recordStarts(directory: string): Promise<string[]> {
  const config = join(directory, 'bgp.yaml');
  // nobody can come or be called: it listens nowhere
  writeFileSync(config, 'as: 64512\nrouterId: 192.0.2.1\nlisten: []\ncontrol: false\n');
  const starts: Readonly<Record<string, { arguments: string[]; environment?: Record<string, string> }>> = {
    plugin: { arguments: [], environment: { CNI_COMMAND: 'VERSION' } },
    bgp: { arguments: ['bgp', '--config', config, '--log-level', 'error'] },
    agent: { arguments: ['agent', '--help'] },
  };
  const orders = Object.entries(starts).map(async ([name, start]) => {
    const order = join(directory, name);
    const child = Bun.spawn([outfile, ...start.arguments], {
      env: { ...process.env, ...start.environment, BUN_BYTECODE_ORDER_OUT: order },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const timer = setTimeout(() => child.kill(), SPEAKER_MS);
    await child.exited;
    clearTimeout(timer);
    return order;
  });
  return (await Promise.all(orders)).filter((order) => existsSync(order));
}

const work = mkdtempSync(join(tmpdir(), 'godwit-build-'));
try {
  await build();
  const orders = await recordStarts(work);
  if (orders.length > 0) await build([`--bytecode-order=${orders.join()}`]);
} finally {
  rmSync(work, { recursive: true, force: true });
}
console.log(`${outfile} (${(statSync(outfile).size / (1 << 20)).toFixed(0)} MiB)`);
