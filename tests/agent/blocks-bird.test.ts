// One mesh of both kinds: nodes with BIRD 2, configured as Calico's are, and nodes with Godwit agents. Neither knows that the
// other is different.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { birdPrograms, Daemon } from '../support/bgp/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { nothingLost, Traffic } from '../support/traffic.ts';
import { Cluster } from './cluster.ts';

const here = have('BIRD and agents in one mesh', 'ip', 'nft', 'etcd', 'ping', ...birdPrograms);
const AS = 64512;
const [agents, birds] = [
  [1, 2],
  [3, 4],
];
const nodes = [...agents, ...birds];
const others = (n: number) => nodes.filter((other) => other !== n);
const node = (n: number) => `10.168.0.${n}`;
const own = (n: number) => `10.233.${n}.0/26`;
const pod = (n: number) => `10.233.${n}.5`;
const blocks = ['--network', 'blocks'];

/** The metric goes in LOCAL_PREF, as in Calico since 3.32. */
const birdConfig = (n: number): string => `log stderr all;
router id ${node(n)};
filter to_peers { if net ~ 10.233.0.0/16 then { bgp_local_pref = 2147482623; accept; } reject; }
protocol device { scan time 2; }
protocol direct { ipv4; interface "eth0"; }
protocol kernel {
  learn; persist; scan time 2; merge paths on; graceful restart on;
  ipv4 { import all; export where source = RTS_BGP || source = RTS_STATIC; };
}
protocol static { ipv4; route ${own(n)} blackhole; }
template bgp mesh {
  local as ${AS};
  multihop;
  source address ${node(n)};
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 2, 5;
  ipv4 { import all; export filter to_peers; gateway recursive; add paths on; };
}
${others(n)
  .map((m) => `protocol bgp m${m} from mesh { neighbor ${node(m)} as ${AS}; ${m > n ? 'passive on; ' : ''}}`)
  .join('\n')}
`;

describe.skipIf(!here)('a mesh of agents and BIRD', () => {
  let cluster: Cluster;
  const daemons = new Map<number, Daemon>();
  const startBird = (n: number) => {
    const daemon = daemons.get(n)!;
    daemon.spawn(['bird', '-f', '-R', '-c', daemon.file('bird.conf'), '-s', daemon.file('ctl')]);
  };
  const routesOf = (n: number) =>
    cluster
      .node(n)
      .run('ip', 'route', 'show', 'root', '10.233.0.0/16')
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('blackhole'))
      .sort();
  /** Every node has the blocks of all others. */
  const whole = async () => {
    for (const n of nodes) {
      const mark = agents.includes(n) ? 'proto 71' : 'proto bird metric 32';
      const expected = others(n).map((m) => `${own(m)} via ${node(m)} dev eth0 ${mark}`);
      await until(`routes of node ${n}`, () => routesOf(n).join() === expected.join(), 30_000);
    }
  };

  beforeAll(async () => {
    cluster = await Cluster.start({ nodes });
    await putResource(cluster.store, poolOf('10.233.0.0/16'));
    for (const n of nodes) {
      await claim(cluster.store, `n${n}`, own(n));
      cluster.node(n).run('sh', '-c', `ip address add ${pod(n)}/32 dev lo; sysctl -qw net.ipv4.ip_forward=1`);
    }
    for (const n of birds) {
      const spec = { bgp: { ipv4Address: `${node(n)}/24` } };
      await putResource(cluster.store, { kind: 'Node', metadata: { name: `n${n}` }, spec });
      const daemon = new Daemon(`bird${n}`, cluster.spaces.name(`n${n}`));
      daemon.write('bird.conf', birdConfig(n));
      daemons.set(n, daemon);
      startBird(n);
    }
    for (const n of agents) cluster.node(n).start(blocks);
    await whole();
    for (const n of agents) await cluster.node(n).ready();
  }, 60_000);
  afterAll(async () => {
    for (const daemon of daemons.values()) await daemon[Symbol.asyncDispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test('BIRD reads the same preference from agents as from its own kind', () => {
    const shown = daemons.get(3)!.ask('birdc', '-s', daemons.get(3)!.file('ctl'), 'show', 'route', 'all', own(1));
    expect(shown).toContain('BGP.local_pref: 2147482623');
    expect(shown).toContain(`BGP.next_hop: ${node(1)}`);
  });

  test('a new block of an agent’s node is in BIRD’s kernel, and the other way round', async () => {
    await claim(cluster.store, 'n1', '10.233.77.0/26');
    await until(
      'BIRD has it',
      () => routesOf(3).some((line) => line.startsWith(`10.233.77.0/26 via ${node(1)} `)),
      20_000,
    );
    await cluster.store.delete('/calico/ipam/v2/host/n1/ipv4/block/10.233.77.0-26');
    await whole();
  }, 60_000);

  test('F30: five thousand routes come, change and go, and the kernel has just those', async () => {
    const daemon = daemons.get(3)!;
    const prefixes = Array.from({ length: 5000 }, (_, i) => `10.233.${128 + (i >> 8)}.${i & 255}/32`);
    const announce = async (which: readonly string[]) => {
      const statics = which.map((prefix) => `route ${prefix} blackhole;`).join(' ');
      daemon.write('bird.conf', `${birdConfig(3)}\nprotocol static many { ipv4; ${statics} }\n`);
      daemon.ask('birdc', '-s', daemon.file('ctl'), 'configure');
      const want = which.map((prefix) => prefix.replace('/32', '')).sort();
      const have = () =>
        cluster
          .node(1)
          .run('ip', 'route', 'show', 'root', '10.233.128.0/17', 'proto', '71')
          .split('\n')
          .filter(Boolean)
          .map((line) => line.split(' ')[0]!)
          .sort();
      await until(`${which.length} routes`, () => have().join() === want.join(), 40_000);
    };
    await announce(prefixes);
    await announce(prefixes.filter((_, i) => i % 2 === 0));
    await announce(prefixes.filter((_, i) => i % 3 === 0));
    await announce([]);
    await whole();
  }, 120_000);

  test('F11: agents and BIRDs are killed and come back: neither side loses a packet', async () => {
    const streams = [
      [1, 3],
      [3, 2],
      [4, 1],
    ].map(([a, b]) => new Traffic(cluster.spaces.name(`n${a}`), pod(a!), pod(b!)));
    for (const stream of streams) await stream.flowing();
    await cluster.node(1).stop('SIGKILL');
    cluster.node(1).start(blocks);
    await cluster.node(1).ready();
    await cluster.node(2).stop('SIGTERM');
    cluster.node(2).start(blocks);
    await cluster.node(2).ready();
    await daemons.get(3)!.kill();
    startBird(3);
    await whole();
    for (const n of agents) await cluster.node(n).ready();
    await nothingLost(streams);
  }, 90_000);
});
