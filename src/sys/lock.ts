/** Advisory locks (flock(2)): they go with the descriptor, so also with a process that was killed. */
import { errno, KernelError } from './errno.ts';
import { openFd } from './fd.ts';
import type { Fd } from './fd.ts';
import { NR, syscall } from './syscall.ts';

const LOCK_SHARED = 1;
const LOCK_EXCLUSIVE = 2;
const LOCK_NONBLOCKING = 4;

/** Locks a file or directory that exists; undefined when another has it. Closing the descriptor unlocks. */
export function tryLock(path: string, mode: 'shared' | 'exclusive' = 'exclusive'): Fd | undefined {
  const fd = openFd(path);
  const kind = mode === 'shared' ? LOCK_SHARED : LOCK_EXCLUSIVE;
  const result = syscall(NR.flock, fd.number, kind | LOCK_NONBLOCKING);
  if (result === 0) return fd;
  fd.close();
  if (result === -errno.EWOULDBLOCK) return undefined;
  throw new KernelError(`flock ${path}`, -result);
}
