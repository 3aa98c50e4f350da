/**
 * Giving memory back to the kernel: pages of the program's own file, which are in memory because something once ran.
 *
 * The executable is a hundred megabytes, and starting touches a good part of it: the parser, the compilers, tables of the
 * runtime. What a program at work then uses lies scattered over all of it, and the kernel maps the fifteen neighbours of
 * every page that is touched, because mapping what is in the page cache anyway costs little. For a process that is to be
 * small that is half of its code for nothing, so the kernel is asked not to.
 */
import { readFileSync } from 'node:fs';
import { NR, syscall } from './syscall.ts';

const MADV_DONTNEED = 4;

/**
 * Drops the clean pages of the program's own file and of its libraries from this process, so that only what runs from now
 * on counts as resident. They stay in the page cache; those touched again are mapped from there, one at a time where the
 * kernel allows it: that costs a few milliseconds in all. Gives the bytes of the mappings dropped.
 */
export function releaseCode(): number {
  let bytes = 0;
  for (const { start, length } of cleanMappings(readFileSync('/proc/self/smaps', 'utf8'))) {
    mapOneByOne(start, length);
    if (syscall(NR.madvise, start, length, MADV_DONTNEED) === 0) bytes += length;
  }
  return bytes;
}

/** Mappings of files that cannot be written to, and never were (relocations), out of proc_pid_smaps(5). */
export function cleanMappings(smaps: string): { readonly start: number; readonly length: number }[] {
  return smaps.split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).flatMap((mapping) => {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \S+ +\/.*$/m.exec(mapping);
    if (!head || !/^Anonymous: +0 kB$/m.test(mapping)) return [];
    const start = Number.parseInt(head[1]!, 16);
    return [{ start, length: Number.parseInt(head[2]!, 16) - start }];
  });
}

// userfaultfd(2), linux/userfaultfd.h
const UFFD_USER_MODE_ONLY = 1;
const UFFD_API = 0xaan;
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFD_FEATURE_WP_ASYNC = 1n << 15n;
const UFFDIO_REGISTER_MODE_WP = 2n;
const O_CLOEXEC = 0o2000000;

/** Opened once, and kept for as long as the process lives: its mappings go with it. Negative where there is none. */
let watcher: number | undefined;

/**
 * Has the kernel map pages of this range one at a time. It does so for ranges whose writes are to be noticed by
 * userfaultfd(2); nobody writes here and nothing is ever noticed. From Linux 6.7 on; elsewhere, and where a container may
 * not call it, all stays as it is.
 */
function mapOneByOne(start: number, length: number): void {
  watcher ??= openWatcher();
  if (watcher < 0) return;
  const register = BigUint64Array.of(BigInt(start), BigInt(length), UFFDIO_REGISTER_MODE_WP, 0n);
  syscall(NR.ioctl, watcher, UFFDIO_REGISTER, register);
}

function openWatcher(): number {
  const fd = syscall(NR.userfaultfd, UFFD_USER_MODE_ONLY | O_CLOEXEC);
  if (fd < 0) return fd;
  const agreed = syscall(NR.ioctl, fd, UFFDIO_API, BigUint64Array.of(UFFD_API, UFFD_FEATURE_WP_ASYNC, 0n));
  if (agreed < 0) syscall(NR.close, fd);
  return agreed < 0 ? agreed : fd;
}
