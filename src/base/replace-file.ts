/**
 * Files that are replaced as a whole: whoever reads one sees the old content or the new, never a part of it. The new content is
 * written beside it first, as `PATH.new`, and goes away again when that fails.
 */
import { closeSync, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface Replacing {
  /** As it is given, whatever the umask takes away. */
  readonly mode: number;
  /** Where it is written first, in the same directory; where several processes may replace the file, each has its own. */
  readonly temporary?: string;
}

export interface ReplacingNow extends Replacing {
  /**
   * What the new content outlives once the call is over. A killed process: it is with the kernel, and nobody ever sees a
   * part of it; but after a power cut the file may be the old one, the new one or empty, so whoever reads it must be able to
   * do without. A power cut: it is on the disk, under its name.
   */
  readonly outlives: 'kill' | 'power cut';
}

/** Throws what the system says; the file is then as it was. */
export function replaceFile(path: string, content: string | Uint8Array, options: ReplacingNow): void {
  const { mode, temporary = `${path}.new`, outlives } = options;
  try {
    withFile(temporary, 'w', mode, (file) => {
      fchmodSync(file, mode);
      writeFileSync(file, content);
      if (outlives === 'power cut') fsyncSync(file);
    });
    renameSync(temporary, path);
  } catch (error) {
    discard(temporary);
    throw error;
  }
  if (outlives === 'power cut') withFile(dirname(path), 'r', 0, fsyncSync);
}

function discard(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // what kept the file from being replaced is what the caller hears of
  }
}

function withFile(path: string, flags: string, mode: number, action: (file: number) => void): void {
  const file = openSync(path, flags, mode);
  try {
    action(file);
  } finally {
    closeSync(file);
  }
}

/** The same, outliving a power cut, while everything else goes on: a disk may take its time. */
export async function replaceFileSlowly(path: string, content: string, options: Replacing): Promise<void> {
  const { mode, temporary = `${path}.new` } = options;
  try {
    {
      await using file = await open(temporary, 'w', mode);
      await file.chmod(mode);
      await file.writeFile(content);
      await file.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    discard(temporary);
    throw error;
  }
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}
