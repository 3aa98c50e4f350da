// The CNI half of an agent as a process of its own, for tests that kill it and for benchmarks.
// Usage: cni-agent.ts NAMESPACE-PATH SOCKET STATE-DIRECTORY; prints `ready` once it answers.
import { createLogger, silentLogger, systemClock } from '../../src/base/mod.ts';
import { createCniServer } from '../../src/cni/mod.ts';
import { NetworkNamespace } from '../../src/sys/mod.ts';
import { testNetwork } from './cni.ts';

const [namespace, socketPath, stateDirectory] = process.argv.slice(2);
if (namespace === undefined || socketPath === undefined || stateDirectory === undefined) process.exit(2);
{
  using host = NetworkNamespace.open(namespace);
  host.enter();
}
const stopping = new AbortController();
process.on('SIGTERM', () => stopping.abort());
const families = (process.env['GODWIT_TEST_FAMILIES'] ?? '46').split('');
const subnets = testNetwork.subnets.filter((s) => families.includes(s.subnet.includes(':') ? '6' : '4'));
const server = createCniServer({
  ...{ socketPath, stateDirectory, clock: systemClock },
  network: () => ({ ok: true, value: { ...testNetwork, subnets } }),
  log: process.env['GODWIT_TEST_LOG'] === undefined ? silentLogger : createLogger('info'),
});
const running = server.run(stopping.signal);
while (!server.ready && !stopping.signal.aborted) await Promise.race([running, Bun.sleep(2)]);
if (server.ready) console.log('ready');
await running;
