// Way one: every node peers with its own default gateway, and the gateway takes whoever comes from its segment. Real
// agents, and FRR, BIRD and Godwit as gateways, as routers with an AS of their own and as reflectors; no tunnel anywhere.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'bun:test';
import { ResourceClient } from '../../src/model/mod.ts';
import { claim, poolOf, putResource } from '../support/calico.ts';
import { until } from '../support/netns.ts';
import { have } from '../support/peers.ts';
import { programs, startGateway } from './gateways.ts';
import type { Kind, Mode } from './gateways.ts';
import { main, Racks, racks } from './racks.ts';
import type { Rack } from './racks.ts';

const kinds = (['FRR', 'BIRD', 'Godwit'] as const).filter((kind) =>
  have(`dynamic neighbours with ${kind}`, '/usr/sbin/ip', 'ping', ...programs[kind]),
);
const nodes = [
  { name: 'a1', rack: 'a', number: 11, block: '10.233.1.0/26', pod: '10.233.1.5' },
  { name: 'a2', rack: 'a', number: 12, block: '10.233.2.0/26', pod: '10.233.2.5' },
  { name: 'b1', rack: 'b', number: 11, block: '10.233.3.0/26', pod: '10.233.3.5' },
] as const;
type Node = (typeof nodes)[number];
const addressOf = ({ rack, number }: Node): string => `${racks[rack].subnet}.${number}`;

describe.skipIf(kinds.length === 0)('every node peers with its own gateway', () => {
  let all: Racks;

  const setUp = async (mode: Mode) => {
    const external = mode === 'eBGP for each rack';
    const configuration = { nodeToNodeMeshEnabled: false, asNumber: 64_512 };
    await putResource(all.store, { kind: 'BGPConfiguration', metadata: { name: 'default' }, spec: configuration });
    // a node of the same rack has the AS number of one's own
    const spec = { peerIP: 'gateway', ...(external && { numAllowedLocalASNumbers: 1 }) };
    await putResource(all.store, { kind: 'BGPPeer', metadata: { name: 'gateways' }, spec });
    const client = new ResourceClient(all.store);
    for (const { name, rack } of nodes) {
      const { nodeAs, gatewayAs } = racks[rack];
      const numbers = { 'godwit.io/as-number': String(nodeAs), 'godwit.io/gateway-as-number': String(gatewayAs) };
      const got = await until(
        `the Node of ${name}`,
        async () => {
          const found = await client.get('Node', name);
          return found.ok ? found.value : undefined;
        },
        20_000,
      );
      const { spec: before } = got.raw as { spec: Record<string, unknown> };
      await putResource(all.store, {
        kind: 'Node',
        metadata: { name, labels: external ? { rack, ...numbers } : { rack } },
        spec: before,
      });
    }
  };
  const established = (name: string) =>
    until(
      `the session of ${name}`,
      async () => (await all.status(name))?.blocks?.bgp?.sessions.some((s) => s.state === 'Established'),
      20_000,
    );
  /** The way from a node to another's block: over the segment, or by the gateway. */
  const way = (from: Node, to: Node) =>
    `${to.block} via ${from.rack === to.rack ? addressOf(to) : `${racks[from.rack].subnet}.1`}`;

  beforeAll(async () => {
    all = await Racks.start();
    await putResource(all.store, poolOf('10.233.0.0/16'));
    for (const { name, rack, number, block, pod } of nodes) {
      await claim(all.store, name, block);
      all.addNode(name, rack, number);
      all.pod(name, pod);
    }
  });
  afterEach(() => all.stopDaemons());
  afterAll(() => all[Symbol.asyncDispose]());

  const variants = kinds.flatMap((kind: Kind) =>
    (['eBGP for each rack', 'iBGP with reflectors'] as const).map((mode): [Kind, Mode] => [kind, mode]),
  );
  test.each(variants)('%s, %s', async (kind, mode) => {
    await setUp(mode);
    for (const rack of ['a', 'b'] as const) await startGateway(all, kind, rack, mode);
    for (const { name } of nodes) await established(name);
    for (const node of nodes) {
      const others = nodes.filter((n) => n !== node);
      await all.hasRoutes(node.name, `blackhole ${node.block}`, ...others.map((n) => way(node, n)));
    }
    for (const rack of ['a', 'b'] as Rack[]) {
      const expected = nodes.map((n) => {
        const hop = n.rack === rack ? addressOf(n) : racks[n.rack].backbone;
        // a reflector leaves the next hop as it is: the kernel has it by the route to the other rack
        return `${n.block} via ${hop}`;
      });
      await all.hasRoutes(racks[rack].gateway, ...expected);
    }
    for (const from of nodes) {
      for (const to of nodes) {
        if (from !== to) await until(`${from.pod} → ${to.pod}`, () => all.pings(from.name, from.pod, to.pod));
      }
    }
    expect(all.shell('a1', 'ip -o link')).not.toMatch(/tunl0|vxlan/);
  });

  test('a gateway’s own routes are taken by policy only, its word on our own blocks never, and nothing is passed on', async () => {
    await setUp('eBGP for each rack');
    const [a1] = nodes;
    const networks = ['0.0.0.0/0', '172.16.0.0/16', a1.block, '10.233.1.0/27', '10.233.9.0/26'];
    const daemon = await startGateway(all, 'Godwit', 'a', 'eBGP for each rack', { networks });
    await established('a1');
    await established('a2');
    const from = (text: string) => text.split('\n').filter((line) => line.includes('proto 71'));
    const own = () => from(all.shell('a1', 'ip route show table main'));
    const learned = (prefix: string) => `${prefix} via 192.168.1.1 dev eth0 proto 71`;
    const ofA2 = learned(nodes[1].block).replace('192.168.1.1 ', '192.168.1.12 ');
    const has = (...routes: string[]) =>
      until('routes', () =>
        Bun.deepEquals(
          own()
            .map((line) => line.trim())
            .sort(),
          [`blackhole ${a1.block} proto 71`, ...routes].sort(),
        ),
      ).catch((error: unknown) => {
        throw new Error(`${String(error)}: ${own().join('\n')}`);
      });
    await has(ofA2, learned('10.233.9.0/26'));

    const accept = (cidr: string) => ({ cidr, matchOperator: 'Equal', action: 'Accept' });
    const importV4 = [accept('0.0.0.0/0'), accept('172.16.0.0/16')];
    await putResource(all.store, { kind: 'BGPFilter', metadata: { name: 'sites' }, spec: { importV4 } });
    const spec = { peerIP: 'gateway', numAllowedLocalASNumbers: 1, filters: ['sites'] };
    await putResource(all.store, { kind: 'BGPPeer', metadata: { name: 'gateways' }, spec });
    await has(ofA2, learned('10.233.9.0/26'), learned('default'), learned('172.16.0.0/16'));

    // the session is still the one with the kernel's own default route's gateway, and it hears of this node's block only
    const show = ['bgp', 'show', 'routes', '--received', '192.168.1.11', '--json', '--socket', daemon.file('ctl')];
    const received = daemon.askJson(process.execPath, main, ...show) as { routes?: { prefix: string }[] };
    expect(JSON.stringify(received).match(/\d+\.\d+\.\d+\.\d+\/\d+/g)).toEqual([a1.block]);
  });
});
