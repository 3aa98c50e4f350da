/** What may stand in a resource's `spec`, field by field, in the words its errors use: for people who write one. */
import type { z } from 'zod';
import { definition } from './canonical.ts';
import { formatDuration } from './duration.ts';
import { allowedText, defaultValue } from './fields.ts';
import { isObject } from './json.ts';
import { kinds } from './kinds.ts';
import type { Kind } from './kinds.ts';

export interface FieldText {
  /** `spec.blockSize`, `spec.rules[].cidr`. */
  readonly path: string;
  readonly allowed: string;
  /** As it would be written; absent where nothing stands for the field when it is left out. */
  readonly default?: string;
  readonly required: boolean;
}

export const explainKind = (kind: Kind): FieldText[] => fieldsOf('spec', kinds[kind].spec);

function fieldsOf(path: string, schema: z.core.$ZodType): FieldText[] {
  const { inner, optional, fallback } = unwrap(schema);
  const { shape, element } = definition(inner);
  if (shape) return Object.entries(shape).flatMap(([key, field]) => fieldsOf(`${path}.${key}`, field));
  const items = element && unwrap(element).inner;
  if (element && items && definition(items).shape) return fieldsOf(`${path}[]`, element);
  const text = allowedText(inner) ?? 'anything; it is kept as it is';
  const each = items && allowedText(items);
  return [
    {
      path,
      allowed: each === undefined || text.includes(each) ? text : `${text}: each ${each}`,
      ...(fallback !== undefined && { default: fallback }),
      required: !optional,
    },
  ];
}

/** Down to what says what the field is, through what only says that it may be left out. */
function unwrap(schema: z.core.$ZodType): { inner: z.core.$ZodType; optional: boolean; fallback?: string } {
  let optional = false;
  let value: unknown;
  let inner = schema;
  for (;;) {
    value ??= defaultValue(inner);
    const { type, innerType, in: input, out } = definition(inner);
    if (type === 'optional' || type === 'default') optional = true;
    if (allowedText(inner) !== undefined) break;
    if (innerType) inner = innerType;
    else if (type === 'pipe') inner = definition(input!).type === 'transform' ? out! : input!;
    else break;
  }
  const fallback = textOf(value, allowedText(inner));
  return { inner, optional: optional || value !== undefined, ...(fallback !== undefined && { fallback }) };
}

/** A default as somebody would write it; undefined for what is as good as nothing. */
function textOf(value: unknown, allowed: string | undefined): string | undefined {
  if (value === undefined || value === '' || (Array.isArray(value) && value.length === 0)) return undefined;
  if (isObject(value)) return typeof value['text'] === 'string' ? value['text'] : undefined;
  // seconds in the program
  if (typeof value === 'number' && allowed?.startsWith('a duration') === true) return formatDuration(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
