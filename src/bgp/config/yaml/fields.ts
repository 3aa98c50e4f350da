/**
 * Building blocks of the schema. A field knows in words what it allows, so that every error says where, what was there
 * and what may be there.
 */
import { z } from 'zod';
import { addressBytes, parseAddress, parseAsn, parsePrefix } from '../../../net/mod.ts';
import type { Asn, IpAddress, Prefix } from '../../../net/mod.ts';
import { isHostAddress } from '../../wire/mod.ts';

/** A configuration is parsed once: compiling the schema for it would take longer than parsing. */
export const parseOptions = { jitless: true } as const;

type Parse<T> = (value: unknown) => T | undefined;

/** A value that `parse` takes; `allowed` completes the sentence "… is not allowed here; allowed: …". */
export function field<T>(allowed: string, parse: Parse<T>) {
  return z.unknown().transform((value, context): T => {
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `allowed: ${allowed}` });
    return z.NEVER;
  });
}

/** A mapping with exactly these keys, all of which may be marked optional by the caller. */
export function section<S extends z.ZodRawShape>(shape: S) {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        const names = issue.keys.map((key) => JSON.stringify(key)).join(', ');
        return `unknown setting ${names}; allowed: ${keys}`;
      }
      return `allowed: a mapping of ${keys}`;
    },
  });
}

/** Several forms of one setting: `pick` looks at the value and names the schema it must then fit. */
export function forms<S extends z.ZodType>(pick: (value: unknown) => S) {
  return z.unknown().transform((value, context): z.output<S> => {
    const result = pick(value).safeParse(value, parseOptions);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      context.addIssue({ code: 'custom', message: issue.message, path: [...issue.path] });
    }
    return z.NEVER;
  });
}

export const list = <S extends z.ZodType>(item: S, what: string) =>
  z.array(item, { error: () => `allowed: a list of ${what}` });

export const named = <S extends z.ZodType>(item: S, what: string) =>
  z.record(z.string(), item, { error: () => `allowed: a mapping from names to ${what}` });

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;

export const flag = field('true or false', (value) => (typeof value === 'boolean' ? value : undefined));

export const integer = (min: number, max: number, unit = '') =>
  field(`a whole number from ${min} to ${max}${unit && ` ${unit}`}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined,
  );

/** Seconds, fractions allowed. */
export const seconds = (min: number, max: number) =>
  field(`${min} to ${max} seconds`, (value) =>
    typeof value === 'number' && value >= min && value <= max ? value : undefined,
  );

export const string = (maxLength: number) =>
  field(`a text of 1 to ${maxLength} characters`, (value) => {
    const text = textOf(value);
    return text !== undefined && text.length > 0 && text.length <= maxLength ? text : undefined;
  });

export const choice = <const T extends string>(...choices: readonly T[]) =>
  field(choices.join(', '), (value) => choices.find((c) => c === value));

export const address = field<IpAddress>('an IPv4 or IPv6 address', (value) =>
  typeof value === 'string' ? parseAddress(value) : undefined,
);

/** RFC 4271 §6.3: not unspecified, loopback, multicast or broadcast. */
export const hostAddress = field<IpAddress>('the address of a host', (value) => {
  const parsed = typeof value === 'string' ? parseAddress(value) : undefined;
  return parsed && isHostAddress(addressBytes(parsed)) ? parsed : undefined;
});

export const routerId = field<IpAddress>('a dotted IPv4 address that is not 0.0.0.0', (value) => {
  const parsed = typeof value === 'string' ? parseAddress(value) : undefined;
  return parsed === undefined || parsed.includes(':') || parsed === '0.0.0.0' ? undefined : parsed;
});

export const prefix = field<Prefix>('an IP prefix with all host bits zero, as 10.1.0.0/16', (value) =>
  typeof value === 'string' ? parsePrefix(value) : undefined,
);

/** RFC 7607 keeps 0 out; 23456 and the last two are reserved but harmless in a lab. */
export const asn = field<Asn>('an AS number, 1 to 4294967295', (value) => {
  const text = textOf(value);
  const parsed = text === undefined ? undefined : parseAsn(text);
  return parsed === undefined || parsed === 0 ? undefined : parsed;
});
