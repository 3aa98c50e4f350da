// The announcer without any gateway: what it makes of a first list that changes its mind while it comes in.
import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock, silentLogger } from '../base/mod.ts';
import type { Logger } from '../base/mod.ts';
import { ip, prefix } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { Announcer } from './announcer.ts';
import { parseGatewayConfig } from './config.ts';
import type { FactTable } from './facts.ts';
import { Source } from './sources/source.ts';

const MANY = 6000;
const own = prefix('10.1.0.0/24');
const other = prefix('10.2.0.0/24');
const passing = (n: number): Prefix => prefix(`10.${100 + (n >> 8)}.${n & 255}.0/24`);

/** Runs its chapters as the test turns the page; the first list is complete with the chapter of this number. */
class Script extends Source {
  private readonly chapters: readonly ((facts: FactTable) => void)[];
  private readonly complete: number;
  private turn = Promise.withResolvers<void>();

  constructor(complete: number, ...chapters: readonly ((facts: FactTable) => void)[]) {
    super();
    this.complete = complete;
    this.chapters = chapters;
  }

  next(): void {
    this.turn.resolve();
  }

  override async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    const part = this.part();
    signal.addEventListener('abort', () => this.next());
    for (const [i, chapter] of this.chapters.entries()) {
      await this.turn.promise;
      if (signal.aborted) return;
      this.turn = Promise.withResolvers();
      chapter(facts);
      if (i === this.complete) part.heard({ type: 'inSync' });
      changed();
    }
  }
}

test('what only seemed so while the first list came in is nothing to hold back; what an earlier life told is', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-announcer-'));
  const stateFile = join(directory, 'state');
  const recalled = Array.from({ length: 10 }, (_, n) => passing(n));
  writeFileSync(stateFile, recalled.map((p) => `${p} 192.0.2.1 node n1\n`).join(''));
  const config = parseGatewayConfig(
    JSON.stringify({
      announce: { within: ['10.0.0.0/8'] },
      stateFile,
      bgp: { routerId: '127.0.0.1', as: 64_512, listen: [] },
    }),
  );
  if (!config.ok) throw new Error(config.error.join('\n'));
  const claims = (facts: FactTable, does: 'claim' | 'unclaim') => {
    for (let n = 0; n < MANY; n++) facts[does](passing(n), 'n1');
  };
  const script = new Script(
    2,
    (facts) => {
      const addresses = { 4: ip('192.0.2.1') };
      facts.node('n1', { addresses, labels: {}, cordoned: false, draining: false, ready: undefined });
      facts.claim(own, 'n1');
      claims(facts, 'claim');
    },
    (facts) => claims(facts, 'unclaim'),
    (facts) => facts.claim(other, 'n1'),
  );
  const clock = new ManualClock();
  const announcer = new Announcer({ config: config.value, sources: [script], clock });
  const stop = new AbortController();
  const running = announcer.run(stop.signal);
  const announced = () => announcer.status().announced.map(({ prefix: p }) => p);
  const page = async () => {
    script.next();
    for (let i = 0; i < 5; i++) {
      await Bun.sleep(1);
      clock.advance(2);
    }
  };
  try {
    expect(announced()).toEqual(recalled);
    await page();
    expect(announced()).toHaveLength(MANY + 1);
    await page();
    await page();
    expect(announcer.status()).toMatchObject({ held: recalled, datastore: { inSync: true } });
    expect(announced().sort()).toEqual([own, ...recalled, other].sort());
    expect(announcer.confirm()).toBe(recalled.length);
  } finally {
    stop.abort();
    clock.advance(10);
    await running;
  }
  expect(readFileSync(stateFile, 'utf8')).toContain(other);
  rmSync(directory, { recursive: true });
});

/** An announcer with the facts of `chapters`, the first of which is there already. */
async function started(announce: object, guard: object, ...chapters: readonly ((facts: FactTable) => void)[]) {
  const config = parseGatewayConfig(
    JSON.stringify({ announce, guard, bgp: { routerId: '127.0.0.1', as: 64_512, listen: [] } }),
  );
  if (!config.ok) throw new Error(config.error.join('\n'));
  const script = new Script(0, ...chapters);
  const clock = new ManualClock();
  const announcer = new Announcer({ config: config.value, sources: [script], clock });
  const stop = new AbortController();
  const running = announcer.run(stop.signal);
  const pass = async (ms = 2) => {
    for (let i = 0; i < 5; i++) {
      await Bun.sleep(1);
      clock.advance(ms);
    }
  };
  const page = async () => {
    script.next();
    await pass();
  };
  await page();
  return {
    ...{ announcer, page, pass, clock },
    announced: (note: 'covered' | 'aggregate') =>
      announcer.status().announced.flatMap((a) => (a[note] ? [a.prefix as string] : [])),
    async [Symbol.asyncDispose]() {
      stop.abort();
      clock.advance(10);
      await running;
    },
  };
}

/** A datastore of which only the test says how it is. */
class Reach extends Source {
  private readonly only = this.part();
  private changed = () => {};
  facts!: FactTable;

  say(word: Parameters<typeof this.only.heard>[0]): void {
    this.only.heard(word);
    this.changed();
  }

  override async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    this.facts = facts;
    this.changed = changed;
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
  }
}

test('the log and the status say that the datastore is away, and what the sessions wait for', async () => {
  const config = parseGatewayConfig(
    JSON.stringify({
      announce: { within: ['10.0.0.0/8'] },
      gateways: [{ name: 'gw1', address: '192.0.2.9', as: 65_001 }],
      guard: { minimumReady: 3 },
      bgp: { routerId: '127.0.0.1', as: 64_512, listen: [] },
    }),
  );
  if (!config.ok) throw new Error(config.error.join('\n'));
  const said: string[] = [];
  const note = (_: object, message: string) => void said.push(message);
  const log: Logger = { ...silentLogger, info: note, warn: note };
  const [reach, clock, stop] = [new Reach(), new ManualClock(), new AbortController()];
  const announcer = new Announcer({ config: config.value, sources: [reach], clock, log });
  const running = announcer.run(stop.signal);
  const say = async (word: Parameters<Reach['say']>[0]) => {
    reach.say(word);
    await Bun.sleep(1);
    clock.advance(2);
    await Bun.sleep(1);
  };
  await say({ type: 'stale', reason: 'no route' });
  await say({ type: 'stale', reason: 'still none' });
  expect(said).toEqual(['the datastore is out of reach: what is announced stays as it is']);
  expect(announcer.status()).toMatchObject({
    gateways: [{ name: 'gw1', address: '192.0.2.9', state: 'waiting' }],
    waitingFor: 'the first complete list of the datastore',
  });
  await say({ type: 'inSync' });
  await say({ type: 'inSync' });
  expect(said.slice(1)).toEqual([
    'the datastore answers again',
    'the first list is complete',
    'too few prefixes are known: no session is opened before there are more',
  ]);
  // once: they may come one by one, by the thousand
  node(reach.facts, 'n1', '192.0.2.1', 'a');
  for (const one of [own, other]) {
    reach.facts.claim(one, 'n1');
    await say({ type: 'inSync' });
  }
  expect(announcer.status().waitingFor).toBe('3 prefixes; the datastore has 2');
  expect(said).toHaveLength(4);
  stop.abort();
  await running;
});

const node = (facts: FactTable, name: string, address: string, rack: string): void =>
  facts.node(name, {
    ...{ addresses: { 4: ip(address) }, labels: { rack }, cordoned: false, draining: false, ready: undefined },
  });
const block = (n: number): Prefix => prefix(`10.1.0.${64 * n}/26`);

test('what is held is told one by one where the aggregate that stood for it is gone', async () => {
  const aggregate = [{ to: 'rack', label: 'rack', nextHop: { a: '192.0.2.254', b: '192.0.2.253' } }];
  await using run = await started(
    { within: ['10.0.0.0/8'], aggregate },
    { alwaysWithdraw: 0 },
    (facts) => {
      node(facts, 'n1', '192.0.2.1', 'a');
      node(facts, 'n2', '192.0.2.2', 'b');
      for (let n = 0; n < 4; n++) facts.claim(block(n), 'n1');
      facts.claim(other, 'n2');
    },
    (facts) => facts.unclaim(block(1), 'n1'),
    (facts) => facts.unclaim(block(2), 'n1'),
    (facts) => facts.claim(block(1), 'n1'),
    (facts) => facts.claim(block(2), 'n1'),
  );
  const { announcer } = run;
  const all = [0, 1, 2, 3].map((n) => block(n) as string).sort();
  expect([run.announced('aggregate'), run.announced('covered').sort()]).toEqual([['10.1.0.0/24'], all]);
  // one of five may go, and with it what it was joined to; a second one may not
  await run.page();
  expect(announcer.status().held).toEqual([]);
  expect(run.announced('aggregate')).toEqual(['10.1.0.128/25']);
  await run.page();
  expect(announcer.status().held).toEqual([block(2)]);
  expect([run.announced('aggregate'), run.announced('covered')]).toEqual([[], []]);
  await run.page();
  await run.page();
  expect(announcer.status().held).toEqual([]);
  expect([run.announced('aggregate'), run.announced('covered').sort()]).toEqual([['10.1.0.0/24'], all]);
});

test('what was confirmed is settled: it does not stand in the way of what goes next', async () => {
  const gone = (n: number) => (facts: FactTable) => facts.unclaim(passing(n), 'n1');
  await using run = await started(
    { within: ['10.0.0.0/8'] },
    { alwaysWithdraw: 1, maxWithdrawPercent: 10 },
    (facts) => {
      node(facts, 'n1', '192.0.2.1', 'a');
      for (let n = 0; n < 10; n++) facts.claim(passing(n), 'n1');
    },
    (facts) => [0, 1, 2].forEach((n) => gone(n)(facts)),
    gone(3),
    gone(4),
  );
  await run.page();
  expect(run.announcer.status().held).toHaveLength(3);
  expect(run.announcer.confirm()).toBe(3);
  expect(run.announcer.status()).toMatchObject({ held: [], announced: { length: 7 } });
  await run.page();
  expect(run.announcer.status()).toMatchObject({ held: [], announced: { length: 6 } });
  await run.page();
  expect(run.announcer.status().held).toEqual([passing(4)]);
});
