/** Our own records in the datastore: JSON of a given shape, and never trusted to be it. */
import type { z } from 'zod';
import { err, messageOf, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';

/** The value, or what is wrong with it and where. */
export function parseRecord<T>(schema: z.ZodType<T>, text: string): Result<T, string> {
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success) return ok(parsed.data);
    const issue = parsed.error.issues[0];
    return err(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`);
  } catch (error) {
    return err(messageOf(error));
  }
}
