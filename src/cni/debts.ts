/**
 * Addresses that are to be given back, on disk. An ADD writes a note with its handle before it asks IPAM, and takes it back
 * when the attachment is made; a DEL writes one before it begins, and it goes when the datastore has confirmed. So after a
 * kill at any point, or while the datastore is away, everything that was given is either in use by a recorded attachment or
 * named by a note, and whoever finds the note gives it back. Giving back twice does nothing: a handle carries the id of one
 * container, and nobody else's address is ever given to it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Backoff, messageOf, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';

const schema = z.object({
  handle: z.string().min(1),
  container: z.string(),
  interface: z.string(),
  /** Namespace and name of the Kubernetes pod, where there is one. */
  namespace: z.string().optional(),
  pod: z.string().optional(),
});
export type Debt = Readonly<z.output<typeof schema>>;

export class Debts {
  private readonly directory: string;
  private readonly owed = new Map<string, Debt>();
  private readonly wakeup = new Wakeup();

  /** Makes the directory when it is missing; throws what the file system says. */
  constructor(stateDirectory: string) {
    this.directory = join(stateDirectory, 'owed');
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
  }

  private path(handle: string): string {
    return join(this.directory, createHash('sha1').update(handle).digest('hex'));
  }

  /** In memory in any case; throws what the file system says when it cannot be written down. */
  note(debt: Debt): void {
    const known = this.owed.get(debt.handle);
    this.owed.set(debt.handle, debt);
    if (!known) writeFileSync(this.path(debt.handle), JSON.stringify(debt), { mode: 0o600 });
  }

  forget(handle: string): void {
    if (!this.owed.delete(handle)) return;
    try {
      rmSync(this.path(handle), { force: true });
    } catch {
      // it is paid once more after the next start, which does nothing
    }
  }

  has(handle: string): boolean {
    return this.owed.has(handle);
  }

  list(): readonly Debt[] {
    return [...this.owed.values()];
  }

  /** Reads what an earlier process left. */
  load(log: Logger): void {
    for (const file of readdirSync(this.directory)) {
      const path = join(this.directory, file);
      try {
        const debt = schema.parse(JSON.parse(readFileSync(path, 'utf8')));
        this.owed.set(debt.handle, debt);
      } catch (error) {
        // written before anything was asked for; a torn one was never acted upon
        log.warn({ path, error: messageOf(error) }, 'a note of addresses to give back cannot be read; it is dropped');
        rmSync(path, { force: true });
      }
    }
  }

  /** Somebody is waiting to be paid. */
  wake(): void {
    this.wakeup.notify();
  }

  /** Pays whatever is owed until aborted; `pay` throws when it cannot now. */
  async run(pay: (debt: Debt) => Promise<void>, signal: AbortSignal, clock: Clock, log: Logger): Promise<void> {
    const backoff = new Backoff(500, 30_000);
    let delay: number | undefined;
    while (!signal.aborted) {
      await this.wakeup.wait(signal, delay, clock);
      delay = undefined;
      for (const debt of this.list()) {
        if (signal.aborted) return;
        try {
          await pay(debt);
          backoff.reset();
        } catch (error) {
          // what hinders one hinders the others: the datastore
          log.warn({ owed: this.owed.size, error: messageOf(error) }, 'addresses cannot be given back now; later');
          delay = backoff.next();
          break;
        }
      }
    }
  }
}
