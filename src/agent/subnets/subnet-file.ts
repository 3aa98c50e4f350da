/** subnet.env as a kept part: written when it is missing or tells something else, and tried again when the disk is full. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { Part, PlannedChange } from '../../dataplane/mod.ts';
import { formatSubnetEnv, writeSubnetEnv } from '../../ipam/mod.ts';
import type { SubnetEnv } from '../../ipam/mod.ts';

export class SubnetFilePart implements Part {
  readonly name = 'subnet file';
  private readonly path: string;
  private want: SubnetEnv | 'absent' | undefined;

  constructor(path: string) {
    this.path = path;
  }

  setDesired(want: SubnetEnv | 'absent' | undefined): void {
    this.want = want;
  }

  plan(): PlannedChange[] {
    const { want, path } = this;
    if (!want) return [];
    if (want === 'absent') return existsSync(path) ? [{ text: `rm ${path}`, apply: () => rmSync(path) }] : [];
    const text = formatSubnetEnv(want);
    if (this.read() === text) return [];
    return [{ text: `write ${path}: ${text.trim().replaceAll('\n', ' ')}`, apply: () => writeSubnetEnv(path, want) }];
  }

  private read(): string | undefined {
    try {
      return readFileSync(this.path, 'utf8');
    } catch {
      return undefined;
    }
  }
}
