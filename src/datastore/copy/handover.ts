/**
 * One followed prefix over a start without the datastore: what the copy says is told first, and when the store answers,
 * only what differs. Pure.
 */
import type { KeyValue, Update } from '../datastore.ts';

/** What is told from a copy, and then by the store itself. */
export type CopiedUpdate =
  | Update
  /** The picture is complete as it was at this time (milliseconds since 1970). No reason to take anything away. */
  | { readonly type: 'copy'; readonly at: number };

export class Handover {
  /** Keys the store itself has spoken of. */
  private readonly heard = new Set<string>();
  /** Told from the copy, and not confirmed by the store yet. */
  private readonly copied = new Map<string, KeyValue>();
  /** Whether the store has told its whole picture: from then on everything is passed on as it is. */
  done = false;

  /** The store does not answer: what it has not spoken of is as the copy says. */
  *fallBack(kvs: Iterable<KeyValue>, at: number): Generator<CopiedUpdate> {
    for (const kv of kvs) {
      if (this.heard.has(kv.key)) continue;
      this.copied.set(kv.key, kv);
      yield { type: 'put', kv };
    }
    yield { type: 'copy', at };
  }

  /** What the store tells. */
  *take(update: Update): Generator<CopiedUpdate> {
    if (this.done) yield update;
    else if (update.type === 'put') {
      const { key, modRevision, value } = update.kv;
      const told = this.copied.get(key);
      this.heard.add(key);
      this.copied.delete(key);
      if (told?.modRevision !== modRevision || told.value !== value) yield update;
    } else if (update.type === 'inSync') {
      for (const key of this.copied.keys()) yield { type: 'delete', key };
      this.done = true;
      this.heard.clear();
      this.copied.clear();
      yield update;
    } else yield update;
  }
}
