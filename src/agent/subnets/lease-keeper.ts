/**
 * The lease over changes of this node's own address. The lease manager holds a lease for one address; when the node's
 * address changes under it, the lease is first rewritten to carry the new one, so that the subnet, and with it every pod,
 * stays, and then a manager for the new address goes on with it.
 */
import { Backoff, messageOf, sleep, Wakeup } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import {
  formatLeaseValue,
  isOwn,
  isReservation,
  parseLease,
  SubnetLeaseManager,
  subnetsPrefix,
} from '../../ipam/mod.ts';
import type { HeldLease, LeaseAttributes, LeaseState, NetworkUpdate, Subnets } from '../../ipam/mod.ts';

export interface LeaseKeeperOptions {
  readonly store: Datastore;
  readonly networkPrefix: string;
  /** The subnets from before a restart. */
  readonly previous: Subnets | undefined;
  readonly renewMarginMinutes: number;
  readonly log: Logger;
  readonly onChange: () => void;
}

type NodeAddresses = Pick<LeaseAttributes, 'publicIp' | 'publicIpv6'>;

export class LeaseKeeper {
  private readonly options: LeaseKeeperOptions;
  private readonly changed = new Wakeup();
  private node: LeaseAttributes | undefined;
  private manager: SubnetLeaseManager | undefined;
  private restart = new AbortController();
  private leaving: NodeAddresses | undefined;
  /** After `giveUp`: whether it is done. */
  gone = false;
  private state_: LeaseState = { type: 'waiting', reason: 'this node’s address is not known yet' };

  constructor(options: LeaseKeeperOptions) {
    this.options = options;
  }

  get state(): LeaseState {
    return this.state_;
  }

  /** The lease in use: held, or lost and being taken again. */
  get held(): HeldLease | undefined {
    return this.state_.type === 'waiting' ? undefined : this.state_.held;
  }

  /** What the lease shall say of this node. */
  setNode(node: LeaseAttributes): void {
    if (this.node !== undefined && Bun.deepEquals(this.node, node)) return;
    this.node = node;
    this.restart.abort();
    this.changed.notify();
  }

  /** For good: every lease of a node with these addresses is given back, and none is taken any more. */
  giveUp(node: NodeAddresses): void {
    if (this.leaving) return;
    this.leaving = node;
    this.restart.abort();
    this.changed.notify();
  }

  observe(update: NetworkUpdate): void {
    this.manager?.observe(update);
  }

  /** Runs until aborted, or until the lease is given up. Otherwise it stays. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.leaving) return this.giveBack(this.leaving, signal);
      const { node } = this;
      if (!node) {
        await this.changed.wait(signal);
        continue;
      }
      this.restart = new AbortController();
      const until = AbortSignal.any([signal, this.restart.signal]);
      if (this.held) await this.rewrite(this.held, node, until);
      if (until.aborted) continue;
      const { store, networkPrefix, renewMarginMinutes, log } = this.options;
      const previous = this.held?.lease.subnets ?? this.options.previous;
      this.manager = new SubnetLeaseManager({
        ...{ store, networkPrefix, renewMarginMinutes, log, node, previous },
        onState: (state) => this.tell(state),
      });
      await this.manager.run(until);
    }
  }

  /** Tries until the store has answered. A reservation stays: an operator put it there. */
  private async giveBack(node: NodeAddresses, signal: AbortSignal): Promise<void> {
    const { store, networkPrefix, log, onChange } = this.options;
    const backoff = new Backoff(500, 30_000);
    while (!signal.aborted) {
      try {
        const mine = (await store.list(subnetsPrefix(networkPrefix))).kvs.filter((kv) => {
          const lease = parseLease(networkPrefix, kv);
          return lease.ok && isOwn(lease.value, node) && !isReservation(lease.value);
        });
        for (const { key, modRevision, lease } of mine) {
          const { succeeded } = await store.transaction({
            if: [{ key, modRevision }],
            do: [{ op: 'delete', key }],
          });
          if (!succeeded) continue;
          log.info({ key }, 'the subnet lease is given back');
          await store.revokeLease(lease);
        }
        if (mine.length > 0) continue;
        this.gone = true;
        this.state_ = { type: 'waiting', reason: 'it was given back: the migration to blocks is finished' };
        return onChange();
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        if (error.kind !== 'lease-not-found')
          log.warn({ error: messageOf(error) }, 'the subnet lease cannot be given back; trying again');
        await sleep(backoff.next(), signal);
      }
    }
  }

  private tell(state: LeaseState): void {
    const { held } = this;
    // a new manager begins with nothing; this node does not
    this.state_ = state.type === 'waiting' && held ? { type: 'lost', held, reason: state.reason } : state;
    this.options.onChange();
  }

  /** Puts the node's new address into the lease it holds; tries until the store has answered. */
  private async rewrite(held: HeldLease, node: LeaseAttributes, signal: AbortSignal): Promise<void> {
    const { store, networkPrefix, log } = this.options;
    const { key } = held.lease;
    const backoff = new Backoff(500, 30_000);
    while (!signal.aborted) {
      try {
        const { kv } = await store.get(key);
        const lease = kv && parseLease(networkPrefix, kv);
        const mine = lease?.ok === true && isOwn(lease.value, held.lease.attributes);
        // gone, another's, or right already: the manager knows what to do
        if (!kv || !mine || isOwn(lease.value, node)) return;
        const { succeeded } = await store.transaction({
          if: [{ key, modRevision: kv.modRevision }],
          do: [{ op: 'put', key, value: formatLeaseValue(node), ...(kv.lease === '0' ? {} : { lease: kv.lease }) }],
        });
        if (!succeeded) continue;
        log.info({ key, address: node.publicIp ?? node.publicIpv6 }, 'the lease carries this node’s new address');
        return;
      } catch (error) {
        if (!(error instanceof DatastoreError)) throw error;
        log.warn({ key, error: messageOf(error) }, 'the lease cannot be given this node’s new address; trying again');
        await sleep(backoff.next(), signal);
      }
    }
  }
}
