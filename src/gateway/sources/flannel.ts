/** Flannel's subnet leases: a node is known by its public address. */
import type { Datastore } from '../../datastore/mod.ts';
import { followNetwork, isReservation } from '../../ipam/mod.ts';
import type { SubnetLease } from '../../ipam/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import type { FactTable } from '../facts.ts';
import { Claims } from './claims.ts';
import { Source } from './source.ts';

export class FlannelSource extends Source {
  private readonly store: Datastore;
  private readonly etcdPrefix: string;
  private readonly claims = new Claims();
  /** Whose each lease is, and how many a node has: it is forgotten with the last one. */
  private readonly owners = new Map<string, string>();
  private readonly counts = new Map<string, number>();

  constructor(store: Datastore, etcdPrefix: string) {
    super();
    this.store = store;
    this.etcdPrefix = etcdPrefix;
  }

  async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    const part = this.part();
    for await (const update of followNetwork(this.store, signal, this.etcdPrefix)) {
      if (update.type === 'lease') this.take(facts, update.lease.key, update.lease);
      else if (update.type === 'leaseDeleted') this.take(facts, update.key, undefined);
      else if (update.type === 'stale' || update.type === 'inSync') part.heard(update);
      changed();
    }
  }

  private take(facts: FactTable, key: string, lease: SubnetLease | undefined): void {
    const node = lease && nodeOf(lease);
    const before = this.owners.get(key);
    if (before !== node) {
      if (node === undefined) this.owners.delete(key);
      else this.owners.set(key, node);
      if (node !== undefined) this.counts.set(node, (this.counts.get(node) ?? 0) + 1);
      if (before !== undefined) this.giveUp(facts, before);
    }
    if (lease && node !== undefined) {
      const { publicIp, publicIpv6 } = lease.attributes;
      const addresses = {
        ...(publicIp !== undefined && { 4: publicIp }),
        ...(publicIpv6 !== undefined && { 6: publicIpv6 }),
      };
      facts.node(node, { addresses, labels: {}, cordoned: false, draining: false, ready: undefined });
    }
    this.claims.set(facts, key, node, lease ? prefixesOf(lease) : []);
  }

  private giveUp(facts: FactTable, node: string): void {
    const left = this.counts.get(node)! - 1;
    if (left > 0) this.counts.set(node, left);
    else {
      this.counts.delete(node);
      facts.node(node, undefined);
    }
  }
}

function nodeOf(lease: SubnetLease): string | undefined {
  const { publicIp, publicIpv6 } = lease.attributes;
  return publicIp ?? (isReservation(lease) ? undefined : publicIpv6);
}

/** A subnet of a family the lease has no address of is nobody's. */
function prefixesOf({ subnets, attributes }: SubnetLease): Prefix[] {
  const { ipv4, ipv6 } = subnets;
  const { publicIp, publicIpv6 } = attributes;
  return [
    ...(ipv4 !== undefined && publicIp !== undefined ? [ipv4] : []),
    ...(ipv6 !== undefined && publicIpv6 !== undefined ? [ipv6] : []),
  ];
}
