// Speakers on a network and a clock of the test's own: what happens when, to the second.
import { describe, expect, test } from 'bun:test';
import { ManualClock, silentLogger } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { ip } from '../../net/mod.ts';
import { parseConfig } from '../config/yaml/mod.ts';
import { CeaseSubcode, ceaseNotification, MessageType } from '../wire/mod.ts';
import { FakeNetwork } from './fake-network.ts';
import type { FakeSocket } from './fake-network.ts';
import { createSpeaker } from './speaker.ts';
import type { Speaker, SpeakerOptions } from './speaker.ts';
import type { SpeakerEvent } from './events.ts';

class World implements Disposable {
  readonly clock = new ManualClock();
  readonly network = new FakeNetwork(this.clock);
  readonly stopper = new AbortController();
  readonly events = new Map<string, { at: number; event: SpeakerEvent }[]>();

  speaker(address: string, asn: number, rest: string, options: Partial<SpeakerOptions> = {}): Speaker {
    const parsed = parseConfig(
      `routerId: ${address}\nas: ${asn}\ncontrol: false\nlisten: ['${address}']\nebgpRequiresPolicy: false\n${rest}`,
    );
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    const { clock } = this;
    const network = this.network.host(ip(address));
    const speaker = createSpeaker({ config: parsed.value, clock, network, random: () => 1, ...options });
    const log: { at: number; event: SpeakerEvent }[] = [];
    this.events.set(address, log);
    speaker.on((event) => log.push({ at: clock.now(), event }));
    void speaker.run(this.stopper.signal);
    return speaker;
  }

  /** Lets time pass, a little at a time, with whatever it sets off. */
  async pass(ms: number, step = 50): Promise<void> {
    for (let passed = 0; passed < ms; passed += step) {
      this.clock.advance(step);
      for (let i = 0; i < 6; i++) await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  times(address: string, type: SpeakerEvent['type']): number[] {
    return this.events.get(address)!.flatMap(({ at, event }) => (event.type === type ? [at] : []));
  }

  [Symbol.dispose](): void {
    this.stopper.abort();
  }
}

const [a, b, c] = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const state = (speaker: Speaker, neighbor: string) => speaker.peers.get(ip(neighbor))?.state;
const neighbor = (address: string, asn: number, more = '') =>
  `neighbors: [{ address: ${address}, as: ${asn}${more === '' ? '' : `, ${more}`} }]\n`;

describe('timers', () => {
  test('a peer that vanishes without a word is given up after the hold time', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002, 'timers: { hold: 9 }'));
    world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(1000);
    expect(state(one, b)).toBe('Established');
    await world.pass(60_000, 250);
    expect(world.times(a, 'down')).toEqual([]); // KEEPALIVEs hold it up
    const gone = world.clock.now();
    world.network.down.add(ip(b));
    await world.pass(12_000, 250);
    const [down] = world.times(a, 'down');
    // at most three seconds had passed since the last KEEPALIVE
    expect(down! - gone).toBeGreaterThanOrEqual(5500);
    expect(down! - gone).toBeLessThanOrEqual(9500);
  });

  test('octets that make no message do not hold a session up', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002, 'timers: { hold: 9 }'));
    world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(1000);
    const { socket } = one.peers.get(ip(b))!.session!.connection;
    const { handlers } = socket;
    world.network.down.add(ip(b));
    const gone = world.clock.now();
    // a KEEPALIVE, an octet a second: whole only long after the hold time
    const keepalive = new Uint8Array(19).fill(255, 0, 16);
    keepalive.set([0, 19, MessageType.Keepalive], 16);
    for (let i = 0; i < 18; i++) {
      handlers!.data(keepalive.subarray(i, i + 1));
      await world.pass(1000, 250);
    }
    const [down] = world.times(a, 'down');
    expect(down! - gone).toBeLessThanOrEqual(9500);
  });

  test('dialling somebody who refuses: 1, 2, 4 … 60 seconds', async () => {
    using world = new World();
    world.speaker(a, 65001, neighbor(b, 65002));
    await world.pass(200_000, 100);
    const times = world.network.connections.map((connection) => connection.at);
    const waits = times.slice(1).map((at, i) => Math.round((at - times[i]!) / 1000));
    expect(waits.slice(0, 8)).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
  });

  test('dialling somebody who does not answer: again at every ConnectRetry', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002, 'timers: { connectRetry: 10 }'));
    world.network.down.add(ip(b));
    await world.pass(35_000, 100);
    expect(state(one, b)).toBe('Connect');
    world.network.down.delete(ip(b));
    world.speaker(b, 65002, neighbor(a, 65001, 'passive: true'));
    await world.pass(11_000, 100);
    expect(state(one, b)).toBe('Established');
  });

  test('KEEPALIVEs come at a third of the hold time', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002, 'timers: { hold: 30 }'));
    world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(1000);
    const { counts } = one.peers.get(ip(b))!;
    const before = counts.messagesIn;
    await world.pass(100_000, 500);
    expect(counts.messagesIn - before).toBeGreaterThanOrEqual(9);
    expect(counts.messagesIn - before).toBeLessThanOrEqual(10);
  });

  test('a peer that takes no bytes is closed after the send hold time, KEEPALIVEs notwithstanding', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002, 'timers: { sendHold: 20, hold: 60, keepalive: 2 }'));
    world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(1000);
    expect(state(one, b)).toBe('Established');
    const stuck = world.clock.now();
    // a's bytes are taken no more; b's still come, so a's hold timer is content
    world.network.window = 0;
    const socket = one.peers.get(ip(b))!.session!.connection.socket as unknown as {
      handlers: { data(b: Uint8Array): void };
    };
    const keepalive = new Uint8Array(19).fill(255, 0, 16);
    keepalive.set([0, 19, MessageType.Keepalive], 16);
    for (let i = 0; i < 30 && state(one, b) === 'Established'; i++) {
      socket.handlers.data(keepalive);
      await world.pass(1000, 250);
    }
    const [down] = world.times(a, 'down');
    expect(down! - stuck).toBeGreaterThanOrEqual(20_000);
    expect(down! - stuck).toBeLessThanOrEqual(25_000);
  });
});

describe('routes', () => {
  test('through a reflector, with originator and cluster list; gone when their source is', async () => {
    using world = new World();
    world.speaker(a, 65000, `networks: [{ prefix: 10.7.0.0/16 }]\n${neighbor(b, 65000)}`);
    const reflector = world.speaker(
      b,
      65000,
      `groups: { clients: { as: internal, routeReflectorClient: true } }
neighbors: [{ address: ${a}, group: clients }, { address: ${c}, group: clients }]`,
    );
    const three = world.speaker(c, 65000, neighbor(b, 65000));
    await world.pass(2000);
    const [route] = [...three.rib.routes({})];
    expect(route?.paths[0]?.attributes).toMatchObject({ originatorId: 0x0a000001, clusterList: [0x0a000002] });
    reflector.peers.get(ip(a))!.stop(ceaseNotification(CeaseSubcode.AdministrativeShutdown));
    await world.pass(100);
    expect([...three.rib.routes({})]).toEqual([]);
    reflector.peers.get(ip(a))!.start();
    await world.pass(3000);
    expect([...three.rib.routes({})].length).toBe(1);
  });

  test('a thousand changes of one prefix while input runs are few UPDATEs', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, neighbor(b, 65002));
    const two = world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(1000);
    const before = two.peers.get(ip(a))!.counts.updatesIn;
    for (let med = 0; med < 1000; med++) one.announce({ prefix: '10.7.0.0/16' as never, attributes: { med } });
    await world.pass(500);
    expect([...two.rib.routes({})][0]?.paths[0]?.attributes.med).toBe(999);
    expect(two.peers.get(ip(a))!.counts.updatesIn - before).toBeLessThan(5);
  });
});

test('after a restart nobody waits for a neighbour that its prefix limit keeps down', async () => {
  using world = new World();
  const one = world.speaker(a, 65001, `gracefulRestart: on\n${neighbor(b, 65002, 'timers: { idleHold: 1 }')}`, {
    restarting: true,
  });
  world.network.down.add(ip(b));
  await world.pass(1000);
  expect(world.times(a, 'restart-finished')).toEqual([]);
  one.peers.get(ip(b))!.limited(undefined, ceaseNotification(CeaseSubcode.MaximumPrefixes));
  await world.pass(1000);
  expect(world.times(a, 'restart-finished').length).toBe(1);
});

describe('neighbours of a range', () => {
  const range = (more = '') => `dynamic: [{ range: 10.0.0.0/24, as: external${more} }]\n`;

  test('one that restarts and never comes back is forgotten with its routes', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, range());
    const two = world.speaker(
      b,
      65002,
      `gracefulRestart: { mode: on, restartTime: 5 }\nnetworks: [10.7.0.0/16]\n${neighbor(a, 65001)}`,
    );
    await world.pass(2000);
    expect([...one.rib.routes({})].length).toBe(1);
    two.vanish();
    await world.pass(3000);
    expect([...one.rib.routes({})][0]?.paths[0]?.stale).toBe(true);
    expect(one.peers.size).toBe(1);
    await world.pass(4000);
    expect([...one.rib.routes({})]).toEqual([]);
    expect(one.peers.size).toBe(0);
  });

  test('after a restart they have time to come back before the routes of the last life go', async () => {
    using world = new World();
    world.speaker(a, 65001, `gracefulRestart: on\n${range()}`, { restarting: true });
    await world.pass(20_000, 250);
    expect(world.times(a, 'restart-finished')).toEqual([]);
    world.speaker(b, 65002, neighbor(a, 65001));
    await world.pass(12_000, 250);
    expect(world.times(a, 'end-of-rib').length).toBeGreaterThan(0);
    expect(world.times(a, 'restart-finished')).toEqual([30_000]);
  });

  test('a prefix limit keeps one down for the time that was asked for', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, range(', maxPrefix: { limit: 1, restartAfter: 30 }'));
    world.speaker(
      b,
      65002,
      `networks: [10.7.0.0/16, 10.8.0.0/16]\n${neighbor(a, 65001, 'timers: { idleHold: 1, idleHoldMax: 1 }')}`,
    );
    await world.pass(25_000, 250);
    expect(world.times(a, 'up').length).toBe(1);
    expect(state(one, b)).toBe('Idle');
    await world.pass(10_000, 250);
    expect(world.times(a, 'up').length).toBe(2);
  });

  test('one that an operator shut down stays down, and is forgotten when it may come and does not', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, range());
    const two = world.speaker(b, 65002, neighbor(a, 65001, 'timers: { idleHold: 1, idleHoldMax: 1 }'));
    await world.pass(2000);
    const peer = one.peers.get(ip(b))!;
    peer.shutDown('upgrade');
    await world.pass(10_000, 250);
    expect(world.times(a, 'up').length).toBe(1);
    two.vanish();
    peer.allow();
    await world.pass(100);
    expect(one.peers.size).toBe(0);
  });

  test('of any AS: one hop to external ones, as many as it takes to internal ones', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, 'dynamic: [{ range: 10.0.0.0/24, as: any }]\n');
    world.speaker(b, 65001, neighbor(a, 65001));
    world.speaker(c, 65003, neighbor(a, 65001));
    await world.pass(2000);
    const hops = (address: string) => (one.peers.get(ip(address))!.session!.connection.socket as FakeSocket).hops;
    expect(hops(b)).toEqual([255, 0]);
    expect(hops(c)).toEqual([1, 0]);
  });

  test('refused again and again: the log says so once in a while', async () => {
    using world = new World();
    const said: { message: string; times: number }[] = [];
    const log = {
      ...silentLogger,
      warn: (fields: { times: number }, message: string) => void said.push({ message, times: fields.times }),
    } as unknown as Logger;
    world.speaker(a, 65001, 'dynamic: [{ range: 10.0.0.0/24, as: 65009, timers: { idleHold: 0.1 } }]\n', { log });
    world.speaker(b, 65002, neighbor(a, 65001, 'timers: { idleHold: 0.1, idleHoldMax: 0.1, connectRetry: 1 }'));
    world.speaker(c, 65003, neighbor(a, 65001, 'timers: { idleHold: 0.1, idleHoldMax: 0.1, connectRetry: 1 }'));
    await world.pass(25_000, 100);
    const refusals = said.filter(({ message }) => message.includes('OPEN'));
    expect(refusals.length).toBe(3);
    expect(refusals[1]!.times).toBeGreaterThan(10);
  });
});

describe('a reload', () => {
  const graceful = 'gracefulRestart: { mode: on, restartTime: 60 }\n';
  const reloaded = (address: string, asn: number, rest: string) => {
    const parsed = parseConfig(
      `routerId: ${address}\nas: ${asn}\ncontrol: false\nlisten: ['${address}']\nebgpRequiresPolicy: false\n${rest}`,
    );
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    return parsed.value;
  };

  test('that turns a neighbour off is no restart: its routes go at once, on both sides', async () => {
    using world = new World();
    const one = world.speaker(a, 65001, `${graceful}networks: [10.7.0.0/16]\n${neighbor(b, 65002)}`);
    const two = world.speaker(b, 65002, `${graceful}networks: [10.8.0.0/16]\n${neighbor(a, 65001)}`);
    await world.pass(2000);
    expect([...one.rib.routes({})].length).toBe(2);
    one.apply(reloaded(a, 65001, `${graceful}networks: [10.7.0.0/16]\n${neighbor(b, 65002, 'enabled: false')}`));
    await world.pass(1000);
    expect(state(one, b)).toBe('Idle');
    expect([...one.rib.routes({})].map((route) => route.prefix as string)).toEqual(['10.7.0.0/16']);
    expect([...two.rib.routes({})].map((route) => route.prefix as string)).toEqual(['10.8.0.0/16']);
    expect(two.peers.get(ip(a))!.lastError?.reason).toContain('administrative shutdown (6/2), hard reset');
    one.apply(reloaded(a, 65001, `${graceful}networks: [10.7.0.0/16]\n${neighbor(b, 65002)}`));
    await world.pass(5000);
    expect([...one.rib.routes({})].length).toBe(2);
  });

  test('that renews a session keeps the routes as those of who it was', async () => {
    using world = new World();
    const settings = (hold: number) =>
      `${graceful}policies: { ours: [{ match: { neighborAs: [65002] }, then: accept }] }\n` +
      `neighbors: [{ address: ${b}, as: external, import: ours, timers: { hold: ${hold} } }]\n`;
    const one = world.speaker(a, 65001, settings(90));
    world.speaker(b, 65002, `${graceful}networks: [10.8.0.0/16]\n${neighbor(a, 65001)}`);
    await world.pass(2000);
    const path = () => [...one.rib.routes({})][0]?.paths[0];
    expect(path()).toMatchObject({ state: 'best', stale: false });
    one.apply(reloaded(a, 65001, settings(60)));
    while (one.rib.work()); // before the session is back
    expect(path()).toMatchObject({ state: 'best', stale: true });
    await world.pass(5000);
    expect(path()).toMatchObject({ state: 'best', stale: false });
  });

  test('while a neighbour of a range restarts: it is still who it was, and its routes stay', async () => {
    using world = new World();
    const range = (more = '') =>
      `${graceful}policies: { ours: [{ match: { source: [ibgp] }, then: accept }] }\n` +
      `dynamic: [{ range: 10.0.0.0/24, as: any, import: ours${more} }]\n`;
    const one = world.speaker(a, 65001, range());
    const two = world.speaker(b, 65001, `${graceful}networks: [10.8.0.0/16]\n${neighbor(a, 65001)}`);
    await world.pass(2000);
    const path = () => [...one.rib.routes({})][0]?.paths[0];
    expect(path()).toMatchObject({ state: 'best', stale: false });
    two.vanish();
    await world.pass(500);
    expect(path()).toMatchObject({ state: 'best', stale: true });
    one.apply(reloaded(a, 65001, range(', weight: 5')));
    await world.pass(500);
    expect(path()).toMatchObject({ state: 'best', stale: true });
  });
});
