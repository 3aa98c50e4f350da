/**
 * JSON as Calico's Go programs write it, so that what is read and written back unchanged is the same bytes: no spaces,
 * maps in byte order, `<`, `>` and `&` escaped. Integers that a double cannot hold (sequence numbers are nanoseconds)
 * become bigints and stay exact. What is read is data from strangers: size and depth are bounded and `__proto__` is
 * refused.
 */
import { err, messageOf, ok } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';

export type Json = null | boolean | number | bigint | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json | undefined;
}

/** etcd's own limit on a request is 1.5 MiB. */
const MAX_LENGTH = 1_500_000;
const MAX_DEPTH = 64;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An object without a prototype: no key that comes from outside can mean anything special. */
export const emptyObject = (): Record<string, Json | undefined> =>
  Object.create(null) as Record<string, Json | undefined>;

/** Parses a JSON text; the error is a sentence about what is wrong with it. */
export function parseJson(text: string): Result<Json, string> {
  if (text.length > MAX_LENGTH) return err(`is ${text.length} characters long, at most ${MAX_LENGTH} are read`);
  let value: Json;
  try {
    // the exact text of a number costs time, and hardly any text has a number that needs it
    value = /\d{16}/.test(text) ? (JSON.parse(text, exactIntegers) as Json) : (JSON.parse(text) as Json);
  } catch (error) {
    return err(`is not JSON: ${messageOf(error)}`);
  }
  const fault = unacceptable(value, 0);
  return fault === undefined ? ok(value) : err(fault);
}

function exactIntegers(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  const source = context?.source ?? '';
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

function unacceptable(value: Json | undefined, depth: number): string | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth >= MAX_DEPTH) return `is nested deeper than ${MAX_DEPTH} levels`;
  for (const key of Object.keys(value)) {
    if (key === '__proto__') return 'has a key "__proto__"';
    const fault = unacceptable((value as JsonObject)[key], depth + 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** The text Go's encoding/json makes of `value`; keys that are undefined are left out. */
export function goJson(value: Json | undefined): string {
  if (typeof value === 'string') return goString(value);
  if (typeof value === 'bigint') return value.toString();
  if (value === null || value === undefined) return 'null';
  if (typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => goJson(item as Json)).join(',')}]`;
  const object = value as JsonObject;
  const keys = Object.keys(object).filter((key) => object[key] !== undefined);
  // a JavaScript object moves keys that look like numbers to the front; only Go's maps have such, and Go sorts maps
  if (keys.some((key) => /^\d+$/.test(key))) keys.sort(compareBytes);
  return `{${keys.map((key) => `${goString(key)}:${goJson(object[key])}`).join(',')}}`;
}

export function goString(text: string): string {
  const json = JSON.stringify(text);
  return /[<>&\u2028\u2029]/.test(json) ? json.replace(/[<>&\u2028\u2029]/g, escape) : json;
}

const escape = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Go's order of strings: by UTF-8 bytes, which is by code point. */
export const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** A Go map as JSON: keys sorted. */
export function sortedMap<T extends Json>(map: Readonly<Record<string, T>>): string {
  const entries = Object.entries(map).sort(([a], [b]) => compareBytes(a, b));
  return `{${entries.map(([key, value]) => `${goString(key)}:${goJson(value)}`).join(',')}}`;
}
