/**
 * Labs without root: one user, mount and network namespace for each user, in which this program is root and `/run` is an
 * empty file system of its own. A process holds it as long as a lab is there; every lab command runs inside, so nothing
 * else in the lab knows. Outside there is one directory: the record of the holder, and the lock that every command shares
 * for its whole run, so that the holder does not leave while one is on its way in.
 */
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { GodwitError, replaceFile, sleep } from '../base/mod.ts';
import { Rtnetlink, setLink } from '../netlink/mod.ts';
import { isAlive, mountTmpfs, processId, selfCommand, tryLock } from '../sys/mod.ts';
import type { Fd, ProcessId } from '../sys/mod.ts';
import { LABS, NAMESPACES } from './layout.ts';
import { listLabs } from './manifest.ts';

/** The hidden command that holds the sandbox; its argument is the directory outside. */
export const HOLD_COMMAND = 'hold-sandbox';

const START_TIMEOUT_MS = 10_000;
const IDLE_CHECK_MS = 500;

/** linux/capability.h: NET_ADMIN, NET_RAW, SYS_ADMIN. */
const NEEDED = [12n, 13n, 21n];

/** Whether this process lacks what making namespaces takes: any user's but root's, and root's in a plain container. */
export function needsSandbox(): boolean {
  const effective = /^CapEff:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  const bits = BigInt(`0x${effective}`);
  return NEEDED.some((bit) => ((bits >> bit) & 1n) === 0n);
}

/** Whether what is root here is root of the machine: in the sandbox only one user id is anybody's. */
export function isRealRoot(): boolean {
  const wholeRange = /^\s*0\s+0\s+4294967295\s*$/;
  return !needsSandbox() && wholeRange.test(readFileSync('/proc/self/uid_map', 'latin1'));
}

/** Runs this same command line inside the sandbox, with this terminal; gives its exit status. */
export async function runInSandbox(args: readonly string[]): Promise<number> {
  using inside = await enterSandbox();
  const enter = [
    'nsenter',
    '--preserve-credentials',
    '-U',
    '-m',
    '-t',
    String(inside.member),
    `--wd=${process.cwd()}`,
    '--',
  ];
  // the network namespace is only a place to be: every socket that matters is opened in one of a lab
  const command = [...enter, 'unshare', '-n', '--', ...selfCommand(), ...args];
  const child = Bun.spawn(command, { stdio: ['inherit', 'inherit', 'inherit'] });
  // a terminal's Ctrl-C reaches the child by itself; it decides what that means
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  await child.exited;
  return child.exitCode ?? 1;
}

class Inside implements Disposable {
  /** A process of the sandbox, to enter it by. */
  readonly member: number;
  private readonly lock: Fd;

  constructor(member: number, lock: Fd) {
    this.member = member;
    this.lock = lock;
  }

  [Symbol.dispose](): void {
    this.lock.close();
  }
}

async function enterSandbox(): Promise<Inside> {
  const directory = `${tmpdir()}/godwit-lab-${process.getuid?.()}`;
  for (const end = performance.now() + 2 * START_TIMEOUT_MS; performance.now() < end; await sleep(50)) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    refuseStrange(directory);
    const lock = lockIfThere(directory, 'shared');
    if (!lock) continue;
    const holder = readHolder(directory);
    const member = holder && (isAlive(holder) ? holder.pid : survivor(holder));
    if (member !== undefined) return new Inside(member, lock);
    lock.close();
    await startHolder(directory);
  }
  throw new GodwitError('sandbox', `cannot get into the user namespace recorded in ${directory}`, {
    hint: `when no godwit process of yours runs any more, remove ${directory}`,
  });
}

/** In a directory that everybody may write to, the name may be taken by somebody else. */
function refuseStrange(directory: string): void {
  const stat = lstatSync(directory);
  if (stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o077) === 0) return;
  const hint = 'set TMPDIR to a directory of your own';
  throw new GodwitError('sandbox', `${directory} is not a directory of yours alone`, { hint });
}

function lockIfThere(path: string, mode: 'shared' | 'exclusive'): Fd | undefined {
  let lock: Fd | undefined;
  try {
    lock = tryLock(path, mode);
    if (lock && statSync(`/proc/self/fd/${lock.number}`).ino === statSync(path).ino) return lock;
  } catch {
    // the holder left and took the directory with it, or another one is there now
  }
  lock?.close();
  return undefined;
}

interface Holder extends ProcessId {
  /** Inode of its mount namespace. */
  readonly mounts: number;
}

function readHolder(directory: string): Holder | undefined {
  try {
    const [pid, started, mounts] = readFileSync(`${directory}/holder`, 'utf8').split(' ').map(Number);
    return { pid: pid!, started: started!, mounts: mounts! };
  } catch {
    return undefined;
  }
}

/** When the holder was killed, its sandbox lives on as long as a program of a lab does: one of those. */
function survivor(holder: Holder): number | undefined {
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (Number.isInteger(pid) && mountsOf(pid) === holder.mounts) return pid;
  }
  return undefined;
}

function mountsOf(pid: number): number | undefined {
  try {
    return statSync(`/proc/${pid}/ns/mnt`).ino;
  } catch {
    return undefined; // it ended, or is somebody else's
  }
}

/** Whoever makes the directory `starting` starts the holder; the others wait for it. */
async function startHolder(directory: string): Promise<void> {
  const gate = `${directory}/starting`;
  try {
    writeFileSync(gate, '', { flag: 'a' });
  } catch {
    return; // a holder left just now; the caller makes the directory again
  }
  using lock = lockIfThere(gate, 'exclusive');
  if (!lock) return;
  const already = readHolder(directory);
  if (already && (isAlive(already) || survivor(already) !== undefined)) return;
  const [unshare, nsenter] = [Bun.which('unshare'), Bun.which('nsenter')];
  if (unshare === null || nsenter === null) {
    const hint = 'install util-linux, or run as root';
    throw new GodwitError('sandbox', 'a lab without root needs unshare(1) and nsenter(1)', { hint });
  }
  const child = Bun.spawn([unshare, '-Urnm', '--', ...selfCommand(), 'lab', HOLD_COMMAND, directory], {
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  const end = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < end && child.exitCode === null) {
    const holder = readHolder(directory);
    if (holder && isAlive(holder)) {
      child.unref();
      return;
    }
    await sleep(20);
  }
  child.kill('SIGKILL');
  const words = (await child.stderr.text()).trim();
  const hint = 'run it as root: this kernel, or this container, does not let users make namespaces';
  throw new GodwitError('sandbox', `cannot make a user namespace for the lab: ${words || 'no answer'}`, { hint });
}

/** The holder's life: makes the sandbox what labs expect, then stays until there is no lab and nobody on the way in. */
export async function holdSandbox(directory: string): Promise<void> {
  mountTmpfs('/run');
  for (const path of [LABS, NAMESPACES]) mkdirSync(path, { recursive: true });
  using netlink = new Rtnetlink();
  netlink.change((batch) => setLink(batch, netlink.link('lo')!.index, { up: true }, 'lo'));
  const { pid, started } = processId(process.pid)!;
  replaceFile(`${directory}/holder`, `${pid} ${started} ${mountsOf(pid)}`, { mode: 0o600, outlives: 'kill' });
  for (;;) {
    await sleep(IDLE_CHECK_MS);
    if (listLabs().length > 0) continue;
    using lock = lockIfThere(directory, 'exclusive');
    if (!lock) continue;
    rmSync(directory, { recursive: true, force: true });
    return;
  }
}
