/**
 * A resource as Calico would store it: fields in the order of its types, empty ones left out, every value in its stored
 * form. Fields the schema does not know stay, after the others.
 */
import type { z } from 'zod';
import { isExplicit, storedForm } from './fields.ts';
import { emptyObject, isObject } from './json.ts';
import type { Json, JsonObject } from './json.ts';

/** The parts of zod's definition of a schema that shape JSON. */
interface Definition {
  readonly type: string;
  readonly innerType?: z.core.$ZodType;
  readonly in?: z.core.$ZodType;
  readonly out?: z.core.$ZodType;
  readonly element?: z.core.$ZodType;
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
}

export const definition = (schema: z.core.$ZodType): Definition => schema._zod.def;

/** What wraps a field (optional, default, preprocess) says nothing about how it is stored. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const { type, innerType, in: input, out } = definition(schema);
  if (storedForm(schema) || isExplicit(schema)) return schema;
  if (innerType) return unwrap(innerType);
  if (type !== 'pipe') return schema;
  // preprocess: transform → schema; a transform afterwards: schema → transform
  return definition(input!).type === 'transform'
    ? unwrap(out!)
    : definition(input!).type === 'unknown'
      ? schema
      : unwrap(input!);
}

export function canonical(schema: z.core.$ZodType, value: Json): Json {
  const inner = unwrap(schema);
  const stored = storedForm(inner);
  if (stored) return stored(value);
  const { shape, element } = definition(inner);
  if (element && Array.isArray(value)) return value.map((item) => canonical(element, item as Json));
  return shape && isObject(value) ? canonicalObject(shape, value) : value;
}

function canonicalObject(shape: Readonly<Record<string, z.core.$ZodType>>, value: JsonObject): JsonObject {
  const out = emptyObject();
  for (const [key, schema] of Object.entries(shape)) {
    const given = value[key];
    if (given === undefined || given === null) continue;
    const child = canonical(schema, given);
    if (!isEmpty(child) || (isExplicit(unwrap(schema)) && !isEmptyCollection(child))) out[key] = child;
  }
  for (const key of Object.keys(value)) if (!(key in shape)) out[key] = value[key];
  return out;
}

const isEmptyCollection = (value: Json): boolean => Array.isArray(value) && value.length === 0;
/** What Go's `omitempty` leaves out; an object is a struct or a pointer, which it does not. */
const isEmpty = (value: Json): boolean => value === '' || value === false || value === 0 || isEmptyCollection(value);
