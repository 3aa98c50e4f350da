/**
 * The agent's configuration: one schema, three sources. A flag wins over `GODWIT_*` in the environment, that over the
 * YAML file (`--config`), that over the default. An error names where the value came from, the value, and what is allowed.
 */
import { hostname } from 'node:os';
import { z } from 'zod';
import { err, GodwitError, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { familyOf, parseAddress } from '../net/mod.ts';
import type { IpAddress } from '../net/mod.ts';
import { ROUTE_PROTOCOL } from '../dataplane/mod.ts';
import { methodSyntax, parseMethod } from './method.ts';
import type { DetectionMethod } from './method.ts';

/** Numbers and switches come as text from flags and environment, as themselves from YAML. */
const integer = (min: number, max: number, error = `a whole number from ${min} to ${max}`) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value),
    z.number({ error }).int({ error }).min(min, { error }).max(max, { error }),
  );
const yes = z.preprocess(
  (value) => (value === 'true' ? true : value === 'false' ? false : value),
  z.boolean({ error: 'true or false' }),
);
const path = z.string({ error: 'an absolute path' }).regex(/^\/[^\0]*$/, 'an absolute path');
const interfaceName = z
  .string()
  .regex(/^(?!\.{1,2}$)[^\s/:\0]{1,15}$/, 'an interface name of 1 to 15 characters, without "/", ":" or spaces');

const method = z.string().transform((text, context): DetectionMethod => {
  const parsed = parseMethod(text);
  if (parsed.ok) return parsed.value;
  context.addIssue(`${methodSyntax} (${parsed.error})`);
  return z.NEVER;
});

const address = (family: 4 | 6) =>
  z.string().transform((text, context): IpAddress => {
    const parsed = parseAddress(text);
    if (parsed !== undefined && familyOf(parsed) === family) return parsed;
    context.addIssue(`an IPv${family} address`);
    return z.NEVER;
  });

const listen = z.string().transform((text, context): { host: string; port: number } | undefined => {
  if (text === 'off') return undefined;
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  if (match && Number(match[3]) <= 65535) return { host: match[1] ?? match[2]!, port: Number(match[3]) };
  context.addIssue('ADDRESS:PORT, or off');
  return z.NEVER;
});

/** Where addresses and routes come from: Flannel's subnet leases, or Calico's blocks and BGP. */
export const networkKinds = ['subnets', 'blocks'] as const;
export type NetworkKind = (typeof networkKinds)[number];

const networks = z.string().transform((text, context): readonly NetworkKind[] => {
  const kinds = text.split(',').map((kind) => kind.trim());
  const known = kinds.filter((kind): kind is NetworkKind => (networkKinds as readonly string[]).includes(kind));
  if (known.length === kinds.length && new Set(known).size === known.length) return known;
  context.addIssue('subnets, blocks, or both with a comma between them');
  return z.NEVER;
});

interface Option<S extends z.ZodType = z.ZodType> {
  readonly schema: S;
  /** What stands for the value in the help text. */
  readonly placeholder: string;
  readonly help: string;
}
const option = <S extends z.ZodType>(placeholder: string, help: string, schema: S): Option<S> => ({
  schema,
  placeholder,
  help,
});

/** Every option, in the order of the help text. Flag and environment name follow from the key. */
export const agentOptions = {
  node: option(
    'NAME',
    'name of this node in the datastore (default: the host name)',
    z
      .string()
      .regex(
        /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/,
        'lower-case letters, digits, "-" and ".", at most 253 characters',
      )
      .default(() => hostname().toLowerCase()),
  ),
  datastore: option(
    'URL',
    'etcd://HOST:PORT[,HOST:PORT…], etcds://… (TLS) or unix:///PATH (the embedded store)',
    z
      .string({ error: 'a datastore URL such as etcd://127.0.0.1:2379' })
      .min(1, 'a datastore URL such as etcd://127.0.0.1:2379'),
  ),
  datastoreCa: option('FILE', 'certificate authority of the datastore, PEM', path.optional()),
  datastoreCert: option('FILE', 'client certificate for the datastore, PEM', path.optional()),
  datastoreKey: option('FILE', 'key of the client certificate, PEM', path.optional()),
  datastoreUser: option('NAME', 'user, where the datastore asks for one', z.string().min(1).optional()),
  datastorePasswordFile: option('FILE', 'the user’s password, alone in a file', path.optional()),
  network: option(
    'KIND[,KIND]',
    'subnets (Flannel’s leases), blocks (Calico’s pools, blocks and BGP), or both: new pods come from the first',
    networks.prefault('subnets'),
  ),
  etcdPrefix: option(
    'PREFIX',
    'where the network lives in the datastore (Flannel’s --etcd-prefix)',
    z
      .string()
      .regex(/^\/[^\s]*[^/\s]$/, 'a key such as /coreos.com/network')
      .default('/coreos.com/network'),
  ),
  addressMethod: option(
    'METHOD',
    `how to find this node’s IPv4 address: ${methodSyntax}`,
    method.prefault('first-found'),
  ),
  address6Method: option('METHOD', 'the same for IPv6', method.prefault('first-found')),
  address: option('IP', 'this node’s IPv4 address; it must be on an interface', address(4).optional()),
  address6: option('IP', 'this node’s IPv6 address; it must be on an interface', address(6).optional()),
  secretsDir: option(
    'DIR',
    'BGP passwords live here, each in NAME/KEY as resources refer to it',
    path.default('/etc/godwit/secrets'),
  ),
  bridge: option('NAME', 'bridge the pods of this node are attached to', interfaceName.default('cni0')),
  mtu: option(
    'BYTES',
    'MTU of bridge and pods, or auto: the uplink’s',
    z.union([z.literal('auto'), integer(1280, 65535, 'auto, or a whole number from 1280 to 65535')]).default('auto'),
  ),
  ipMasq: option('BOOL', 'masquerade traffic that leaves the pod network', yes.default(true)),
  subnetFile: option(
    'FILE',
    'where the lease is told to others (Flannel’s subnet.env)',
    path.default('/run/flannel/subnet.env'),
  ),
  runDir: option('DIR', 'lock and sockets live here', path.default('/run/godwit')),
  stateDir: option(
    'DIR',
    'what must outlive a reboot: attached pods, the copy of the datastore',
    path.default('/var/lib/godwit'),
  ),
  socket: option('FILE', 'the agent’s own socket (default: agent.sock in the run directory)', path.optional()),
  cniSocket: option('FILE', 'socket the CNI plugin asks (default: cni.sock in the run directory)', path.optional()),
  listen: option('ADDRESS:PORT', 'livez, readyz and metrics over HTTP, or off', listen.prefault('127.0.0.1:9470')),
  otherSegments: option(
    'WHO',
    'nodes on other segments: refuse (a problem, not ready), or gateway (the gateways know their subnets, nothing is routed here)',
    z.enum(['refuse', 'gateway']).default('refuse'),
  ),
  leaseRenewMinutes: option(
    'N',
    'the lease is renewed when less than this is left of its 24 hours',
    integer(1, 1439).default(60),
  ),
  routeProtocol: option(
    'NUMBER',
    'protocol number that marks our routes; all routes that carry it are ours (80 adopts a Calico node’s)',
    integer(5, 255).default(ROUTE_PROTOCOL),
  ),
  resyncSeconds: option(
    'N',
    'everything is compared with the kernel this often, events or not',
    integer(1, 3600).default(60),
  ),
  tunnelQuietSeconds: option(
    'N',
    'a tunnel no pool asks for any more goes after this long without a packet from another node',
    integer(0, 3600).default(60),
  ),
  logLevel: option('LEVEL', 'debug, info, warn or error', z.enum(['debug', 'info', 'warn', 'error']).default('info')),
} as const;

type OptionName = keyof typeof agentOptions;
export const optionNames = Object.keys(agentOptions) as OptionName[];

const shape = Object.fromEntries(optionNames.map((name) => [name, agentOptions[name].schema])) as {
  [K in OptionName]: (typeof agentOptions)[K]['schema'];
};
const schema = z.strictObject(shape);

type Parsed = z.infer<typeof schema>;
/** The configuration as the agent uses it: every path filled in. */
export interface AgentConfig extends Omit<Parsed, 'socket' | 'cniSocket'> {
  readonly socket: string;
  readonly cniSocket: string;
}

const words = (name: string) => name.replace(/[A-Z]|\d+/g, (c) => (/\d/.test(c) ? c : `-${c.toLowerCase()}`));
export const flagOf = (name: OptionName): string => `--${words(name)}`;
export const environmentOf = (name: OptionName): string => `GODWIT_${words(name).replaceAll('-', '_').toUpperCase()}`;

export interface ConfigSources {
  /** By option name. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file?: { readonly path: string; readonly values: unknown };
}

const show = (value: unknown): string =>
  value === undefined ? 'nothing' : printable(JSON.stringify(value) ?? 'nothing', 80);

/** Merges and checks; the error lists every fault, one a line: where, what, and what is allowed. */
export function parseConfig(sources: ConfigSources): Result<AgentConfig, GodwitError> {
  const merged: Record<string, unknown> = {};
  const origin = new Map<string, string>();
  const faults: string[] = [];
  const values = sources.file?.values ?? {};
  if (typeof values !== 'object' || Array.isArray(values)) {
    return err(new GodwitError('config', `${sources.file?.path}: a mapping of options is wanted, not ${show(values)}`));
  }
  for (const [key, value] of Object.entries(values)) {
    if (!Object.hasOwn(agentOptions, key)) {
      faults.push(`${sources.file?.path}: ${printable(key)}: no such option; there are ${optionNames.join(', ')}`);
    } else if (value !== null) {
      merged[key] = value;
      origin.set(key, `${sources.file?.path}: ${key}`);
    }
  }
  for (const name of optionNames) {
    const fromEnvironment = sources.environment[environmentOf(name)];
    if (fromEnvironment !== undefined && fromEnvironment !== '') {
      merged[name] = fromEnvironment;
      origin.set(name, environmentOf(name));
    }
    if (sources.flags[name] !== undefined) {
      merged[name] = sources.flags[name];
      origin.set(name, flagOf(name));
    }
  }
  const parsed = schema.safeParse(merged);
  for (const issue of parsed.error?.issues ?? []) {
    const name = String(issue.path[0] ?? '') as OptionName;
    const where = origin.get(name) ?? `${flagOf(name)} (or ${environmentOf(name)}, or ${name} in the file)`;
    // an enum's allowed values and a number's bounds are in zod's own words
    faults.push(`${where}: ${show(merged[name])} is not allowed; wanted: ${issue.message}`);
  }
  if (!parsed.success || faults.length > 0) {
    return err(new GodwitError('config', `the configuration is not usable:\n  ${faults.join('\n  ')}`));
  }
  const { socket, cniSocket, ...rest } = parsed.data;
  const { runDir } = rest;
  return ok({ ...rest, socket: socket ?? `${runDir}/agent.sock`, cniSocket: cniSocket ?? `${runDir}/cni.sock` });
}
