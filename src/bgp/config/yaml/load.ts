/** From YAML text to a configuration, or to sentences that name line, setting, value and what is allowed. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isMap, LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { err, GodwitError, messageOf, ok, printable } from '../../../base/mod.ts';
import type { Result } from '../../../base/mod.ts';
import { configFrom } from './schema.ts';
import type { ConfigProblem } from './schema.ts';
import type { BgpConfig } from '../types.ts';

/** Reads and checks a configuration file; password files are relative to it. */
export function loadConfig(path: string): Result<BgpConfig, GodwitError> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return err(new GodwitError('config', `read ${path}: ${messageOf(error)}`));
  }
  const parsed = parseConfig(text, (file) => {
    try {
      return readFileSync(resolve(dirname(path), file), 'utf8');
    } catch {
      return undefined;
    }
  });
  if (parsed.ok) return parsed;
  const lines = parsed.error.map((line) => `${path}:${line}`).join('\n');
  return err(new GodwitError('config', lines, { hint: 'Nothing was changed; correct the file and try again.' }));
}

/** Every problem as `LINE: SETTING: WHAT`. */
export function parseConfig(
  text: string,
  readPassword: (path: string) => string | undefined = () => undefined,
): Result<BgpConfig, readonly string[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0) {
    return err(document.errors.map((e) => `${lines.linePos(e.pos[0]).line}: ${e.message.split('\n')[0]}`));
  }
  const data: unknown = document.toJS();
  const { config, problems } = configFrom(data, readPassword);
  if (config) return ok(config);
  return err(problems.map((problem) => describe(problem, document, data, lines)));
}

function describe(problem: ConfigProblem, document: Document, data: unknown, lines: LineCounter): string {
  const where = problem.path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
  const value = problem.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    data,
  );
  const missing = value === undefined ? 'is missing; ' : '';
  const secret = /password$/i.test(where);
  const shown =
    typeof value === 'object' || value === undefined || secret
      ? ''
      : `${printable(JSON.stringify(value), 80)} is not; `;
  const note = problem.message.startsWith('allowed: ') ? `${missing}${shown}${problem.message}` : problem.message;
  return `${lineOf(problem.path, document, lines)}: ${where === '' ? 'file' : where}: ${note}`;
}

/** The line of the setting, or of the nearest thing around it that exists. */
function lineOf(path: readonly PropertyKey[], document: Document, lines: LineCounter): number {
  for (let length = path.length; length > 0; length--) {
    const parent: unknown = document.getIn(path.slice(0, length - 1), true);
    const key = path[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find((item) => String(item.key) === String(key));
      const range = (pair?.key as { range?: [number, number, number] } | undefined)?.range;
      if (range) return lines.linePos(range[0]).line;
      continue;
    }
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined;
    if (node?.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}
