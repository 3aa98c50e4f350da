// `npm run bench NAME [ARGS]` runs one benchmark; without a name it lists them. Timings live here, never in tests.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { installTestPackages } from '../scripts/lib/debian.ts';
import { runTool } from '../scripts/lib/process.ts';

const [name, ...args] = process.argv.slice(2);
const names = readdirSync(import.meta.dir)
  .filter((file) => file.endsWith('.ts') && file !== 'run.ts')
  .map((file) => file.slice(0, -3));
if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench NAME; there are: ${names.join(', ')}`);
  process.exit(2);
}
await installTestPackages();
process.exit(await runTool([process.execPath, join(import.meta.dir, `${name}.ts`), ...args]));
