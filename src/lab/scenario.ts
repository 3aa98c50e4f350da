/**
 * Scenarios: a YAML file that says which machines, networks and pods a lab has (docs/lab.md). This is the first half of
 * reading one: its shape. What the parts mean together is checked in `topology.ts`. A fault names the line, the path, the
 * value that stands there and what would be allowed; all faults are told at once.
 */
import { LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import { err, GodwitError, messageOf, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { familyOf, parseAddress, parsePrefix } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import { LAB_NAME, LAB_NAME_RULE } from './layout.ts';

/**
 * How hosts learn where the others' pods are. `host-gw`: by Flannel's leases; `calico`: by pools, blocks and BGP; `none`: no
 * agents, only what the scenario wires itself.
 */
export const modes = ['host-gw', 'calico', 'none'] as const;
export const datastores = ['embedded', 'etcd'] as const;
/** What speaks BGP on a machine. */
export const routingPrograms = ['frr', 'bird', 'godwit'] as const;
/** What a drill can do to a lab that is up. */
export const drillActions = ['kill', 'start', 'restart', 'add', 'remove'] as const;

const parsed = <T extends IpAddress | Prefix>(
  parse: (text: string) => T | undefined,
  families: readonly Family[],
  wanted: string,
) =>
  z.string({ error: wanted }).transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined && families.includes(familyOf(value))) return value;
    context.addIssue(wanted);
    return z.NEVER;
  });
/** Where only IPv4 will do, and where either family does. */
const address = parsed(parseAddress, [4], 'an IPv4 address');
const eitherAddress = parsed(parseAddress, [4, 6], 'an IP address');
const prefix = (wanted: string) => parsed(parsePrefix, [4], wanted);
const eitherPrefix = (wanted: string) => parsed(parsePrefix, [4, 6], wanted);

/** One, or a list of one for IPv4 and one for IPv6; IPv4's comes first then, whatever the order in the file. */
const perFamily = <T extends IpAddress | Prefix>(one: z.ZodType<T, string>, what: string) => {
  const wanted = `${what}, or a list of one for IPv4 and one for IPv6`;
  return z
    .union([one.transform((value) => [value]), z.array(one).min(1).max(2)], { error: wanted })
    .refine((list) => new Set(list.map(familyOf)).size === list.length, { error: wanted })
    .transform((list): readonly T[] => list.toSorted((a, b) => familyOf(a) - familyOf(b)));
};

const integer = (low: number, high: number) => {
  const error = `a whole number from ${low} to ${high}`;
  return z.number({ error }).int({ error }).min(low, { error }).max(high, { error });
};

/** An object without other keys than these. */
const strict = <S extends z.core.$ZodShape>(shape: S) => {
  const keys = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `one of the keys ${keys}` : `a mapping with ${keys}`),
  });
};

const NAME_RULE = 'a name of 1 to 15 lower-case letters, digits and inner hyphens that starts with a letter';
const NAME = /^[a-z]([a-z0-9-]{0,13}[a-z0-9])?$/;
const named = <S extends z.ZodType>(value: S) =>
  z.record(z.string().regex(NAME, NAME_RULE), value, {
    error: (issue) => (issue.code === 'invalid_type' ? 'a mapping of names' : undefined),
  });
const choice = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.enum(values, { error: values.join(' or ') });
const yes = z.boolean({ error: 'true or false' });

const nodeAddress = perFamily(eitherAddress, 'an IP address');
const addresses = named(nodeAddress).refine((a) => Object.keys(a).length > 0, {
  error: 'at least one NETWORK: ADDRESS',
});
const routes = z
  .array(strict({ to: eitherPrefix('a prefix such as 10.0.0.0/8'), via: eitherAddress }), {
    error: 'a list of { to, via }',
  })
  .default([]);

const asn = integer(1, 4_294_967_295);
const session = {
  as: asn,
  accept: z.array(prefix('a prefix such as 10.244.0.0/16'), { error: 'a list of prefixes' }).optional(),
  export: choice(['none', 'all']).default('none'),
  client: yes.default(false),
  nextHopSelf: yes.default(false),
};
const bgp = strict({
  program: choice(routingPrograms),
  config: z.string({ error: 'the program’s own configuration, as text' }).optional(),
  as: asn.optional(),
  neighbors: z.array(strict({ address, ...session }), { error: 'a list of { address, as, … }' }).default([]),
  ranges: z
    .array(strict({ range: prefix('a prefix such as 10.0.0.0/24'), ...session }), {
      error: 'a list of { range, as, … }',
    })
    .default([]),
  networks: z.array(prefix('a prefix such as 10.233.1.0/24'), { error: 'a list of prefixes' }).default([]),
}).optional();
const lines = z.array(z.string({ error: 'a line of ip route' }), { error: 'a list of lines of ip route' }).optional();
const who = z.string({ error: 'a name' });
const step = strict({
  ...(Object.fromEntries(drillActions.map((action) => [action, who.optional()])) as {
    [A in (typeof drillActions)[number]]: z.ZodOptional<z.ZodString>;
  }),
  loss: integer(0, 1_000_000).default(0),
}).refine((s) => drillActions.filter((action) => s[action] !== undefined).length === 1, {
  error: `one of ${drillActions.join(', ')}`,
});

const SEGMENT = 'a prefix such as 10.168.0.0/24';

const schema = strict({
  name: z.string({ error: LAB_NAME_RULE }).regex(LAB_NAME, LAB_NAME_RULE).optional(),
  description: z.string({ error: 'text' }).default(''),
  mode: choice(modes).default('host-gw'),
  datastore: choice(datastores).default('embedded'),
  addressing: strict({
    network: prefix('the prefix of all pods, such as 10.244.0.0/16'),
    subnetLength: integer(8, 30).default(24),
  }).optional(),
  networks: named(
    strict({ prefix: perFamily(eitherPrefix(SEGMENT), SEGMENT), mtu: integer(576, 65535).default(1500) }),
  ),
  routers: named(strict({ addresses, default: nodeAddress.default([]), routes, bgp, expect: lines })).default({}),
  hosts: named(
    strict({
      addresses,
      default: nodeAddress.default([]),
      routes,
      agent: yes.optional(),
      subnet: prefix('a subnet such as 10.244.1.0/24').optional(),
      blocks: z.array(eitherPrefix('a block such as 10.233.1.0/26'), { error: 'a list of blocks' }).default([]),
      bgp,
      later: yes.default(false),
      expect: lines,
    }),
  ).default({}),
  pods: named(strict({ host: z.string({ error: 'the name of a host' }), address: nodeAddress.default([]) })).default(
    {},
  ),
  resources: z.array(z.record(z.string(), z.unknown()), { error: 'a list of objects' }).default([]),
  announcers: named(
    strict({
      host: z.string({ error: 'the name of a machine' }),
      as: asn,
      gateways: z.array(z.string(), { error: 'a list of routers' }).min(1, { error: 'at least one router' }),
    }),
  ).default({}),
  traffic: z.array(strict({ from: who, to: who }), { error: 'a list of { from, to }' }).default([]),
  drill: z.array(step, { error: 'a list of steps, such as { kill: a1 }' }).default([]),
});

/** The file's shape, defaults filled in; nothing in it has been looked at together yet. */
export type ScenarioFile = z.infer<typeof schema>;

export interface Fault {
  readonly path: readonly PropertyKey[];
  /** What would be allowed there. */
  readonly wanted: string;
}

/** The text with its lines, so that faults found later can still say where. */
export class ScenarioText {
  /** File name, or the name of a scenario that comes with the program. */
  readonly source: string;
  readonly text: string;
  private readonly document: Document;
  private readonly lines = new LineCounter();
  private value: unknown;

  constructor(source: string, text: string) {
    this.source = source;
    this.text = text;
    this.document = parseDocument(text, { lineCounter: this.lines });
  }

  parse(): Result<ScenarioFile, GodwitError> {
    const [first] = this.document.errors;
    if (first) return err(this.unreadable(first));
    try {
      this.value = this.document.toJS({ maxAliasCount: 100 });
      // an alias inside of what it stands for would make everything after this go round for ever
      JSON.stringify(this.value);
      this.value = expandRanges(this.value);
    } catch (error) {
      return err(this.unreadable(error));
    }
    const parsed = schema.safeParse(this.value);
    if (parsed.success) return ok(parsed.data);
    return err(this.refuse(parsed.error.issues.flatMap(faultsOf)));
  }

  refuse(faults: readonly Fault[]): GodwitError {
    const inOrder = faults
      .map((fault) => ({ line: this.lineOf(fault.path), fault }))
      .sort((a, b) => (a.line ?? 0) - (b.line ?? 0));
    const list = inOrder.map(({ line, fault }) => `\n  ${this.describe(fault, line)}`).join('');
    const hint = 'docs/lab.md lists every key; `godwit lab scenarios` shows those that come with the program';
    return new GodwitError('scenario', `${printable(this.source)} is not a usable scenario:${list}`, { hint });
  }

  private describe({ path, wanted }: Fault, line: number | undefined): string {
    const where = path.length === 0 ? 'the file' : path.map(String).join('.');
    const found = path.reduce<unknown>((value, key) => Object(value)[key] as unknown, this.value);
    const value = found === undefined ? 'missing' : `${JSON.stringify(found)} is not allowed`;
    return `${line === undefined ? '' : `line ${line}: `}${printable(where, 80)}: ${printable(value, 80)}; wanted: ${wanted}`;
  }

  private unreadable(error: unknown): GodwitError {
    return new GodwitError('scenario', `${printable(this.source)}: not YAML: ${messageOf(error).trim()}`);
  }

  private lineOf(path: readonly PropertyKey[]): number | undefined {
    for (let length = path.length; length > 0; length--) {
      const node = this.document.getIn(path.slice(0, length), true);
      const range = Object(node).range as readonly number[] | undefined;
      if (range) return this.lines.linePos(range[0]!).line;
    }
    return undefined;
  }
}

const RANGE = /^([a-z][a-z0-9-]*)\[(\d{1,4})-(\d{1,4})\]$/;
const RANGE_LIMIT = 1000;

/** `node[1-3]` under hosts or pods stands for node1, node2 and node3; `#` in the values for the number. */
function expandRanges(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const expanded = Object.entries(value).map(([group, members]: [string, unknown]) => {
    const ranges = (group === 'hosts' || group === 'pods') && typeof members === 'object' && members !== null;
    return [
      group,
      ranges && !Array.isArray(members) ? Object.fromEntries(Object.entries(members).flatMap(expandOne)) : members,
    ] as const;
  });
  return Object.fromEntries(expanded);
}

function expandOne([key, value]: [string, unknown]): [string, unknown][] {
  const [, stem, first, last] = RANGE.exec(key) ?? [];
  const count = Number(last) - Number(first) + 1;
  if (stem === undefined || count < 1 || count > RANGE_LIMIT) return [[key, value]];
  const text = JSON.stringify(value);
  return Array.from({ length: count }, (_, i) => {
    const number = String(Number(first) + i);
    return [stem + number, JSON.parse(text.replaceAll('#', number)) as unknown];
  });
}

/** An unknown key is a fault of that key, not of the object around it. */
function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...issue.path, key], wanted: issue.message }));
  }
  if (issue.code === 'invalid_key') return [{ path: issue.path, wanted: issue.issues[0]?.message ?? issue.message }];
  return [{ path: issue.path, wanted: issue.message }];
}
