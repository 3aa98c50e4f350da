/**
 * The copy on disk: keys and values as the store last told them, in one JSON file that is replaced as a whole. Whatever is
 * wrong with it, it is set aside and the program starts without it.
 */
import { mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { err, messageOf, ok, printable, replaceFileSlowly } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import type { KeyValue, LeaseId } from '../datastore.ts';

/** As much of a key-value as is kept. */
export type CopiedKeyValue = Pick<KeyValue, 'key' | 'value' | 'modRevision'>;

export interface Copy {
  /** Whose it is: another node's, or another store's, is of no use. */
  readonly node: string;
  readonly store: string;
  /** When the store was last known to say so, milliseconds since 1970. */
  readonly at: number;
  /** The newest revision of the store that was seen: an answer from before it is not the store's last word. */
  readonly revision: number;
  /** What was followed; the copy is complete for these. */
  readonly prefixes: readonly string[];
  readonly kvs: readonly CopiedKeyValue[];
}

const kv = z.object({ key: z.string(), value: z.string(), modRevision: z.number().int().min(0) });
const schema = z.object({
  format: z.literal(1),
  node: z.string(),
  store: z.string(),
  at: z.number().int().min(0),
  // copies of earlier versions have none
  revision: z.number().int().min(0).default(0),
  prefixes: z.array(z.string()),
  kvs: z.array(kv),
});

/** Older than this it tells of another cluster than the one that is there now. */
const MAX_AGE_MS = 30 * 24 * 3_600_000;

export const toKeyValue = ({ key, value, modRevision }: CopiedKeyValue): KeyValue => ({
  ...{ key, value, modRevision, createRevision: modRevision, version: 1, lease: '0' as LeaseId },
});

/** undefined when there is none; an error when there is one that cannot be used, which was set aside then. */
export function readCopy(
  path: string,
  { node, store, now }: { readonly node: string; readonly store: string; readonly now: number },
): Result<Copy | undefined, string> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const none = ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
    return none ? ok(undefined) : err(messageOf(error));
  }
  const fault = (reason: string): Result<never, string> => {
    try {
      renameSync(path, `${path}.broken`);
    } catch {
      // it is looked at again at the next start, and overwritten before
    }
    return err(reason);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fault(`not JSON: ${printable(messageOf(error), 200)}`);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return fault(printable(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`, 200));
  }
  const copy = parsed.data;
  if (copy.node !== node) return fault(`it is node ${printable(copy.node, 100)}’s`);
  if (copy.store !== store) return fault(`it is of datastore ${printable(copy.store, 200)}`);
  if (now - copy.at > MAX_AGE_MS) return fault(`it is of ${new Date(copy.at).toISOString()}, which is too old`);
  return ok(copy);
}

/** Replaces the copy: a reader sees the old or the new one, also after a power cut. Throws what the system says. */
export async function writeCopy(path: string, copy: Copy): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  // names of secrets are in it, and how the network is made
  await replaceFileSlowly(path, JSON.stringify({ format: 1, ...copy }), { mode: 0o600 });
}
