import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../config/yaml/mod.ts';
import { createSpeaker } from '../speaker/mod.ts';
import type { SpeakerEvent } from '../speaker/mod.ts';
import { ControlClient } from './client.ts';
import { serveControl } from './server.ts';

// longer than the ten seconds (in steps of four) after which the runtime's server gives up a silent connection
const silence = 16_000;

test('`monitor` lives on while nothing happens', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-control-'));
  try {
    const parsed = parseConfig('routerId: 10.0.0.1\nas: 65001\ncontrol: false\nlisten: []\nneighbors: []');
    if (!parsed.ok) throw new Error(parsed.error.join('\n'));
    const speaker = createSpeaker({ config: parsed.value });
    const path = join(folder, 'bgp.sock');
    using _control = serveControl(path, speaker, {
      reload: () => {
        throw new Error('not here');
      },
      restart: () => {},
    });
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
