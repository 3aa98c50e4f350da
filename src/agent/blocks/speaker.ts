/**
 * The embedded speaker over changes of what ends one: another router id or AS number takes a new speaker, with graceful
 * restart between, so that neighbours keep this node's routes; everything else is applied to the one that runs. A port
 * that is taken is told and tried again.
 */
import { Backoff, messageOf, sleep, Wakeup } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import { diffConfig } from '../../bgp/config/mod.ts';
import type { BgpConfig } from '../../bgp/config/mod.ts';
import type { NextHopResolver } from '../../bgp/rib/mod.ts';
import { createSpeaker, networkAttributes } from '../../bgp/speaker/mod.ts';
import type { FibSink, Network, Speaker, SpeakerEvent } from '../../bgp/speaker/mod.ts';
import type { Prefix } from '../../net/mod.ts';

/** A prefix of this node, as it is told to others. */
export interface Announcement {
  readonly prefix: Prefix;
  readonly localPref: number;
}

export interface SpeakerKeeperOptions {
  readonly log: Logger;
  readonly clock: Clock;
  readonly network: Network;
  readonly resolver: NextHopResolver;
  /** A sink for one life of a speaker. */
  readonly sink: () => FibSink;
  /** Whether the first speaker follows one whose routes are still in the kernel. */
  readonly restarting: boolean;
  readonly onEvent: (event: SpeakerEvent) => void;
}

export class SpeakerKeeper {
  /** Why there is no speaker though one is wanted. */
  problem: string | undefined;
  private readonly options: SpeakerKeeperOptions;
  private readonly wakeup = new Wakeup();
  private config: BgpConfig | undefined;
  private announced = new Map<Prefix, Announcement>();
  private running: { readonly speaker: Speaker; readonly stop: AbortController } | undefined;
  private restarting: boolean;

  constructor(options: SpeakerKeeperOptions) {
    this.options = options;
    this.restarting = options.restarting;
  }

  get speaker(): Speaker | undefined {
    return this.running?.speaker;
  }

  get announcements(): ReadonlyMap<Prefix, Announcement> {
    return this.announced;
  }

  /** From now on the sessions are these. */
  setConfig(config: BgpConfig): void {
    const before = this.config;
    if (before && Bun.deepEquals(before, config)) return;
    this.config = config;
    const { running } = this;
    if (!running || !before) this.wakeup.notify();
    else if (diffConfig(running.speaker.config, config).needsRestart.length > 0) this.end();
    else {
      try {
        running.speaker.apply(config);
        this.problem = undefined;
      } catch (error) {
        // another port, which somebody has: the sessions stay as they were
        this.problem = messageOf(error);
        this.options.log.error({ error: this.problem }, 'the BGP configuration cannot be taken over; trying again');
        this.end();
      }
    }
  }

  /** From now on these prefixes are told, and no others of this node. */
  setAnnouncements(wanted: readonly Announcement[]): void {
    const after = new Map(wanted.map((announcement) => [announcement.prefix, announcement]));
    const { speaker } = this;
    if (speaker) {
      for (const prefix of this.announced.keys()) if (!after.has(prefix)) speaker.withdraw(prefix);
      for (const [prefix, announcement] of after) {
        if (!Bun.deepEquals(this.announced.get(prefix), announcement)) tell(speaker, announcement);
      }
    }
    this.announced = after;
  }

  /** Runs until aborted, and then leaves without a word: neighbours keep this node's routes for the restart time. */
  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff(500, 10_000);
    while (!signal.aborted) {
      const { config } = this;
      if (!config) {
        await this.wakeup.wait(signal);
        continue;
      }
      try {
        await this.live(config, signal);
        backoff.reset();
      } catch (error) {
        const problem = messageOf(error);
        if (problem !== this.problem)
          this.options.log.error({ error: problem }, 'the speaker does not run; trying again');
        this.problem = problem;
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** One speaker, until it is to end. */
  private async live(config: BgpConfig, signal: AbortSignal): Promise<void> {
    const { log, clock, network, resolver, sink, onEvent } = this.options;
    const { restarting } = this;
    const exportAtOnce = !config.neighbors.some((neighbor) => neighbor.reflectorClient);
    const speaker = createSpeaker({ config, log, clock, network, resolver, fib: sink(), restarting, exportAtOnce });
    using _events = speaker.on(onEvent);
    for (const announcement of this.announced.values()) tell(speaker, announcement);
    const stop = new AbortController();
    const leave = () => {
      speaker.vanish();
      stop.abort();
    };
    stop.signal.addEventListener('abort', () => signal.removeEventListener('abort', leave), { once: true });
    signal.addEventListener('abort', leave, { once: true });
    this.running = { speaker, stop };
    try {
      const running = speaker.run(stop.signal);
      await Promise.race([speaker.ready, running]);
      this.problem = undefined;
      log.info({ routerId: config.routerId, asn: config.asn, restarting }, 'the speaker runs');
      // whatever comes next follows this one
      this.restarting = true;
      await running;
    } finally {
      this.running = undefined;
      stop.abort();
    }
  }

  private end(): void {
    const { running } = this;
    running?.speaker.vanish();
    running?.stop.abort();
  }
}

const tell = (speaker: Speaker, { prefix, localPref }: Announcement): void =>
  speaker.announce(networkAttributes({ prefix, localPref, communities: [], prepend: [] }));
