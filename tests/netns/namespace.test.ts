import { expect, test } from 'bun:test';
import { spawnSync } from 'node:child_process';
import { readFileSync, rmdirSync } from 'node:fs';
import { createNetworkNamespace, removeNetworkNamespace } from '../../src/sys/mod.ts';
import { have } from '../support/peers.ts';
import { until } from '../support/until.ts';

const here = have('namespaces across mount namespaces', 'unshare', 'nsenter');

// agents, runtimes and `ip netns exec` live in mount namespaces of their own; on a fresh machine nothing is shared yet
test.skipIf(!here)('a namespace is seen by a process whose mount namespace is older', async () => {
  const directory = `/run/gwshare${process.pid}`;
  using first = createNetworkNamespace(`${directory}/first`);
  const older = Bun.spawn(['unshare', '-m', '--propagation', 'slave', 'sleep', '30'], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  const look = (name: string): string => {
    const inside = ['nsenter', `--mount=/proc/${older.pid}/ns/mnt`, 'stat', '-f', '-c', '%T', `${directory}/${name}`];
    return spawnSync(inside[0]!, inside.slice(1), { encoding: 'utf8' }).stdout.trim();
  };
  try {
    await until(
      'it has a mount namespace of its own',
      () => readFileSync(`/proc/${older.pid}/comm`, 'utf8') === 'sleep\n',
    );
    using second = createNetworkNamespace(`${directory}/second`);
    expect(look('first')).toBe('nsfs');
    expect(look('second')).toBe('nsfs');
    expect(first.identity).not.toBe(second.identity);
  } finally {
    older.kill('SIGKILL');
    await older.exited;
    removeNetworkNamespace(`${directory}/first`);
    removeNetworkNamespace(`${directory}/second`);
    spawnSync('umount', [directory]);
    rmdirSync(directory);
  }
});
