/** Whoever asks for a key waits until those who asked before are done. */
export class Turns {
  /** The last who asked for a key. */
  private readonly last = new Map<string, Promise<unknown>>();

  async take<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.last.get(key);
    const mine = (async () => {
      // how the one before ended is its caller's business
      if (before) await before.catch(() => {});
      return action();
    })();
    this.last.set(key, mine);
    try {
      return await mine;
    } finally {
      if (this.last.get(key) === mine) this.last.delete(key);
    }
  }
}
