// 10,000 routes from nothing into the kernel: the route reconciler against `ip -batch`, in turn, in namespaces of their
// own. Two figures for godwit: a pass in a running agent, and a process that starts, does it and ends, as `ip` does.
import { writeFileSync } from 'node:fs';
import { openRouteKernel, RouteReconciler } from '../src/dataplane/mod.ts';
import type { Route } from '../src/desired/mod.ts';
import { ip, prefix } from '../src/net/mod.ts';
import { run, TestNamespaces } from '../tests/support/netns.ts';
import { median, ratioLine } from './lib/figures.ts';

const COUNT = 10_000;
const ROUNDS = 7;
const destination = (i: number) => prefix(`10.${100 + (i >> 8)}.${i & 255}.0/24`);
const desired: Route[] = Array.from({ length: COUNT }, (_, i) => ({
  ...{ destination: destination(i), class: 'lease', type: 'unicast' },
  nextHops: [{ via: ip('10.168.0.3'), device: 'eth0' }],
}));

async function install(): Promise<number> {
  const started = performance.now();
  const reconciler = new RouteReconciler({ kernel: openRouteKernel() });
  reconciler.setDesired('lease', desired);
  reconciler.markInSync('lease');
  await reconciler.pass();
  return performance.now() - started;
}

if (process.argv[2] === 'process') {
  await install();
  process.exit(0);
}

using spaces = new TestNamespaces();
const batch = `/tmp/godwit-bench-${process.pid}.batch`;
writeFileSync(batch, desired.map((r) => `route add ${r.destination} via 10.168.0.3 dev eth0 proto 71\n`).join(''));
const setup =
  'ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up; ip addr add 10.168.0.2/24 dev eth0';
const times: Record<'pass' | 'process' | 'ip', number[]> = { pass: [], process: [], ip: [] };

function fresh(name: string) {
  spaces.remove(name);
  const namespace = spaces.add(name);
  spaces.run(name, 'sh', '-c', setup);
  return namespace;
}
function count(name: string): void {
  const lines = spaces.run(name, 'ip', 'route', 'show', 'proto', '71').trim().split('\n').length;
  if (lines !== COUNT) throw new Error(`${lines} routes instead of ${COUNT}`);
}
for (let round = 0; round <= ROUNDS; round++) {
  const namespace = fresh('n');
  namespace.enter();
  const pass = await install();
  count('n');
  fresh('n');
  let started = performance.now();
  run('ip', 'netns', 'exec', spaces.name('n'), process.execPath, import.meta.path, 'process');
  const whole = performance.now() - started;
  count('n');
  fresh('n');
  started = performance.now();
  spaces.run('n', 'ip', '-batch', batch);
  const peer = performance.now() - started;
  count('n');
  if (round === 0) continue; // warm-up
  times.pass.push(pass);
  times.process.push(whole);
  times.ip.push(peer);
}
console.log(`${COUNT} routes from nothing, median of ${ROUNDS} rounds in turn`);
console.log(`ip -batch                 ${median(times.ip).toFixed(0)} ms`);
console.log(ratioLine('godwit, running agent', times.pass, times.ip));
console.log(ratioLine('godwit, whole process', times.process, times.ip));
