/**
 * The gateway announcer: follows ownership in the datastore and tells the gateways by BGP which node owns which prefix.
 *
 * Several announcers run side by side as the normal case. There is no leader: each computes the same announcements from
 * the same facts, so that a gateway that loses one of them sees nothing change. No session is opened before the first
 * complete list has come and is large enough, because a session that starts with nothing to say (End-of-RIB at once) would
 * make a gateway drop what it kept from the announcer's last life.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, silentLogger, sleep, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { createSpeaker, networkAttributes } from '../bgp/mod.ts';
import type { Speaker } from '../bgp/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { parseAddress, parsePrefix } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { wantedAnnouncements } from './announce.ts';
import type { Announcement, LeftOut } from './announce.ts';
import type { GatewayConfig } from './config.ts';
import { guardChanges } from './guard.ts';
import { openOwnership } from './ownership.ts';

/** RFC 8326 §2: take another way if there is one. */
const GRACEFUL_SHUTDOWN = '65535:0';
/** Changes come in bunches: this long is waited for the rest of one, milliseconds. */
const GATHER_MS = 2;

export interface AnnouncerStatus {
  readonly datastore: { readonly inSync: boolean; readonly stale: string | undefined };
  /** Why no session has been opened yet; undefined once they were. */
  readonly waitingFor: string | undefined;
  readonly announced: readonly (Announcement & { readonly prefix: Prefix })[];
  /** Withdrawals the guard holds until they are confirmed or the datastore heals. */
  readonly held: readonly Prefix[];
  readonly leftOut: readonly LeftOut[];
  readonly gateways: readonly { readonly name: string; readonly address: string; readonly state: string }[];
}

export interface AnnouncerOptions {
  readonly config: GatewayConfig;
  readonly store: Datastore;
  readonly log?: Logger;
  readonly clock?: Clock;
}

export class Announcer {
  private config: GatewayConfig;
  private readonly store: Datastore;
  private readonly log: Logger;
  private readonly clock: Clock;
  private readonly speaker: Speaker;
  private readonly ownership: ReturnType<typeof openOwnership>;
  private readonly wakeup = new Wakeup();
  private readonly announced: Map<Prefix, Announcement>;
  private held: readonly Prefix[] = [];
  private leftOut: readonly LeftOut[] = [];
  private waitingFor: string | undefined = 'the first complete list of the datastore';
  private confirmed = false;

  constructor(options: AnnouncerOptions) {
    this.config = options.config;
    this.store = options.store;
    this.log = options.log ?? silentLogger;
    this.clock = options.clock ?? systemClock;
    this.ownership = openOwnership(this.config.source);
    this.announced = this.recall();
    this.speaker = createSpeaker({ config: this.config.bgp, log: this.log, clock: this.clock, restarting: true });
  }

  /** Runs until aborted. Datastore trouble changes nothing that was announced. */
  async run(signal: AbortSignal): Promise<void> {
    const parts = [this.ownership.run(this.store, signal, () => this.wakeup.notify()), this.announcing(signal)];
    await Promise.all(parts);
  }

  /** Lets the held withdrawals go. Gives how many there were. */
  confirm(): number {
    const count = this.held.length;
    this.confirmed = count > 0;
    this.wakeup.notify();
    return count;
  }

  /** Takes over a new configuration; sessions that did not change stay up. */
  apply(config: GatewayConfig): void {
    this.config = config;
    this.speaker.apply(config.bgp);
    this.wakeup.notify();
  }

  status(): AnnouncerStatus {
    return {
      datastore: { inSync: this.ownership.inSync, stale: this.ownership.stale },
      waitingFor: this.waitingFor,
      announced: [...this.announced].map(([prefix, a]) => ({ prefix, ...a })),
      held: this.held,
      leftOut: this.leftOut,
      gateways: [...this.speaker.peers.values()].map((peer) => ({
        ...{ name: peer.config.name, address: peer.config.address, state: peer.state },
      })),
    };
  }

  private async announcing(signal: AbortSignal): Promise<void> {
    let sessions: Promise<void> | undefined;
    for (const [prefix, announcement] of this.announced) this.tell(prefix, announcement);
    while (!signal.aborted) {
      await this.wakeup.wait(signal);
      await sleep(GATHER_MS, signal, this.clock);
      if (!this.ownership.inSync || signal.aborted) continue;
      const known = this.update();
      if (sessions) continue;
      const { minimumReady } = this.config.guard;
      this.waitingFor = known < minimumReady ? `${minimumReady} prefixes; the datastore has ${known}` : undefined;
      if (this.waitingFor === undefined) sessions = this.speaker.run(signal);
    }
    await sessions;
  }

  /** Brings the announcements up to date as far as the guard allows; gives how many the datastore asks for. */
  private update(): number {
    const { announcements, leftOut } = wantedAnnouncements(this.ownership.facts(), this.config.announce);
    this.leftOut = leftOut;
    const decision = guardChanges(this.announced, announcements, this.config.guard, this.confirmed);
    this.confirmed = false;
    for (const prefix of decision.withdraw) {
      this.announced.delete(prefix);
      this.speaker.withdraw(prefix);
    }
    for (const [prefix, announcement] of decision.announce) this.tell(prefix, announcement);
    if (decision.held.length > 0 && this.held.length === 0) {
      const fields = { held: decision.held.length, announced: this.announced.size, wanted: announcements.size };
      this.log.error(fields, 'too much would be withdrawn at once; held until confirmed (godwit gateway confirm)');
    }
    this.held = decision.held;
    if (decision.withdraw.length > 0 || decision.announce.length > 0) this.remember();
    return announcements.size;
  }

  private tell(prefix: Prefix, announcement: Announcement): void {
    this.announced.set(prefix, announcement);
    const { nextHop, draining } = announcement;
    const communities = draining ? [GRACEFUL_SHUTDOWN] : [];
    this.speaker.announce(networkAttributes({ prefix, nextHop, communities, prepend: [] }));
  }

  private remember(): void {
    const { stateFile } = this.config;
    if (stateFile === undefined) return;
    const lines = [...this.announced].map(([prefix, a]) => `${prefix} ${a.nextHop} ${a.node}\n`);
    try {
      mkdirSync(dirname(stateFile), { recursive: true });
      writeFileSync(`${stateFile}.new`, lines.join(''));
      renameSync(`${stateFile}.new`, stateFile);
    } catch (error) {
      this.log.warn({ file: stateFile, error: messageOf(error) }, 'what is announced cannot be remembered');
    }
  }

  /** What was announced in the last life, so that a first list that lost most of it is noticed. */
  private recall(): Map<Prefix, Announcement> {
    const recalled = new Map<Prefix, Announcement>();
    if (this.config.stateFile === undefined) return recalled;
    let text: string;
    try {
      text = readFileSync(this.config.stateFile, 'utf8');
    } catch {
      return recalled; // the first life
    }
    for (const line of text.split('\n')) {
      const [prefixText, addressText, node] = line.split(' ');
      const prefix = parsePrefix(prefixText ?? '');
      const nextHop = parseAddress(addressText ?? '');
      if (prefix && nextHop && node !== undefined) recalled.set(prefix, { nextHop, node, draining: false });
    }
    return recalled;
  }
}
