// Random histories of a cluster under automatic reflectors: who knew each other goes on knowing each other, at every step.
import { describe, expect, test } from 'bun:test';
import { generator, pairOf, Simulation } from './simulation.ts';
import type { ReflectorPlan, TopologyReport } from './topology.ts';

interface Options {
  readonly seed: number;
  readonly events: number;
  readonly faults: boolean;
  /** Sessions that never come up, of one node. */
  readonly firewall: boolean;
  /** Nodes move to other failure domains, are marked to leave and are not any more. */
  readonly labels?: boolean;
}

/** Plays a history; throws at the first pair that lost a route it must not lose. */
function play({ seed, events, faults, firewall, labels }: Options): Simulation {
  const random = generator(seed);
  const sim = new Simulation({ threshold: 5, count: 2 + random(2), holdDown: 10, patience: 60 });
  const zone = () => 'abc'[random(3)]!;
  const pick = (): string => [...sim.nodes.keys()][random(sim.nodes.size)]!;
  for (let i = 0; i < 3 + random(6); i++) sim.add(zone());
  // in some histories routes crawl, in some sessions do, and everybody else is fast
  const pace = { connect: 1 + random(6), exchange: [0, 1, 4][random(3)]! };
  /** Pairs that knew each other by every session they should have. */
  let known = new Set<string>();
  const old: { plan: ReflectorPlan | undefined; reports: ReadonlyMap<string, TopologyReport> }[] = [];
  /** A second fault waits until the first is healed: no number of reflectors survives all of them failing. */
  let healed = true;
  let before: ReflectorPlan | undefined;
  const forget = (name: string) => (known = new Set([...known].filter((pair) => !pair.split(' ').includes(name))));
  const fall = (name: string) => {
    forget(name);
    healed = false;
  };
  for (let event = 0; event < events; event++) {
    const name = pick();
    const kind = random(100);
    if (kind < 15) sim.deliver(name);
    else if (kind < 40) for (let i = 0; i < pace.connect; i++) sim.connect(name, pick());
    else if (kind < 70) for (let i = 0; i < pace.exchange; i++) sim.exchange(name, pick());
    else if (kind < 82) sim.report(name);
    else if (kind < 90) {
      // somebody acts on what it sees, which may be old
      const seen = old.length > 0 && random(3) === 0 ? old[random(old.length)]! : sim;
      sim.coordinate(seen.plan, seen.reports);
      old.push({ plan: sim.plan, reports: new Map(sim.reports) });
      if (old.length > 4) old.shift();
    } else if (kind < 94) sim.now += 1000 * (1 + random(10));
    else if (kind < 95 && sim.nodes.size < 14) {
      const added = sim.add(zone());
      // a node cannot be told apart from Calico’s before it says something
      sim.deliver(added);
      if (firewall && sim.blocked.size === 0) for (let i = 0; i < 2; i++) sim.blocked.add(pairOf(added, pick()));
    } else if (kind < 96 && sim.nodes.size > 2 && healed) {
      fall(name);
      sim.remove(name);
    } else if (kind < 97 && faults && healed && sim.nodes.get(name)!.alive) {
      fall(name);
      sim.crash(name);
    } else if (kind < 98 && !sim.nodes.get(name)!.alive) sim.restart(name);
    else if (kind < 99) sim.expire(name);
    else if (random(6) === 0) sim.settings = { ...sim.settings!, count: 2 + random(2) };
    if (labels && random(12) === 0) sim.label(pick(), zone(), random(3) === 0);
    if (pace.exchange === 0) {
      if (random(4) === 0) sim.exchange(pick(), pick());
      sim.deliver(pick());
      sim.report(pick());
      if (random(3) === 0) sim.coordinate();
    }
    // the worst moment: what served before is gone by word of the plan, and one of the new is gone as well
    const reflector = sim.plan?.target.reflectors[random(2)];
    const turned = before?.keep !== undefined && sim.plan?.keep === undefined && reflector !== undefined;
    if (turned && faults && healed && random(2) === 0 && sim.nodes.get(reflector)?.alive === true) {
      for (const node of sim.alive) sim.deliver(node);
      fall(reflector);
      sim.crash(reflector);
    }
    before = sim.plan;
    if (random(40) === 0 && !firewall && sim.alive.length === sim.nodes.size) sim.settle();
    if (!healed && sim.atRest) healed = true;
    if (event % 7 === 0 && sim.atRest) {
      for (const a of sim.alive) for (const b of sim.alive) if (a < b) known.add(pairOf(a, b));
    }
    for (const pair of known) {
      const [a, b] = pair.split(' ') as [string, string];
      if (sim.nodes.get(a)!.knows(b) && sim.nodes.get(b)!.knows(a)) continue;
      throw new Error(
        `seed ${seed}, event ${event} (${kind}): ${pair} lost each other under ${JSON.stringify(sim.plan)}`,
      );
    }
  }
  return sim;
}

describe('random histories', () => {
  test('nodes come and go, plans and reports are seen late: nobody loses anybody', () => {
    let reflecting = 0;
    let meshed = 0;
    for (let seed = 1; seed <= 80; seed++) {
      const sim = play({ seed, events: 800, faults: false, firewall: false });
      if (sim.plan && !sim.plan.target.mesh) reflecting++;
      else meshed++;
    }
    // the histories do go both ways
    expect(Math.min(reflecting, meshed)).toBeGreaterThan(10);
  }, 60_000);

  test('one node after another is killed, reflectors too', () => {
    for (let seed = 1000; seed < 1100; seed++) play({ seed, events: 600, faults: true, firewall: false });
  }, 60_000);

  test('labels change: nobody loses anybody, and no node that is to leave reflects once all is quiet', () => {
    let left = 0;
    for (let seed = 3000; seed < 3060; seed++) {
      const sim = play({ seed, events: 600, faults: false, firewall: false, labels: true });
      for (const [name, { alive }] of sim.nodes) if (!alive) sim.restart(name);
      sim.settle();
      const { reflectors = [] } = sim.plan?.target ?? {};
      const leaving = [...sim.nodes.values()].filter(({ speaker }) => speaker.leaving === true);
      if (sim.nodes.size - leaving.length < sim.settings!.count) continue;
      left += leaving.length;
      for (const { speaker } of leaving) expect([seed, reflectors.includes(speaker.name)]).toEqual([seed, false]);
    }
    expect(left).toBeGreaterThan(10);
  }, 60_000);

  test('a node that some sessions never come up with takes nobody along', () => {
    for (let seed = 2000; seed < 2100; seed++) play({ seed, events: 600, faults: false, firewall: true });
  }, 60_000);
});
