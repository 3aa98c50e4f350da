import { tryClaim } from './claim.ts';

/** Below the ports the kernel gives to outgoing connections, any of which could be where a listener is to be. */
const [FIRST, COUNT] = [10_000, 22_000];
/** Test files run at the same time: those whose numbers are near each other start far apart. */
let next = (process.pid * 40) % COUNT;

/** A TCP port that nobody listens on, and that no other test process of this namespace is given while this one lives. */
export function freePort(): number {
  for (let tries = 0; tries < COUNT; tries++) {
    const port = FIRST + (next++ % COUNT);
    // held until this process ends: whoever is to listen there may take its time to start
    if (!tryClaim(`port-${port}`)) continue;
    try {
      Bun.listen({ hostname: '0.0.0.0', port, socket: { data: () => {} } }).stop(true);
      return port;
    } catch {
      // somebody has it
    }
  }
  throw new Error('no port is free');
}
