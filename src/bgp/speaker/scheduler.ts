/**
 * Turns for everything that is not reading: decisions and writing, in slices, so that timers and sockets get their turn
 * at bounded intervals however much there is to do. Reading comes first: while messages still arrive, deciding waits a
 * little, because a prefix that changes ten times meanwhile is then decided and sent once.
 */
import type { Clock } from '../../base/mod.ts';

/** The longest stretch of work before sockets and timers are looked at again. */
const SLICE_MS = 8;
/** How long a stream of input may hold back decisions. */
const MAX_DEFER_MS = 50;
/** What was decided is handed on at least so often, also while there is always more to decide. */
const HAND_ON_MS = 100;
/** Bytes a peer may write before the next one has its turn. */
const WRITE_BUDGET = 1024 * 1024;

const BACKGROUND_PAUSE_MS = 2;

export interface Work {
  /** Decides a bounded share; whether there is more. */
  work(): boolean;
  /** After a slice: what is to be told to others (FIB). `done`: all that was received is decided. */
  handOn(done: boolean): void;
}

export interface Writer {
  /** Writes at most about `budget` bytes; whether it wants another turn. */
  flush(budget: number): boolean;
}

export class Scheduler {
  private readonly clock: Clock;
  private readonly work: Work;
  private readonly writers = new Set<Writer>();
  private workPending = false;
  private scheduled = false;
  private inputSince: number | undefined;
  private inputInTurn = false;
  private handedOnAt = 0;

  constructor(clock: Clock, work: Work) {
    this.clock = clock;
    this.work = work;
  }

  /** Whether something that was received is not decided yet, or what was decided is not handed on. */
  get busy(): boolean {
    return this.workPending;
  }

  /** Input was recorded: there will be work, but maybe more input comes first. */
  input(): void {
    this.inputInTurn = true;
    this.inputSince ??= this.clock.now();
    this.workPending = true;
    this.schedule();
  }

  workReady(): void {
    this.workPending = true;
    this.schedule();
  }

  writeReady(writer: Writer): void {
    this.writers.add(writer);
    this.schedule();
  }

  forget(writer: Writer): void {
    this.writers.delete(writer);
  }

  /** Runs the steps when there is nothing else to do, a few milliseconds apart. */
  background(steps: Iterator<void>): void {
    this.clock.after(BACKGROUND_PAUSE_MS, () => {
      const busy = this.scheduled || this.workPending || this.writers.size > 0;
      if (busy || !steps.next().done) this.background(steps);
    });
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => this.turn());
  }

  private turn(): void {
    this.scheduled = false;
    const now = this.clock.now();
    if (this.inputInTurn && now - (this.inputSince ?? now) < MAX_DEFER_MS) {
      this.inputInTurn = false;
      this.schedule();
      return;
    }
    this.inputInTurn = false;
    this.inputSince = undefined;
    const until = now + SLICE_MS;
    while (this.workPending && this.clock.now() < until) this.workPending = this.work.work();
    const done = !this.workPending;
    if (done || now - this.handedOnAt >= HAND_ON_MS) {
      this.handedOnAt = now;
      this.work.handOn(done);
    }
    for (const writer of this.writers) {
      this.writers.delete(writer);
      if (writer.flush(WRITE_BUDGET)) this.writers.add(writer);
      if (this.clock.now() >= until + SLICE_MS) break;
    }
    if (this.workPending || this.writers.size > 0) this.schedule();
  }
}
