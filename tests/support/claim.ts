/**
 * What only one test process of a machine may have at a time: a name in the kernel that goes with its process, however that
 * ends. Names are those of a network namespace.
 */
import { until } from './until.ts';

/** Undefined when another has it. */
export function tryClaim(name: string): Disposable | undefined {
  try {
    const holder = Bun.listen({ unix: `\0godwit-test-${name}`, socket: { data: () => {} } });
    holder.unref();
    return { [Symbol.dispose]: () => holder.stop(true) };
  } catch {
    return undefined;
  }
}

/** Waits until nobody else has it. */
export const claimed = (name: string): Promise<Disposable> => until(`${name} is ours`, () => tryClaim(name));
