/**
 * The settings of a long-lived program: kept by following the datastore, so that giving an address reads nothing. They
 * may be a moment old; the transaction that gives an address has the pool's and the configuration's revisions among its
 * conditions and fails when they are, and by the next try the news is here.
 */
import { sleep, systemClock } from '../../base/mod.ts';
import type { Clock } from '../../base/mod.ts';
import type { Update } from '../../datastore/mod.ts';
import type { ResourceStore } from '../../model/mod.ts';
import { CONFIG_KEY } from './keys.ts';
import { settingsOf } from './settings.ts';
import type { IpamSettings, SettingsSource } from './settings.ts';

export class FollowedSettings implements SettingsSource, Disposable {
  private readonly resources: ResourceStore;
  private readonly clock: Clock;
  private readonly listening: Disposable;
  private config: { readonly value: string; readonly modRevision: number } | undefined;
  private configKnown = false;
  private made: IpamSettings | undefined;

  constructor(resources: ResourceStore, clock: Clock = systemClock) {
    this.resources = resources;
    this.clock = clock;
    this.listening = resources.onChange((event) => {
      if (typeof event === 'string') return;
      const { kind } = event;
      if (kind === 'IPPool' || kind === 'IPReservation' || kind === 'Node') this.made = undefined;
    });
  }

  /** Takes updates for ever; the argument is `datastore.follow(CONFIG_KEY, signal)`. */
  async run(updates: AsyncIterable<Update>): Promise<void> {
    for await (const update of updates) this.apply(update);
  }

  apply(update: Update): void {
    if (update.type === 'put' && update.kv.key === CONFIG_KEY) this.config = update.kv;
    else if (update.type === 'delete' && update.key === CONFIG_KEY) this.config = undefined;
    else if (update.type === 'inSync') this.configKnown = true;
    this.made = undefined;
  }

  /** Waits until everything has been told once. Throws when the configuration cannot be read. */
  async current(): Promise<IpamSettings> {
    while (!this.resources.inSync || !this.configKnown) await sleep(20, undefined, this.clock);
    this.made ??= settingsOf(this.resources, this.config);
    return this.made;
  }

  renew(): void {
    // the news comes by itself
  }

  [Symbol.dispose](): void {
    this.listening[Symbol.dispose]();
  }
}
