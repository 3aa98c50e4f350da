// Format, types and lint, in that order; `--fix` formats instead of checking.
import { repositoryRoot, runTool } from './lib/process.ts';

const fix = process.argv.includes('--fix');
const bin = `${repositoryRoot}/node_modules/.bin`;
const steps: [string, string[]][] = [
  ['format', fix ? [`${bin}/oxfmt`, '.'] : [`${bin}/oxfmt`, '--check', '.']],
  ['types', [`${bin}/tsc`, '--pretty']],
  ['lint', [`${bin}/oxlint`, '--type-aware', ...(fix ? ['--fix'] : [])]],
];
// lint's own fixes come first: the formatter has the last word
if (fix) steps.unshift(steps.pop()!);
let failed = 0;
for (const [name, command] of steps) {
  const status = await runTool(command);
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name}`);
  if (status !== 0) failed++;
}
console.log(failed === 0 ? 'all checks passed' : `${failed} checks failed`);
process.exit(failed === 0 ? 0 : 1);
