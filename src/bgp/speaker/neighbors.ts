/**
 * Who the speaker's neighbours are: listed ones come and go with the configuration, those of ranges with their connections.
 * Tells the RIB what each is to it.
 */
import type { Clock } from '../../base/mod.ts';
import { neighborKey } from '../config/mod.ts';
import type { BgpConfig, ConfigDiff, NeighborConfig } from '../config/mod.ts';
import type { DevicesOf } from '../policy/mod.ts';
import type { PeerId, Rib } from '../rib/mod.ts';
import { CeaseSubcode, ceaseNotification } from '../wire/mod.ts';
import type { Negotiated } from '../wire/mod.ts';
import { HostAddresses } from './addresses.ts';
import { Admission, neighborFromRange } from './admission.ts';
import type { SpeakerEvent } from './events.ts';
import type { Socket } from './network.ts';
import { Peer } from './peer.ts';
import type { PeerContext } from './peer.ts';
import { PolicyBook } from './policies.ts';

export interface NeighborsOptions {
  readonly config: BgpConfig;
  readonly clock: Clock;
  readonly rib: Rib;
  readonly context: PeerContext;
  readonly devicesOf: DevicesOf;
  readonly emit: (event: SpeakerEvent) => void;
  /** The neighbour is no more: nothing is to be written to it. */
  readonly forget: (peer: Peer) => void;
}

export class Neighbors {
  /** By `neighborKey`. */
  readonly byKey = new Map<string, Peer>();
  /** From `start` on; then those of ranges are forgotten when they leave. */
  running = false;
  private readonly clock: Clock;
  private readonly rib: Rib;
  private readonly context: PeerContext;
  private readonly emit: (event: SpeakerEvent) => void;
  private readonly forget: (peer: Peer) => void;
  private readonly byId: (Peer | undefined)[] = [];
  private readonly admission: Admission;
  private readonly addresses: HostAddresses;
  /** Where packets to a next hop leave, for policies that ask. */
  private readonly devicesOf: DevicesOf;
  private policies: PolicyBook;

  constructor(options: NeighborsOptions) {
    const { config, clock, rib, context, devicesOf, emit, forget } = options;
    this.clock = clock;
    this.rib = rib;
    this.context = context;
    this.emit = emit;
    this.forget = forget;
    this.devicesOf = devicesOf;
    this.admission = new Admission(context.sparseLog);
    this.addresses = new HostAddresses(clock);
    this.policies = new PolicyBook(config, undefined, devicesOf);
  }

  /** Adds all that are listed, then starts them. */
  start(config: BgpConfig): void {
    this.running = true;
    this.admission.apply(config);
    for (const neighbor of config.neighbors) this.add(neighbor);
    for (const peer of this.byKey.values()) peer.start();
  }

  /** Takes over what a new configuration says of neighbours; `diff` is its difference to the one before. */
  apply(config: BgpConfig, diff: ConfigDiff): void {
    this.policies = new PolicyBook(config, this.policies, this.devicesOf);
    this.admission.apply(config);
    for (const [key, change] of diff.neighbors) {
      if (change.what === 'removed') this.remove(this.byKey.get(key));
    }
    for (const neighbor of config.neighbors) this.applyNeighbor(neighbor, diff);
    this.applyRanges(diff);
  }

  private applyNeighbor(neighbor: NeighborConfig, diff: ConfigDiff): void {
    const key = neighborKey(neighbor.address, neighbor.device);
    const change = diff.neighbors.get(key);
    const existing = this.byKey.get(key);
    // a neighbour that a range brought in is a configured one from now on
    if (existing?.range !== undefined) this.remove(existing);
    const peer = this.byKey.get(key);
    if (!peer) {
      this.add(neighbor).start();
      return;
    }
    peer.config = neighbor;
    if (change?.what === 'reset') {
      // as somebody else, or of other tables, its old routes mean nothing
      const same = !change.because.some((setting) => setting === 'remoteAs' || setting === 'localAs');
      peer.renew(same ? 'keep' : 'drop');
    }
    this.refreshPeer(peer); // the RIB sees what differs
  }

  private applyRanges(diff: ConfigDiff): void {
    for (const peer of this.byKey.values()) {
      if (peer.range === undefined) continue;
      const range = this.admission.range(peer.range);
      const change = diff.dynamic.get(peer.range);
      if (!range || change?.what === 'removed') this.remove(peer);
      else {
        peer.config = neighborFromRange(range, peer.address, peer.config.device);
        if (change?.what === 'reset') peer.renew('drop');
        else this.refreshPeer(peer);
      }
    }
  }

  private refreshPeer(peer: Peer): void {
    const { session } = peer;
    // also of one that restarts: its routes are those of who it was
    const facts = session && this.facts(session.negotiated, session.connection.socket);
    this.rib.updatePeer(peer.id, this.policies.peerConfig(peer.config, facts));
  }

  add(config: NeighborConfig, range?: string): Peer {
    const id = this.rib.addPeer(this.policies.peerConfig(config));
    const peer = new Peer(this.context, config, id, range);
    this.byKey.set(peer.key, peer);
    this.byId[id] = peer;
    if (range !== undefined) this.admission.count(range, 1);
    this.emit({ type: 'added', neighbor: peer.key });
    return peer;
  }

  private remove(peer: Peer | undefined): void {
    if (!peer || this.byKey.get(peer.key) !== peer) return;
    this.byKey.delete(peer.key);
    if (peer.range !== undefined) this.admission.count(peer.range, -1);
    // before the session ends, which would drop all routes in one go
    this.rib.removePeer(peer.id);
    peer.stop(ceaseNotification(CeaseSubcode.PeerDeconfigured));
    this.forget(peer);
    this.byId[peer.id] = undefined;
    this.emit({ type: 'removed', neighbor: peer.key });
  }

  /** The one with this handle, unless it is gone. */
  find(id: PeerId): Peer | undefined {
    return this.byId[id];
  }

  /** A connection came in on one of the listeners. */
  accept(socket: Socket): void {
    const { remote, device } = socket;
    // one that was configured without a device is meant on every device
    const known = this.byKey.get(neighborKey(remote, device)) ?? this.byKey.get(remote);
    if (known) {
      known.accept(socket);
      return;
    }
    const range = this.admission.admit(remote);
    if (!range) {
      socket.abort();
      return;
    }
    const peer = this.add(neighborFromRange(range, remote, device), range.range);
    peer.start();
    peer.accept(socket);
  }

  /** A dynamic neighbour that is gone, with its routes, is forgotten. */
  forgetIfIdle(peer: Peer): void {
    if (peer.range === undefined) return;
    this.clock.after(0, () => {
      if (this.running && peer.idle) this.remove(peer);
    });
  }

  private facts(negotiated: Negotiated, { local, remote, device }: Socket) {
    const sharedSubnet = this.addresses.sharedSubnet(local, remote, device);
    return { asn: negotiated.peerAsn, ...(sharedSubnet !== undefined && { sharedSubnet }) };
  }

  /** The peer's AS and our address are known now. */
  establishing(peer: Peer, negotiated: Negotiated, socket: Socket): void {
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
}
