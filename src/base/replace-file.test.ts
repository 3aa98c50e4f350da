import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from './error.ts';
import { replaceFile, replaceFileSlowly } from './replace-file.ts';
import type { Replacing } from './replace-file.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'godwit-replace-'));
  path = join(directory, 'file');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

type Replace = (content: string, options: Replacing) => void | Promise<void>;
const kinds: [string, Replace][] = [
  ['outliving a kill', (content, options) => replaceFile(path, content, { ...options, outlives: 'kill' })],
  ['outliving a power cut', (content, options) => replaceFile(path, content, { ...options, outlives: 'power cut' })],
  ['slowly', (content, options) => replaceFileSlowly(path, content, options)],
];

describe.each(kinds)('%s', (_name, replace) => {
  const outcome = async (content: string, options: Replacing) => {
    try {
      await replace(content, options);
      return 'done';
    } catch (error) {
      return messageOf(error);
    }
  };

  test('made, replaced, with the mode as given: also where a killed process left its part, readable by all', async () => {
    const before = process.umask(0o077);
    try {
      expect(await outcome('one', { mode: 0o644 })).toBe('done');
      expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777]).toEqual(['one', 0o644]);
    } finally {
      process.umask(before);
    }
    writeFileSync(`${path}.new`, 'more than there will be', { mode: 0o666 });
    expect(await outcome('two', { mode: 0o600 })).toBe('done');
    expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777]).toEqual(['two', 0o600]);
    expect(readdirSync(directory)).toEqual(['file']);
  });

  test('what fails leaves the old one, and nothing beside it', async () => {
    mkdirSync(path);
    expect(await outcome('x', { mode: 0o600 })).toContain('EISDIR');
    expect(readdirSync(directory)).toEqual(['file']);
    rmSync(path, { recursive: true });
    writeFileSync(path, 'old');
    const temporary = join(directory, 'nowhere/file');
    expect(await outcome('x', { mode: 0o600, temporary })).toContain('ENOENT');
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(directory)).toEqual(['file']);
  });
});
