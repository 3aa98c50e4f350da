/** mount(2), as far as the program needs it. */
import { check, cstring, NR, syscall } from './syscall.ts';

/** An empty file system in memory over a directory, seen by this mount namespace. */
export function mountTmpfs(path: string): void {
  const type = cstring('tmpfs');
  check(`mount tmpfs on ${path}`, syscall(NR.mount, type, cstring(path), type, 0, cstring('mode=755')));
}
