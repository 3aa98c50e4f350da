// CNI plugins measured as a runtime sees them: the executable started with a request, wall time until it ended.
import { join } from 'node:path';
import { repositoryRoot, runTool } from '../../scripts/lib/process.ts';
import { quantile } from './figures.ts';

export interface Contender {
  readonly name: string;
  readonly plugin: string;
  /** What it reads from its standard input. */
  readonly config: Uint8Array;
}

export interface BenchPod {
  readonly netns: string;
  readonly container: string;
}

export type Verb = 'ADD' | 'DEL';

export const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

/** Builds the complete program at `path`; ends this process when that fails. */
export async function buildComplete(path: string): Promise<void> {
  const status = await runTool([process.execPath, join(repositoryRoot, 'scripts/build.ts'), path]);
  if (status !== 0) process.exit(status);
}

function environment(verb: Verb, { netns, container }: BenchPod): Record<string, string> {
  return {
    CNI_COMMAND: verb,
    CNI_CONTAINERID: container,
    CNI_NETNS: netns,
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=${container};K8S_POD_UID=u`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/usr/lib/cni',
    PATH: '',
  };
}

/** One request; milliseconds. Throws what the plugin said when it fails. */
function call({ name, plugin, config }: Contender, verb: Verb, pod: BenchPod): number {
  const env = environment(verb, pod);
  const started = performance.now();
  const child = Bun.spawnSync([plugin], { env, stdin: config, stdout: 'pipe', stderr: 'pipe' });
  const elapsed = performance.now() - started;
  if (child.exitCode !== 0) throw new Error(`${name} ${verb}: ${child.stdout.toString()}${child.stderr.toString()}`);
  return elapsed;
}

/** A request for each pod, never more than `atOnce` at a time; milliseconds for all of them. */
export async function callAll(
  { name, plugin, config }: Contender,
  verb: Verb,
  pods: readonly BenchPod[],
  atOnce = pods.length,
): Promise<number> {
  const queue = pods.values();
  let failed = 0;
  const started = performance.now();
  const worker = async () => {
    for (const pod of queue) {
      const stdio = { stdin: config, stdout: 'ignore', stderr: 'ignore' } as const;
      if ((await Bun.spawn([plugin], { env: environment(verb, pod), ...stdio }).exited) !== 0) failed++;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failed > 0) throw new Error(`${name} ${verb}: ${failed} of ${pods.length} failed`);
  return performance.now() - started;
}

const WARM_UP = 3;

/** ADD and DEL of each contender in turn, in every other round from the last to the first; milliseconds by contender. */
export function inTurn(
  contenders: readonly Contender[],
  pods: readonly BenchPod[],
  rounds: number,
): ReadonlyMap<Contender, Readonly<Record<Verb, readonly number[]>>> {
  const times = new Map(contenders.map((c) => [c, { ADD: [] as number[], DEL: [] as number[] }]));
  for (let round = -WARM_UP; round < rounds; round++) {
    const pod = pods[(round + WARM_UP) % pods.length]!;
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      for (const verb of ['ADD', 'DEL'] as const) {
        const elapsed = call(contender, verb, pod);
        if (round >= 0) times.get(contender)![verb].push(elapsed);
      }
    }
  }
  return times;
}

/** Prints median and p99 of each, and the ratio of the first to the second. */
export function report(title: string, rows: readonly (readonly [Contender, readonly number[]])[], goal: string): void {
  const width = Math.max(...rows.map(([{ name }]) => name.length));
  const ms = (value: number): string => `${value.toFixed(1).padStart(7)} ms`;
  console.log(`\n${title}`);
  for (const [{ name }, values] of rows) {
    console.log(`  ${name.padEnd(width)} median ${ms(quantile(values, 0.5))}   p99 ${ms(quantile(values, 0.99))}`);
  }
  const [ours, theirs] = [rows[0]![1], rows[1]![1]];
  const [middle, tail] = [0.5, 0.99].map((q) => (quantile(ours, q) / quantile(theirs, q)).toFixed(2));
  console.log(`  ${'ratio'.padEnd(width)} median ${middle} ×        p99 ${tail} ×   ${goal}`.trimEnd());
}
