import { describe, expect, test } from 'bun:test';
import type { IpAddress, Prefix } from '../net/mod.ts';
import { finishPlan } from './finish.ts';
import { planMigration } from './plan.ts';
import type { MigrationInputs } from './plan.ts';
import { encodeDecisions, parseDecisions, parseMigrationReport } from './records.ts';
import type { MigrationReport, Stage } from './records.ts';

const address = (n: number) => `192.168.1.${n}` as IpAddress;
const report = (stage: Stage = 'subnets', rest: Partial<MigrationReport> = {}): MigrationReport => ({
  ...{ networks: ['subnets', 'blocks'], stage, ready: true, device: 'eth0', pods: { subnets: 1, blocks: 0 } },
  bridgeUsers: [],
  ...rest,
});
const numbers = [1, 2, 3];

function inputs(rest: Partial<MigrationInputs> = {}): MigrationInputs {
  return {
    to: 'blocks',
    networks: ['10.244.0.0/16' as Prefix],
    leases: numbers.map((n) => ({ subnet: `10.244.${n}.0/24` as Prefix, node: address(n) })),
    nodes: numbers.map((n) => ({ name: `n${n}`, addresses: { 4: address(n) } })),
    pools: [{ name: 'p', cidr: '10.233.0.0/16' as Prefix, disabled: false, encapsulation: 'none', crossSubnet: false }],
    blocks: [],
    ...{ stages: new Map(), finished: false, backend: 'host-gw' },
    reports: new Map(numbers.map((n) => [`n${n}`, report()])),
    nextBlock: (_node, _family, taken) =>
      numbers.map((n) => `10.233.${n}.0/26` as Prefix).find((cidr) => !taken.has(cidr)),
    ...rest,
  };
}

describe('the plan of a move', () => {
  test('each step moves one node, says its block, and takes no route away', () => {
    const { problems, steps, afterwards, tables } = planMigration(inputs());
    expect(problems).toEqual([]);
    expect(steps.map(({ node, claims }) => `${node} ${claims.join()}`)).toEqual([
      'n1 10.233.1.0/26',
      'n2 10.233.2.0/26',
      'n3 10.233.3.0/26',
    ]);
    expect(steps[1]!.changes).toEqual([
      { node: 'n1', added: ['10.233.2.0/26 via 192.168.1.2 dev eth0 proto 71'], removed: [] },
      { node: 'n2', added: ['blackhole 10.233.2.0/26 proto 71'], removed: [] },
      { node: 'n3', added: ['10.233.2.0/26 via 192.168.1.2 dev eth0 proto 71'], removed: [] },
    ]);
    expect(afterwards[0]).toEqual({
      ...{ node: 'n1', added: [] },
      removed: [
        '10.244.1.0/24 dev cni0',
        '10.244.2.0/24 via 192.168.1.2 dev eth0 proto 71',
        '10.244.3.0/24 via 192.168.1.3 dev eth0 proto 71',
      ],
    });
    for (const { before, after } of tables) {
      expect(before).toHaveLength(3);
      expect(after).toHaveLength(6);
      for (const route of before) expect(after).toContain(route);
    }
  });

  test('at every mixture of stages, every node has a route to every prefix', () => {
    for (let mask = 0; mask < 8; mask++) {
      const moved = numbers.filter((n) => (mask >> (n - 1)) & 1);
      const blocks = moved.map((n) => ({ cidr: `10.233.${n}.0/26` as Prefix, node: `n${n}` }));
      const stages = new Map(moved.map((n) => [`n${n}`, 'blocks' as const]));
      const { tables, steps } = planMigration(inputs({ stages, blocks }));
      expect(steps.map(({ node }) => node)).toEqual(numbers.filter((n) => !moved.includes(n)).map((n) => `n${n}`));
      for (const { before } of tables) {
        for (const prefix of [...numbers.map((n) => `10.244.${n}.0/24`), ...blocks.map(({ cidr }) => cidr)])
          expect(before.filter((route) => route.includes(`${prefix} `))).toHaveLength(1);
      }
    }
  });

  test('a node that has a block claims no other; a node without room is told', () => {
    const blocks = [{ cidr: '10.233.9.0/26' as Prefix, node: 'n2' }];
    expect(planMigration(inputs({ blocks })).steps[1]!.claims).toEqual([]);
    expect(planMigration(inputs({ nextBlock: () => undefined })).problems).toEqual(
      numbers.map((n) => `node n${n}: no pool has an IPv4 block for it`),
    );
  });

  test.each<[string, Partial<MigrationInputs>, string]>([
    ['no network', { networks: [] }, 'there is no network of leases'],
    ['no pool', { pools: [] }, 'there is no IPPool'],
    [
      'overlap',
      { pools: [{ ...inputs().pools[0]!, cidr: '10.244.128.0/17' as Prefix }] },
      'pool p (10.244.128.0/17) overlaps the network of leases (10.244.0.0/16)',
    ],
    [
      'a stranger’s lease',
      { leases: [{ subnet: '10.244.9.0/24' as Prefix, node: address(9) }] },
      'lease 10.244.9.0/24 is of 192.168.1.9',
    ],
    ['an agent with one network', { reports: new Map([['n1', report()]]) }, 'node n2: its agent does not say'],
    ['an unknown node', { only: ['n7'] }, 'there is no node n7'],
  ])('refused: %s', (_what, rest, problem) => {
    expect(planMigration(inputs(rest)).problems.join('\n')).toContain(problem);
  });

  test('a disabled pool may lie where it wants; what is not ready is waited for', () => {
    const disabled = { ...inputs().pools[0]!, name: 'q', cidr: '10.244.0.0/16' as Prefix, disabled: true };
    expect(planMigration(inputs({ pools: [...inputs().pools, disabled] })).problems).toEqual([]);
    const reports = new Map([...inputs().reports, ['n2', report('subnets', { ready: false, reason: 'bridge' })]]);
    const plan = planMigration(inputs({ reports }));
    expect([plan.problems, plan.waiting]).toEqual([[], ['node n2 is not ready: bridge']]);
  });

  test('back is open whatever is wrong, and changes no route', () => {
    const stages = new Map([['n2', 'blocks' as const]]);
    const plan = planMigration(inputs({ to: 'subnets', stages, networks: [], pools: [], reports: new Map() }));
    expect(plan.problems).toEqual([]);
    expect(plan.steps).toEqual([{ node: 'n2', from: 'blocks', to: 'subnets', claims: [], changes: [] }]);
  });

  test('tunnels are told as they will be', () => {
    const pool = { ...inputs().pools[0]!, encapsulation: 'ipip' as const };
    const route = (rest: Partial<typeof pool>) =>
      planMigration(inputs({ pools: [{ ...pool, ...rest }] })).steps[0]!.changes[1]!.added[0];
    expect(route({})).toBe('10.233.1.0/26 via 192.168.1.1 dev tunl0 proto 71 onlink');
    expect(route({ crossSubnet: true })).toBe('10.233.1.0/26 via 192.168.1.1 dev eth0 proto 71');
    expect(planMigration(inputs({ pools: [pool] })).warnings).toHaveLength(1);
    // the others are on another subnet than node 1
    const connected = (n: number) => [`192.168.${n === 1 ? 1 : 2}.0/24` as Prefix];
    const nodes = inputs().nodes.map((node, i) => ({ ...node, connected: connected(i + 1) }));
    const apart = (rest: Partial<MigrationInputs>) =>
      planMigration(inputs({ nodes, ...rest })).steps[0]!.changes[1]!.added[0];
    expect(apart({ pools: [{ ...pool, crossSubnet: true }] })).toBe(
      '10.233.1.0/26 via 192.168.1.1 dev tunl0 proto 71 onlink',
    );
    expect(apart({})).toBe('10.233.1.0/26 via (the router to 192.168.1.1) proto 71');
    const vxlan = [{ ...pool, encapsulation: 'vxlan' as const }];
    expect(planMigration(inputs({ pools: vxlan })).steps[0]!.changes[1]!.added[0]).toBe(
      '10.233.1.0/26 via (tunnel address of n1) dev vxlan.calico proto 71 onlink',
    );
  });

  test('leases by VXLAN, as their backend has it', () => {
    const table = (directRouting: boolean) =>
      planMigration(inputs({ backend: 'vxlan', vxlan: { vni: 1, directRouting } })).tables[0]!.before;
    expect(table(false)[1]).toBe('10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 71 onlink');
    expect(table(true)[1]).toBe('10.244.2.0/24 via 192.168.1.2 dev eth0 proto 71');
    expect(planMigration(inputs({ backend: 'wireguard' })).problems).toEqual([
      'the network of leases has backend wireguard, which no agent carries; allowed: host-gw, vxlan',
    ]);
  });

  test('a family that new pods would lose is told', () => {
    const networks = ['10.244.0.0/16', 'fd00:244::/48'] as Prefix[];
    expect(planMigration(inputs({ networks })).warnings).toEqual([
      'pods on leases have IPv6 addresses, and no pool has any: new pods would have none',
    ]);
  });
});

test('records: what was written is read, what is odd is refused', () => {
  const stages = new Map<string, Stage>([
    ['n2', 'blocks'],
    ['n1', 'subnets'],
  ]);
  const text = encodeDecisions({ stages, finished: false });
  expect(text).toBe('{"nodes":{"n1":"subnets","n2":"blocks"}}');
  expect(parseDecisions(text)).toEqual({
    ok: true,
    value: { stages: new Map([...stages].reverse()), finished: false },
  });
  expect(parseDecisions(encodeDecisions({ stages, finished: true }))).toMatchObject({ value: { finished: true } });
  for (const wrong of ['', '[]', '{}', '{"nodes":{"n1":"bridge"}}', 'null'])
    expect(parseDecisions(wrong).ok).toBe(false);
  for (const text of ['{}', '{"networks":["x"]}']) expect(parseMigrationReport(text).ok).toBe(false);
});

describe('the end of a move', () => {
  const blocks = numbers.map((n) => ({ cidr: `10.233.${n}.0/26` as Prefix, node: `n${n}` }));
  const moved = (rest: Partial<MigrationReport> = {}) =>
    new Map(numbers.map((n) => [`n${n}`, report('blocks', { pods: { subnets: 0, blocks: 1 }, ...rest })]));
  const picture = (rest: Partial<MigrationInputs> = {}) => ({ ...inputs({ blocks, ...rest }), revision: 1 });

  test('all that came with leases goes, once nobody uses it', () => {
    const { problems, nodes } = finishPlan(picture({ reports: moved() }));
    expect(problems).toEqual([]);
    expect(nodes[1]).toEqual({
      node: 'n2',
      removed: [
        '10.244.1.0/24 via 192.168.1.1 dev eth0 proto 71',
        '10.244.2.0/24 dev cni0',
        '10.244.3.0/24 via 192.168.1.3 dev eth0 proto 71',
      ],
    });
  });

  test('refused while a node is not moved, a pod or anything else is on a bridge, an agent is silent', () => {
    const problems = (rest: Partial<MigrationInputs>) => finishPlan(picture(rest)).problems.join('\n');
    expect(problems({})).toContain('node n1: its new pods still come from its lease: godwit migrate run');
    const users = ['shop/a', 'interface veth0'];
    expect(problems({ reports: moved({ bridgeUsers: users }) })).toContain(
      'node n2: its bridge is used by shop/a, interface veth0',
    );
    expect(problems({ reports: moved({ pods: { subnets: 2, blocks: 0 } }) })).toContain('is used by 2 pods');
    expect(problems({ reports: moved({ ready: false, reason: 'x' }) })).toContain('node n1 is not ready: x');
    expect(problems({ reports: new Map([...moved()].slice(1)) })).toContain('node n1: its agent does not say');
  });

  test('after it there is no way back, and no step forward', () => {
    expect(planMigration(inputs({ to: 'subnets', finished: true })).problems.join()).toContain('is finished');
    expect(planMigration(inputs({ finished: true })).steps).toEqual([]);
    expect(finishPlan(picture({ finished: true, reports: new Map() }))).toMatchObject({ problems: [], finished: true });
  });
});
