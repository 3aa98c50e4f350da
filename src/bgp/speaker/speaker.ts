/**
 * The speaker: listeners, neighbours, tables, and one thread of work. `run` lives until its signal; `apply` takes a new
 * configuration and keeps every session that need not end. An embedding program passes the configuration as a value and
 * routes by `announce` and `withdraw`.
 */
import { compileLate, compileSoon, GodwitError, silentLogger, systemClock } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';
import { releaseCode } from '../../sys/mod.ts';
import { diffConfig, neighborKey } from '../config/mod.ts';
import type { BgpConfig, ConfigDiff, NeighborConfig, PrefixLimit } from '../config/mod.ts';
import { createRib, directResolver, warmUp } from '../rib/mod.ts';
import type { LocalRoute, NextHopResolver, PeerId, Rib } from '../rib/mod.ts';
import { Afi, CeaseSubcode, ceaseNotification, Safi } from '../wire/mod.ts';
import type { Negotiated } from '../wire/mod.ts';
import { HostAddresses } from './addresses.ts';
import { Admission, neighborFromRange } from './admission.ts';
import { Deferral } from './deferral.ts';
import { EventHub } from './events.ts';
import type { SpeakerEvent } from './events.ts';
import { FibFeed } from './fib-feed.ts';
import type { FibSink } from './fib-feed.ts';
import { Listeners } from './listeners.ts';
import { networkAttributes } from './networks.ts';
import { TcpNetwork } from './network.ts';
import type { Network, Socket } from './network.ts';
import { buildOpen, identifierOf } from './open.ts';
import { Peer } from './peer.ts';
import type { PeerContext } from './peer.ts';
import type { DevicesOf } from '../policy/mod.ts';
import { PolicyBook } from './policies.ts';
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
  /** By `neighborKey`. */
  readonly peers = new Map<string, Peer>();
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
  private readonly addresses: HostAddresses;
  private readonly deferral: Deferral;
  private readonly byId: (Peer | undefined)[] = [];
  private readonly listeners: Listeners;
  private readonly context: PeerContext;
  private readonly admission: Admission;
  private readonly sparseLog: SparseLog;
  private policies: PolicyBook;
  /** Where packets to a next hop leave, for policies that ask. */
  private readonly devicesOf: DevicesOf;
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
    this.admission = new Admission(this.sparseLog);
    this.listeners = new Listeners(this.network, (socket) => this.accept(socket));
    this.warm = options.warmUp === true;
    if (this.warm) this.tidy = new Tidy(clock);
    this.startedAt = clock.wallNow();
    this.addresses = new HostAddresses(clock);
    const resolver = options.resolver ?? directResolver;
    this.devicesOf = (nextHop) => {
      const found = resolver.resolve(nextHop);
      return found.reachable ? found.hops.map(({ device }) => device) : [];
    };
    this.policies = new PolicyBook(config, undefined, this.devicesOf);
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
    this.context = {
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
      establishing: (peer, negotiated, socket) => this.establishing(peer, negotiated, socket),
      established: () => {
        this.deferral.check(this.peers);
        this.tidy?.worked(SESSION_WORK);
      },
      ended: (peer) => this.ended(peer),
    };
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

  /** Listens, dials and works until `signal`; then says goodbye to every neighbour. Throws when a listener fails. */
  async run(signal: AbortSignal): Promise<void> {
    this.running = true;
    this.listeners.apply(this.config);
    for (const network of this.config.networks) this.rib.announce(networkAttributes(network));
    this.admission.apply(this.config);
    for (const neighbor of this.config.neighbors) this.addPeer(neighbor);
    for (const peer of this.peers.values()) peer.start();
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
    this.policies = new PolicyBook(config, this.policies, this.devicesOf);
    this.admission.apply(config);
    for (const [key, change] of diff.neighbors) {
      if (change.what === 'removed') this.removePeer(this.peers.get(key));
    }
    for (const neighbor of config.neighbors) this.applyNeighbor(neighbor, diff);
    this.applyRanges(diff);
    this.applyNetworks(config, diff);
    // one that was waited for may be no neighbour any more
    this.deferral.check(this.peers);
    this.scheduler.workReady();
    return diff;
  }

  private applyNeighbor(neighbor: NeighborConfig, diff: ConfigDiff): void {
    const key = neighborKey(neighbor.address, neighbor.device);
    const change = diff.neighbors.get(key);
    const existing = this.peers.get(key);
    // a neighbour that a range brought in is a configured one from now on
    if (existing?.range !== undefined) this.removePeer(existing);
    const peer = this.peers.get(key);
    if (!peer) {
      this.addPeer(neighbor).start();
      return;
    }
    peer.config = neighbor;
    if (change?.what === 'reset') {
      // as somebody else, or of other tables, its old routes mean nothing
      const same = !change.because.some((setting) => setting === 'remoteAs' || setting === 'localAs');
      peer.renew(same ? 'keep' : 'drop');
      this.rib.updatePeer(peer.id, this.policies.peerConfig(neighbor));
    } else this.refreshPeer(peer); // the RIB sees what differs
  }

  private applyRanges(diff: ConfigDiff): void {
    for (const peer of this.peers.values()) {
      if (peer.range === undefined) continue;
      const range = this.admission.range(peer.range);
      const change = diff.dynamic.get(peer.range);
      if (!range || change?.what === 'removed') this.removePeer(peer);
      else {
        peer.config = neighborFromRange(range, peer.address, peer.config.device);
        if (change?.what === 'reset') peer.renew('drop');
        else this.refreshPeer(peer);
      }
    }
  }

  private refreshPeer(peer: Peer): void {
    const { session } = peer;
    const facts = session?.active ? this.facts(session.negotiated, session.connection.socket) : undefined;
    this.rib.updatePeer(peer.id, this.policies.peerConfig(peer.config, facts));
  }

  private applyNetworks(config: BgpConfig, diff: ConfigDiff): void {
    for (const prefix of diff.networks.removed) this.rib.withdraw(prefix as Prefix);
    const fresh = new Set([...diff.networks.added, ...diff.networks.changed]);
    for (const network of config.networks) if (fresh.has(network.prefix)) this.rib.announce(networkAttributes(network));
  }

  // ---- neighbours

  private addPeer(config: NeighborConfig, range?: string): Peer {
    const id = this.rib.addPeer(this.policies.peerConfig(config));
    const peer = new Peer(this.context, config, id, range);
    this.peers.set(peer.key, peer);
    this.byId[id] = peer;
    if (range !== undefined) this.admission.count(range, 1);
    this.events.emit({ type: 'added', neighbor: peer.key });
    return peer;
  }

  private removePeer(peer: Peer | undefined): void {
    if (!peer || this.peers.get(peer.key) !== peer) return;
    this.peers.delete(peer.key);
    if (peer.range !== undefined) this.admission.count(peer.range, -1);
    // before the session ends, which would drop all routes in one go
    this.rib.removePeer(peer.id);
    peer.stop(ceaseNotification(CeaseSubcode.PeerDeconfigured));
    this.scheduler.forget(peer);
    this.byId[peer.id] = undefined;
    this.events.emit({ type: 'removed', neighbor: peer.key });
  }

  private withPeer(id: PeerId, act: (peer: Peer) => void): void {
    const peer = this.byId[id];
    if (peer) act(peer);
  }

  /** A connection came in on one of the listeners. */
  private accept(socket: Socket): void {
    const { remote, device } = socket;
    // one that was configured without a device is meant on every device
    const known = this.peers.get(neighborKey(remote, device)) ?? this.peers.get(remote);
    if (known) {
      known.accept(socket);
      return;
    }
    const range = this.admission.admit(remote);
    if (!range) {
      socket.abort();
      return;
    }
    const peer = this.addPeer(neighborFromRange(range, remote, device), range.range);
    peer.start();
    peer.accept(socket);
  }

  /** A dynamic neighbour that is gone, with its routes, is forgotten. */
  private ended(peer: Peer): void {
    if (peer.range !== undefined) {
      this.clock.after(0, () => {
        if (this.running && peer.idle) this.removePeer(peer);
      });
    }
    this.deferral.check(this.peers);
  }

  private facts(negotiated: Negotiated, { local, remote, device }: Socket) {
    const sharedSubnet = this.addresses.sharedSubnet(local, remote, device);
    return { asn: negotiated.peerAsn, ...(sharedSubnet !== undefined && { sharedSubnet }) };
  }

  private establishing(peer: Peer, negotiated: Negotiated, socket: Socket): void {
    const facts = this.facts(negotiated, socket);
    const { local, device } = socket;
    this.rib.updatePeer(peer.id, this.policies.peerConfig(peer.config, facts));
    const { linkLocal, ...localAddress } = this.addresses.nextHops(local, device);
    this.rib.sessionUp(peer.id, {
      routerId: negotiated.peerIdentifier,
      context: negotiated.context,
      localAddress,
      ...(device !== undefined && { device }),
      // RFC 2545 §3: means nothing to a neighbour that is not on the link
      ...(linkLocal !== undefined && (facts.sharedSubnet ?? device) !== undefined && { localLinkLocal: linkLocal }),
    });
  }

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
    // RFC 4486 §4: AFI, SAFI and the limit
    const data = new Uint8Array(7);
    const view = new DataView(data.buffer);
    view.setUint16(0, family === 4 ? Afi.IPv4 : Afi.IPv6);
    view.setUint8(2, Safi.Unicast);
    view.setUint32(3, limit.limit);
    const cease = { ...ceaseNotification(CeaseSubcode.MaximumPrefixes), data };
    // not in the middle of the UPDATE that crossed the limit
    this.clock.after(0, () => {
      if (!this.running || this.peers.get(peer.key) !== peer) return; // gone meanwhile
      peer.limited(limit.action === 'restart' ? limit.restartAfter : undefined, cease);
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
    this.running = false;
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
