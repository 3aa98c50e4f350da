/** Below the ports the kernel gives to outgoing connections, any of which could be where a listener is to be. */
const [FIRST, COUNT] = [10_000, 22_000];
/** Test files run at the same time: those whose numbers are near each other start far apart. */
let next = (process.pid * 40) % COUNT;

/** A TCP port that nobody listens on, and that no other test process of this namespace is given while this one lives. */
export function freePort(): number {
  for (let tries = 0; tries < COUNT; tries++) {
    const port = FIRST + (next++ % COUNT);
    try {
      // a name is a lock that goes with its process: whoever is to listen there may take its time to start
      Bun.listen({ unix: `\0godwit-test-port-${port}`, socket: { data: () => {} } }).unref();
      Bun.listen({ hostname: '0.0.0.0', port, socket: { data: () => {} } }).stop(true);
      return port;
    } catch {
      // somebody has it
    }
  }
  throw new Error('no port is free');
}
