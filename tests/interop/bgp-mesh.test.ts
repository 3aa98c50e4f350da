// A node-to-node mesh as Calico's nodes have it: five nodes, one AS, BIRD with recursive next hops, ADD-PATH and graceful
// restart, the greater address of each pair passive. One node's BIRD is replaced by Godwit; the others are left alone.
import { describe, expect, test } from 'bun:test';
import { addresses, birdPrograms, Daemon, Godwit, Lan } from '../support/bgp/mod.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';

const AS = 64512;
const nodes = [1, 2, 3, 4, 5];
const addressOf = (n: number): string => addresses(n).address4;
const blockOf = (n: number): string => `10.233.${n}.0/26`;
const podOf = (n: number): string => `10.233.${n}.1`;
const passive = (n: number, towards: number): boolean => addressOf(n) > addressOf(towards);

function nodeConfig(n: number): string {
  const peers = nodes.filter((m) => m !== n);
  const mesh = peers.map((m) => {
    const role = passive(n, m) ? '  passive on;\n' : '';
    return `protocol bgp mesh${m} from node {\n  neighbor ${addressOf(m)} as ${AS};\n${role}}`;
  });
  return `log stderr all;
router id ${addressOf(n)};
protocol device { scan time 2; }
protocol direct { ipv4; interface "eth0"; }
protocol kernel {
  learn; persist; scan time 2; merge paths on; graceful restart on;
  ipv4 { import all; export where source = RTS_BGP; };
}
protocol static { ipv4; route ${blockOf(n)} blackhole; }
template bgp node {
  local as ${AS};
  multihop;
  source address ${addressOf(n)};
  graceful restart on;
  connect delay time 1; connect retry time 2; error wait time 2, 5;
  ipv4 { import all; export where source = RTS_STATIC; gateway recursive; add paths on; };
}
${mesh.join('\n')}
`;
}

class Node implements AsyncDisposable {
  readonly n: number;
  readonly daemon: Daemon;

  constructor(lan: Lan, n: number) {
    this.n = n;
    this.daemon = new Daemon(`node${n}`, lan.namespaces.name(`r${n}`));
    this.daemon.write('bird.conf', nodeConfig(n));
    this.daemon.spawn(['bird', '-f', '-c', this.daemon.file('bird.conf'), '-s', this.daemon.file('ctl')]);
  }

  birdc(...command: string[]): string {
    return this.daemon.ask('birdc', '-s', this.daemon.file('ctl'), ...command) ?? '';
  }

  /** Sessions of this node that are Established. */
  get sessions(): number {
    return this.birdc('show', 'protocols').match(/^mesh.*Established/gm)?.length ?? 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.daemon[Symbol.asyncDispose]();
  }
}

const here = have('BGP mesh of five nodes', '/usr/sbin/ip', '/usr/bin/ping', ...birdPrograms);

describe.skipIf(!here)('a mesh of five nodes', () => {
  test('Godwit takes the place of one BIRD', async () => {
    using lan = new Lan();
    for (const n of nodes) {
      lan.join(`r${n}`, addressOf(n), addresses(n).address6);
      lan.namespaces.run(`r${n}`, 'ip', 'addr', 'add', `${podOf(n)}/32`, 'dev', 'lo');
    }
    const reaches = (a: number, b: number) =>
      lan.namespaces.status(`r${a}`, 'ping', '-n', '-c', '1', '-W', '1', '-I', podOf(a), podOf(b)) === 0;
    const everybodyReaches = (n: number) => nodes.filter((m) => m !== n).every((m) => reaches(n, m) && reaches(m, n));
    const kernel = (n: number) => lan.namespaces.run(`r${n}`, 'ip', 'route', 'show', 'table', 'main');

    const birds = nodes.map((n) => new Node(lan, n));
    await using stack = new AsyncDisposableStack();
    for (const bird of birds) stack.use(bird);
    await until('all sessions', () => birds.every((b) => b.sessions === 4), 40_000);
    await until('all routes', () =>
      nodes.every((n) => nodes.every((m) => n === m || kernel(n).includes(`${blockOf(m)} via`))),
    );
    for (const n of nodes) await until(`everybody reaches node ${n}`, () => everybodyReaches(n));

    // node 3 changes over
    await birds[2]!.daemon.kill();
    lan.namespaces.run('r3', 'ip', 'route', 'flush', 'proto', 'bird');
    await using godwit = await Godwit.start(lan, 'r3', {
      ...addresses(3),
      asn: AS,
      kernel: true,
      gracefulRestart: true,
      announce: [{ prefix: blockOf(3) }],
      neighbors: nodes.filter((m) => m !== 3).map((m) => ({ address: addressOf(m), asn: AS, passive: passive(3, m) })),
    });
    const others = birds.filter((b) => b.n !== 3);
    await until('all sessions again', () => others.every((b) => b.sessions === 4), 40_000);
    for (const m of nodes.filter((m) => m !== 3)) {
      expect(await until(`the route to node ${m}`, () => godwit.route(blockOf(m)))).toMatchObject({
        nextHop: addressOf(m),
        asPath: [],
        localPref: 100,
      });
    }
    await until('routes in node 3', () =>
      nodes.every((m) => m === 3 || kernel(3).includes(`${blockOf(m)} via ${addressOf(m)}`)),
    );
    await until('everybody reaches node 3', () => everybodyReaches(3), 20_000);
    for (const bird of others) {
      expect(bird.birdc('show', 'route', 'for', podOf(3), 'all')).toContain(`BGP.next_hop: ${addressOf(3)}`);
    }

    // a block that comes and goes
    await godwit.control.post('/announce', { prefix: '10.233.3.64/26' });
    await until('the new block is everywhere', () => others.every((b) => kernel(b.n).includes('10.233.3.64/26')));
    await godwit.control.post('/withdraw', { prefix: '10.233.3.64/26' });
    await until('and gone', () => others.every((b) => !kernel(b.n).includes('10.233.3.64/26')));
  }, 100_000);
});
