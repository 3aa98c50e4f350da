/**
 * Long enough for a machine that has ten times as much to do as it can. It is no requirement: what must be quick says so with
 * a limit of its own, or better by what would bring it about late (a resync, a retry) being switched off.
 */
const PATIENCE_MS = 30_000;

/**
 * Looks again and again until `condition` gives something true, and gives that; throws with `what` after `timeoutMs`.
 * What is asserted afterwards is asserted of what it gave: a second look may see another world.
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
): Promise<Exclude<NonNullable<T>, false>> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== null && value !== false) {
      return value as Exclude<NonNullable<T>, false>;
    }
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await Bun.sleep(10);
  }
}
