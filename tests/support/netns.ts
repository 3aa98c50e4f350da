import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createNetworkNamespace, removeNetworkNamespace } from '../../src/sys/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';

export { until } from './until.ts';

let instances = 0;

/**
 * Namespaces of one test, named `gw<pid>-<n>-<name>` under /run/netns so that `ip netns exec` works on them; what is not
 * disposed of is swept by the next run (the test runner has no exit event; a benchmark's process has). Whatever a test of
 * the same file left stands in nobody's way.
 */
export class TestNamespaces implements Disposable {
  private readonly made = new Map<string, NetworkNamespace>();
  private readonly tag = `gw${process.pid}-${++instances}`;

  constructor() {
    sweepDead();
    process.on('exit', () => this[Symbol.dispose]());
  }

  /** The name `ip netns` knows it by. */
  name(short: string): string {
    return `${this.tag}-${short}`;
  }

  path(short: string): string {
    return `/run/netns/${this.name(short)}`;
  }

  add(short: string): NetworkNamespace {
    const namespace = createNetworkNamespace(this.path(short));
    this.made.set(short, namespace);
    return namespace;
  }

  get(short: string): NetworkNamespace {
    const made = this.made.get(short);
    if (!made) throw new Error(`no namespace ${short}`);
    return made;
  }

  remove(short: string): void {
    this.made.get(short)?.[Symbol.dispose]();
    this.made.delete(short);
    removeNetworkNamespace(this.path(short));
  }

  /** Runs a program inside; gives its standard output, throws with its words when it fails. */
  run(short: string, ...command: string[]): string {
    return run('ip', 'netns', 'exec', this.name(short), ...command);
  }

  /** Like `run`, and gives the exit status instead of throwing. */
  status(short: string, ...command: string[]): number {
    return spawnSync('ip', ['netns', 'exec', this.name(short), ...command], { stdio: 'ignore' }).status ?? -1;
  }

  [Symbol.dispose](): void {
    for (const short of [...this.made.keys()]) this.remove(short);
  }
}

/** Takes away what a test process left that was killed: namespaces whose name carries the id of no living process. */
function sweepDead(): void {
  const names = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  for (const name of names) {
    const owner = /^gw(\d+)-/.exec(name)?.[1];
    if (owner === undefined || existsSync(`/proc/${owner}`)) continue;
    try {
      removeNetworkNamespace(`/run/netns/${name}`);
    } catch {
      // bound below a later mount on /run/netns: out of reach from here, and in nobody's way
    }
  }
}

export function run(...command: string[]): string {
  const result = spawnSync(command[0]!, command.slice(1), { encoding: 'utf8', timeout: 60_000 });
  if (result.status !== 0) throw new Error(`${command.join(' ')}: ${result.stderr}${result.stdout}`);
  return result.stdout;
}
