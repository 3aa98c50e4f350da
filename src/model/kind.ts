/** What the program knows about one kind of resource; one file a kind in `kinds/`. */
import type { z } from 'zod';
import type { JsonObject } from './json.ts';

/** One thing that is wrong: where, and what it says about what is allowed. */
export interface Problem {
  /** `spec.blockSize`, `spec.rules[2].cidr`; empty for the whole object. */
  readonly path: string;
  readonly message: string;
}

/** A column of `godwit get`: its heading and what stands in it. */
export interface Column<Spec> {
  readonly heading: string;
  cell(resource: { readonly name: string; readonly namespace?: string | undefined; readonly spec: Spec }): string;
}

/** Whose resources they are: what `apiVersion` says, and where they are in etcd. */
export interface ApiGroup {
  readonly apiVersion: string;
  /** Keys are `PREFIX<plural>/[<namespace>/]<name>`. */
  readonly prefix: string;
}
/** Of Calico's resources. */
export const API_VERSION = 'projectcalico.org/v3';
export const calicoGroup: ApiGroup = {
  apiVersion: API_VERSION,
  prefix: '/calico/resources/v3/projectcalico.org/',
};
/** What Calico has no word for. */
export const godwitGroup: ApiGroup = { apiVersion: 'godwit.io/v1', prefix: '/godwit/v1/resources/' };

export interface KindDefinition<Name extends string, Spec> {
  readonly kind: Name;
  /** Calico's when absent. */
  readonly group?: ApiGroup;
  /** As in etcd's keys and, with the singular, on the command line. */
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly spec: z.ZodType<Spec>;
  /** Fields of `spec` that are Calico's and mean nothing to this program: kept, and reported as ignored. */
  readonly ignored?: readonly string[];
  /** Columns of `get` and, where they differ, of `get -o wide`. */
  readonly columns: readonly Column<Spec>[];
  readonly wide?: readonly Column<Spec>[];
  /** What the fields by themselves cannot say; only for objects whose fields are right. */
  check?(spec: Spec, name: string): readonly Problem[];
  /** The same on the JSON as given, where it matters whether a field is there at all. */
  checkGiven?(spec: JsonObject, name: string): readonly Problem[];
  /** What may not change in an object that exists. */
  checkChange?(before: Spec, after: Spec): readonly Problem[];
  /** Writes the defaults Calico stores into `spec` when an object is created or changed. */
  storedDefaults?(spec: JsonObject): JsonObject;
}

export function defineKind<Name extends string, Spec>(
  definition: KindDefinition<Name, Spec>,
): KindDefinition<Name, Spec> {
  return definition;
}

export const yesNo = (value: boolean | undefined): string => (value === undefined ? '-' : String(value));
