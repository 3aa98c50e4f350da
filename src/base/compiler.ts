/**
 * How soon the runtime compiles what runs. Most of a start runs a few times and never again: the executable begins with
 * compilers that hold back (`scripts/build.ts`), which saves a quarter of the time and megabytes. A program that stays and
 * has much to do says so when it has started; what is over soon, the plugin and most commands, never does.
 */

/** Code has to run so many times more often than usual. */
export const HOLDING_BACK = 8;

export function compileSoon(): void {
  Bun.unsafe.setJITPolicy(1);
}

/** For a program whose work is compiled already, and what is left runs seldom, until it has much to do again. */
export function compileLate(): void {
  Bun.unsafe.setJITPolicy(HOLDING_BACK);
}
