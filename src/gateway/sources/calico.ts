/** Calico's blocks, single addresses that nodes borrowed from others' blocks, Nodes and IPPools. */
import type { Datastore, Update } from '../../datastore/mod.ts';
import { AFFINITIES, BLOCKS, Ownership } from '../../ipam/blocks/mod.ts';
import { kindPrefix, ResourceStore } from '../../model/mod.ts';
import type { Resource } from '../../model/mod.ts';
import { hostPrefix } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { CORDON_MARK, DRAIN_MARK, isMarked } from '../facts.ts';
import type { Claim, FactTable, NodeFacts } from '../facts.ts';
import { Parts } from './source.ts';
import type { Source } from './source.ts';

export class CalicoSource implements Source {
  private readonly store: Datastore;
  private readonly parts = new Parts();
  private readonly blocks = new Ownership();
  private readonly resources = new ResourceStore();

  constructor(store: Datastore) {
    this.store = store;
  }

  get inSync(): boolean {
    return this.parts.inSync;
  }

  get stale(): string | undefined {
    return this.parts.stale;
  }

  async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    using _blocks = this.blocks.onChange((event) => {
      if (event.type === 'block') facts.claim(`block ${event.cidr}`, this.claimsOf(event.cidr));
    });
    using _resources = this.resources.onChange((event) => {
      if (typeof event === 'string') return;
      if (event.kind === 'IPPool') this.takePools(facts);
      else {
        const { name } = (event.after ?? event.before)!;
        const node = this.resources.get('Node', name);
        facts.node(name, node && factsOf(node));
      }
    });
    const toBlocks = (update: Update) => this.blocks.apply(update);
    const toResources = (update: Update) => this.resources.apply(update);
    // not the whole of Calico's IPAM: there is a handle for every pod
    await Promise.all([
      this.parts.follow(this.store, AFFINITIES, signal, toBlocks, changed),
      this.parts.follow(this.store, BLOCKS, signal, toBlocks, changed),
      this.parts.follow(this.store, kindPrefix('Node'), signal, toResources, changed),
      this.parts.follow(this.store, kindPrefix('IPPool'), signal, toResources, changed),
    ]);
  }

  private claimsOf(cidr: Prefix): Claim[] {
    const node = this.blocks.ownerOf(cidr);
    // an address that a node borrowed from another's block is more specific than the block
    const borrowed = this.blocks.borrowed(cidr).map((b) => ({ prefix: hostPrefix(b.address), node: b.node }));
    return node === undefined ? borrowed : [{ prefix: cidr, node }, ...borrowed];
  }

  private takePools(facts: FactTable): void {
    const pools = [...this.resources.list('IPPool')].map(({ spec }) => spec);
    const cidrs = (some: typeof pools) => some.map(({ cidr }) => cidr).sort();
    facts.setPools(cidrs(pools), cidrs(pools.filter((pool) => pool.disableBGPExport)));
  }
}

function factsOf({ spec, metadata }: Resource<'Node'>): NodeFacts {
  const { ipv4Address, ipv6Address } = spec.bgp ?? {};
  const { labels, annotations } = metadata;
  return {
    addresses: {
      ...(ipv4Address && { 4: ipv4Address.address }),
      ...(ipv6Address && { 6: ipv6Address.address }),
    },
    labels,
    cordoned: isMarked(CORDON_MARK, labels, annotations),
    draining: isMarked(DRAIN_MARK, labels, annotations),
    ready: undefined,
  };
}
