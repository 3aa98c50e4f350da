// A node-to-node mesh as Calico's BIRD makes it, five nodes; on one of them `godwit bgp` takes BIRD's place. Nothing is
// changed on the other nodes: not their configuration, not their processes.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { resolve } from 'node:path';
import { ControlClient } from '../../src/bgp/mod.ts';
import type { NeighborStatus } from '../../src/bgp/mod.ts';
import { Daemon } from '../support/bgp/daemon.ts';
import { Lan } from '../support/bgp/lan.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const nodes = [1, 2, 3, 4, 5];
const replaced = 3;
const address = (n: number) => `192.168.1.${n}`;
const block = (n: number) => `10.233.${n}.0/26`;
const pod = (n: number) => `10.233.${n}.2`;
const others = (n: number) => nodes.filter((other) => other !== n);

/** What Calico's confd writes, for a node with one block: of two nodes the one with the higher address is passive. */
const birdConfig = (n: number) => `
log stderr all;
router id ${address(n)};
protocol static { ipv4; route ${block(n)} blackhole; }
protocol device { scan time 2; }
protocol direct { ipv4; interface -"cali*", "*"; }
filter calico_export_to_bgp_peers {
  if (net ~ [ 10.233.0.0/16{26,26} ]) then accept;
  reject;
}
filter calico_kernel_programming { if (source = RTS_STATIC) then accept; accept; }
protocol kernel {
  learn; persist; scan time 2; merge paths on; graceful restart;
  ipv4 { import all; export filter calico_kernel_programming; };
}
template bgp bgp_template {
  description "Connection to BGP peer";
  local as 64512;
  multihop;
  ipv4 { import all; export filter calico_export_to_bgp_peers; add paths on; gateway recursive; };
  graceful restart;
  connect delay time 2; connect retry time 5; error wait time 5,30;
}
${others(n)
  .map(
    (other) => `protocol bgp Mesh_${other} from bgp_template {
  neighbor ${address(other)} as 64512; source address ${address(n)}; ${n > other ? 'passive on;' : ''}
}`,
  )
  .join('\n')}
`;

/** The same for Godwit. */
const godwitConfig = (n: number, control: string) => `
routerId: ${address(n)}
as: 64512
control: ${control}
listen: [${address(n)}]
fib: kernel
networks: [${block(n)}]
prefixLists: { blocks: [10.233.0.0/16 ge 26 le 26] }
policies: { blocks: [{ match: { prefixLists: [blocks] }, then: accept }] }
groups: { mesh: { as: internal, source: ${address(n)}, import: blocks, export: blocks, timers: { connectRetry: 2 } } }
neighbors:
${others(n)
  .map((other) => `  - { address: ${address(other)}, group: mesh, passive: ${n > other} }`)
  .join('\n')}
`;

const here = have('BGP mesh with BIRD', '/usr/sbin/bird', '/usr/sbin/birdc', 'ip', 'ping');
describe.skipIf(!here)('a mesh of BIRD nodes', () => {
  const lan = new Lan();
  const birds = new Map<number, Daemon>();
  let godwit: Daemon | undefined;
  const name = (n: number) => `node${n}`;
  const reaches = (from: number, to: number) =>
    lan.namespaces.status(name(from), 'ping', '-c1', '-W1', '-I', pod(from), pod(to)) === 0;
  const everyoneReachesEveryone = async () => {
    for (const from of nodes) {
      for (const to of others(from)) await until(`${pod(from)} reaches ${pod(to)}`, () => reaches(from, to), 40_000);
    }
  };
  const birdc = (n: number, ...command: string[]) => {
    const daemon = birds.get(n)!;
    return daemon.ask('birdc', '-s', daemon.file('ctl'), ...command) ?? '';
  };

  beforeAll(() => {
    for (const n of nodes) {
      lan.join(name(n), address(n), `fd99::${n}`);
      lan.namespaces.run(name(n), 'ip', 'addr', 'add', `${pod(n)}/32`, 'dev', 'lo');
      const daemon = new Daemon(`mesh${n}`, lan.namespaces.name(name(n)));
      daemon.write('bird.conf', birdConfig(n));
      daemon.spawn(['bird', '-f', '-c', daemon.file('bird.conf'), '-s', daemon.file('ctl'), '-P', daemon.file('pid')]);
      birds.set(n, daemon);
    }
  });
  afterAll(async () => {
    for (const daemon of [...birds.values(), ...(godwit ? [godwit] : [])]) await daemon[Symbol.asyncDispose]();
    lan[Symbol.dispose]();
  });

  test('BIRD alone: every pod reaches every other', everyoneReachesEveryone, 60_000);

  test('Godwit in the place of one: the same, with all four sessions and routes', async () => {
    await birds.get(replaced)!.kill();
    // what BIRD left in the kernel goes, so that only Godwit's routes count
    lan.namespaces.run(name(replaced), 'ip', 'route', 'flush', 'proto', 'bird');
    godwit = new Daemon('godwit', lan.namespaces.name(name(replaced)));
    const control = godwit.file('ctl');
    godwit.write('bgp.yaml', godwitConfig(replaced, control));
    const main = resolve(import.meta.dir, '../../src/main.ts');
    godwit.spawn([process.execPath, main, 'bgp', '--config', godwit.file('bgp.yaml')]);
    const client = new ControlClient(control);
    await until('godwit answers', () => client.alive(), 20_000);
    await until(
      'all sessions',
      async () => {
        const list = await client.get<NeighborStatus[]>('/neighbors');
        return list.every((n) => n.state === 'Established' && n.families[0]!.accepted === 1);
      },
      60_000,
    );
    await everyoneReachesEveryone();
    const kernel = lan.namespaces.run(name(replaced), 'ip', 'route', 'show', 'proto', 'bgp');
    for (const other of others(replaced)) expect(kernel).toContain(`${block(other)} via ${address(other)} dev eth0`);
    for (const other of others(replaced)) {
      expect(birdc(other, 'show', 'route', 'for', pod(replaced))).toContain(`via ${address(replaced)} on eth0`);
    }
  }, 110_000);

  test('BIRD has nothing to complain of', () => {
    for (const n of others(replaced)) {
      const complaints = birds
        .get(n)!
        .log()
        .split('\n')
        .filter((line) => /<(ERR|FATAL|BUG|WARN)>/.test(line));
      expect(complaints.filter((line) => /Mesh_3/.test(line))).toEqual([]);
      expect(birdc(n, 'show', 'protocols', `Mesh_${replaced}`)).toContain('Established');
    }
  });
});
