/**
 * What the kernel tells of changes, as `ip monitor` and `nft monitor` print it. Nothing that happens between `start` and
 * `stop` is missed: the program's netlink socket is looked at, not the clock.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { until } from './until.ts';

export class Monitor implements Disposable {
  private readonly child: Bun.Subprocess<'ignore', 'pipe', 'ignore'>;

  private constructor(namespace: string, command: readonly string[]) {
    this.child = Bun.spawn(['ip', 'netns', 'exec', namespace, ...command], { stdio: ['ignore', 'pipe', 'ignore'] });
  }

  /** Returns when it listens. `namespace` is the name `ip netns` knows. */
  static async start(namespace: string, ...command: string[]): Promise<Monitor> {
    const monitor = new Monitor(namespace, command);
    await until(`${command.join(' ')} listens`, () => listeners(monitor.child.pid).length > 0);
    return monitor;
  }

  /** Everything told until now. */
  async stop(): Promise<string> {
    const { pid } = this.child;
    // it waits for more, and there is nothing more: all is printed
    await until('all is told', () => isWaiting(pid) && listeners(pid).every(({ waiting }) => waiting === 0));
    this.child.kill();
    return this.child.stdout.text();
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

/** The netlink sockets of a process that hear of changes, and how many bytes wait in each. */
function listeners(pid: number): { readonly waiting: number }[] {
  const own = new Set<string | undefined>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      own.add(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]);
    } catch {
      // closed since
    }
  }
  const rows = readFileSync(`/proc/${pid}/net/netlink`, 'utf8').split('\n').slice(1);
  // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
  const fields = rows.map((row) => row.trim().split(/\s+/)).filter((row) => own.has(row[9]) && row[9] !== undefined);
  return fields.filter((row) => Number.parseInt(row[3]!, 16) !== 0).map((row) => ({ waiting: Number(row[4]) }));
}

function isWaiting(pid: number): boolean {
  return /\) S /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}
