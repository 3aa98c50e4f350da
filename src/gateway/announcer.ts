/**
 * The gateway announcer: follows ownership in the datastore and tells the gateways by BGP which node owns which prefix.
 *
 * Several announcers run side by side as the normal case. There is no leader: each computes the same announcements from
 * the same facts, so that a gateway that loses one of them sees nothing change. No session is opened before the first
 * complete list has come and is large enough, because a session that starts with nothing to say (End-of-RIB at once) would
 * make a gateway drop what it kept from the announcer's last life.
 */
import { GodwitError, silentLogger, sleep, systemClock, Wakeup } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { createSpeaker, networkAttributes } from '../bgp/mod.ts';
import type { Speaker } from '../bgp/mod.ts';
import { prefixCovers } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import { needsStatus, sameAnnouncement } from './announce.ts';
import type { Announcement, LeftOut } from './announce.ts';
import type { GatewayConfig } from './config.ts';
import { FactTable } from './facts.ts';
import { COVERED } from './gateways.ts';
import { Memory } from './memory.ts';
import { findGateway, nextHopRemarks, peerConfig } from './peer-config.ts';
import type { PeerFormat } from './peer-config.ts';
import { Plan } from './plan.ts';
import type { Source } from './sources/mod.ts';
import { Tidy } from './tidy.ts';
import { Withdrawals } from './withdrawals.ts';

/** RFC 8326 §2: take another way if there is one. */
const GRACEFUL_SHUTDOWN = '65535:0';
/** Changes come in bunches: this long is waited for the rest of one, milliseconds. */
const GATHER_MS = 2;
/** During the first list prefixes are decided on in portions of so many: with aggregates each portion costs a look at all. */
const DECIDE_EARLY = 2500;

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
  /** `openSources` makes them. */
  readonly sources: readonly Source[];
  readonly log?: Logger;
  readonly clock?: Clock;
}

export class Announcer {
  private config: GatewayConfig;
  private readonly sources: readonly Source[];
  private readonly log: Logger;
  private readonly clock: Clock;
  private readonly speaker: Speaker;
  private readonly facts = new FactTable();
  private readonly plan: Plan;
  private readonly memory: Memory;
  private readonly tidy: Tidy;
  private readonly wakeup = new Wakeup();
  /** Announced and not wanted any more. Everything wanted is announced, so this is all there is to remember. */
  private readonly gone: Withdrawals;
  /** What the earlier life announced, as long as it matters. */
  private readonly recalled: Set<Prefix>;
  private listed = false;
  private waitingFor: string | undefined = 'the first complete list of the datastore';
  /** Whether the log has it that the datastore is out of reach. */
  private away = false;

  constructor(options: AnnouncerOptions) {
    this.config = options.config;
    this.sources = options.sources;
    this.log = options.log ?? silentLogger;
    this.clock = options.clock ?? systemClock;
    this.plan = new Plan(this.facts, this.config.announce);
    this.memory = new Memory(this.config.stateFile, () => this.announced(), this.clock, this.log);
    this.tidy = new Tidy(this.clock);
    const recalled = this.memory.recall();
    this.recalled = new Set(recalled.keys());
    const acts = {
      withdraw: (prefix: Prefix) => void this.speaker.withdraw(prefix),
      tell: (prefix: Prefix, announcement: Announcement) => this.tell(prefix, announcement),
      again: () => this.wakeup.notify(),
    };
    this.gone = new Withdrawals(recalled, acts, this.clock, this.log);
    // Not `restarting`: nothing it hears changes what it says, so there is no neighbour to wait for. Gateways keep what
    // an earlier life told them until this one's End-of-RIB all the same.
    this.speaker = createSpeaker({ config: this.config.bgp, log: this.log, clock: this.clock });
  }

  /** Runs until aborted. Datastore trouble changes nothing that was announced. */
  async run(signal: AbortSignal): Promise<void> {
    const changed = () => {
      this.tidy.worked();
      this.wakeup.notify();
    };
    const sources = this.sources.map((source) => source.run(this.facts, signal, changed));
    await Promise.all([...sources, this.announcing(signal)]);
  }

  /** Lets the held withdrawals go. Gives how many there were. */
  confirm(): number {
    const count = this.gone.confirm();
    if (count > 0) this.memory.changed();
    return count;
  }

  /** Takes over a new configuration; sessions that did not change stay up. Throws when that takes a restart. */
  apply(config: GatewayConfig): void {
    if (!Bun.deepEquals(sourcesOf(config), sourcesOf(this.config))) {
      throw new GodwitError(
        'config',
        'other facts than before would have to be read: source, notReady or withoutStatus',
        {
          hint: 'Restart the announcer.',
        },
      );
    }
    this.speaker.apply(config.bgp);
    const { communities, med } = this.config.announce;
    const other = !Bun.deepEquals([communities, med], [config.announce.communities, config.announce.med]);
    this.config = config;
    this.plan.apply(config.announce);
    this.memory.use(config.stateFile);
    if (other) for (const [prefix, announcement] of this.announced()) this.tell(prefix, announcement);
    this.wakeup.notify();
  }

  status(): AnnouncerStatus {
    return {
      datastore: { inSync: this.inSync, stale: this.stale },
      waitingFor: this.waitingFor,
      announced: [...this.announced()].map(([prefix, a]) => ({ prefix, ...a })),
      held: this.gone.held,
      leftOut: this.plan.leftOut,
      gateways:
        this.waitingFor === undefined
          ? [...this.speaker.peers.values()].map(({ config: { name, address }, state }) => ({ name, address, state }))
          : this.waiting(),
    };
  }

  /** What this gateway has to be told to take what is announced now; throws GodwitError for one that is not there. */
  printConfig(name: string, format: PeerFormat, address?: string): string {
    const gateway = findGateway(this.config, name);
    const { socket } = this.speaker.peers.get(gateway.address)?.session?.connection ?? {};
    const hops = [...this.announced()].map(([, announcement]) => announcement);
    return nextHopRemarks(hops, format) + peerConfig(this.config, gateway, address ?? socket?.local, format);
  }

  /** The speaker has no neighbours before it runs; those there will be are known. */
  private waiting(): AnnouncerStatus['gateways'] {
    return this.config.bgp.neighbors.map(({ name, address }) => ({ name, address, state: 'waiting' }));
  }

  private *announced(): Generator<readonly [Prefix, Announcement]> {
    yield* this.plan.wanted;
    yield* this.gone;
  }

  private get inSync(): boolean {
    return this.sources.every((source) => source.inSync);
  }

  private get stale(): string | undefined {
    return this.sources.find((source) => source.stale !== undefined)?.stale;
  }

  private async announcing(signal: AbortSignal): Promise<void> {
    let sessions: Promise<void> | undefined;
    for (const [prefix, announcement] of this.announced()) this.tell(prefix, announcement);
    while (!signal.aborted) {
      await this.wakeup.wait(signal);
      await sleep(GATHER_MS, signal, this.clock);
      if (signal.aborted) break;
      this.logReach();
      if (!this.inSync) {
        // nobody hears it yet; what is decided now is not left for the end of the list
        if (this.facts.pending >= DECIDE_EARLY) this.decide();
        continue;
      }
      const first = !this.listed;
      if (first) this.log.info({}, 'the first list is complete');
      this.update();
      this.listed = true;
      this.recalled.clear();
      if (sessions) continue;
      const { minimumReady } = this.config.guard;
      const known = this.plan.wanted.size;
      this.waitingFor = known < minimumReady ? `${minimumReady} prefixes; the datastore has ${known}` : undefined;
      if (this.waitingFor !== undefined) {
        // `status` counts on
        const fields = { minimumReady, known };
        if (first) this.log.warn(fields, 'too few prefixes are known: no session is opened before there are more');
        continue;
      }
      sessions = this.speaking(signal);
      this.tidy.sessionsStart();
    }
    this.tidy[Symbol.dispose]();
    this.gone[Symbol.dispose]();
    this.memory.flush();
    await sessions;
  }

  /**
   * Ends without a word to the gateways, as agents do: who owns what is the same as before, and by graceful restart they
   * keep the routes until this announcer is back.
   */
  private speaking(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const leave = () => {
      this.speaker.vanish();
      stop.abort();
    };
    signal.addEventListener('abort', leave, { once: true });
    return this.speaker.run(stop.signal);
  }

  private logReach(): void {
    const reason = this.sources.every((source) => source.heard) ? this.stale : undefined;
    if ((reason !== undefined) === this.away) return;
    this.away = reason !== undefined;
    if (this.away) this.log.warn({ reason }, 'the datastore is out of reach: what is announced stays as it is');
    else this.log.info({}, 'the datastore answers again');
  }

  /** Brings the announcements up to date as far as the guard allows. */
  private update(): void {
    const changes = this.decide();
    const withdrawn = this.gone.letGo(this.plan.wanted, this.config.guard);
    if (changes > 0 || withdrawn > 0) this.memory.changed();
  }

  /** Tells what is new or different, and notes what is not wanted any more. Gives the number of changes. */
  private decide(): number {
    const { wanted } = this.plan;
    const changed = this.plan.refresh();
    for (const [prefix, before] of changed) {
      const announced = before ?? this.gone.get(prefix);
      const announcement = wanted.get(prefix);
      if (announcement) {
        this.gone.drop(prefix);
        if (!sameAnnouncement(announced, announcement)) this.tell(prefix, announcement);
      } else if (announced && this.maybeHeard(prefix)) this.noLongerWanted(prefix, announced);
      else this.gone.now(prefix);
    }
    return changed.size;
  }

  /** Before the first list is complete, gateways know of this announcer's earlier life at most. */
  private maybeHeard(prefix: Prefix): boolean {
    return this.listed || this.recalled.has(prefix);
  }

  private noLongerWanted(prefix: Prefix, announced: Announcement): void {
    this.gone.add(prefix, announced);
    if (!announced.aggregate) return;
    // smaller ones have taken its place: it must go at once, or it draws what is not its own, and nobody is cut off
    for (const other of this.plan.wanted.keys()) {
      if (!prefixCovers(prefix, other)) continue;
      this.gone.now(prefix);
      return;
    }
  }

  private tell(prefix: Prefix, announcement: Announcement): void {
    this.tidy.worked();
    this.gone.told(prefix);
    const { nextHop, draining, covered } = announcement;
    const { communities: always, med } = this.config.announce;
    const communities = [...always, ...(draining ? [GRACEFUL_SHUTDOWN] : []), ...(covered ? [COVERED] : [])];
    this.speaker.announce(
      networkAttributes({ prefix, nextHop, communities, prepend: [], ...(med !== undefined && { med }) }),
    );
  }
}

/** What decides which sources there are. */
const sourcesOf = ({ source, announce }: GatewayConfig): unknown => [source, needsStatus(announce)];
