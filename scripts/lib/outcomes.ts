// What a run of the tests comes to: which files get a second run, alone, and what is said at the end. Pure.
// Why a second run at all, and what it can hide: docs/adr/0043-a-second-run-alone.md.

/** More files than this are no noise: then none runs again. */
const SECOND_RUNS = 2;
const SLOWEST = 5;

export interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Of one clock for all. */
  readonly startedMs: number;
  readonly endedMs: number;
}

export interface Verdict {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** To be printed before the counts. */
  readonly lines: readonly string[];
}

/** The files that run once more, alone: those that failed while another was running, if they are few. */
export function toRunAlone(outcomes: readonly Outcome[]): string[] {
  const failed = outcomes.filter((o) => o.failed > 0);
  if (failed.length > SECOND_RUNS) return [];
  const beside = (one: Outcome) =>
    outcomes.some((other) => other !== one && other.startedMs < one.endedMs && one.startedMs < other.endedMs);
  return failed.filter(beside).map((o) => o.file);
}

/** What both rounds come to; `alone` are the second runs of `toRunAlone`. A second run counts instead of the first. */
export function judge(outcomes: readonly Outcome[], alone: readonly Outcome[]): Verdict {
  const second = new Map(alone.map((o) => [o.file, o]));
  const last = outcomes.map((o) => second.get(o.file) ?? o);
  const sum = (key: 'passed' | 'failed' | 'skipped') => last.reduce((n, o) => n + o[key], 0);
  const slowest = outcomes.toSorted((a, b) => seconds(b) - seconds(a)).slice(0, SLOWEST);
  return {
    passed: sum('passed'),
    failed: sum('failed'),
    skipped: sum('skipped'),
    lines: [
      ...slowest.map((o) => `slowest: ${seconds(o).toFixed(1)} s ${o.file}`),
      ...last.filter((o) => o.failed > 0).map((o) => `failed: ${o.file}`),
      ...outcomes.flatMap((o) => {
        const again = second.get(o.file);
        if (!again || again.failed > 0) return [];
        return [`passed only alone: ${o.file} (beside another: ${counts(o)}; alone: ${counts(again)})`];
      }),
    ],
  };
}

export const seconds = (o: Outcome): number => (o.endedMs - o.startedMs) / 1000;

export const counts = (o: Pick<Outcome, 'passed' | 'failed' | 'skipped'>): string =>
  `${o.passed} passed, ${o.failed} failed, ${o.skipped} skipped`;

/**
 * How often the kernel had no room for another neighbour, from the text of /proc/net/stat/arp_cache or ndisc_cache. The
 * table is one for all namespaces: a cluster of somebody else's that fills it takes packets from every test.
 */
export function neighbourTableFull(text: string): number {
  const [head = '', ...cpus] = text.trim().split('\n');
  const column = head.split(/\s+/).indexOf('table_fulls');
  return cpus.reduce((n, cpu) => n + Number.parseInt(cpu.split(/\s+/)[column] ?? '0', 16), 0);
}
