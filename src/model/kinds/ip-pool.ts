/**
 * A range of addresses for pods and tunnels, cut into blocks that nodes own; with it, how packets get to another node's
 * part of it (IPIP, VXLAN or neither) and whether they are masqueraded on the way out.
 */
import { z } from 'zod';
import { familyOf, prefix as prefixOf, prefixLength, prefixesOverlap } from '../../net/mod.ts';
import { choice, explicit, flag, integer, list, optional, prefix, section, selector, withDefault } from '../fields.ts';
import type { JsonObject } from '../json.ts';
import { defineKind } from '../kind.ts';
import type { Problem } from '../kind.ts';
import { allSelector } from '../selector/selector.ts';

export const encapsulationModes = ['Never', 'Always', 'CrossSubnet'] as const;
export const poolUses = ['Workload', 'Tunnel', 'LoadBalancer'] as const;

const fields = section({
  cidr: prefix(),
  vxlanMode: withDefault(choice(...encapsulationModes), 'Never'),
  ipipMode: withDefault(choice(...encapsulationModes), 'Never'),
  natOutgoing: withDefault(flag, false),
  disabled: withDefault(flag, false),
  disableBGPExport: withDefault(flag, false),
  blockSize: withDefault(integer(0, 128), 0, '26, for IPv6 122'),
  nodeSelector: withDefault(selector(), allSelector),
  namespaceSelector: optional(selector()),
  allowedUses: withDefault(list(choice(...poolUses), 'Workload, Tunnel, LoadBalancer', 10), [], 'Workload, Tunnel'),
  assignmentMode: withDefault(explicit(choice('Automatic', 'Manual')), 'Automatic'),
});

/** 26 for IPv4, 122 for IPv6: 64 addresses either way. */
const defaultBlockSize = (cidr: string): number => (cidr.includes(':') ? 122 : 26);

/** What Calico means when a pool names no use. */
const defaultUses: readonly (typeof poolUses)[number][] = ['Workload', 'Tunnel'];

const spec = fields.transform((pool) => ({
  ...pool,
  blockSize: pool.blockSize === 0 ? defaultBlockSize(pool.cidr) : pool.blockSize,
  allowedUses: pool.allowedUses.length === 0 ? defaultUses : pool.allowedUses,
}));
export type IpPoolSpec = z.output<typeof spec>;

const linkLocal = [prefixOf('169.254.0.0/16'), prefixOf('fe80::/10')];

function check(pool: IpPoolSpec): Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string) => problems.push({ path: `spec.${path}`, message });
  const v4 = familyOf(pool.cidr) === 4;
  const [min, max] = v4 ? [20, 32] : [116, 128];
  if (pool.blockSize < min || pool.blockSize > max)
    add('blockSize', `${pool.blockSize} is not; allowed: ${min} to ${max} for ${v4 ? 'IPv4' : 'IPv6'}`);
  else if (!pool.disabled && prefixLength(pool.cidr) > pool.blockSize)
    add('cidr', `${pool.cidr} is smaller than one block of /${pool.blockSize}; allowed: /${pool.blockSize} or larger`);
  if (pool.ipipMode !== 'Never' && pool.vxlanMode !== 'Never')
    add(
      'ipipMode',
      `${pool.ipipMode} is not while vxlanMode is ${pool.vxlanMode}; allowed: one of the two, the other Never`,
    );
  if (!v4 && pool.ipipMode !== 'Never') add('ipipMode', `${pool.ipipMode} is not for IPv6; allowed: Never`);
  for (const range of linkLocal) {
    if (prefixesOverlap(range, pool.cidr)) add('cidr', `${pool.cidr} overlaps ${range}, which is link-local`);
  }
  if (pool.nodeSelector.root.type === 'global') add('nodeSelector', 'global() is not; allowed: labels of nodes');
  if (pool.allowedUses.includes('LoadBalancer')) checkLoadBalancer(pool, add);
  else if (pool.namespaceSelector && pool.allowedUses.includes('Tunnel') && pool.allowedUses.length === 1)
    add('namespaceSelector', 'tunnel addresses belong to no namespace; allowed: none with allowedUses [Tunnel]');
  return problems;
}

function checkLoadBalancer(pool: IpPoolSpec, add: (path: string, message: string) => void): void {
  if (pool.allowedUses.length > 1)
    add('allowedUses', 'LoadBalancer is not beside another use; allowed: LoadBalancer alone');
  if (pool.ipipMode !== 'Never') add('ipipMode', `${pool.ipipMode} is not for LoadBalancer; allowed: Never`);
  if (pool.vxlanMode !== 'Never') add('vxlanMode', `${pool.vxlanMode} is not for LoadBalancer; allowed: Never`);
  if (pool.disableBGPExport) add('disableBGPExport', 'true is not for LoadBalancer; allowed: false');
  if (pool.nodeSelector.root.type !== 'all') add('nodeSelector', 'only all() for LoadBalancer');
}

function checkChange(before: IpPoolSpec, after: IpPoolSpec): Problem[] {
  const problems: Problem[] = [];
  const hint = 'make a new pool and move the pods there';
  if (before.cidr !== after.cidr)
    problems.push({ path: 'spec.cidr', message: `cannot change from ${before.cidr} to ${after.cidr}; ${hint}` });
  if (before.blockSize !== after.blockSize)
    problems.push({
      path: 'spec.blockSize',
      message: `cannot change from ${before.blockSize} to ${after.blockSize}; ${hint}`,
    });
  const load = (pool: IpPoolSpec) => pool.allowedUses.includes('LoadBalancer');
  if (load(before) && !load(after))
    problems.push({ path: 'spec.allowedUses', message: 'cannot change from LoadBalancer to another use' });
  return problems;
}

/** Calico stores these when it writes a pool; readers that know no defaults depend on it. */
function storedDefaults(pool: JsonObject): JsonObject {
  const given = (key: string) => pool[key] !== undefined && pool[key] !== null && pool[key] !== '' && pool[key] !== 0;
  const uses = pool['allowedUses'];
  return {
    ...pool,
    vxlanMode: given('vxlanMode') ? pool['vxlanMode'] : 'Never',
    ipipMode: given('ipipMode') ? pool['ipipMode'] : 'Never',
    blockSize: given('blockSize') ? pool['blockSize'] : defaultBlockSize(JSON.stringify(pool['cidr'])),
    nodeSelector: given('nodeSelector') ? pool['nodeSelector'] : 'all()',
    allowedUses: Array.isArray(uses) && uses.length > 0 ? uses : defaultUses,
    assignmentMode: given('assignmentMode') ? pool['assignmentMode'] : 'Automatic',
  };
}

export const ipPool = defineKind<'IPPool', IpPoolSpec>({
  kind: 'IPPool',
  plural: 'ippools',
  shortNames: ['ipp', 'ipps', 'pool', 'pools'],
  namespaced: false,
  spec,
  columns: [
    { heading: 'NAME', cell: (pool) => pool.name },
    { heading: 'CIDR', cell: (pool) => pool.spec.cidr },
    { heading: 'SELECTOR', cell: (pool) => pool.spec.nodeSelector.text },
  ],
  wide: [
    { heading: 'NAME', cell: (pool) => pool.name },
    { heading: 'CIDR', cell: (pool) => pool.spec.cidr },
    { heading: 'NAT', cell: (pool) => String(pool.spec.natOutgoing) },
    { heading: 'IPIPMODE', cell: (pool) => pool.spec.ipipMode },
    { heading: 'VXLANMODE', cell: (pool) => pool.spec.vxlanMode },
    { heading: 'DISABLED', cell: (pool) => String(pool.spec.disabled) },
    { heading: 'DISABLEBGPEXPORT', cell: (pool) => String(pool.spec.disableBGPExport) },
    { heading: 'SELECTOR', cell: (pool) => pool.spec.nodeSelector.text },
    { heading: 'ASSIGNMENTMODE', cell: (pool) => pool.spec.assignmentMode },
  ],
  check,
  checkChange,
  storedDefaults,
});
