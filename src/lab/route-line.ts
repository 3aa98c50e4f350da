/** How `ip route` shows the metric that only IPv6's routes always have. Pure. */
import type { Family } from '../net/mod.ts';

/** `rest` with the metric the kernel gives an IPv6 route where nobody says which; `after` are flags, which follow it. */
export const routeLine = (destination: string, rest: string, family: Family, after = ''): string =>
  `${destination} ${rest}${family === 6 ? ' metric 1024' : ''}${after}`;
