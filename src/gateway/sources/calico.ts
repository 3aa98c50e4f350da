/** Calico's blocks, single addresses that nodes borrowed from others' blocks, Nodes and IPPools. */
import type { Datastore, KeyValue, Update } from '../../datastore/mod.ts';
import { AFFINITIES, BLOCKS, Ownership } from '../../ipam/blocks/mod.ts';
import type { Borrowed } from '../../ipam/blocks/mod.ts';
import {
  CORDON_MARK,
  DRAIN_MARK,
  isMarked,
  kindPrefix,
  parseResourceKey,
  parseStored,
  ResourceStore,
} from '../../model/mod.ts';
import type { Resource } from '../../model/mod.ts';
import { hostPrefix } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import type { FactTable, NodeFacts } from '../facts.ts';
import { Source } from './source.ts';

export class CalicoSource extends Source {
  private readonly store: Datastore;
  private readonly blocks = new Ownership();
  private readonly pools = new ResourceStore();
  private readonly borrowed = new Map<Prefix, readonly Borrowed[]>();
  /** Before all claims are known, a node's own addresses look like borrowed ones. */
  private claimsKnown = false;

  constructor(store: Datastore) {
    super();
    this.store = store;
  }

  async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    using _blocks = this.blocks.onChange((event) => {
      if (event.type === 'block') this.takeBlock(facts, event.cidr);
    });
    const toBlocks = (update: Update) => this.blocks.apply(update);
    const toNodes = (update: Update) => {
      if (update.type === 'put') takeNode(facts, update.kv);
      else if (update.type === 'delete') facts.node(parseResourceKey(update.key)?.name ?? '', undefined);
    };
    const toPools = (update: Update) => {
      this.pools.apply(update);
      this.takePools(facts);
    };
    const told = () => {
      if (!this.claimsKnown && this.inSync) {
        this.claimsKnown = true;
        for (const cidr of this.blocks.allBlocks()) this.takeBlock(facts, cidr);
      }
      changed();
    };
    // not the whole of Calico's IPAM: there is a handle for every pod
    await Promise.all([
      this.follow(this.store, AFFINITIES, signal, toBlocks, told),
      this.follow(this.store, BLOCKS, signal, toBlocks, told),
      this.follow(this.store, kindPrefix('Node'), signal, toNodes, told),
      this.follow(this.store, kindPrefix('IPPool'), signal, toPools, told),
    ]);
  }

  private takeBlock(facts: FactTable, cidr: Prefix): void {
    const node = this.blocks.ownerOf(cidr);
    for (const owner of facts.ownersOf(cidr)) if (owner !== node) facts.unclaim(cidr, owner);
    if (node !== undefined) facts.claim(cidr, node);
    if (!this.claimsKnown) return;
    // an address that a node borrowed from another's block is more specific than the block
    const now = this.blocks.borrowed(cidr);
    const before = this.borrowed.get(cidr) ?? [];
    for (const { address, node: user } of before) {
      if (!now.some((b) => b.address === address && b.node === user)) facts.unclaim(hostPrefix(address), user);
    }
    for (const { address, node: user } of now) facts.claim(hostPrefix(address), user);
    if (now.length > 0) this.borrowed.set(cidr, now);
    else this.borrowed.delete(cidr);
  }

  private takePools(facts: FactTable): void {
    const pools = [...this.pools.list('IPPool')].map(({ spec }) => spec);
    const cidrs = (some: typeof pools) => some.map(({ cidr }) => cidr).sort();
    facts.setPools(cidrs(pools), cidrs(pools.filter((pool) => pool.disableBGPExport)));
  }
}

/** Nodes are many, and only these few facts of each are kept. A Node that is broken stays as it was. */
function takeNode(facts: FactTable, kv: KeyValue): void {
  const parsed = parseStored(kv.value, kv.modRevision);
  if (parsed.ok && parsed.value.kind === 'Node') facts.node(parsed.value.name, factsOf(parsed.value));
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
