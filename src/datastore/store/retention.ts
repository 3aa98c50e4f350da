/**
 * How much history the store keeps: what is younger than a given time, and never more than a given number of changes, so
 * that its memory is bounded. Watches that fall further behind list again. Pure; looked at now and then.
 */
import type { Revision } from '../datastore.ts';
import type { Mvcc } from './mvcc.ts';

/** Changes kept at most; when there are more, the older half goes. */
const MAX_CHANGES = 200_000;

export class Retention {
  private readonly retentionMs: number;
  private readonly maxChanges: number;
  private readonly marks: { readonly at: number; readonly revision: Revision }[] = [];

  constructor(retentionMs: number, maxChanges = MAX_CHANGES) {
    this.retentionMs = retentionMs;
    this.maxChanges = maxChanges;
  }

  /** Between two looks at the clock. */
  get intervalMs(): number {
    return this.retentionMs / 12;
  }

  /** Notes where history stands; gives the revision to compact to, if it is time for that. */
  byAge(mvcc: Mvcc, now: number): Revision | undefined {
    this.marks.push({ at: now, revision: mvcc.revision });
    let target: Revision | undefined;
    while (this.marks[0]!.at <= now - this.retentionMs) target = this.marks.shift()!.revision;
    return target !== undefined && target > Math.max(1, mvcc.compacted) ? target : undefined;
  }

  /** The revision to compact to when history is too long. */
  bySize(mvcc: Mvcc): Revision | undefined {
    if (mvcc.historyLength <= this.maxChanges) return undefined;
    const target = mvcc.revisionOfNewest(this.maxChanges / 2);
    return target > mvcc.compacted ? target : undefined;
  }
}
