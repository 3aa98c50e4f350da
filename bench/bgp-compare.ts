/**
 * `godwit bgp` beside BIRD, FRR, OpenBGPD and GoBGP in one run, under a load generator that checks every prefix, and the
 * README's table of it: seconds, peak MiB, and both as ratios. The generator is not part of this repository; what it
 * does, and what it is asked here, is in bench/bgp/README.md.
 *
 *     npm run bench bgp-compare HARNESS [-- --runs N --daemons bird,gobgp --scenarios S1,S5 --report FILE]
 *
 * About eighteen minutes with everything, most of them GoBGP's. `--report` prints the table of a file of results again.
 */
import { appendFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { repositoryRoot, runTool } from '../scripts/lib/process.ts';
import { median } from './lib/figures.ts';

const names = {
  godwit: 'Godwit',
  bird: 'BIRD',
  'frr-nocoalesce': 'FRR, `coalesce-time 0`',
  openbgpd: 'OpenBGPD',
  gobgp: 'GoBGP',
} as const;
type Daemon = keyof typeof names;
const packages: Partial<Record<Daemon, string>> = {
  bird: 'bird2',
  'frr-nocoalesce': 'frr',
  openbgpd: 'openbgpd',
  gobgp: 'gobgpd',
};

/** Rows: a scenario of the generator, and which of its phases. */
const rows = [
  ['S1', 'S1', 0, '100 k prefixes, 1 → 1'],
  ['S2', 'S2', 0, '1 M prefixes, 60 k attribute sets'],
  ['S3', 'S3', 0, '10 × 100 k disjoint → 10 receivers'],
  ['S4', 'S4', 0, '10 × the same 100 k → 10 receivers'],
  ['S5', 'S5', 0, 'reflector, 200 clients'],
  ['S6', 'S6', 0, 'reflector, 1,000 clients'],
  ['S7', 'S2', 1, 'withdraw the 1 M'],
  ['S8', 'S2', 3, 'the sender’s session drops'],
] as const;

/** Longest wait for a phase, seconds. GoBGP needs more than five minutes for S3, and is given four. */
const patience = (daemon: Daemon, scenario: string): number => (daemon === 'gobgp' && scenario === 'S3' ? 240 : 200);

interface Phase {
  readonly ok?: boolean;
  readonly converge_s?: number;
  readonly hwm_mib?: number;
}
interface Run {
  readonly daemon: Daemon;
  readonly scenario: string;
  readonly ok: boolean;
  readonly patience?: number;
  readonly load?: { readonly phases?: readonly Phase[] };
}

async function measure(harness: string, daemons: Daemon[], scenarios: string[], runs: number): Promise<string> {
  const built = join(repositoryRoot, 'dist/godwit');
  await runTool([process.execPath, 'scripts/build.ts']);
  const work = mkdtempSync(join(tmpdir(), 'godwit-compare-'));
  const results = join(tmpdir(), `godwit-compare-${new Date().toISOString().slice(0, 16).replaceAll(':', '')}.jsonl`);
  try {
    const copy = join(work, 'harness');
    cpSync(harness, copy, { recursive: true });
    await runTool(['chmod', '-R', 'u+w', copy]);
    for (const scenario of scenarios) {
      // side by side in time: a virtual machine is not the same an hour later
      for (let run = 0; run < runs; run++) {
        for (const daemon of daemons) {
          const seconds = patience(daemon, scenario);
          const out = join(work, 'one.jsonl');
          const template = join(repositoryRoot, 'bench/bgp/godwit.yaml.tmpl');
          const which =
            daemon === 'godwit'
              ? [
                  ...['--daemon-cmd', `${built} bgp --config {conf} --log-level error`],
                  ...['--name', 'godwit', '--template', template],
                ]
              : ['--daemons', daemon];
          const child = Bun.spawn(
            [
              join(copy, 'bench.py'),
              ...which,
              ...['--scenarios', scenario, '--runs', '1', '--out', out, '--timeout', String(seconds)],
            ],
            { stdio: ['ignore', 'pipe', 'inherit'] },
          );
          const said = await new Response(child.stdout).text();
          await child.exited;
          console.error(said.split('\n')[0]);
          if (!existsSync(out)) continue;
          const result = JSON.parse(readFileSync(out, 'utf8')) as Run;
          appendFileSync(results, `${JSON.stringify({ ...result, patience: seconds })}\n`);
          rmSync(out);
        }
      }
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return results;
}

/** Resident MiB of the runtime with nothing to do. */
async function emptyRuntime(): Promise<number> {
  const child = Bun.spawn([process.execPath, '-e', 'setInterval(() => {}, 1e6)'], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  await Bun.sleep(1000);
  const resident = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))![1]!;
  child.kill();
  await child.exited;
  return Number(resident) / 1024;
}

const figure = (n: number, digits: number): string => (n >= 10 ** (digits - 1) ? n.toFixed(0) : n.toPrecision(digits));
/** Of a package; nothing where there is no dpkg. */
function version(daemon: Daemon): string {
  const name = packages[daemon];
  if (name === undefined) return '';
  const { stdout, success } = Bun.spawnSync(['dpkg-query', '-W', '-f', '${Version}', name]);
  const upstream = /^(?:\d+:)?([\d.]+)/.exec(stdout.toString())?.[1];
  return success && upstream !== undefined ? ` ${upstream}` : '';
}

function table(results: readonly Run[], runtime: number): string {
  const daemons = (Object.keys(names) as Daemon[]).filter((d) => results.some((r) => r.daemon === d));
  const others = daemons.filter((d) => d !== 'godwit');
  const titles = daemons.map((d) => names[d].replace(/^[^,]+/, (name) => name + version(d)));
  const head = ['', ...titles, 'time to the best other', `memory to 2 × BIRD + ${runtime.toFixed(0)}`];
  const lines = [head, head.map(() => '---')];
  for (const [, scenario, index, title] of rows) {
    const time = new Map<Daemon, number>();
    const memory = new Map<Daemon, number>();
    const cells = daemons.map((daemon) => {
      const runs = results.filter((r) => r.daemon === daemon && r.scenario === scenario);
      const phases = runs.flatMap((r) => r.load?.phases?.[index] ?? []);
      const good = phases.filter((p) => p.ok === true && p.converge_s !== undefined);
      if (runs.length === 0) return 'not run';
      if (good.length === 0) return phases.length > 0 ? `over ${runs[0]!.patience}` : 'failed';
      time.set(daemon, median(good.map((p) => p.converge_s!)));
      memory.set(daemon, median(good.map((p) => p.hwm_mib ?? 0)));
      const bad = good.length < runs.length ? ` (${runs.length - good.length} failed)` : '';
      return `${figure(time.get(daemon)!, 3)} / ${memory.get(daemon)!.toFixed(0)}${bad}`;
    });
    if (cells.every((cell) => cell === 'not run')) continue;
    const best = Math.min(...others.map((d) => time.get(d) ?? Number.POSITIVE_INFINITY));
    const [ours, held, bird] = [time.get('godwit'), memory.get('godwit'), memory.get('bird')];
    const faster = ours !== undefined && Number.isFinite(best) ? (ours / best).toFixed(2) : '';
    const smaller = held !== undefined && bird !== undefined ? (held / (2 * bird + runtime)).toFixed(2) : '';
    lines.push([title, ...cells, faster, smaller]);
  }
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n');
}

const { values, positionals } = parseArgs({
  args: process.argv.slice(2).filter((argument) => argument !== '--'),
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '1' },
    daemons: { type: 'string', default: Object.keys(names).join() },
    scenarios: { type: 'string', default: 'S1,S2,S3,S4,S5,S6' },
    report: { type: 'string' },
  },
});
const [harness] = positionals;
if (values.report === undefined && (harness === undefined || !existsSync(join(harness, 'bench.py')))) {
  console.error('usage: npm run bench bgp-compare HARNESS [-- --runs N --daemons … --scenarios … --report FILE]');
  process.exit(2);
}
const began = performance.now();
const daemons = values.daemons.split(',').filter((name): name is Daemon => name in names);
const file =
  values.report ?? (await measure(resolve(harness!), daemons, values.scenarios.split(','), Number(values.runs)));
const results = readFileSync(file, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Run);
const runtime = await emptyRuntime();
console.log(table(results, runtime));
console.log(
  `\nSeconds until the last receiver has everything, and peak MiB. An idle runtime has ${runtime.toFixed(1)} MiB.`,
);
console.log(`${file}, ${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
