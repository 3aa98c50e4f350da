// The one test command: installs what the tests need, checks format, types and lint, runs every test file in a process
// of its own (a test may switch namespaces, or crash), and ends with `N passed, N failed`.
// Arguments name test files or folders; without any, all run.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installTestPackages } from './lib/debian.ts';
import { repositoryRoot, runTool } from './lib/process.ts';

/** No test file may take longer: one that hangs is killed and counted as failed. */
const FILE_TIMEOUT_MS = 300_000;
const WORKERS = 2;

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  readonly output: string;
}

// a short name: sockets below it have 108 bytes for all of their path
const work = mkdtempSync(join(tmpdir(), 'gwt-'));
// daemons that give up being root must get to their files below it
chmodSync(work, 0o755);
const skips = join(work, 'skips');

async function runFile(file: string, index: number): Promise<Outcome> {
  const report = join(work, `${index}.xml`);
  // what it leaves goes with this directory, also when it was killed: the test runner has no exit event
  const temporary = join(work, String(index));
  mkdirSync(temporary);
  chmodSync(temporary, 0o1777);
  const bun = join(repositoryRoot, 'node_modules/.bin/bun');
  const started = performance.now();
  const child = Bun.spawn(
    [bun, 'test', '--timeout', '60000', '--reporter=junit', `--reporter-outfile=${report}`, `./${file}`],
    {
      cwd: repositoryRoot,
      env: { ...process.env, GODWIT_TEST_SKIPS: skips, TMPDIR: temporary },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const timer = setTimeout(() => child.kill('SIGKILL'), FILE_TIMEOUT_MS);
  const [out, error, status] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  clearTimeout(timer);
  rmSync(temporary, { recursive: true, force: true });
  const seconds = (performance.now() - started) / 1000;
  const counts = readReport(report);
  // a crash or a hang leaves no report, or one that says nothing failed
  const failed = status === 0 ? counts.failed : Math.max(1, counts.failed);
  return { file, ...counts, failed, seconds, output: out + error };
}

function readReport(path: string): { passed: number; failed: number; skipped: number } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return { passed: 0, failed: 0, skipped: 0 };
  }
  const head = /<testsuites [^>]*>/.exec(text)?.[0] ?? '';
  const count = (name: string) => Number(new RegExp(` ${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const [total, failed, skipped] = [count('tests'), count('failures'), count('skipped')];
  return { passed: total - failed - skipped, failed, skipped };
}

async function findTests(): Promise<string[]> {
  const wanted = process.argv.slice(2).map((path) => path.replace(/^\.\//, '').replace(/\/$/, ''));
  const files: string[] = [];
  for (const pattern of ['src/**/*.test.ts', 'tests/**/*.test.ts', 'fuzz/**/*.test.ts']) {
    for await (const file of new Bun.Glob(pattern).scan(repositoryRoot)) files.push(file);
  }
  const chosen =
    wanted.length === 0 ? files : files.filter((f) => wanted.some((w) => f === w || f.startsWith(`${w}/`)));
  return chosen.sort();
}

await installTestPackages();
const partial = process.argv.length > 2;
const checks = partial ? 0 : await runTool([join(repositoryRoot, 'scripts/bun'), 'scripts/check.ts']);
const files = await findTests();
const outcomes: Outcome[] = [];
const queue = files.entries();
async function worker(): Promise<void> {
  for (const [index, file] of queue) {
    const outcome = await runFile(file, index);
    outcomes.push(outcome);
    const verdict = outcome.failed > 0 ? 'FAIL' : 'ok  ';
    const counts = `${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped`;
    console.log(`${verdict} ${file} (${counts}; ${outcome.seconds.toFixed(1)} s)`);
    if (outcome.failed > 0) console.log(outcome.output.replace(/^/gm, '     '));
  }
}
await Promise.all(Array.from({ length: WORKERS }, worker));

const sum = (key: 'passed' | 'failed' | 'skipped') => outcomes.reduce((n, o) => n + o[key], 0);
const failed = sum('failed') + (checks === 0 ? 0 : 1);
const passed = sum('passed') + (checks === 0 && !partial ? 1 : 0);
for (const outcome of outcomes.filter((o) => o.failed > 0)) console.log(`failed: ${outcome.file}`);
if (checks !== 0) console.log('failed: format, types or lint (npm run check)');
try {
  for (const line of new Set(readFileSync(skips, 'utf8').trim().split('\n'))) console.log(`skipped: ${line}`);
} catch {
  // nothing was skipped for want of a peer
}
rmSync(work, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed${sum('skipped') > 0 ? `, ${sum('skipped')} skipped` : ''}`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
