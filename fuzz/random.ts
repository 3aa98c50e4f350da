/** Reproducible randomness for fuzzing (mulberry32): a run is known by its seed. */
export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  u32(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** 0 … n−1. */
  below(n: number): number {
    return this.u32() % n;
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  list<T>(max: number, make: () => T): T[] {
    return Array.from({ length: this.below(max + 1) }, make);
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  maybe<T>(make: () => T): T | undefined {
    return this.chance(2) ? make() : undefined;
  }
}

/** The seed and the number of rounds of this run: GODWIT_FUZZ_SEED and GODWIT_FUZZ_ROUNDS, or a new seed and `rounds`. */
export function fuzzRun(name: string, rounds: number): { random: Random; rounds: number } {
  const seed = Number(process.env['GODWIT_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  const count = Number(process.env['GODWIT_FUZZ_ROUNDS'] ?? rounds);
  console.log(`${name}: GODWIT_FUZZ_SEED=${seed} GODWIT_FUZZ_ROUNDS=${count}`);
  return { random: new Random(seed), rounds: count };
}
