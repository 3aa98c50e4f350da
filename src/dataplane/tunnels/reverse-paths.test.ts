import { afterEach, beforeEach, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReversePaths } from './reverse-paths.ts';

let directory: string;
let values: Record<string, string>;
const file = () => join(directory, 'run', 'reverse-paths.json');
const device = (path: string) => path.split('/')[3]!;
const sysctls = {
  read: (path: string) => values[device(path)],
  write: (path: string, value: string) => void (values[device(path)] = value),
};
const life = () => new ReversePaths(sysctls, file());
const apply = (paths: ReversePaths, user: string, ...devices: string[]) => {
  for (const change of paths.changes(user, devices)) change.apply();
  expect(paths.changes(user, devices)).toEqual([]);
};

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'godwit-paths-'));
  values = { all: '0', eth0: '1', up0: '0', tunl0: '0' };
});
afterEach(() => rmSync(directory, { recursive: true }));

test('loose as long as a tunnel needs it, over a restart, then as before', () => {
  apply(life(), 'ipip', 'tunl0', 'eth0');
  expect(values).toEqual({ all: '0', eth0: '2', up0: '0', tunl0: '0' });
  const second = life();
  apply(second, 'vxlan', 'eth0');
  apply(second, 'ipip');
  expect(values['eth0']).toBe('2');
  apply(life(), 'vxlan');
  expect(values['eth0']).toBe('1');
});

test('strict for all: what each stood at comes back; another uplink takes the place of the first', () => {
  values['all'] = '1';
  const paths = life();
  apply(paths, 'ipip', 'tunl0', 'up0');
  expect(values).toEqual({ all: '1', eth0: '1', up0: '2', tunl0: '2' });
  apply(paths, 'ipip', 'tunl0', 'eth0');
  expect(values).toEqual({ all: '1', eth0: '2', up0: '0', tunl0: '2' });
  delete values['tunl0'];
  apply(paths, 'ipip');
  expect(values).toEqual({ all: '1', eth0: '1', up0: '0' });
});

test('what others made loose, or changed since, is theirs', () => {
  values['eth0'] = '2';
  apply(life(), 'ipip', 'eth0');
  apply(life(), 'ipip');
  expect(values['eth0']).toBe('2');
  values['eth0'] = '1';
  apply(life(), 'ipip', 'eth0');
  values['eth0'] = '0';
  apply(life(), 'ipip');
  expect(values['eth0']).toBe('0');
});

test('a note that is torn is none', () => {
  apply(life(), 'ipip', 'eth0');
  writeFileSync(file(), '{"eth0"');
  apply(life(), 'ipip');
  expect(values['eth0']).toBe('2');
});
