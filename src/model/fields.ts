/**
 * Building blocks of the resource schemas. A field knows in words what it allows, so that every error says where, what
 * was there and what may be there; and it knows how Calico stores it, so that what we write is what Calico would write:
 * `stored` turns the accepted forms of a value into the one that is stored, and empty values are left out unless the
 * field is `explicit`.
 */
import { z } from 'zod';
import { familyOf, parseAddress, parseAsn, parseInterfaceAddress, parseMac, parsePrefix } from '../net/mod.ts';
import type { Asn, Family, InterfaceAddress, IpAddress, MacAddress, Prefix } from '../net/mod.ts';
import { parseDuration, formatDuration } from './duration.ts';
import type { Json } from './json.ts';
import { parseSelector } from './selector/selector.ts';
import type { Selector } from './selector/selector.ts';

const storedForms = new WeakMap<z.core.$ZodType, (value: Json) => Json>();
const explicitFields = new WeakSet<z.core.$ZodType>();
const allowedTexts = new WeakMap<z.core.$ZodType, string>();
const defaults = new WeakMap<z.core.$ZodType, unknown>();

/** How the field is stored; undefined when it is stored as it was given. */
export const storedForm = (schema: z.core.$ZodType): ((value: Json) => Json) | undefined => storedForms.get(schema);
/** What the field allows, in words; undefined for what only wraps one. */
export const allowedText = (schema: z.core.$ZodType): string | undefined => allowedTexts.get(schema);
/** What the field is when it is left out, as the program has it; undefined where that is nothing. */
export const defaultValue = (schema: z.core.$ZodType): unknown => defaults.get(schema);
/** Whether `false`, `0` and `""` are written out (a pointer in Calico's Go types) and not left out as empty. */
export const isExplicit = (schema: z.core.$ZodType): boolean => explicitFields.has(schema);

type Parse<T> = (value: unknown) => T | undefined;

/** A value that `parse` takes; `allowed` completes the sentence "… is not allowed here; allowed: …". */
export function field<T>(allowed: string, parse: Parse<T>, stored?: (value: T) => Json) {
  const schema = z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `allowed: ${allowed}` });
    return z.NEVER;
  });
  allowedTexts.set(schema, allowed);
  if (stored) {
    storedForms.set(schema, (value) => {
      const parsed = parse(value);
      return parsed === undefined ? value : stored(parsed);
    });
  }
  return schema;
}

/** Marks a field whose `false`, `0` or `""` is stored as such. */
export function explicit<S extends z.ZodType>(schema: S): S {
  const copy = schema.clone();
  const stored = storedForms.get(schema);
  if (stored) storedForms.set(copy, stored);
  const allowed = allowedTexts.get(schema);
  if (allowed !== undefined) allowedTexts.set(copy, allowed);
  explicitFields.add(copy);
  return copy;
}

/** A JSON object with exactly these fields, in Calico's order. */
export function section<S extends z.ZodRawShape>(shape: S) {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `allowed: ${keys}` : `allowed: an object of ${keys}`),
  });
}

export function list<S extends z.ZodType>(item: S, what: string, max = 10_000) {
  const schema = z
    .array(item, { error: () => `allowed: a list of ${what}` })
    .max(max, { error: `allowed: at most ${max} ${what}` });
  allowedTexts.set(schema, `a list of ${what}`);
  return schema;
}

/** JSON we keep but do not look into. */
export const opaque = z.unknown();

const ofText =
  <T>(parse: (text: string) => T | undefined): Parse<T> =>
  (value) =>
    typeof value === 'string' ? parse(value) : undefined;

export const flag = field('true or false', (value) => (typeof value === 'boolean' ? value : undefined));

export const integer = (min: number, max: number) =>
  field(`a whole number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined,
  );

export const text = (maxLength: number, pattern?: RegExp, allowed?: string) =>
  field(
    allowed ?? `a text of at most ${maxLength} characters`,
    ofText((value) => (value.length <= maxLength && (pattern?.test(value) ?? true) ? value : undefined)),
  );

export const choice = <const T extends string>(...choices: readonly T[]) =>
  field(choices.join(', '), (value) => choices.find((c) => c === value));

/** Calico leaves empty texts out and reads them as absent: so do fields that are wrapped in this. */
export function optional<S extends z.ZodType>(schema: S) {
  return z.preprocess((value) => (value === '' || value === null ? undefined : value), schema.optional());
}

/**
 * The same for fields with a default: absent, null and empty mean the default. `shown` is what people are told where the
 * value says less than what it comes to.
 */
export function withDefault<S extends z.ZodType>(schema: S, value: z.output<S>, shown?: string) {
  const fallback = schema.optional().transform((given): z.output<S> => (given === undefined ? value : given));
  const wrapped = z.preprocess((given) => (given === '' || given === null ? undefined : given), fallback);
  defaults.set(wrapped, shown ?? value);
  return wrapped;
}

const ofFamily = (family: Family | undefined) => (address: IpAddress | undefined) =>
  address !== undefined && (family === undefined || familyOf(address) === family) ? address : undefined;
const familyName = (family?: Family): string => (family === undefined ? 'IPv4 or IPv6' : `IPv${family}`);

export const address = (family?: Family) =>
  field<IpAddress>(
    `an ${familyName(family)} address`,
    ofText((value) => ofFamily(family)(parseAddress(value))),
  );

/** A prefix whose host bits are zero. */
export const prefix = (family?: Family) =>
  field<Prefix>(
    `an ${familyName(family)} prefix with all host bits zero, as 10.1.0.0/16`,
    ofText((value) => {
      const parsed = parsePrefix(value);
      return parsed !== undefined && (family === undefined || familyOf(parsed) === family) ? parsed : undefined;
    }),
  );

/** `ADDRESS/LENGTH` with host bits, or an address alone, which is a /32 or /128. */
export const interfaceAddress = (family?: Family) =>
  field<InterfaceAddress>(
    `an ${familyName(family)} address with the length of its network, as 192.168.0.11/24`,
    ofText((value) => {
      const whole = value.includes('/') ? value : `${value}/${value.includes(':') ? 128 : 32}`;
      const parsed = parseInterfaceAddress(whole);
      return parsed && (family === undefined || familyOf(parsed.address) === family) ? parsed : undefined;
    }),
  );

/** Stored as a number, whatever form it was given in. */
export const asn = () =>
  field<Asn>(
    'an AS number, 0 to 4294967295, also as 1.10',
    (value) => (typeof value === 'number' || typeof value === 'string' ? parseAsn(value) : undefined),
    (value) => value,
  );

export const mac = field<MacAddress>('a MAC address, as ee:ee:ee:ee:ee:ee', ofText(parseMac));

/** Seconds in the program; Go's text (`2m0s`) in the store. */
export const duration = (minSeconds = 0, maxSeconds = 2 ** 31) =>
  field<number>(
    `a duration of ${minSeconds} to ${maxSeconds} s, as 90s or 1m30s`,
    ofText((value) => {
      const seconds = parseDuration(value);
      return seconds !== undefined && seconds >= minSeconds && seconds <= maxSeconds ? seconds : undefined;
    }),
    formatDuration,
  );

/** The error says where in the selector it goes wrong. */
export function selector() {
  const allowed = 'a selector, as has(rack) && zone == "a"';
  const schema = z.unknown().transform((value, context): Selector => {
    const parsed = typeof value === 'string' ? parseSelector(value) : undefined;
    if (parsed?.ok) return parsed.value;
    const where = parsed ? ` (at character ${parsed.error.position + 1}: ${parsed.error.message})` : '';
    context.addIssue({ code: 'custom', message: `allowed: ${allowed}${where}` });
    return z.NEVER;
  });
  allowedTexts.set(schema, allowed);
  return schema;
}

const label = /^[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?$/;
/** A DNS subdomain in lower case, as Kubernetes wants names. */
export const isName = (value: string): boolean =>
  value.length <= 253 && value.split('.').every((part) => label.test(part));

export const name = field(
  'a name of lower-case letters, digits, - and .',
  ofText((value) => (isName(value) ? value : undefined)),
);

/** An interface name, or a pattern with *. */
export const interfacePattern = text(15, /^[a-zA-Z0-9_.*-]{1,15}$/, 'an interface name, * standing for any characters');

/** `65000:100` or `65000:1:2`. */
export const community = field(
  'a community, as 65000:100, or a large community, as 65000:1:2',
  ofText((value) => {
    const parts = value.split(':');
    const max = parts.length === 2 ? 0xffff : 0xffff_ffff;
    const fits = parts.every((part) => /^(0|[1-9]\d{0,9})$/.test(part) && Number(part) <= max);
    return fits && (parts.length === 2 || parts.length === 3) ? value : undefined;
  }),
);
