// Graceful restart (RFC 4724) with BIRD and FRR, both ways: one side is killed with SIGKILL and comes back, and not one
// packet that both kernels forward by BGP routes is lost.
import { describe, expect, test } from 'bun:test';
import { addresses, Bird, type DaemonKind, daemonKinds, Pair, type Router } from '../support/bgp/mod.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';

const [G, P] = [addresses(1), addresses(2)];
/** How long the dead stay dead: well over what a neighbour without graceful restart needs to drop the routes. */
const DEAD_MS = 1500;

function start(kind: DaemonKind): Promise<Pair> {
  const router = { gracefulRestart: true, kernel: true };
  return Pair.start(kind, { godwitAs: 65001, peerAs: 65002, godwit: router, peer: router, prepare: forward });
}

/** Both have an address to send from and the routes to the other's. */
async function forward(pair: Pair): Promise<void> {
  const { namespaces } = pair.lan;
  for (const [name, n] of [
    ['godwit', 1],
    ['peer', 2],
  ] as const) {
    namespaces.run(name, 'ip', 'addr', 'add', `10.${n}.0.1/32`, 'dev', 'lo');
    namespaces.run(name, 'ip', '-6', 'addr', 'add', `fd0${n}::1/128`, 'dev', 'lo');
  }
  await pair.established();
  await pair.until('routes in both kernels', () => routesIn(pair, 'godwit', 2) && routesIn(pair, 'peer', 1));
}

/** Whether a router's kernel has the routes of the other. */
function routesIn(pair: Pair, name: string, other: number): boolean {
  const ipv4 = pair.lan.namespaces.run(name, 'ip', 'route', 'show', `10.${other}.0.0/24`);
  const ipv6 = pair.lan.namespaces.run(name, 'ip', '-6', 'route', 'show', `fd0${other}::/64`);
  return ipv4.includes('via') && ipv6.includes('via');
}

/** Kills a router while traffic runs, starts it again, waits until all is as before: not a packet was lost. */
async function crash(pair: Pair, victim: Router): Promise<void> {
  const namespace = pair.lan.namespaces.name('godwit');
  using ipv4 = new Traffic(namespace, '10.1.0.1', '10.2.0.1');
  using ipv6 = new Traffic(namespace, 'fd01::1', 'fd02::1');
  await ipv4.flowing();
  await ipv6.flowing();
  await victim.kill();
  await Bun.sleep(DEAD_MS);
  await victim.start();
  await pair.established();
  const settled = async () => {
    const neighbors = [await pair.godwit.neighbor(P.address4), await pair.godwit.neighbor(P.address6)];
    return neighbors.every((n) => n?.families.every((f) => f.endOfRib && f.stale === 0 && f.accepted === 1));
  };
  await pair.until('both tables are whole again', settled);
  await pair.route(pair.peer, '10.1.0.0/24');
  await pair.route(pair.peer, 'fd01::/64');
  await nothingLost([ipv4, ipv6], DEAD_MS / 20);
  expect(routesIn(pair, 'godwit', 2) && routesIn(pair, 'peer', 1)).toBe(true);
}

for (const kind of daemonKinds.filter((k) => k.name === 'BIRD' || k.name === 'FRR')) {
  const here = have(`BGP graceful restart with ${kind.name}`, '/usr/sbin/ip', '/usr/bin/ping', ...kind.programs);

  describe.skipIf(!here)(`graceful restart with ${kind.name}`, () => {
    test('Godwit is killed', async () => {
      await using pair = await start(kind);
      await crash(pair, pair.godwit);
      // and once more, inside the restart window of the first time
      await crash(pair, pair.godwit);
    });

    test(`${kind.name} is killed`, async () => {
      await using pair = await start(kind);
      await crash(pair, pair.peer);
    });
  });
}

describe.skipIf(!have('BGP without graceful restart', '/usr/sbin/bird', '/usr/sbin/birdc'))(
  'without graceful restart',
  () => {
    test('the routes of a dead neighbour go', async () => {
      const kind = daemonKinds.find((k) => k.name === 'BIRD')!;
      const settings = { global: { gracefulRestart: 'off' } };
      await using pair = await Pair.start(kind, { godwitAs: 65001, peerAs: 65002, onlyIPv4: true, settings });
      await pair.established();
      await pair.route(pair.peer, '10.1.0.0/24');
      await pair.route(pair.godwit, '10.2.0.0/24');
      await pair.godwit.kill();
      await pair.until('BIRD forgets', () => (pair.peer as Bird).route('10.1.0.0/24') === undefined);
      expect(pair.peer.spec.neighbors[0]!.address).toBe(G.address4);
    });
  },
);
