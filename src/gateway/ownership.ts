/**
 * Who owns which prefix, from either kind of network, as facts. What is known stays known while the datastore is away.
 */
import type { Datastore, Update } from '../datastore/mod.ts';
import { followNetwork, isReservation } from '../ipam/mod.ts';
import type { SubnetLease } from '../ipam/mod.ts';
import { Ownership as BlockOwnership, OWNERSHIP_PREFIX } from '../ipam/blocks/mod.ts';
import { kindPrefix, ResourceStore } from '../model/mod.ts';
import { familyOf, hostPrefix } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import type { OwnedPrefix } from './announce.ts';
import type { OwnershipSource } from './config.ts';

export interface OwnershipView {
  /** Follows the datastore for ever; `changed` is called after each change. */
  run(store: Datastore, signal: AbortSignal, changed: () => void): Promise<void>;
  /** Whether a complete picture has been told at least once. */
  readonly inSync: boolean;
  /** Why the picture may be old; undefined when it is not. */
  readonly stale: string | undefined;
  facts(): Iterable<OwnedPrefix>;
}

export const openOwnership = (source: OwnershipSource): OwnershipView =>
  source.type === 'flannel' ? new FlannelOwnership(source.etcdPrefix) : new CalicoOwnership();

class FlannelOwnership implements OwnershipView {
  inSync = false;
  stale: string | undefined = 'not connected yet';
  private readonly etcdPrefix: string;
  private readonly leases = new Map<string, SubnetLease>();

  constructor(etcdPrefix: string) {
    this.etcdPrefix = etcdPrefix;
  }

  async run(store: Datastore, signal: AbortSignal, changed: () => void): Promise<void> {
    for await (const update of followNetwork(store, signal, this.etcdPrefix)) {
      if (update.type === 'lease') this.leases.set(update.lease.key, update.lease);
      else if (update.type === 'leaseDeleted') this.leases.delete(update.key);
      else if (update.type === 'stale') this.stale = update.reason;
      else if (update.type === 'inSync') {
        this.inSync = true;
        this.stale = undefined;
      }
      changed();
    }
  }

  *facts(): Generator<OwnedPrefix> {
    for (const lease of this.leases.values()) {
      const { publicIp, publicIpv6 } = lease.attributes;
      const { ipv4, ipv6 } = lease.subnets;
      const node = publicIp ?? publicIpv6;
      if (node === undefined || (isReservation(lease) && publicIp === undefined)) continue;
      if (ipv4 !== undefined && publicIp !== undefined) yield { prefix: ipv4, node, nextHop: publicIp };
      if (ipv6 !== undefined && publicIpv6 !== undefined) yield { prefix: ipv6, node, nextHop: publicIpv6 };
    }
  }
}

class CalicoOwnership implements OwnershipView {
  stale: string | undefined = 'not connected yet';
  private readonly blocks = new BlockOwnership();
  private readonly resources = new ResourceStore();

  get inSync(): boolean {
    return this.blocks.inSync && this.resources.inSync;
  }

  async run(store: Datastore, signal: AbortSignal, changed: () => void): Promise<void> {
    const follow = async (prefix: string, take: (update: Update) => void) => {
      for await (const update of store.follow(prefix, signal)) {
        take(update);
        if (update.type === 'stale') this.stale = update.reason;
        else if (update.type === 'inSync') this.stale = undefined;
        changed();
      }
    };
    await Promise.all([
      follow(OWNERSHIP_PREFIX, (update) => this.blocks.apply(update)),
      follow(kindPrefix('Node'), (update) => this.resources.apply(update)),
    ]);
  }

  *facts(): Generator<OwnedPrefix> {
    for (const [prefix, node] of this.blocks.owned()) {
      const nextHop = this.addressOf(node, familyOf(prefix));
      if (nextHop !== undefined) yield { prefix, node, nextHop };
    }
    // an address that a node borrowed from another's block is more specific than the block
    for (const block of this.blocks.allBlocks()) {
      for (const { address, node } of this.blocks.borrowed(block)) {
        const nextHop = this.addressOf(node, familyOf(address));
        if (nextHop !== undefined) yield { prefix: hostPrefix(address), node, nextHop };
      }
    }
  }

  private addressOf(node: string, family: Family): IpAddress | undefined {
    const bgp = this.resources.get('Node', node)?.spec.bgp;
    return (family === 4 ? bgp?.ipv4Address : bgp?.ipv6Address)?.address;
  }
}
