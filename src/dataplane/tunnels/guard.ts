/**
 * Who may send encapsulated packets to this node: the other nodes, nobody else. What is inside such a packet has a source
 * that nobody checked, so whoever gets one unpacked can pretend to be any pod. The kernel's tunnel devices take packets from
 * anywhere, addressed to any of this node's addresses.
 *
 * And no pod sends any: where its packets to other nodes are masqueraded, they would come from a node.
 */
import { familyOf, hostPrefix } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { Nftables, Rule, Statement, Table, TableName } from '../../nft/mod.ts';
import { errno, isErrno } from '../../sys/mod.ts';
import { tableChanges, tableRemoval } from '../nft-table.ts';
import type { PlannedChange } from '../part.ts';

/** Before connection tracking and anybody's rules that accept. */
const RAW = -300;
const drop = { type: 'verdict', verdict: 'drop' } as const;

export interface GuardedTunnel {
  /** What the encapsulated packets are. */
  readonly packets: Statement;
  /** This node's address they come to. */
  readonly local: IpAddress;
  /** The nodes they may come from. */
  readonly from: ReadonlySet<IpAddress>;
  /** Names of the devices of this node's pods. */
  readonly pods: readonly string[];
}

/** Nothing comes in but from nodes; this chain sees whole packets, put together from fragments. */
function inputChain({ packets, local, from }: GuardedTunnel): Pick<Table, 'sets' | 'chains'> {
  const family = familyOf(local);
  const strangers = { type: 'sourceSet', set: 'nodes', family, negate: true } as const;
  const elsewhere = { type: 'destination', prefix: hostPrefix(local), negate: true } as const;
  const rules: Rule[] = [
    { purpose: 'only from nodes', statements: [packets, strangers, drop] },
    // somebody may masquerade pods' packets to an address of this node that nobody else knows as one
    { purpose: 'only to the tunnel’s end', statements: [packets, elsewhere, drop] },
  ];
  const base = { type: 'filter', hook: 'input', priority: RAW, policy: 'accept' } as const;
  return { sets: [{ name: 'nodes', family, addresses: [...from] }], chains: [{ name: 'input', base, rules }] };
}

/** With `input` false another guard sees to what comes in. */
export function guardTable(name: TableName, tunnel: GuardedTunnel, { input = true } = {}): Table {
  const rules = tunnel.pods.map((device): Rule => {
    const statements = [tunnel.packets, { type: 'inputDevice', name: device } as const, drop];
    return { purpose: `none from ${device}`, statements };
  });
  const base = { type: 'filter', hook: 'prerouting', priority: RAW, policy: 'accept' } as const;
  const { sets, chains } = input ? inputChain(tunnel) : { chains: [] };
  return { ...name, ...(sets && { sets }), chains: [...chains, { name: 'pods', base, rules }] };
}

/** Keeps the table of one tunnel; on a kernel without nf_tables, or without its family, what is given instead. */
export class Guard {
  readonly name: TableName;
  /** Whether the kernel refused the table for good. */
  withoutNft = false;
  private readonly nft: () => Nftables;

  constructor(nft: () => Nftables, name: TableName) {
    this.nft = nft;
    this.name = name;
  }

  changes(table: Table, instead: () => readonly PlannedChange[]): readonly PlannedChange[] {
    if (this.withoutNft) return instead();
    const fallBack = (error: unknown): readonly PlannedChange[] => {
      if (!isErrno(error, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT)) throw error;
      this.withoutNft = true;
      return instead();
    };
    try {
      return tableChanges(this.nft, table).map(({ text, apply }) => ({
        text,
        apply: () => {
          try {
            apply();
          } catch (error) {
            for (const change of fallBack(error)) change.apply();
          }
        },
      }));
    } catch (error) {
      return fallBack(error);
    }
  }

  removal(): PlannedChange[] {
    return tableRemoval(this.nft, this.name);
  }
}
