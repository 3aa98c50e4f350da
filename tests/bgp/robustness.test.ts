// What hostile or broken peers do to a speaker: as little as possible.
import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { planRoutes } from '../../src/bgp/control/plan.ts';
import { ControlClient, diffConfig } from '../../src/bgp/mod.ts';
import { addressBytes, ip } from '../../src/net/mod.ts';
import { MessageType } from '../../src/bgp/wire/mod.ts';
import { beginConnect } from '../../src/sys/mod.ts';
import type { Fd } from '../../src/sys/mod.ts';
import {
  announcement,
  config,
  endOfRib,
  message,
  openMessage,
  RawPeer,
  received,
  TestSpeaker,
  until,
  update,
  withdrawal,
} from '../support/bgp-peer.ts';
import { freePort } from '../support/ports.ts';

const port = freePort;
const speaker = (at: number, neighbors: string) =>
  TestSpeaker.start(`
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${at}']
${neighbors}`);
const peers = (...lines: string[]) =>
  `neighbors:\n${lines.map((line) => `  - { passive: true, import: accept, ${line} }`).join('\n')}`;

const alive = (peer: RawPeer): boolean => !peer.closed && peer.notification === undefined;

describe('connections that go nowhere', () => {
  test('5,000 half-open ones, from strangers and from a neighbour: sessions stay and new ones come up', async () => {
    const at = port();
    await using it = await speaker(
      at,
      peers('address: 127.0.0.2, as: 65001', 'address: 127.0.0.3, as: 65002', 'address: 127.0.0.4, as: 65004'),
    );
    using good = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    await good.establish({ holdTime: 3 });
    const open: Fd[] = [];
    const beat = setInterval(() => good.keepalive(), 500);
    try {
      for (let i = 0; i < 5000; i++) {
        // a third of them from the address of a configured neighbour that never says a word
        const source = i % 3 === 0 ? '127.0.0.4' : `127.9.${i >> 8}.${i & 255}`;
        try {
          open.push(
            beginConnect({ remote: addressBytes(ip('127.0.0.1')), port: at, source: addressBytes(ip(source)) }),
          );
        } catch {
          // out of descriptors here: what there is must do
          break;
        }
        if (i % 50 === 0) await Bun.sleep(1);
      }
      expect(open.length).toBeGreaterThan(1000);
      using late = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
      await late.establish({ asn: 65002, identifier: 0x0a000003 });
      await until('Established', () => it.state('127.0.0.3') === 'Established');
      expect(alive(good)).toBe(true);
      expect(it.speaker.peers.size).toBe(3);
    } finally {
      clearInterval(beat);
      for (const fd of open) fd.close();
    }
  });

  test('an OPEN that dribbles in at a byte at a time does not get more than its time', async () => {
    const at = port();
    await using it = await speaker(at, peers('address: 127.0.0.2, as: 65001, timers: { open: 1 }'));
    using slow = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    const bytes = openMessage({});
    const drip = (async () => {
      for (let i = 0; i < bytes.length && !slow.closed; i++) {
        slow.send(bytes.subarray(i, i + 1));
        await Bun.sleep(100);
      }
    })();
    await until('it is cut off', () => slow.notification !== undefined);
    expect(slow.notification).toMatchObject({ code: 4 });
    expect(it.events.some((e) => e.type === 'attempt-failed')).toBe(true);
    await drip;
  });

  test('a refused peer waits in Idle: it cannot make the speaker spin', async () => {
    const at = port();
    await using it = await speaker(at, peers('address: 127.0.0.2, as: 65001, timers: { idleHold: 2 }'));
    using wrong = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    wrong.send(openMessage({ asn: 65009 }));
    await until('refused', () => wrong.notification !== undefined);
    const again = await RawPeer.connect({ from: '127.0.0.2', port: at });
    await until('closed at once', () => again === undefined || again.closed);
    expect(again?.messages ?? []).toEqual([]);
    expect(it.state('127.0.0.2')).toBe('Idle');
  });
});

describe('garbage', () => {
  test('random bytes before and after OPEN end that connection only', async () => {
    const at = port();
    await using it = await speaker(
      at,
      peers(
        'address: 127.0.0.2, as: 65001, timers: { idleHold: 0.01, idleHoldMax: 0.01 }',
        'address: 127.0.0.3, as: 65002',
      ),
    );
    using good = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await good.establish({ asn: 65002, identifier: 0x0a000003 });
    let seed = 1;
    const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) / 2 ** 32;
    let tried = 0;
    const end = performance.now() + 50_000;
    while (tried < 60) {
      expect(performance.now()).toBeLessThan(end);
      using bad = await RawPeer.connect({ from: '127.0.0.2', port: at });
      await Bun.sleep(12);
      if (!bad || bad.closed) continue;
      // one that still waits in Idle closes the connection: not yet a try
      const comesUp =
        tried % 2 === 0 ||
        (await bad.establish({}).then(
          () => true,
          () => false,
        ));
      if (!comesUp) continue;
      tried++;
      const body = Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256));
      bad.send(tried % 3 === 0 ? Uint8Array.from(body) : message(1 + Math.floor(random() * 5), body));
      bad.send(new Uint8Array(64));
      await until('the connection ends', () => bad.closed || bad.notification !== undefined);
    }
    expect(alive(good)).toBe(true);
    good.send(announcement(0, 3, [65002]));
    await until('it still works', () => received(it.speaker, '127.0.0.3').total === 3);
  });
});

describe('slow readers', () => {
  test('a neighbour that does not read costs a bounded queue, delays nobody, and is closed (RFC 9687)', async () => {
    const at = port();
    await using it = await speaker(
      at,
      peers(
        'address: 127.0.0.2, as: 65001, export: reject',
        'address: 127.0.0.3, as: 65002, export: accept, nextHop: unchanged, timers: { sendHold: 2 }',
        'address: 127.0.0.4, as: 65004, export: accept, nextHop: unchanged',
      ),
    );
    using sender = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    using stuck = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    using reader = (await RawPeer.connect({ from: '127.0.0.4', port: at }))!;
    await sender.establish({});
    await stuck.establish({ asn: 65002, identifier: 0x0a000003 });
    await reader.establish({ asn: 65004, identifier: 0x0a000004 });
    stuck.pause();
    const rss = process.memoryUsage.rss();
    // churn: far more bytes than the kernel's buffers take, of the same prefixes
    for (let round = 0; it.state('127.0.0.3') === 'Established'; round++) {
      for (let i = 0; i < 65536; i += 256) sender.send(announcement(i, 256, [65001, 64000 + (round % 100)]));
      await until('it is read', () => !sender.sending);
      const before = reader.count(MessageType.Update);
      await until('the reader gets on', () => reader.count(MessageType.Update) > before);
      reader.messages.length = 0;
      if (round > 400) throw new Error('the slow reader was never closed');
    }
    expect(it.events).toContainEqual(
      expect.objectContaining({ type: 'down', neighbor: '127.0.0.3', reason: expect.stringContaining('send hold') }),
    );
    expect(it.state('127.0.0.2')).toBe('Established');
    expect(it.state('127.0.0.4')).toBe('Established');
    expect((process.memoryUsage.rss() - rss) / 2 ** 20).toBeLessThan(400);
  }, 60_000);
});

describe('held up', () => {
  test('a process stopped for longer than the hold time finds that its peer was talking, and keeps the session', async () => {
    const at = port();
    const work = mkdtempSync(join(tmpdir(), 'godwit-bgp-'));
    const file = join(work, 'bgp.yaml');
    writeFileSync(
      file,
      `routerId: 10.0.0.1\nas: 65000\ncontrol: ${work}/ctl\nlisten: ['127.0.0.1:${at}']\n` +
        'neighbors: [{ address: 127.0.0.2, as: 65001, passive: true }]\n',
    );
    const command = [process.execPath, join(import.meta.dir, '../../src/main.ts'), 'bgp', '--config', file];
    const child = Bun.spawn([...command, '--log-level', 'silent'], { stdio: ['ignore', 'ignore', 'inherit'] });
    try {
      const client = new ControlClient(join(work, 'ctl'));
      while (!(await client.alive())) await Bun.sleep(20);
      using peer = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
      await peer.establish({ holdTime: 3 });
      const beat = setInterval(() => peer.keepalive(), 300);
      child.kill('SIGSTOP');
      await Bun.sleep(5000);
      child.kill('SIGCONT');
      await Bun.sleep(1500);
      clearInterval(beat);
      expect(alive(peer)).toBe(true);
      const [status] = await client.get<{ state: string }[]>('/neighbors');
      expect(status!.state).toBe('Established');
    } finally {
      child.kill('SIGKILL');
      await child.exited;
      rmSync(work, { recursive: true, force: true });
    }
  }, 30_000);
});

describe('under load', () => {
  test('sessions with the shortest hold time live through an import at full speed', async () => {
    const at = port();
    await using it = await speaker(
      at,
      peers('address: 127.0.0.2, as: 65001', 'address: 127.0.0.3, as: 65002, export: accept, nextHop: unchanged'),
    );
    using sender = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    using quiet = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await sender.establish({});
    await quiet.establish({ asn: 65002, identifier: 0x0a000003, holdTime: 3 });
    const beat = setInterval(() => quiet.keepalive(), 400);
    const end = performance.now() + 9000;
    let round = 0;
    while (performance.now() < end) {
      const batch = [];
      for (let i = 0; i < 65536; i += 128) batch.push(announcement(i, 128, [65001, 100 + round, i % 97]));
      for (let i = 0; i < 65536; i += 512) batch.push(withdrawal(i, 512));
      for (const bytes of batch) sender.send(bytes);
      await until('sent', () => !sender.sending, 30_000);
      round++;
    }
    sender.send(announcement(0, 1));
    sender.send(endOfRib());
    await until('all is read', () => it.events.some((e) => e.type === 'end-of-rib' && e.neighbor === '127.0.0.2'));
    clearInterval(beat);
    expect(alive(quiet)).toBe(true);
    // whatever was said, UPDATE or KEEPALIVE: neither side's hold timer had a reason to expire
    expect(quiet.longestSilence).toBeLessThan(3000);
    expect(it.events.filter((e) => e.type === 'down')).toEqual([]);
    expect(received(it.speaker, '127.0.0.2').total).toBe(1);
    expect(round).toBeGreaterThan(1);
  }, 60_000);

  test('a million routes under another policy, then of a neighbour no more: nobody is silent for long', async () => {
    const at = port();
    const text = (policy: string, big = true) => `
routerId: 10.0.0.1
as: 65000
control: false
listen: ['127.0.0.1:${at}']
prefixLists: { half: [0.0.0.0/1 ge 8 le 32] }
policies: { half: [{ match: { prefixLists: [half] }, set: { localPref: 200 }, then: accept }] }
neighbors:
  - { address: 127.0.0.3, as: 65002, passive: true, import: accept, export: accept, nextHop: unchanged }
${big ? `  - { address: 127.0.0.2, as: 65001, passive: true, import: ${policy} }` : ''}`;
    await using it = await TestSpeaker.start(text('accept'));
    using sender = (await RawPeer.connect({ from: '127.0.0.2', port: at }))!;
    using quiet = (await RawPeer.connect({ from: '127.0.0.3', port: at }))!;
    await sender.establish({});
    const attributes = (asn: number) => [0x40, 1, 1, 0, 0x40, 2, 10, 2, 2, 0, 0, 253, 233, 0, 0, asn >> 8, asn & 255];
    const nextHop = [0x40, 3, 4, 192, 0, 2, 1];
    const count = 1_000_000;
    for (let first = 0; first < count; first += 500) {
      const routes = Array.from({ length: 500 }, (_, i) => (first + i) * 13).flatMap((n) => [24, n >> 16, n >> 8, n]);
      sender.send(
        update(
          [],
          [...attributes(1 + first / 500), ...nextHop],
          routes.map((octet) => octet & 255),
        ),
      );
    }
    sender.send(endOfRib());
    await until('all is read', () => it.events.some((e) => e.type === 'end-of-rib'), 40_000);
    await until('all is decided', () => it.speaker.settled, 40_000);
    const counters = () => it.speaker.rib.counters(it.speaker.peers.get(ip('127.0.0.2'))!.id, 4);
    expect(counters().accepted).toBe(count);

    await quiet.establish({ asn: 65002, identifier: 0x0a000003, holdTime: 3 });
    const beat = setInterval(() => quiet.keepalive(), 400);
    const half = config(text('half'));
    const [plan] = await planRoutes(it.speaker, half, diffConfig(it.speaker.config, half));
    expect(plan).toMatchObject({ neighbor: '127.0.0.2', accepted: count });
    it.speaker.apply(half);
    await until('the other policy holds', () => counters().accepted < count && it.speaker.settled, 40_000);
    expect(counters().accepted).toBe(plan!.wouldAccept);
    expect(plan!.wouldAccept).toBeGreaterThan(0);
    it.speaker.apply(config(text('half', false)));
    await until('they are gone', () => it.speaker.rib.stats().prefixes[4] === 0, 40_000);
    clearInterval(beat);
    expect(alive(quiet)).toBe(true);
    expect(quiet.longestSilence).toBeLessThan(3000);
    expect(it.events.filter((e) => e.type === 'down' && e.neighbor === '127.0.0.3')).toEqual([]);
  }, 110_000);
});
