// The one test command: installs what the tests need, checks format, types and lint, runs every test file in a process
// of its own (a test may switch namespaces, or crash), and ends with `N passed, N failed`. One or two files that failed
// beside another run once more, alone (docs/adr/0043-a-second-run-alone.md).
// Arguments name test files or folders; without any, all run.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installTestPackages } from './lib/debian.ts';
import { counts, judge, neighbourTableFull, seconds, toRunAlone } from './lib/outcomes.ts';
import type { Outcome } from './lib/outcomes.ts';
import { repositoryRoot, runTool } from './lib/process.ts';

/** No test file may take longer: one that hangs is killed and counted as failed. */
const FILE_TIMEOUT_MS = 600_000;
const WORKERS = 2;

interface Run extends Outcome {
  readonly output: string;
  /** How often the kernel had no room for another neighbour meanwhile, in whatever namespace. */
  readonly neighboursLost: number;
}

// a short name: sockets below it have 108 bytes for all of their path
const work = mkdtempSync(join(tmpdir(), 'gwt-'));
// daemons that give up being root must get to their files below it
chmodSync(work, 0o755);
const skips = join(work, 'skips');

let runs = 0;

async function runFile(file: string): Promise<Run> {
  const index = ++runs;
  const report = join(work, `${index}.xml`);
  // what it leaves goes with this directory, also when it was killed: the test runner has no exit event
  const temporary = join(work, String(index));
  mkdirSync(temporary);
  chmodSync(temporary, 0o1777);
  const bun = join(repositoryRoot, 'node_modules/.bin/bun');
  const [startedMs, fullBefore] = [performance.now(), neighboursLost()];
  const child = Bun.spawn(
    [bun, 'test', '--timeout', '120000', '--reporter=junit', `--reporter-outfile=${report}`, `./${file}`],
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
  const reported = readReport(report);
  // a crash or a hang leaves no report, or one that says nothing failed
  const failed = status === 0 ? reported.failed : Math.max(1, reported.failed);
  const times = { startedMs, endedMs: performance.now() };
  return { file, ...reported, failed, ...times, output: out + error, neighboursLost: neighboursLost() - fullBefore };
}

function neighboursLost(): number {
  const files = ['arp_cache', 'ndisc_cache'].map((name) => `/proc/net/stat/${name}`).filter((path) => existsSync(path));
  return files.reduce((n, path) => n + neighbourTableFull(readFileSync(path, 'utf8')), 0);
}

function print(run: Run, progress: string): void {
  const verdict = run.failed > 0 ? 'FAIL' : 'ok  ';
  console.log(`${verdict} ${run.file} (${counts(run)}; ${seconds(run).toFixed(1)} s) ${progress}`);
  if (run.failed === 0) return;
  console.log(run.output.replace(/^/gm, '     '));
  if (run.neighboursLost === 0) return;
  const what = `the kernel’s table of neighbours, one for all namespaces, was full ${run.neighboursLost} times meanwhile`;
  console.log(`     note: ${what}: packets were dropped (net.ipv4.neigh.default.gc_thresh3)`);
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
  for (const pattern of ['src/**/*.test.ts', 'tests/**/*.test.ts', 'fuzz/**/*.test.ts', 'scripts/**/*.test.ts']) {
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
const outcomes: Run[] = [];
const queue = files.values();
async function worker(): Promise<void> {
  for (const file of queue) {
    const run = await runFile(file);
    outcomes.push(run);
    print(run, `[${outcomes.length} of ${files.length}]`);
  }
}
await Promise.all(Array.from({ length: WORKERS }, worker));
const alone: Run[] = [];
for (const file of toRunAlone(outcomes)) {
  const run = await runFile(file);
  alone.push(run);
  console.log(`again, alone: ${file}: ${run.failed > 0 ? 'FAIL' : 'ok'}`);
  print(run, '[alone]');
}

const verdict = judge(outcomes, alone);
const failed = verdict.failed + (checks === 0 ? 0 : 1);
const passed = verdict.passed + (checks === 0 && !partial ? 1 : 0);
for (const line of verdict.lines) console.log(line);
if (checks !== 0) console.log('failed: format, types or lint (npm run check)');
try {
  for (const line of new Set(readFileSync(skips, 'utf8').trim().split('\n'))) console.log(`skipped: ${line}`);
} catch {
  // nothing was skipped for want of a peer
}
rmSync(work, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed${verdict.skipped > 0 ? `, ${verdict.skipped} skipped` : ''}`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
