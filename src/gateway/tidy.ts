/**
 * Memory of the start. Reading tens of thousands of blocks and telling all gateways of them leaves garbage everywhere
 * between what stays; the runtime would let the heap double before it collects, and what is then spread over it keeps it
 * that large for good. So garbage is collected whenever the process has grown by so much, while there is work. The code
 * that ran by then goes with it: most of it is the runtime's start, 40 MiB, and what is still needed comes back page by page.
 */
import type { Clock } from '../base/mod.ts';
import { releaseCode } from '../sys/mod.ts';

/** Growth that is worth a collection, bytes. One takes 15 to 60 ms. */
const GROWTH = 16 * 2 ** 20;
/** While the sessions start everything is as large as it gets, and there is little left to do. */
const START_GROWTH = 8 * 2 ** 20;
/** Objects read, or prefixes told, between two looks at the growth. */
const LOOK_EVERY = 50;
/** While the sessions start, milliseconds between two looks, and how many. */
const START_INTERVAL_MS = 15;
const START_ROUNDS = 130;
/** From then on now and then: code that ran for one change need not stay in memory, either. */
const INTERVAL_MS = 60_000;

export interface ProcessMemory {
  /** Resident, bytes. */
  size(): number;
  collect(): void;
  releaseCode(): void;
}

export class Tidy implements Disposable {
  private readonly clock: Clock;
  private readonly memory: ProcessMemory;
  private work = 0;
  /** The size after the last collection, or before any work. */
  private size: number;
  private timer: Disposable | undefined;

  constructor(clock: Clock, memory: ProcessMemory = ours) {
    this.clock = clock;
    this.memory = memory;
    this.size = memory.size();
  }

  /** One object more was read, or one prefix more was told. */
  worked(): void {
    if (++this.work % LOOK_EVERY === 0) this.look(GROWTH);
  }

  /** The sessions begin to send what they have. */
  sessionsStart(rounds = START_ROUNDS): void {
    this.timer = this.clock.after(START_INTERVAL_MS, () => {
      if (rounds > 1) {
        this.look(START_GROWTH);
        this.sessionsStart(rounds - 1);
      } else {
        this.collect();
        this.rest();
      }
    });
  }

  private look(growth: number): void {
    const { size } = this;
    const now = this.memory.size();
    if (now - size > growth) this.collect();
    else if (now < size) this.size = now;
  }

  private collect(): void {
    this.memory.collect();
    this.memory.releaseCode();
    this.size = this.memory.size();
  }

  private rest(): void {
    this.timer = this.clock.after(INTERVAL_MS, () => {
      this.memory.releaseCode();
      this.rest();
    });
  }

  [Symbol.dispose](): void {
    this.timer?.[Symbol.dispose]();
  }
}

const ours: ProcessMemory = {
  size: () => process.memoryUsage.rss(),
  collect: () => Bun.gc(true),
  releaseCode: () => void releaseCode(),
};
