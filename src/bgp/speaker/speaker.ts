/**
 * The speaker: listeners, neighbours, tables, and one thread of work. `run` lives until its signal; `apply` takes a new
 * configuration and keeps every session that need not end. An embedding program passes the configuration as a value and
 * routes by `announce` and `withdraw`.
 */
import { compileLate, compileSoon, GodwitError, silentLogger, systemClock } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { releaseCode } from '../../sys/mod.ts';
import { diffConfig } from '../config/mod.ts';
import type { BgpConfig, ConfigDiff, PrefixLimit } from '../config/mod.ts';
import { createRib, directResolver, warmUp } from '../rib/mod.ts';
import type { LocalRoute, NextHopResolver, PeerId, Rib } from '../rib/mod.ts';
import { CeaseSubcode, ceaseNotification } from '../wire/mod.ts';
import { Deferral } from './deferral.ts';
import { EventHub } from './events.ts';
import type { SpeakerEvent } from './events.ts';
import { FibFeed } from './fib-feed.ts';
import type { FibSink } from './fib-feed.ts';
import { Listeners } from './listeners.ts';
import { networkAttributes } from './networks.ts';
import { TcpNetwork } from './network.ts';
import type { Network } from './network.ts';
import { Neighbors } from './neighbors.ts';
import { buildOpen, identifierOf } from './open.ts';
import type { Peer, PeerContext } from './peer.ts';
import { prefixesCease } from './prefix-limit.ts';
import type { DevicesOf } from '../policy/mod.ts';
import { Scheduler } from './scheduler.ts';
import { SparseLog } from './sparse-log.ts';
import { SESSION_WORK, Tidy, WARM_UP_WORK } from './tidy.ts';

export interface SpeakerOptions {
  readonly config: BgpConfig;
  readonly clock?: Clock;
  readonly random?: () => number;
  readonly log?: Logger;
  readonly network?: Network;
  readonly fib?: FibSink;
  readonly resolver?: NextHopResolver;
  /** This life follows one that ended without goodbye: RFC 4724 §4.1. */
  readonly restarting?: boolean;
  /** After a restart, announce at once: for a speaker that passes on nothing that it learned, and so need not learn it first. */
  readonly exportAtOnce?: boolean;
  /**
   * The process is this speaker's alone: get ready for large tables while nothing happens yet (`rib/warmup.ts`; some
   * 0.5 s), and give memory of the process back after bursts (`tidy.ts`).
   */
  readonly warmUp?: boolean;
}

export class Speaker {
  readonly events = new EventHub();
  readonly rib: Rib;
  /** Resolves when all listeners are up. */
  readonly ready: Promise<void>;
  readonly startedAt: number;
  config: BgpConfig;

  private readonly clock: Clock;
  private readonly log: Logger;
  private readonly random: () => number;
  private readonly network: Network;
  private readonly fib: FibFeed | undefined;
  private readonly scheduler: Scheduler;
  private readonly deferral: Deferral;
  private readonly listeners: Listeners;
  private readonly neighbors: Neighbors;
  private readonly sparseLog: SparseLog;
  private readonly warm: boolean;
  private readonly tidy: Tidy | undefined;
  private running = false;
  private markReady: () => void = () => {};

  constructor(options: SpeakerOptions) {
    const { config, clock = systemClock, log = silentLogger } = options;
    this.config = config;
    this.clock = clock;
    this.log = log;
    this.random = options.random ?? Math.random;
    this.network = options.network ?? new TcpNetwork(clock);
    this.sparseLog = new SparseLog(clock, log);
    this.listeners = new Listeners(this.network, (socket) => this.neighbors.accept(socket));
    this.warm = options.warmUp === true;
    if (this.warm) this.tidy = new Tidy(clock);
    this.startedAt = clock.wallNow();
    const resolver = options.resolver ?? directResolver;
    const devicesOf: DevicesOf = (nextHop) => {
      const found = resolver.resolve(nextHop);
      return found.reachable ? found.hops.map(({ device }) => device) : [];
    };
    this.ready = new Promise((resolve) => (this.markReady = resolve));
    this.scheduler = new Scheduler(clock, {
      work: () => this.rib.work(),
      handOn: (done) => this.fib?.turn(done && this.running && !this.deferral.on),
    });
    this.rib = createRib({
      localAs: config.asn,
      routerId: identifierOf(config.routerId),
      clusterId: identifierOf(config.clusterId),
      decision: config.decision,
      resolver,
      seed: Math.floor(this.random() * 2 ** 32),
      events: {
        outputReady: (id) => this.withPeer(id, (peer) => this.scheduler.writeReady(peer)),
        workReady: () => this.scheduler.workReady(),
        endOfRib: (id, family) => this.withPeer(id, (peer) => this.endOfRib(peer, family)),
        maxPrefix: (id, family, direction, level, count) =>
          this.withPeer(id, (peer) => this.prefixLimit(peer, family, direction, level, count)),
      },
    });
    const context: PeerContext = {
      clock,
      random: this.random,
      log,
      sparseLog: this.sparseLog,
      network: this.network,
      rib: this.rib,
      routerId: config.routerId,
      open: (peer) =>
        buildOpen(this.config, peer.config, {
          restarting: this.deferral.on,
          // after a cold start nothing was forwarded meanwhile, after the loss of a session everything
          forwardingPreserved: this.deferral.on || !this.fib || peer.counts.established > 0,
        }),
      emit: (event) => this.events.emit(event),
      ready: (peer) => this.scheduler.writeReady(peer),
      received: () => {
        this.scheduler.input();
        this.tidy?.worked(1);
      },
      establishing: (peer, negotiated, socket) => this.neighbors.establishing(peer, negotiated, socket),
      established: () => {
        this.deferral.check(this.peers);
        this.tidy?.worked(SESSION_WORK);
      },
      ended: (peer) => {
        this.neighbors.forgetIfIdle(peer);
        this.deferral.check(this.peers);
      },
    };
    this.neighbors = new Neighbors({
      ...{ config, clock, rib: this.rib, context, devicesOf },
      emit: (event) => this.events.emit(event),
      forget: (peer) => this.scheduler.forget(peer),
    });
    this.deferral = new Deferral(
      clock,
      options.restarting === true && config.gracefulRestart.mode === 'on',
      config.dynamic.length > 0,
      config.gracefulRestart.deferral * 1000,
      (because) => this.restartOver(because),
    );
    if (this.deferral.on && options.exportAtOnce !== true) this.rib.deferExport(true);
    if (options.fib) this.fib = new FibFeed(this.rib, options.fib, () => this.scheduler.workReady());
  }

  /** By `neighborKey`. */
  get peers(): Map<string, Peer> {
    return this.neighbors.byKey;
  }

  private withPeer(id: PeerId, act: (peer: Peer) => void): void {
    const peer = this.neighbors.find(id);
    if (peer) act(peer);
  }

  /** Listens, dials and works until `signal`; then says goodbye to every neighbour. Throws when a listener fails. */
  async run(signal: AbortSignal): Promise<void> {
    this.running = true;
    this.listeners.apply(this.config);
    for (const network of this.config.networks) this.rib.announce(networkAttributes(network));
    this.neighbors.start(this.config);
    this.deferral.check(this.peers);
    this.scheduler.workReady();
    this.markReady();
    if (this.warm) this.scheduler.background(this.prepare());
    if (!signal.aborted) {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
    this.stop();
  }

  /** The exercise before the first session. Its garbage goes once the compilers that it woke are quiet, too. */
  private *prepare(): Generator<void> {
    releaseCode(); // the start is over, and the compilers come on top
    compileSoon();
    yield* warmUp();
    compileLate();
    this.tidy?.worked(WARM_UP_WORK);
  }

  // ---- routes of our own

  announce(route: LocalRoute): void {
    this.rib.announce(route);
    this.scheduler.workReady();
  }

  /** False when the prefix was not announced. */
  withdraw(prefix: Prefix): boolean {
    const found = this.rib.withdraw(prefix);
    this.scheduler.workReady();
    return found;
  }

  // ---- configuration

  /** Takes over a new configuration; sessions that did not change stay. Gives what was done. */
  apply(config: BgpConfig): ConfigDiff {
    const before = this.config;
    const diff = diffConfig(before, config);
    if (diff.global.length > 0) {
      throw new GodwitError('config', `${diff.global.join(', ')} cannot be changed while the speaker runs`, {
        hint: 'Restart the speaker.',
      });
    }
    this.listeners.apply(config);
    this.config = config;
    this.neighbors.apply(config, diff);
    this.applyNetworks(config, diff);
    // one that was waited for may be no neighbour any more
    this.deferral.check(this.peers);
    this.scheduler.workReady();
    return diff;
  }

  private applyNetworks(config: BgpConfig, diff: ConfigDiff): void {
    for (const prefix of diff.networks.removed) this.rib.withdraw(prefix as Prefix);
    const fresh = new Set([...diff.networks.added, ...diff.networks.changed]);
    for (const network of config.networks) if (fresh.has(network.prefix)) this.rib.announce(networkAttributes(network));
  }

  // ---- what the tables tell

  private endOfRib(peer: Peer, family: Family): void {
    peer.session?.endOfRib(family);
    this.events.emit({ type: 'end-of-rib', neighbor: peer.key, family });
    this.deferral.check(this.peers);
  }

  private prefixLimit(
    peer: Peer,
    family: Family,
    direction: 'in' | 'out',
    level: 'warn' | 'exceeded',
    count: number,
  ): void {
    this.events.emit({ type: 'prefix-limit', neighbor: peer.key, family, direction, level, count });
    const fields = { neighbor: peer.config.name, family, direction, level, count };
    this.sparseLog.warn(`${peer.subject} ${level}`, fields, 'prefix limit');
    const settings = peer.config.families[family];
    const limit: PrefixLimit | undefined = direction === 'in' ? settings?.maxPrefix : settings?.maxPrefixOut;
    if (level !== 'exceeded' || !limit || limit.action === 'warn') return;
    // not in the middle of the UPDATE that crossed the limit
    this.clock.after(0, () => {
      if (!this.running || this.peers.get(peer.key) !== peer) return; // gone meanwhile
      peer.limited(limit.action === 'restart' ? limit.restartAfter : undefined, prefixesCease(family, limit.limit));
    });
  }

  // ---- the rest

  private restartOver(because: string): void {
    this.rib.deferExport(false);
    this.log.info({ because }, 'graceful restart finished');
    this.events.emit({ type: 'restart-finished', because });
    this.scheduler.workReady();
  }

  /** Ends without NOTIFICATIONs, so that neighbours with graceful restart keep our routes: a planned restart. */
  vanish(): void {
    this.listeners[Symbol.dispose]();
    for (const peer of this.peers.values()) peer.vanish();
    this.peers.clear();
  }

  private stop(): void {
    this.running = this.neighbors.running = false;
    this.deferral.cancel();
    this.tidy?.cancel();
    for (const peer of this.peers.values()) peer.stop(ceaseNotification(CeaseSubcode.AdministrativeShutdown));
    this.listeners[Symbol.dispose]();
    this.fib?.close();
  }

  /** The tables were changed from outside (soft clear): have them worked on. */
  wake(): void {
    this.scheduler.workReady();
  }

  /** Everything received was decided, and the FIB has it. Not true yet inside of an event about what was received. */
  get settled(): boolean {
    return !this.scheduler.busy;
  }

  listenPorts(): number[] {
    return this.listeners.ports();
  }

  on(listener: (event: SpeakerEvent) => void): Disposable {
    return this.events.listen(listener);
  }
}

export const createSpeaker = (options: SpeakerOptions): Speaker => new Speaker(options);
