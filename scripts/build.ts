// Makes dist/godwit: one executable that is everything, the CNI plugin included. A runtime starts the plugin for every
// pod, so the bundle is split: `main.ts` and the plugin's client are a small chunk, and the command line is loaded from
// the others only when it is asked for. Nothing is read from the directory the program is started in.
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryRoot, runTool } from './lib/process.ts';

const outfile = process.argv[2] ?? join(repositoryRoot, 'dist/godwit');
mkdirSync(join(outfile, '..'), { recursive: true });
const status = await runTool([
  process.execPath,
  'build',
  ...['--compile', '--minify', '--bytecode', '--format=esm', '--splitting', '--target=bun'],
  ...['--no-compile-autoload-dotenv', '--no-compile-autoload-bunfig'],
  ...['--no-compile-autoload-tsconfig', '--no-compile-autoload-package-json'],
  join(repositoryRoot, 'src/main.ts'),
  `--outfile=${outfile}`,
]);
if (status !== 0) process.exit(status);
console.log(`${outfile} (${(statSync(outfile).size / (1 << 20)).toFixed(0)} MiB)`);
