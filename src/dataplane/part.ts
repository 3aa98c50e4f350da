/**
 * A part of the kernel's state with one owner: it knows what it wants, looks at what is there, and repairs the difference.
 * Everything that is neither a route nor an endpoint is a part: sysctls, the bridge, masquerading. The caretaker runs all
 * of them whenever something changed; a part that fails is told and tried again, and stops no other.
 */
import { Backoff, messageOf, silentLogger, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';

/** One change, and how a person would make it by hand. */
export interface PlannedChange {
  readonly text: string;
  readonly apply: () => void;
}

export interface Part {
  readonly name: string;
  /** Looks, and gives what would have to change now, in order; throws what the kernel refuses to show. */
  plan(): readonly PlannedChange[];
  /** After a look: when the next one is worth it although nothing is told, milliseconds; undefined: with all the others. */
  lookAgainMs?(): number | undefined;
}

export interface PartStatus {
  readonly name: string;
  readonly inSync: boolean;
  /** Empty when in sync. */
  readonly problem: string;
  /** Changes made since the start. */
  readonly changes: number;
}

interface Kept {
  readonly part: Part;
  inSync: boolean;
  problem: string;
  changes: number;
}

export interface CaretakerOptions {
  readonly log?: Logger;
  readonly clock?: Clock;
  /** How often everything is looked at without any event. */
  readonly refreshMs?: number;
}

export class Caretaker {
  private readonly kept: Kept[] = [];
  private readonly wakeup = new Wakeup();
  private readonly backoff = new Backoff(100, 10_000);
  private readonly listeners = new Set<() => void>();
  private readonly log: Logger;
  private readonly clock: Clock;
  private readonly refreshMs: number;

  constructor(options: CaretakerOptions = {}) {
    this.log = options.log ?? silentLogger;
    this.clock = options.clock ?? systemClock;
    this.refreshMs = options.refreshMs ?? 30_000;
  }

  /** Parts run in the order they were added. */
  add(part: Part): void {
    this.kept.push({ part, inSync: false, problem: 'not looked at yet', changes: 0 });
  }

  /** Looks at everything soon: something was told that may concern a part. */
  notify(): void {
    this.wakeup.notify();
  }

  /** Something else is wanted from now on: nothing counts as in sync before the next look. */
  invalidate(): void {
    for (const kept of this.kept) {
      if (kept.inSync) kept.problem = 'not looked at yet';
      kept.inSync = false;
    }
    this.wakeup.notify();
  }

  /** Called after each pass, until disposed. */
  onPass(listener: () => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  status(): PartStatus[] {
    return this.kept.map(({ part, inSync, problem, changes }) => ({ name: part.name, inSync, problem, changes }));
  }

  /** What a pass would change, each with its part's name; what cannot be looked at is told as such. */
  plan(): { readonly part: string; readonly text: string }[] {
    return this.kept.flatMap(({ part }) => {
      try {
        return part.plan().map(({ text }) => ({ part: part.name, text }));
      } catch (error) {
        return [{ part: part.name, text: `# cannot tell: ${messageOf(error)}` }];
      }
    });
  }

  /** One look at every part; true when all are in sync afterwards. */
  pass(): boolean {
    for (const kept of this.kept) this.keep(kept);
    return this.kept.every((kept) => kept.inSync);
  }

  /** One look at this part, now: what is about to be told to another writer depends on it. */
  settle(part: Part): void {
    const kept = this.kept.find((one) => one.part === part);
    if (kept) this.keep(kept);
  }

  private keep(kept: Kept): void {
    try {
      for (const change of kept.part.plan()) {
        this.log.info({ part: kept.part.name, change: change.text }, 'repairing');
        change.apply();
        kept.changes++;
      }
      kept.inSync = true;
      kept.problem = '';
    } catch (error) {
      const problem = messageOf(error);
      if (problem !== kept.problem)
        this.log.warn({ part: kept.part.name, error: problem }, 'cannot repair; trying again');
      kept.inSync = false;
      kept.problem = problem;
    }
  }

  /** Runs until aborted; leaves everything as it is. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const good = this.pass();
      if (good) this.backoff.reset();
      for (const listener of this.listeners) listener();
      const soon = this.kept.map(({ part }) => part.lookAgainMs?.() ?? this.refreshMs);
      const delay = Math.min(this.refreshMs, ...soon, ...(good ? [] : [this.backoff.next()]));
      const before = this.clock.now();
      await this.wakeup.wait(signal, delay);
      // a storm of events costs one look, not one each
      if (this.clock.now() - before < delay) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
    }
  }
}

/** Events come in bunches: this long is waited for the rest of a bunch. */
const GATHER_MS = 5;
