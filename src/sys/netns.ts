/**
 * Network namespaces. A socket stays in the namespace it was opened in, so the pattern is: enter, open, leave, all in one
 * synchronous stretch; nothing else of this single-threaded program can run inside the window.
 */
import { closeSync, mkdirSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { openFd } from './fd.ts';
import type { Fd } from './fd.ts';
import { check, cstring, NR, syscall } from './syscall.ts';

const CLONE_NEWNET = 0x40000000;
/** ioctl: which kind of namespace a descriptor is; gives its CLONE_NEW flag. */
const NS_GET_NSTYPE = 0xb703;
const MS_BIND = 4096;
const MNT_DETACH = 2;

/** This thread's namespace: threads of one process can differ. */
const SELF = '/proc/thread-self/ns/net';

export class NetworkNamespace implements Disposable {
  readonly path: string;
  private readonly fd: Fd;

  private constructor(path: string, fd: Fd) {
    this.path = path;
    this.fd = fd;
  }

  /** Opens a namespace by file (`/run/netns/x`, `/proc/PID/ns/net`); throws KernelError when there is none. */
  static open(path: string): NetworkNamespace {
    return new NetworkNamespace(path, openFd(path));
  }

  static current(): NetworkNamespace {
    return NetworkNamespace.open(SELF);
  }

  get descriptor(): number {
    return this.fd.number;
  }

  /** Device and inode: equal for two files that are the same namespace, whatever their paths. */
  get identity(): string {
    const { dev, ino } = statSync(`/proc/self/fd/${this.fd.number}`);
    return `${dev}:${ino}`;
  }

  /** Whether it is a network namespace at all, and not one of another kind or some other file. */
  get isNetwork(): boolean {
    return syscall(NR.ioctl, this.fd.number, NS_GET_NSTYPE) === CLONE_NEWNET;
  }

  /** Makes this thread enter it for good. */
  enter(): void {
    check(`setns ${this.path}`, syscall(NR.setns, this.fd.number, CLONE_NEWNET));
  }

  /** Runs `action` inside, synchronously. Sockets opened there stay there. `action` must not be async. */
  run<T>(action: () => T): T {
    using before = NetworkNamespace.current();
    this.enter();
    try {
      return action();
    } finally {
      before.enter();
    }
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}

const MS_REC = 16384;
const MS_SHARED = 1 << 20;
const LOCK_EX = 2;

/**
 * Makes `directory` a mount point of its own that is shared, as `ip netns add` does: a namespace bound in it is then seen
 * by processes in other mount namespaces, too, and whoever does the same later finds it done. Doing it after something was
 * bound there would hide that from below, so it comes first, and one process at a time.
 */
function shareDirectory(directory: string): void {
  mkdirSync(directory, { recursive: true });
  using lock = openFd(directory);
  check(`flock ${directory}`, syscall(NR.flock, lock.number, LOCK_EX));
  const path = cstring(directory);
  const none = cstring('none');
  const share = () => syscall(NR.mount, none, path, none, MS_SHARED | MS_REC, 0);
  if (share() === 0) return;
  check(`mount ${directory}`, syscall(NR.mount, path, path, none, MS_BIND | MS_REC, 0));
  check(`share ${directory}`, share());
}

/** Makes a namespace and binds it to `path`, so that it lives without a process; fails when the file exists. */
export function createNetworkNamespace(path: string): NetworkNamespace {
  shareDirectory(dirname(path));
  closeSync(openSync(path, 'wx', 0o444));
  try {
    using before = NetworkNamespace.current();
    check('unshare(CLONE_NEWNET)', syscall(NR.unshare, CLONE_NEWNET));
    try {
      check(`mount ${path}`, syscall(NR.mount, cstring(SELF), cstring(path), cstring('none'), MS_BIND, 0));
    } finally {
      before.enter();
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
  return NetworkNamespace.open(path);
}

/** Unbinds the namespace from `path` and removes the file; the namespace goes when its last process and socket do. */
export function removeNetworkNamespace(path: string): void {
  syscall(NR.umount2, cstring(path), MNT_DETACH);
  rmSync(path, { force: true });
}

/** Writes /proc/sys/… (`net/ipv4/ip_forward`) in the namespace this thread is in; synchronous for that reason. */
export function writeSysctl(name: string, value: string | number): void {
  writeFileSync(`/proc/sys/${name}`, String(value));
}
