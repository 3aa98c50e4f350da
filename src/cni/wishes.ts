/**
 * What is asked for one pod's addresses, from wherever it may be asked: the runtime's conventions (runtimeConfig, args.cni,
 * CNI_ARGS), the configuration's `ipam` section in Calico's form, and the pod's annotations in Calico's form, which
 * containerd and CRI-O pass on where the configuration has the capability `io.kubernetes.cri.pod-annotations`.
 */
import { printable } from '../base/mod.ts';
import { parseAddress, parseMac } from '../net/mod.ts';
import type { Family, IpAddress, MacAddress } from '../net/mod.ts';
import type { NetworkConfig } from './config.ts';
import type { Environment } from './environment.ts';
import { CniError, codes } from './error.ts';
import type { AddressWishes } from './shape.ts';

export interface Wishes {
  readonly addresses: readonly IpAddress[];
  readonly mac: MacAddress | undefined;
  readonly from: AddressWishes;
}

const CALICO = 'cni.projectcalico.org/';
/** Limits, which plugins of the chain are for. */
const CALICO_QOS = 'qos.projectcalico.org/';

/** What Calico can be asked for and this cannot do: a pod that asks is not started as if it had not. */
const refused = {
  ipAddrsNoIpam: 'addresses that IPAM does not know are not given',
  floatingIPs: 'no node translates floating addresses to pods; announce a service address instead',
  allowedSourcePrefixes: 'a pod sends from its own addresses alone',
} as const;

/** Annotations of Calico's that change nothing here; none of them is about who the pod is, so it starts all the same. */
export function withoutEffect(config: NetworkConfig): string[] {
  const annotations = Object.keys(config.runtimeConfig?.['io.kubernetes.cri.pod-annotations'] ?? {});
  return annotations.filter((key) => key.startsWith(CALICO_QOS)).map((key) => printable(key, 100));
}

/** Throws CniError: 2 for what cannot be had, 4 for a variable, 7 for an annotation that cannot be read. */
export function wishesOf(env: Environment, config: NetworkConfig): Wishes {
  for (const [key, reason] of Object.entries(refused)) {
    if (annotation(config, key) !== undefined)
      throw new CniError(codes.unsupportedField, `annotation ${CALICO}${key}: ${reason}`);
  }
  const exactly = list(config, 'ipAddrs', parseAddress, 'IP addresses');
  const single = argument(env, 'IP', (text) => parseAddress(text.split('/', 1)[0]!));
  const asked = config.runtimeConfig?.ips ?? config.args?.cni?.ips ?? exactly ?? (single === undefined ? [] : [single]);
  const mac =
    config.runtimeConfig?.mac ?? config.args?.cni?.mac ?? argument(env, 'MAC', parseMac) ?? annotatedMac(config);
  const pools4 = list(config, 'ipv4pools', (text) => text, 'pools') ?? config.ipam?.ipv4_pools;
  const pools6 = list(config, 'ipv6pools', (text) => text, 'pools') ?? config.ipam?.ipv6_pools;
  const from = {
    families: familiesOf(config),
    pools: { ...(pools4 && { 4: pools4 }), ...(pools6 && { 6: pools6 }) },
    exactly: exactly !== undefined && asked === exactly,
    ipam: config.ipam !== undefined,
  };
  return { addresses: asked, mac, from };
}

/** Calico's configuration gives IPv4 unless told otherwise, and IPv6 only when told. */
function familiesOf(config: NetworkConfig): readonly Family[] | undefined {
  const asked = list(
    config,
    'ipFamilies',
    (text) => (text === 'IPv4' ? 4 : text === 'IPv6' ? 6 : undefined),
    'families',
  );
  if (asked) return asked;
  const { ipam } = config;
  if (!ipam) return undefined;
  const out: Family[] = [];
  if (ipam.assign_ipv4 ?? true) out.push(4);
  if (ipam.assign_ipv6 ?? false) out.push(6);
  return out;
}

function argument<T>(env: Environment, key: string, parse: (text: string) => T | undefined): T | undefined {
  const text = env.args.get(key);
  if (text === undefined || text === '') return undefined;
  const value = parse(text);
  if (value === undefined) throw new CniError(codes.invalidEnvironment, `CNI_ARGS: ${key} is not one`);
  return value;
}

const annotation = (config: NetworkConfig, key: string): string | undefined =>
  config.runtimeConfig?.['io.kubernetes.cri.pod-annotations']?.[CALICO + key];

const unreadable = (key: string, what: string): CniError =>
  new CniError(codes.invalidConfig, `annotation ${CALICO}${key} is not a JSON list of ${what}`);

/** An annotation that holds a JSON list of texts. */
function list<T>(
  config: NetworkConfig,
  key: string,
  parse: (text: string) => T | undefined,
  what: string,
): readonly T[] | undefined {
  const text = annotation(config, key);
  if (text === undefined) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw unreadable(key, what);
  }
  if (!Array.isArray(json) || json.length === 0) throw unreadable(key, what);
  return json.map((item: unknown) => {
    const value = typeof item === 'string' ? parse(item) : undefined;
    if (value === undefined) throw unreadable(key, what);
    return value;
  });
}

function annotatedMac(config: NetworkConfig): MacAddress | undefined {
  const text = annotation(config, 'hwAddr');
  if (text === undefined) return undefined;
  const mac = parseMac(text);
  if (mac === undefined) throw new CniError(codes.invalidConfig, `annotation ${CALICO}hwAddr is not a MAC address`);
  return mac;
}

/** On a node whose pods have their addresses from its own subnet. */
export const unsupportedIpam = (): CniError =>
  new CniError(
    codes.unsupportedField,
    'unsupported field ipam: this node’s pods have their addresses from its subnet lease',
    'the agent settles bridge and addresses of its node; remove this field',
  );
