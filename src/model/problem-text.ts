/** The sentence about a value that is not allowed: path, value, what is. */
import { printable } from '../base/mod.ts';
import { goJson } from './json.ts';
import type { Json } from './json.ts';
import type { Problem } from './kind.ts';

export function refusedValue(path: string, value: unknown, allowed: string): Problem {
  if (value === undefined) return { path, message: `is missing; allowed: ${allowed}` };
  return { path, message: `${shown(value)} is not; allowed: ${allowed}` };
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'an object' : printable(goJson(value as Json), 80);
}

export const describeProblem = (problem: Problem): string =>
  problem.path === '' ? problem.message : `${printable(problem.path)}: ${problem.message}`;
