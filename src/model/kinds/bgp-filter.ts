/** Rules on routes that a BGPPeer sends or takes: the first that fits decides, none means accept. */
import { z } from 'zod';
import type { Family } from '../../net/mod.ts';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';
import type { Problem } from '../kind.ts';
import { priority } from './bgp-configuration.ts';

const asns = (max: number) => f.list(f.asn(), 'AS numbers', max);
const operation = f.section({
  addCommunity: f.optional(f.section({ value: f.community })),
  prependASPath: f.optional(f.section({ prefix: asns(10) })),
  setPriority: f.optional(f.section({ value: priority })),
});

const rule = (family: Family) => {
  const length = f.optional(f.explicit(f.integer(0, family === 4 ? 32 : 128)));
  return f.section({
    cidr: f.optional(f.prefix(family)),
    prefixLength: f.optional(f.section({ min: length, max: length })),
    source: f.optional(f.choice('RemotePeers')),
    interface: f.optional(f.interfacePattern),
    matchOperator: f.optional(f.choice('Equal', 'NotEqual', 'In', 'NotIn')),
    peerType: f.optional(f.choice('eBGP', 'iBGP')),
    communities: f.optional(f.section({ values: f.list(f.community, 'communities', 1) })),
    asPathPrefix: f.withDefault(asns(100), []),
    priority: f.optional(priority),
    action: f.choice('Accept', 'Reject'),
    operations: f.withDefault(f.list(operation, 'operations', 10), []),
  });
};
const rules = (family: Family) => f.withDefault(f.list(rule(family), 'rules'), []);

const spec = f.section({ exportV4: rules(4), importV4: rules(4), exportV6: rules(6), importV6: rules(6) });
export type BgpFilterSpec = z.output<typeof spec>;
export type BgpFilterRule = BgpFilterSpec['exportV4'][number];

function checkRule(rule: BgpFilterRule, at: string): Problem[] {
  const problems: Problem[] = [];
  const add = (path: string, message: string) => problems.push({ path: `${at}.${path}`, message });
  if ((rule.cidr === undefined) !== (rule.matchOperator === undefined))
    add('matchOperator', 'cidr and matchOperator stand together or not at all');
  if (rule.prefixLength && rule.cidr === undefined) add('prefixLength', 'needs cidr');
  const { min, max } = rule.prefixLength ?? {};
  if (min !== undefined && max !== undefined && min > max) add('prefixLength', `min ${min} is more than max ${max}`);
  if (rule.operations.length > 0 && rule.action !== 'Accept') add('operations', 'need action Accept');
  for (const [i, operation] of rule.operations.entries()) {
    const named = Object.values(operation).filter((value) => value !== undefined);
    if (named.length !== 1) add(`operations[${i}]`, 'allowed: exactly one of addCommunity, prependASPath, setPriority');
  }
  return problems;
}

export const bgpFilter = defineKind<'BGPFilter', BgpFilterSpec>({
  kind: 'BGPFilter',
  plural: 'bgpfilters',
  shortNames: ['bgpf', 'bgpfs', 'bf', 'bfs'],
  namespaced: false,
  spec,
  columns: [
    { heading: 'NAME', cell: (filter) => filter.name },
    { heading: 'NUMEXPORTV4', cell: (filter) => String(filter.spec.exportV4.length) },
    { heading: 'NUMIMPORTV4', cell: (filter) => String(filter.spec.importV4.length) },
    { heading: 'NUMEXPORTV6', cell: (filter) => String(filter.spec.exportV6.length) },
    { heading: 'NUMIMPORTV6', cell: (filter) => String(filter.spec.importV6.length) },
  ],
  check: (filter) =>
    (['exportV4', 'importV4', 'exportV6', 'importV6'] as const).flatMap((list) =>
      filter[list].flatMap((rule, i) => checkRule(rule, `spec.${list}[${i}]`)),
    ),
});
