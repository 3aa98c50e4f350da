import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../config/yaml/mod.ts';
import { messageOf } from '../../base/mod.ts';
import { prefix } from '../../net/mod.ts';
import { createSpeaker } from '../speaker/mod.ts';
import type { SpeakerEvent } from '../speaker/mod.ts';
import { ControlClient } from './client.ts';
import { Pair } from './fixtures.ts';
import { serveControl } from './server.ts';

const actions = {
  reload: () => {
    throw new Error('not here');
  },
  restart: () => {},
};

test('routes by prefix and family together, also those that were advertised', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-control-'));
  const to = (n: 1 | 2) => `neighbors: [{ address: 10.0.0.${n}, as: 6500${n}, families: [ipv4] }]`;
  using pair = new Pair(to(2), to(1));
  const { one } = pair;
  try {
    for (const p of ['10.1.0.0/16', '10.1.2.0/24', '10.2.0.0/16', 'fd00::/64']) one.announce({ prefix: prefix(p) });
    await pair.until(() => [...pair.two.rib.routes({})].length === 3);
    const path = join(folder, 'bgp.sock');
    using _control = serveControl(path, one, actions);
    const ask = async (what: string, parameters: Record<string, string>): Promise<string[]> =>
      (await Array.fromAsync(new ControlClient(path).stream<{ prefix: string }>(what, parameters)))
        .map((route) => route.prefix)
        .sort();
    expect(await ask('/routes', { family: 'ipv6' })).toEqual(['fd00::/64']);
    expect(await ask('/routes', { family: 'ipv4', prefix: '10.1.0.0/16' })).toEqual(['10.1.0.0/16']);
    expect(await ask('/routes', { family: 'ipv6', prefix: '10.1.0.0/16' })).toEqual([]);
    const neighbor = '10.0.0.2';
    expect(await ask('/advertised', { neighbor, prefix: '10.1.2.3' })).toEqual(['10.1.0.0/16', '10.1.2.0/24']);
    expect(await ask('/advertised', { neighbor, family: 'ipv4', prefix: '10.1.2.0/24' })).toEqual(['10.1.2.0/24']);
    expect(await ask('/advertised', { neighbor, match: 'within', prefix: '10.1.0.0/16' })).toEqual([
      '10.1.0.0/16',
      '10.1.2.0/24',
    ]);
    expect(await ask('/routes', { family: 'ipx' }).catch(messageOf)).toContain('ipx is not a family');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

// longer than the ten seconds (in steps of four) after which the runtime's server gives up a silent connection
const silence = 16_000;

test('`monitor` lives on while nothing happens', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-control-'));
  try {
    const parsed = parseConfig('routerId: 10.0.0.1\nas: 65001\ncontrol: false\nlisten: []\nneighbors: []');
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    const speaker = createSpeaker({ config: parsed.value });
    const path = join(folder, 'bgp.sock');
    using _control = serveControl(path, speaker, actions);
    const events = new ControlClient(path).stream<{ type: string }>('/events');
    expect((await events.next()).value).toMatchObject({ type: 'monitor' });
    const next = events.next();
    await Bun.sleep(silence);
    const event: SpeakerEvent = { type: 'restart-finished', because: 'test' };
    speaker.events.emit(event);
    expect((await next).value).toMatchObject({ type: 'restart-finished' });
    await events.return(undefined);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 30_000);
