// As cni-agent.ts, for routed pods with addresses from blocks.
// Usage: cni-agent-routed.ts NAMESPACE-PATH SOCKET STATE-DIRECTORY DATASTORE; prints `ready` once it answers.
import { createLogger, silentLogger, systemClock } from '../../src/base/mod.ts';
import { createCniServer } from '../../src/cni/mod.ts';
import { openDatastore } from '../../src/datastore/mod.ts';
import { CONFIG_KEY, FollowedSettings } from '../../src/ipam/blocks/mod.ts';
import { kindPrefix, ResourceStore } from '../../src/model/mod.ts';
import { NetworkNamespace } from '../../src/sys/mod.ts';
import { routedNetwork, routedOptions, RunningRoutes } from './routed.ts';

const [namespace, socketPath, stateDirectory, datastore] = process.argv.slice(2);
if (!namespace || !socketPath || !stateDirectory || !datastore) process.exit(2);
{
  using host = NetworkNamespace.open(namespace);
  host.enter();
}
const stopping = new AbortController();
process.on('SIGTERM', () => stopping.abort());
const store = await openDatastore(datastore, { requestTimeoutMs: 1000 });
const resources = new ResourceStore();
const settings = new FollowedSettings(resources);
void settings.run(store.follow(CONFIG_KEY, stopping.signal));
void (async () => {
  for await (const update of store.follow(kindPrefix('IPPool'), stopping.signal)) resources.apply(update);
})();
const { routes } = new RunningRoutes();
const families = (process.env['GODWIT_TEST_FAMILIES'] ?? '46').split('').map((text) => (text === '4' ? 4 : 6));
const server = createCniServer({
  ...{ socketPath, stateDirectory, clock: systemClock },
  network: () => ({ ok: true, value: { ...routedNetwork, families } }),
  routed: { ...routedOptions(store, routes, settings), assignPatienceMs: 3_000, releasePatienceMs: 500 },
  log: process.env['GODWIT_TEST_LOG'] === undefined ? silentLogger : createLogger('info'),
});
const running = server.run(stopping.signal);
while (!server.ready && !stopping.signal.aborted) await Promise.race([running, Bun.sleep(2)]);
if (server.ready) console.log('ready');
await running;
process.exit(0);
