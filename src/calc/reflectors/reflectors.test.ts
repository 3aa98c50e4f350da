import { describe, expect, test } from 'bun:test';
import { defaultRouteReflectors, parseGiven, parseSelector } from '../../model/mod.ts';
import type { Resource } from '../../model/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import type { BgpResources } from '../bgp/cluster.ts';
import { Cluster } from '../bgp/cluster.ts';
import { bgpOf } from '../bgp/sessions.ts';
import { chooseReflectors } from './choose.ts';
import type { Candidate } from './choose.ts';
import { effectiveBgp } from './effective.ts';
import { generator, Simulation } from './simulation.ts';
import { lowWater, nextPlan, SILENCE_MS } from './step.ts';
import type { Situation } from './step.ts';
import { syncOf } from './sync.ts';
import { adjacent, inForce, meshTopology, topology } from './topology.ts';
import type { ReflectorPlan, TopologyReport } from './topology.ts';

const candidate = (name: string, domain?: string, rest: Partial<Candidate> = {}): Candidate => ({
  ...{ name, domain, ready: true, lost: false },
  ...rest,
});
const names = (chosen: readonly Candidate[]): string[] => chosen.map(({ name }) => name).sort();

describe('who reflects', () => {
  const twelve = Array.from({ length: 12 }, (_, i) => candidate(`n${i}`, 'abc'[i % 3]));

  test('spread over failure domains', () => {
    const chosen = chooseReflectors([], twelve, 3);
    expect(new Set(chosen.map(({ domain }) => domain)).size).toBe(3);
    expect(
      chooseReflectors([], twelve.toReversed(), 3)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(names(chosen));
  });

  test('a node more moves nobody', () => {
    const before = names(chooseReflectors([], twelve, 2));
    for (let i = 0; i < 50; i++) {
      const more = [...twelve, candidate(`m${i}`, 'd')];
      expect(names(chooseReflectors(before, more, 2))).toEqual(before);
    }
  });

  test('who is away is replaced when lost, and kept when nobody can take its place', () => {
    const away = (rest: Partial<Candidate>) => [candidate('a', 'x', { ready: false, ...rest }), candidate('b', 'y')];
    expect(names(chooseReflectors(['a', 'b'], [...away({}), candidate('c', 'x')], 2))).toEqual(['a', 'b']);
    expect(names(chooseReflectors(['a', 'b'], [...away({ lost: true }), candidate('c', 'x')], 2))).toEqual(['b', 'c']);
    expect(names(chooseReflectors(['a', 'b'], away({ lost: true }), 2))).toEqual(['a', 'b']);
  });

  test('all in one domain: one of them moves out as soon as it can', () => {
    const same = [candidate('a', 'x'), candidate('b', 'x'), candidate('c', 'x')];
    const before = names(chooseReflectors([], same, 2));
    const after = names(chooseReflectors(before, [...same, candidate('d', 'y')], 2));
    expect(after).toContain('d');
    expect(after.filter((name) => before.includes(name))).toHaveLength(1);
  });

  test('fewer wanted: the fullest domain gives', () => {
    const some = [candidate('a', 'x'), candidate('b', 'x'), candidate('c', 'y')];
    expect(names(chooseReflectors(['a', 'b', 'c'], some, 2))).toContain('c');
  });
});

const node = (number: number, spec: object = {}, labels: Record<string, string> = {}): Resource<'Node'> => {
  const parsed = parseGiven({
    kind: 'Node',
    apiVersion: 'projectcalico.org/v3',
    metadata: { name: `n${number}`, labels },
    spec: { bgp: { ipv4Address: `192.168.0.${number}/24`, ...spec } },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value as Resource<'Node'>;
};
const resourcesOf = (nodes: readonly Resource<'Node'>[]): BgpResources => ({
  ...{ nodes, peers: [], configurations: [], filters: [], pools: [] },
});
const address = (number: number) => `192.168.0.${number}` as IpAddress;

describe('a node’s sessions', () => {
  const resources = resourcesOf([1, 2, 3, 4, 5].map((number) => node(number)));
  const plan = (target: ReflectorPlan['target'], keep?: ReflectorPlan['keep']): ReflectorPlan => ({
    ...{ generation: 1, target, keep, members: [] },
  });
  const neighbors = (name: string, p: ReflectorPlan | undefined) =>
    effectiveBgp(name, resources, p)!.sessions.map(
      (session) => `${session.neighbor}${session.reflectorClient ? ' client' : ''}`,
    );

  test('without a plan, and under a plan that is a mesh, they are Calico’s', () => {
    for (const p of [undefined, plan(meshTopology)])
      expect(effectiveBgp('n1', resources, p)).toEqual(bgpOf('n1', resources));
  });

  test('clients have their reflectors, reflectors everyone', () => {
    const p = plan(topology(['n2', 'n4'], []));
    expect(neighbors('n1', p)).toEqual(['192.168.0.2', '192.168.0.4']);
    expect(neighbors('n2', p)).toEqual([1, 3, 4, 5].map((number) => `192.168.0.${number} client`));
    const [session] = effectiveBgp('n2', resources, p)!.sessions;
    expect(session!.clusterId).toBe(address(2));
  });

  test('on the way nothing is taken: the mesh’s sessions are the same but for the role', () => {
    const mesh = bgpOf('n2', resources)!.sessions;
    const both = effectiveBgp('n2', resources, plan(topology(['n2', 'n4'], []), meshTopology))!.sessions;
    expect(both.map((session) => ({ ...session, reflectorClient: false, clusterId: undefined }))).toEqual(
      mesh.map((session) => ({ ...session, clusterId: undefined })),
    );
    expect(neighbors('n1', plan(topology(['n2', 'n4'], []), meshTopology))).toHaveLength(4);
  });

  test('a node with sessions to everyone, and reflectors made by hand, which no plan touches', () => {
    expect(neighbors('n1', plan(topology(['n2'], ['n5'])))).toEqual(['192.168.0.2', '192.168.0.5']);
    expect(neighbors('n5', plan(topology(['n2'], ['n5'])))).toHaveLength(4);
    const manual = resourcesOf([node(1), node(2), node(3, { routeReflectorClusterID: '1.0.0.1' })]);
    const p = plan(topology(['n2'], []));
    expect(effectiveBgp('n1', manual, p)!.sessions.map(({ neighbor }) => neighbor)).toEqual([address(2)]);
    expect(effectiveBgp('n3', manual, p)).toEqual(bgpOf('n3', manual));
  });

  test('both ends agree', () => {
    const random = generator(7);
    for (let i = 0; i < 200; i++) {
      const some = () => [1, 2, 3, 4, 5].filter(() => random(3) === 0).map((number) => `n${number}`);
      const p = plan(topology(some(), some()), random(2) === 0 ? undefined : topology(some(), some()));
      for (const a of [1, 2, 3, 4, 5]) {
        for (const b of [1, 2, 3, 4, 5]) {
          const [there, back] = [effectiveBgp(`n${a}`, resources, p)!, effectiveBgp(`n${b}`, resources, p)!];
          const has = there.sessions.some(({ neighbor }) => neighbor === address(b));
          expect(back.sessions.some(({ neighbor }) => neighbor === address(a))).toBe(has);
          if (a !== b) expect(adjacent(inForce(p), `n${a}`, `n${b}`)).toBe(has);
        }
      }
    }
  });
});

describe('whether the target carries everything', () => {
  const { speakers } = new Cluster(resourcesOf([1, 2, 3, 4, 5].map((number) => node(number))));
  const from = (owner: number, ...neighbors: number[]) => ({
    ...{ prefix: `10.0.${owner}.0/26` as Prefix, nextHop: address(owner), from: neighbors.map(address) },
  });
  const plan: ReflectorPlan = {
    generation: 2,
    target: topology(['n2', 'n4'], ['n5']),
    keep: meshTopology,
    members: [],
  };
  const look = (name: string, destinations: ReturnType<typeof from>[], down: number[] = [], p = plan) =>
    syncOf(name, speakers, p, {
      ...{ destinations, kernelPending: false, synced: (neighbor) => !down.map(address).includes(neighbor) },
    });
  const all = [from(2, 2, 4), from(3, 3, 2, 4), from(4, 4, 2), from(5, 5)];

  test('every prefix from every reflector, or from its node itself where that session stays', () => {
    expect(look('n1', all)).toEqual({ state: 'synced', missing: [] });
    expect(look('n1', [from(3, 3, 2)])).toEqual({ state: 'routes', missing: ['n3'] });
    expect(look('n1', [from(3, 3)])).toEqual({ state: 'routes', missing: ['n3'] });
    expect(look('n1', [from(3, 2, 4), from(5, 2, 4)]).state).toBe('synced');
  });

  test('sessions with reflectors must be up; others need not', () => {
    expect(look('n1', all, [4]).state).toBe('sessions');
    expect(look('n1', all, [3, 5]).state).toBe('synced');
  });

  test('a reflector lives by its clients’ own word, and so does a node of a mesh', () => {
    expect(look('n2', [from(3, 4)])).toEqual({ state: 'routes', missing: ['n3'] });
    const mesh = { ...plan, target: meshTopology };
    expect(look('n1', [from(3, 2, 4)], [], mesh)).toEqual({ state: 'routes', missing: ['n3'] });
    expect(look('n1', [from(3, 3)], [], mesh).state).toBe('synced');
  });

  test('not before it is in the kernel; prefixes of routers outside do not count', () => {
    expect(syncOf('n1', speakers, plan, { synced: () => true, destinations: [], kernelPending: true }).state).toBe(
      'routes',
    );
    expect(look('n1', [from(99, 99)]).state).toBe('synced');
  });
});

describe('steps', () => {
  const speakersOf = (count: number, as?: (i: number) => number) => [
    ...new Cluster(
      resourcesOf(Array.from({ length: count }, (_, i) => node(i + 1, as ? { asNumber: as(i + 1) } : {}))),
    ).speakers.values(),
  ];
  const settings = { ...defaultRouteReflectors, mode: 'auto' as const, threshold: 10 };
  const synced = (generation: number): TopologyReport => ({ generation, state: 'synced', missing: [], ready: true });
  const situation = (count: number, generation: number, rest: Partial<Situation> = {}): Situation => {
    const speakers = speakersOf(count);
    return {
      ...{ settings, speakers, as: 64512, meshEnabled: true, planAge: 0, absentFor: () => 0, unreadyFor: () => 0 },
      reports: new Map(speakers.map(({ name }) => [name, synced(generation)])),
      ...rest,
    };
  };

  test('nothing configured, or too few nodes: no plan', () => {
    expect(nextPlan(undefined, situation(50, 0, { settings: undefined }))).toBeUndefined();
    expect(nextPlan(undefined, situation(10, 0))).toBeUndefined();
  });

  test('over the threshold and back, with a gap between', () => {
    const first = nextPlan(undefined, situation(11, 0))!;
    expect(first.target.reflectors).toHaveLength(2);
    expect(first.keep).toEqual(meshTopology);
    // reports of another generation are no word about this one
    expect(nextPlan(first, situation(11, 0))).toBe(first);
    const second = nextPlan(first, situation(11, 1))!;
    expect([second.keep, second.generation]).toEqual([undefined, 2]);
    expect(nextPlan(second, situation(9, 2))!.target.mesh).toBe(false);
    expect(lowWater(10)).toBe(8);
    const third = nextPlan(second, situation(8, 2))!;
    expect([third.target, third.keep]).toEqual([meshTopology, second.target]);
    expect(nextPlan(third, situation(8, 3))!.keep).toBeUndefined();
  });

  test('without a mesh, reflectors serve however few', () => {
    expect(nextPlan(undefined, situation(3, 0, { meshEnabled: false }))!.target.reflectors).toHaveLength(2);
  });

  test('nodes of another AS, excluded ones and those that never speak keep a session with every other', () => {
    const speakers = speakersOf(12, (i) => (i === 3 ? 65000 : 64512));
    const exclude = parseSelector('has(calico)');
    if (!exclude.ok) throw new Error('selector');
    const reports = new Map(speakers.filter(({ name }) => name !== 'n7').map(({ name }) => [name, synced(0)]));
    const calico = speakers.map((speaker) =>
      speaker.name === 'n5' ? { ...speaker, labels: { calico: '' } } : speaker,
    );
    const rest = { speakers: calico, reports, settings: { ...settings, exclude: exclude.value } };
    const early = nextPlan(undefined, situation(12, 0, rest))!;
    expect(early.target.direct).toEqual(['n3', 'n5']);
    // nobody knows yet what n7 is: what was before stays
    const current = new Map([...reports].map(([name, report]) => [name, { ...report, generation: 1 }]));
    expect(nextPlan(early, situation(12, 1, { ...rest, reports: current }))).toBe(early);
    const late = nextPlan(early, situation(12, 1, { ...rest, absentFor: (name) => (name === 'n7' ? SILENCE_MS : 0) }))!;
    expect(late.target.direct).toEqual(['n3', 'n5', 'n7']);
  });

  test('reports that vanish all at once take nothing away', () => {
    const first = nextPlan(undefined, situation(11, 0))!;
    expect(nextPlan(first, situation(11, 1, { reports: new Map() }))).toBe(first);
    const long = { reports: new Map(), absentFor: () => 1e9, unreadyFor: () => 1e9 };
    expect(nextPlan(first, situation(11, 1, long))!.keep).toEqual(meshTopology);
  });

  test('a node that does not get in sync: the others move on, it keeps a session with each, and is tried anew', () => {
    const first = nextPlan(undefined, situation(11, 0))!;
    const slow = (generation: number, state: 'sessions' | 'synced', planAge: number) => {
      const { reports } = situation(11, generation);
      return situation(11, generation, {
        planAge,
        reports: new Map([...reports, ['n9', { ...synced(generation), state }]]),
      });
    };
    expect(nextPlan(first, slow(1, 'sessions', 299_000))).toBe(first);
    const second = nextPlan(first, slow(1, 'sessions', 300_000))!;
    expect([second.target.direct, second.keep?.mesh]).toEqual([['n9'], true]);
    const third = nextPlan(second, slow(2, 'sessions', 300_000))!;
    expect([third.target.direct, third.keep]).toEqual([['n9'], undefined]);
    expect(nextPlan(third, slow(3, 'sessions', 900_000))).toBe(third);
    const fourth = nextPlan(third, slow(3, 'synced', 900_000))!;
    expect([fourth.target.direct, fourth.keep?.direct]).toEqual([[], ['n9']]);
  });

  test('a reflector that is away is replaced after the hold-down, the one that is left stays', () => {
    let plan = nextPlan(undefined, situation(20, 0))!;
    plan = nextPlan(plan, situation(20, 1))!;
    const [gone, left] = plan.target.reflectors as [string, string];
    const { reports } = situation(20, 2);
    const without = new Map([...reports].filter(([name]) => name !== gone));
    const away = (ms: number) => (name: string) => (name === gone ? ms : 0);
    const look = (ms: number) => situation(20, 2, { reports: without, absentFor: away(ms), unreadyFor: away(ms) });
    expect(nextPlan(plan, look(29_000))).toBe(plan);
    const next = nextPlan(plan, look(30_000))!;
    expect(next.target.reflectors).toContain(left);
    expect(next.target.reflectors).not.toContain(gone);
    expect(next.keep).toEqual(plan.target);
  });
});

test('150 nodes, one by one and back: two turns of topology, few sessions, nobody reshuffled', () => {
  const sim = new Simulation({ threshold: 100 });
  const reflectors = new Set<string>();
  for (let i = 0; i < 150; i++) {
    sim.add('abc'[i % 3]!);
    if (i > 95 && i % 6 === 0) sim.settle();
    for (const name of sim.plan?.target.reflectors ?? []) reflectors.add(name);
  }
  sim.settle();
  expect(reflectors.size).toBe(2);
  expect(sim.atRest).toBe(true);
  const sessions = [...sim.nodes.values()].map(({ heard }) => heard.size);
  expect(sessions.filter((count) => count === 2)).toHaveLength(148);
  expect(sessions.filter((count) => count === 149)).toHaveLength(2);
  expect(sim.plan!.generation).toBe(2);
  const [killed] = [...reflectors] as [string];
  sim.crash(killed);
  sim.expire(killed);
  for (let i = 0; i < 4; i++) {
    sim.now += 20_000;
    sim.settle();
  }
  expect(sim.plan!.target.reflectors).not.toContain(killed);
  expect(sim.plan!.generation).toBe(4);
  sim.remove(killed);
  for (const name of [...sim.nodes.keys()].filter((n) => !sim.plan!.target.reflectors.includes(n)).slice(0, 75)) {
    sim.remove(name);
  }
  sim.settle();
  expect([sim.plan!.target, sim.plan!.keep]).toEqual([meshTopology, undefined]);
  expect([...sim.nodes.values()].every(({ heard }) => heard.size === sim.nodes.size - 1)).toBe(true);
}, 60_000);
