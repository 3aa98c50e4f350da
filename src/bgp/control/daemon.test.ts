import { expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, silentLogger } from '../../base/mod.ts';
import { freePort } from '../../../tests/support/ports.ts';
import { runDaemon } from './daemon.ts';

test('a control socket that cannot be had ends the speaker as well', async () => {
  const work = mkdtempSync(join(tmpdir(), 'godwit-daemon-'));
  try {
    const file = join(work, 'bgp.yaml');
    const port = freePort();
    const listen = `listen: ['127.0.0.1:${port}']`;
    // a file where a directory would have to be
    writeFileSync(file, `routerId: 10.0.0.1\nas: 65000\n${listen}\ncontrol: ${file}/ctl\n`);
    const running = runDaemon({ file, log: silentLogger, signal: new AbortController().signal });
    expect(await running.catch(messageOf)).toContain('control socket');
    // nothing listens any more
    Bun.listen({ hostname: '127.0.0.1', port, socket: { data() {} } }).stop(true);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
});
