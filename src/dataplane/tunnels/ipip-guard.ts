/**
 * Who may send IPIP to this node: the other nodes, nobody else. The kernel's own ipip device takes packets of protocol 4
 * from anywhere, and what is inside them has no source anybody checked. (The BPF form asks its own map of peers.)
 */
import type { IpAddress } from '../../net/mod.ts';
import type { Table, TableName } from '../../nft/mod.ts';

export const GUARD_TABLE: TableName = { family: 'ip', name: 'godwit-ipip' };

const IPIP_PROTOCOL = 4;
/** Before anybody's rules that accept. */
const RAW = -300;

export function guardTable(peers: ReadonlySet<IpAddress>): Table {
  const base = { type: 'filter', hook: 'input', priority: RAW, policy: 'accept' } as const;
  const rule = {
    purpose: 'IPIP only from nodes',
    statements: [
      { type: 'protocol', number: IPIP_PROTOCOL },
      { type: 'sourceSet', set: 'nodes', family: 4, negate: true },
      { type: 'verdict', verdict: 'drop' },
    ],
  } as const;
  return {
    ...GUARD_TABLE,
    sets: [{ name: 'nodes', family: 4, addresses: [...peers] }],
    chains: [{ name: 'input', base, rules: [rule] }],
  };
}
