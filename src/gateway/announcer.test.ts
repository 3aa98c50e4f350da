// The announcer without any gateway: what it makes of a first list that changes its mind while it comes in.
import { expect, test } from 'bun:test';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '../base/mod.ts';
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

/** Runs its chapters as the test turns the page. */
class Script extends Source {
  private readonly chapters: readonly ((facts: FactTable) => void)[];
  private turn = Promise.withResolvers<void>();

  constructor(...chapters: readonly ((facts: FactTable) => void)[]) {
    super();
    this.chapters = chapters;
  }

  next(): void {
    this.turn.resolve();
  }

  override async run(facts: FactTable, _signal: AbortSignal, changed: () => void): Promise<void> {
    const part = this.part();
    for (const [i, chapter] of this.chapters.entries()) {
      await this.turn.promise;
      this.turn = Promise.withResolvers();
      chapter(facts);
      if (i === this.chapters.length - 1) part.heard({ type: 'inSync' });
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
