/**
 * Masquerading: what a pod sends to somewhere that is not the pod network leaves with this node's address. Traffic
 * between pods, on whatever node, is never touched, nor is multicast. One table of ours holds it, written whole.
 *
 * Packets are also lost when another program's forward chain drops by default (Docker does that); such chains are looked
 * for and told, because nothing in a table of ours could overrule them.
 */
import type { NatRules } from '../desired/mod.ts';
import { familyOf } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import type { AddressSet, Nftables, Rule, Table, TableName } from '../nft/mod.ts';
import { tableChanges, tableRemoval } from './nft-table.ts';
import type { Part, PlannedChange } from './part.ts';

/** Our mark in nf_tables: the table's name. */
export const NFT_TABLE: TableName = { family: 'inet', name: 'godwit' };

const SRCNAT = 100;
const MULTICAST: Record<4 | 6, Prefix> = { 4: '224.0.0.0/4' as Prefix, 6: 'ff00::/8' as Prefix };

/** The table for these rules; what is inside is let go first, so that one rule a source is enough. */
export function natTable({ sources, inside, hosts }: NatRules): Table {
  const families = new Set(sources.map(familyOf));
  const letGo = (prefix: Prefix, what: string): Rule => ({
    purpose: `${what} ${prefix}`,
    statements: [
      { type: 'destination', prefix },
      { type: 'verdict', verdict: 'return' },
    ],
  });
  const sets = [...families].flatMap((family): AddressSet[] => {
    const addresses = hosts.filter((host) => familyOf(host) === family);
    return addresses.length === 0 ? [] : [{ name: `hosts${family}`, family, addresses }];
  });
  const rules: Rule[] = [
    ...inside.filter((prefix) => families.has(familyOf(prefix))).map((prefix) => letGo(prefix, 'not to')),
    ...[...families].map((family) => letGo(MULTICAST[family], 'not to multicast')),
    ...sets.map(({ name: set, family }): Rule => {
      const to = { type: 'destinationSet', set, family } as const;
      return { purpose: 'not to nodes', statements: [to, { type: 'verdict', verdict: 'return' }] };
    }),
    ...sources.map((prefix): Rule => {
      return { purpose: `masquerade ${prefix}`, statements: [{ type: 'source', prefix }, { type: 'masquerade' }] };
    }),
  ];
  const base = { type: 'nat', hook: 'postrouting', priority: SRCNAT, policy: 'accept' } as const;
  return { ...NFT_TABLE, ...(sets.length > 0 && { sets }), chains: [{ name: 'postrouting', base, rules }] };
}

/** The table for these pod networks, one or none a family. */
export const masqueradeTable = (networks: readonly Prefix[]): Table =>
  natTable({ sources: networks, inside: networks, hosts: [] });

/** A chain of somebody else that drops what it does not know, where pods' packets pass. */
export interface ForwardDrop {
  /** `ip filter FORWARD`. */
  readonly chain: string;
}

export class MasqueradePart implements Part {
  readonly name = 'masquerade';
  private readonly nft: () => Nftables;
  private want: Table | 'absent' | undefined;

  /** `nft` opens on first use: a node without masquerading needs no netfilter. */
  constructor(nft: () => Nftables) {
    this.nft = nft;
  }

  /** Undefined: not known yet, and nothing is touched. */
  setDesired(want: Table | 'absent' | undefined): void {
    this.want = want;
  }

  plan(): PlannedChange[] {
    const { want } = this;
    if (want === undefined) return [];
    return want === 'absent' ? tableRemoval(this.nft, NFT_TABLE) : tableChanges(this.nft, want);
  }

  /** Forward chains of others that drop by default; empty where there is no netfilter. */
  forwardDrops(): ForwardDrop[] {
    try {
      return this.nft()
        .baseChains()
        .filter(({ base, table }) => base.hook === 'forward' && base.policy === 'drop' && table.name !== NFT_TABLE.name)
        .map(({ table, chain }) => ({ chain: `${table.family} ${table.name} ${chain}` }));
    } catch {
      return [];
    }
  }
}
