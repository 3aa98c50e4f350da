/**
 * `/run/flannel/subnet.env`: what Flannel tells other programs on the node about its lease, and how a node that
 * restarts remembers the subnet it had.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { replaceFile } from '../base/mod.ts';
import { nthAddress, parseInterfaceAddress, prefixLength, prefixOf } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import type { NetworkConfig } from './config.ts';
import type { Subnets } from './lease.ts';

export interface SubnetEnv {
  readonly config: NetworkConfig;
  readonly subnets: Subnets;
  readonly mtu: number;
  readonly masquerade: boolean;
}

/** The subnet with its first usable address, the bridge's: `10.244.1.1/24`. */
const withGateway = (subnet: Prefix): string => `${nthAddress(subnet, 1)}/${prefixLength(subnet)}`;

export function formatSubnetEnv({ config, subnets, mtu, masquerade }: SubnetEnv): string {
  const lines: string[] = [];
  if (config.ipv4 && subnets.ipv4 !== undefined) {
    lines.push(`FLANNEL_NETWORK=${config.ipv4.network}`, `FLANNEL_SUBNET=${withGateway(subnets.ipv4)}`);
  }
  if (config.ipv6 && subnets.ipv6 !== undefined) {
    lines.push(`FLANNEL_IPV6_NETWORK=${config.ipv6.network}`, `FLANNEL_IPV6_SUBNET=${withGateway(subnets.ipv6)}`);
  }
  return [...lines, `FLANNEL_MTU=${mtu}`, `FLANNEL_IPMASQ=${masquerade}`, ''].join('\n');
}

/** The subnets a file names; what is torn or wrong counts as absent. */
export function parseSubnetEnv(text: string): Subnets {
  const subnet = (name: string): Prefix | undefined => {
    const value = new RegExp(`^${name}=(\\S+)$`, 'm').exec(text)?.[1];
    const parsed = value === undefined ? undefined : parseInterfaceAddress(value);
    return parsed && prefixOf(parsed.address, parsed.prefixLength);
  };
  return { ipv4: subnet('FLANNEL_SUBNET'), ipv6: subnet('FLANNEL_IPV6_SUBNET') };
}

/** Undefined when the file is not there or cannot be read: the node then has no memory, which is no error. */
export function readSubnetEnv(path: string): Subnets | undefined {
  try {
    return parseSubnetEnv(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Replaces the file: a reader sees the old or the new one, also after a power cut. Throws what the system says. */
export function writeSubnetEnv(path: string, env: SubnetEnv): void {
  mkdirSync(dirname(path), { recursive: true });
  replaceFile(path, formatSubnetEnv(env), { mode: 0o644, outlives: 'power cut' });
}
