/**
 * What a routed pod sends must carry an address of its own. For IPv4 the host end's reverse path setting sees to that, at
 * no cost of ours; and since that end has no IPv4 address, the kernel is strict even where a node was told to check
 * loosely (`conf/all/rp_filter` 2). IPv6 has no such setting, so one rule asks the routing table the same question: does
 * the way back to the source lead out where the packet came in? Routes to pods are /128, so only the pod's own address
 * passes. One rule serves all pods; none is written when a pod comes or goes.
 */
import type { Nftables, Table } from '../nft/mod.ts';
import { ROUTED_PREFIX } from './endpoints-routed.ts';
import { tableChanges, tableRemoval } from './nft-table.ts';
import type { Part, PlannedChange } from './part.ts';

/** Before connection tracking: what is forged costs nothing more. */
const RAW = -300;

const statements = [
  { type: 'inputDevice', name: `${ROUTED_PREFIX}*` },
  { type: 'sourceElsewhere' },
  { type: 'verdict', verdict: 'drop' },
] as const;
const base = { type: 'filter', hook: 'prerouting', priority: RAW, policy: 'accept' } as const;
const purpose = 'a pod sends from its own address only';

export const sourceCheckTable: Table = {
  ...{ family: 'ip6', name: 'godwit-endpoints' },
  chains: [{ name: 'prerouting', base, rules: [{ purpose, statements }] }],
};

export class SourceCheckPart implements Part {
  readonly name = 'source-check';
  private readonly nft: () => Nftables;
  private want: 'ipv6' | 'absent' | undefined;

  /** `nft` opens on first use: without IPv6 no netfilter is needed. */
  constructor(nft: () => Nftables) {
    this.nft = nft;
  }

  /** Whether routed pods have IPv6; until this is called nothing is touched. Tells whether that is news. */
  setDesired(want: 'ipv6' | 'absent'): boolean {
    const news = want !== this.want;
    this.want = want;
    return news;
  }

  plan(): PlannedChange[] {
    const { want } = this;
    if (want === undefined) return [];
    return want === 'absent' ? tableRemoval(this.nft, sourceCheckTable) : tableChanges(this.nft, sourceCheckTable);
  }
}
