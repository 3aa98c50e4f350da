/** The network configuration on standard input, parsed: CNI spec 1.1.0 section 1, and the capability conventions. */
import { z } from 'zod';
import { err, messageOf, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { parseAddress, parseInterfaceAddress, parseMac, parsePrefix } from '../net/mod.ts';
import { isIdentifier } from './environment.ts';
import { CniError, codes } from './error.ts';
import { isVersion, versions } from './versions.ts';
import type { CniVersion } from './versions.ts';

const MAX_NAME_LENGTH = 128;
const MAX_DEPTH = 64;

/** Keys of other plugins that would change what the pod gets: to pass over them in silence would be a lie. */
const unsupported = ['bridge', 'vlan', 'vlanTrunk', 'delegate', 'subnetFile'] as const;

function parsed<T>(parse: (text: string) => T | undefined, what: string) {
  return z.string().transform((text, context): T => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue(`not ${what}`);
    return z.NEVER;
  });
}

const address = parsed(parseAddress, 'an IP address');
const mac = parsed(parseMac, 'a MAC address');
/** `10.244.0.5` or `10.244.0.5/24`. */
const wantedAddress = parsed((text) => parseAddress(text) ?? parseInterfaceAddress(text)?.address, 'an IP address');
const name = z.string().refine((text) => isIdentifier(text, MAX_NAME_LENGTH), 'not a network name');

/** Calico's configurations have booleans as text, too. */
const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);
const ipam = z.looseObject({
  type: z.literal('calico-ipam'),
  /** By name or CIDR. */
  ipv4_pools: z.array(z.string()).optional(),
  ipv6_pools: z.array(z.string()).optional(),
  assign_ipv4: flag.optional(),
  assign_ipv6: flag.optional(),
});

const attachment = z.object({ containerID: z.string(), ifname: z.string() });

const dns = z.object({
  nameservers: z.array(z.string()).optional(),
  domain: z.string().optional(),
  search: z.array(z.string()).optional(),
  options: z.array(z.string()).optional(),
});

const interfaceResult = z.looseObject({ name: z.string(), mac: z.string().optional(), sandbox: z.string().optional() });
const ipResult = z.looseObject({ address: z.string(), interface: z.int().optional() });
const routeResult = z.looseObject({ dst: z.string() });
const previous = z.looseObject({
  interfaces: z.array(interfaceResult).optional(),
  ips: z.array(ipResult).optional(),
  routes: z.array(routeResult).optional(),
  dns: dns.optional(),
});
export type PreviousResult = z.output<typeof previous>;

const schema = z.object({
  cniVersion: z.custom<CniVersion>(isVersion),
  name,
  /** Path of the agent's socket; only the executable uses it. */
  socket: z.string().optional(),
  /** Bytes; may only lower the network's. */
  mtu: z.int().min(68).max(65_535).optional(),
  /** Routes of the pod besides the default one and the network's. */
  routes: z.array(z.object({ dst: parsed(parsePrefix, 'an IP prefix'), gw: address.optional() })).default([]),
  dns: dns.optional(),
  args: z
    .looseObject({ cni: z.looseObject({ ips: z.array(wantedAddress).optional(), mac: mac.optional() }).optional() })
    .optional(),
  runtimeConfig: z
    .looseObject({
      ips: z.array(wantedAddress).optional(),
      mac: mac.optional(),
      'io.kubernetes.cri.pod-annotations': z.record(z.string(), z.string()).optional(),
    })
    .optional(),
  /** Calico's, for routed networks. */
  ipam: ipam.optional(),
  prevResult: previous.optional(),
  'cni.dev/valid-attachments': z.array(attachment).optional(),
  // the key before 1.1.0 was final; runtimes send both
  'cni.dev/attachments': z.array(attachment).optional(),
});
export type NetworkConfig = z.output<typeof schema>;

const refuse = (code: number, message: string, details = ''): Result<never, CniError> =>
  err(new CniError(code, message, details));

/** Keys that a careless merge would take for an object's prototype, at any depth; or nesting no configuration has. */
function hostileKey(root: unknown): string | undefined {
  const pending: [unknown, number][] = [[root, 0]];
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [value, depth] = next;
    if (typeof value !== 'object' || value === null) continue;
    if (depth > MAX_DEPTH) return `nesting deeper than ${MAX_DEPTH}`;
    for (const key of Object.keys(value)) {
      if (key === '__proto__' || key === 'constructor' || key === 'prototype') return `key ${key}`;
      pending.push([Reflect.get(value, key), depth + 1]);
    }
  }
  return undefined;
}

const isEmptyIpam = (json: object): boolean => JSON.stringify(Reflect.get(json, 'ipam')) === '{}';

function unsupportedKey(json: object): CniError | undefined {
  const ipamType: unknown = Reflect.get(Object(Reflect.get(json, 'ipam') ?? {}), 'type');
  const foreignIpam = Reflect.get(json, 'ipam') !== undefined && !isEmptyIpam(json) && ipamType !== 'calico-ipam';
  for (const key of [...(foreignIpam ? ['ipam'] : []), ...unsupported]) {
    const value: unknown = Reflect.get(json, key);
    if (value === undefined) continue;
    const shown = printable(JSON.stringify(value), 200);
    const hint = 'the agent settles bridge and addresses of its node; remove this field';
    return new CniError(codes.unsupportedField, `unsupported field ${key}: ${shown}`, hint);
  }
  return undefined;
}

/** Refuses with code 6 what is not JSON, 1 other versions, 2 fields that cannot be honoured, 7 the rest. */
export function parseConfig(bytes: Uint8Array): Result<NetworkConfig, CniError> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    return refuse(codes.decode, 'the configuration is not JSON', printable(messageOf(error)));
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    return refuse(codes.decode, 'the configuration is not a JSON object');
  }
  const hostile = hostileKey(json);
  if (hostile !== undefined) return refuse(codes.invalidConfig, `the configuration holds a ${hostile}`);
  const version: unknown = Reflect.get(json, 'cniVersion');
  if (!isVersion(version)) {
    const asked = printable(JSON.stringify(version) ?? 'none', 64);
    return refuse(
      codes.incompatibleVersion,
      `cniVersion ${asked} is not supported`,
      `supported: ${versions.join(', ')}`,
    );
  }
  const refusal = unsupportedKey(json);
  if (refusal) return err(refusal);
  const result = schema.safeParse(isEmptyIpam(json) ? { ...json, ipam: undefined } : json);
  if (result.success) return ok(result.data);
  const issue = result.error.issues[0];
  const where = issue?.path.join('.') ?? '';
  return refuse(codes.invalidConfig, `invalid configuration: ${where}: ${issue?.message}`.slice(0, 400));
}
