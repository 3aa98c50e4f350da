/**
 * What the datastore says about the network, kept as the best knowledge there is: while the store is out of reach, and
 * when the configuration is deleted or spoilt, what was told before still holds. Pure; the agent feeds it.
 */
import { printable, unreachable } from '../../base/mod.ts';
import { isReservation, subnetList, subnetsPrefix, vtepOf } from '../../ipam/mod.ts';
import type { NetworkConfig, NetworkUpdate, SubnetLease } from '../../ipam/mod.ts';
import { familyOf } from '../../net/mod.ts';
import type { LeaseFact } from '../../calc/mod.ts';

export interface Oddity {
  readonly key: string;
  readonly reason: string;
}

export class Ownership {
  private readonly leases_ = new Map<string, SubnetLease>();
  private readonly rejected = new Map<string, string>();
  private config_: NetworkConfig | undefined;
  private configDeleted = false;
  private stale_: string | undefined = 'not connected yet';
  private revision_: number | undefined;

  /** Takes in what `followNetwork` tells; true when routes may depend on it. */
  apply(update: NetworkUpdate): boolean {
    switch (update.type) {
      case 'config':
        this.config_ = update.config;
        this.configDeleted = false;
        return true;
      case 'configDeleted':
        this.configDeleted = true;
        return false;
      case 'lease': {
        const before = this.leases_.get(update.lease.key);
        this.leases_.set(update.lease.key, update.lease);
        return before === undefined || !Bun.deepEquals(before.attributes, update.lease.attributes);
      }
      case 'leaseDeleted':
        return this.leases_.delete(update.key);
      case 'rejected':
        this.rejected.set(update.key, update.reason);
        return false;
      case 'settled':
        this.rejected.delete(update.key);
        return false;
      case 'inSync': {
        const first = this.revision_ === undefined;
        this.revision_ = update.revision;
        this.stale_ = undefined;
        return first;
      }
      case 'stale':
        this.stale_ = printable(update.reason, 500);
        return false;
      default:
        return unreachable(update);
    }
  }

  get config(): NetworkConfig | undefined {
    return this.config_;
  }

  /** Whether the whole picture was told once; stays true. */
  get complete(): boolean {
    return this.revision_ !== undefined;
  }

  get revision(): number | undefined {
    return this.revision_;
  }

  /** Why the picture may be old; undefined while it is current. */
  get stale(): string | undefined {
    return this.stale_;
  }

  get leases(): readonly SubnetLease[] {
    return [...this.leases_.values()];
  }

  /** Keys that cannot be used, and why. */
  oddities(): Oddity[] {
    const list = [...this.rejected].map(([key, reason]): Oddity => ({ key, reason }));
    if (this.configDeleted) list.push({ key: 'config', reason: 'it was deleted; the last one still holds' });
    return list;
  }
}

/** A lease as route calculation sees it. */
export function leaseFact(lease: SubnetLease, networkPrefix: string): LeaseFact {
  const { publicIp, publicIpv6, backendType } = lease.attributes;
  return {
    name: leaseName(lease, networkPrefix),
    backendType,
    subnets: subnetList(lease.subnets).map((subnet) => {
      const family = familyOf(subnet);
      return { subnet, publicIp: family === 4 ? publicIp : publicIpv6, vtep: vtepOf(lease.attributes, family) };
    }),
  };
}

export const leaseName = (lease: SubnetLease, networkPrefix: string): string =>
  lease.key.slice(subnetsPrefix(networkPrefix).length);

/** A reservation that names no node: addresses set aside, nobody to route to. */
export const isSetAside = (lease: SubnetLease): boolean =>
  isReservation(lease) && lease.attributes.publicIp === undefined && lease.attributes.publicIpv6 === undefined;
