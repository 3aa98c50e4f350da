/**
 * One neighbour at run time: carries out what its session machine (`src/bgp/fsm`) asks for. What happens to connections
 * (`links.ts`) and timers goes to the machine as events; its actions go to them and to the RIB. What an established session
 * does with its messages is `established.ts`.
 */
import { printable } from '../../base/mod.ts';
import type { Clock, Logger } from '../../base/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { neighborState, newNeighbor, stepNeighbor } from '../fsm/mod.ts';
import type { DownReason, Neighbor, NeighborAction, NeighborEvent, SessionEvent, SessionState } from '../fsm/mod.ts';
import { neighborKey } from '../config/mod.ts';
import type { NeighborConfig } from '../config/mod.ts';
import type { PeerId, Rib } from '../rib/mod.ts';
import {
  CeaseSubcode,
  ceaseNotification,
  decodeNotification,
  encodeKeepalive,
  encodeNotification,
  hardReset,
  MAX_EXTENDED_MESSAGE_LENGTH,
  MessageType,
} from '../wire/mod.ts';
import type { Negotiated, NotificationMessage, OpenMessage } from '../wire/mod.ts';
import { describeReason } from './describe.ts';
import { Established } from './established.ts';
import type { SpeakerEvent } from './events.ts';
import type { Network, Socket } from './network.ts';
import { Links } from './links.ts';
import { answerOpen, identifierOf } from './open.ts';
import { sessionSettings, timeToLive } from './session-settings.ts';
import type { SparseLog } from './sparse-log.ts';
import { PeerTimers } from './timers.ts';

/** What a neighbour needs from the speaker around it. */
export interface PeerContext {
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly sparseLog: SparseLog;
  readonly network: Network;
  readonly rib: Rib;
  readonly routerId: IpAddress;
  open(peer: Peer): OpenMessage;
  emit(event: SpeakerEvent): void;
  /** The peer has, or may have, something to write. */
  ready(peer: Peer): void;
  /** UPDATEs were read: the RIB has work. */
  received(): void;
  /** Just before a session comes up: the peer's AS and our address are known now. */
  establishing(peer: Peer, negotiated: Negotiated, socket: Socket): void;
  established(peer: Peer): void;
  ended(peer: Peer): void;
}

const keepaliveMessage = encodeKeepalive();

export class Peer {
  config: NeighborConfig;
  readonly id: PeerId;
  /** Present for a neighbour that came by a dynamic range. */
  readonly range: string | undefined;
  readonly context: PeerContext;
  session: Established | undefined;
  /** Set while an operator keeps the neighbour down: the RFC 9003 text. */
  shutdown: string | undefined;
  /** Set while a prefix limit keeps the neighbour down. */
  overLimit = false;
  lastError: { readonly reason: string; readonly at: number } | undefined;
  /** The last UPDATE that RFC 7606 had to be applied to, and what became of it; escaped. */
  lastBadUpdate: { readonly treatment: string; readonly reason: string; readonly at: number } | undefined;
  readonly counts = { established: 0, flaps: 0, messagesIn: 0, messagesOut: 0, updatesIn: 0, updatesBad: 0 };

  /** `lastError` comes from a NOTIFICATION. */
  private heardWhy = false;
  private machine: Neighbor = newNeighbor();
  private readonly links: Links;
  private readonly timers: PeerTimers;
  /** The connection whose accept is being stepped. */
  private accepting: Socket | undefined;

  constructor(context: PeerContext, config: NeighborConfig, id: PeerId, range?: string) {
    this.context = context;
    this.config = config;
    this.id = id;
    this.range = range;
    this.timers = new PeerTimers(context.clock);
    this.links = new Links(context.clock, context.network, {
      event: (of, event) => this.notify(of, event),
      message: (of, type, bytes, start, end) => this.message(of, type, bytes, start, end),
      batchEnd: (of) => this.session?.id === of && this.session.batchEnd(),
      pull: (of, maxBytes) => (this.session?.id === of ? this.session.pull(maxBytes) : undefined),
      writable: () => this.context.ready(this),
    });
  }

  get address(): IpAddress {
    return this.config.address;
  }

  /** What tells it from other neighbours. */
  get key(): string {
    return neighborKey(this.config.address, this.config.device);
  }

  /** What sparse warnings are about: one of a range may come again under the next address. */
  get subject(): string {
    return this.range ?? this.config.name;
  }

  get state(): SessionState {
    return neighborState(this.machine);
  }

  /** Whether configuration, an operator or a prefix limit wants no session with it now. */
  get keptDown(): boolean {
    return !this.config.enabled || this.shutdown !== undefined || this.overLimit;
  }

  /** Whether nothing is left of the neighbour but its configuration: no connection, no routes, nothing that keeps it down. */
  get idle(): boolean {
    const routes = this.session?.active === true || this.session?.stale.waiting === true;
    const down = this.shutdown !== undefined || this.overLimit;
    return this.links.none && !routes && !down;
  }

  /** Starts it unless configuration, an operator or a prefix limit keeps it down. */
  start(): void {
    if (!this.config.enabled || this.shutdown !== undefined) return;
    this.timers.stop('limit');
    this.overLimit = false;
    this.step({ type: 'Start' });
    // nobody may come: one of a range is forgotten then
    if (this.range !== undefined) this.context.ended(this);
  }

  /**
   * Ends whatever is there. Routes go at once on both sides, for which the NOTIFICATION is a Hard Reset where they would
   * stay otherwise; or, when the session is to come back as it was, they stay where RFC 8538 was agreed on (its §5.1).
   */
  stop(notification: NotificationMessage, routes: 'drop' | 'keep' = 'drop'): void {
    this.timers.stop('limit');
    const hard = routes === 'drop' && this.session?.negotiated.gracefulNotification === true;
    this.step({ type: 'Stop', notification: hard ? hardReset(notification) : notification });
    if (routes === 'drop') this.session?.drop();
  }

  /** Other settings need a new session; what was heard stays until it is there, if both sides can do that. */
  renew(routes: 'drop' | 'keep'): void {
    // none will be there
    if (!this.config.enabled) return this.stop(ceaseNotification(CeaseSubcode.AdministrativeShutdown));
    this.stop(ceaseNotification(CeaseSubcode.OtherConfigurationChange), routes);
    this.start();
  }

  /** A prefix limit: ends the session, and comes back after `seconds`, or when somebody starts it. */
  limited(seconds: number | undefined, notification: NotificationMessage): void {
    this.overLimit = true;
    this.stop(notification);
    if (seconds !== undefined) this.timers.after('limit', seconds * 1000, () => this.start());
  }

  /** An operator takes it down, with a text for the peer (RFC 9003), until `allow`. */
  shutDown(text: string): void {
    this.shutdown = text;
    this.stop(ceaseNotification(CeaseSubcode.AdministrativeShutdown, text));
    // also when there was nothing to end: nobody waits for it any more
    this.context.ended(this);
  }

  allow(): void {
    this.shutdown = undefined;
    this.start();
  }

  /** Cease / Administrative Reset, then again from the start. */
  reset(text = ''): void {
    this.stop(ceaseNotification(CeaseSubcode.AdministrativeReset, text));
    this.start();
  }

  /** Closes the connections without a word: neighbours with graceful restart keep our routes (RFC 4724 §4.1). */
  vanish(): void {
    this.links.vanish();
    this.timers.stopAll();
  }

  /** A connection from this neighbour's address. */
  accept(socket: Socket): void {
    socket.setTimeToLive(...timeToLive(this.config));
    this.accepting = socket;
    this.step({ type: 'ConnectionAccepted' });
    this.accepting = undefined;
  }

  /** Gives the peer a turn at writing; true when it wants another. */
  flush(budget: number): boolean {
    return this.session?.connection.flush(budget) ?? false;
  }

  notify(id: number, event: SessionEvent): void {
    this.step({ type: 'Session', id, event });
  }

  // ---- the machine

  private step(event: NeighborEvent): void {
    const before = this.state;
    const local = { asn: this.config.localAs, identifier: identifierOf(this.context.routerId) };
    const { neighbor, actions } = stepNeighbor(this.machine, event, sessionSettings(this.config), local);
    this.machine = neighbor;
    for (const action of actions) this.carryOut(action);
    const after = this.state;
    if (after !== before) this.context.emit({ type: 'state', neighbor: this.key, from: before, to: after });
  }

  private carryOut(action: NeighborAction): void {
    switch (action.do) {
      case 'adopt':
        this.links.attach(action.id, this.accepting!);
        break;
      case 'refuse':
        this.accepting?.abort();
        break;
      case 'connect':
        this.links.dial(action.id, this.config);
        break;
      case 'close':
        this.links.close(action.id);
        break;
      case 'sendOpen':
        this.counts.messagesOut++;
        this.links.sendOpen(action.id, this.context.open(this));
        break;
      case 'sendKeepalive':
        this.send(action.id, keepaliveMessage);
        break;
      case 'sendNotification':
        this.send(action.id, encodeNotification(action.notification));
        break;
      case 'startTimer':
        this.startTimer(action);
        break;
      case 'stopTimer':
        this.timers.stopSession(action.id, action.timer);
        break;
      case 'stopTimers':
        this.timers.stopSessions(action.id);
        break;
      case 'startNeighborTimer': {
        const type = action.timer === 'idleHold' ? 'IdleHoldTimerExpires' : 'StableTimerExpires';
        const ms = action.jitter ? this.jitter(action.ms) : action.ms;
        this.timers.after(action.timer, ms, () => this.step({ type }));
        break;
      }
      case 'stopNeighborTimer':
        this.timers.stop(action.timer);
        break;
      case 'sessionUp':
        this.sessionUp(action.id, action.negotiated);
        break;
      case 'sessionDown':
        this.sessionDown(action.reason, action.retain);
        break;
      case 'attemptFailed':
        this.attemptFailed(action.reason);
        break;
      default:
        action satisfies never;
    }
  }

  private sessionUp(id: number, negotiated: Negotiated): void {
    const connection = this.links.get(id)!;
    this.counts.established++;
    this.context.establishing(this, negotiated, connection.socket);
    const stale = this.session?.stale;
    this.session = new Established(this, id, connection, negotiated, stale);
    this.session.begin();
    const { peerAsn } = negotiated;
    this.context.log.info({ neighbor: this.config.name, asn: peerAsn }, 'session established');
    this.context.emit({ type: 'up', neighbor: this.key, asn: peerAsn, families: this.session.families });
    this.context.established(this);
    this.context.ready(this);
  }

  private sessionDown(reason: DownReason, retain: boolean): void {
    const text = describeReason(reason);
    this.counts.flaps++;
    this.lastError = { reason: text, at: this.context.clock.wallNow() };
    this.heardWhy = isNotification(reason);
    this.session?.end(retain);
    if (!this.session?.stale.waiting) this.session = undefined;
    this.context.log.warn({ neighbor: this.config.name, reason: text, retained: retain }, 'session ended');
    this.context.emit({ type: 'down', neighbor: this.key, reason: text, retained: retain });
    this.context.ended(this);
  }

  private attemptFailed(reason: DownReason): void {
    const text = describeReason(reason);
    // what a NOTIFICATION said tells more than that the next attempts are refused
    const less = reason.type === 'collision' || (reason.type === 'tcp' && this.heardWhy);
    if (!less) this.lastError = { reason: text, at: this.context.clock.wallNow() };
    this.heardWhy ||= isNotification(reason);
    this.context.log.debug({ neighbor: this.config.name, reason: text }, 'attempt failed');
    this.context.emit({ type: 'attempt-failed', neighbor: this.key, reason: text });
    this.context.ended(this);
  }

  // ---- messages

  private send(id: number, message: Uint8Array): void {
    this.counts.messagesOut++;
    this.links.send(id, message);
  }

  /** One received message. False ends the reading: the connection was closed over it. */
  private message(id: number, type: number, bytes: Uint8Array, start: number, end: number): boolean {
    this.counts.messagesIn++;
    switch (type) {
      case MessageType.Update:
      case MessageType.RouteRefresh:
        // one that is not Established may become so over this (a collision that is settled now)
        if (!this.isUp(id)) this.notify(id, { type: 'UpdateMsg' });
        if (this.isUp(id)) return this.session!.receive(type, bytes, start, end);
        break;
      case MessageType.Keepalive:
        this.notify(id, { type: 'KeepAliveMsg' });
        break;
      case MessageType.Open:
        this.onOpen(id, bytes, start, end);
        break;
      default: {
        const notification = decodeNotification(bytes, start, end);
        const version = notification.code === 2 && notification.subcode === 1;
        this.notify(id, { type: version ? 'NotifMsgVerErr' : 'NotifMsg', notification });
      }
    }
    return this.links.get(id) !== undefined;
  }

  private isUp(id: number): boolean {
    return this.session?.id === id && this.session.active;
  }

  private onOpen(id: number, bytes: Uint8Array, start: number, end: number): void {
    const sent = this.links.openOn(id) ?? this.context.open(this);
    const answer = answerOpen(bytes, start, end, sent, this.config);
    if (!answer.ok) {
      const fields = { neighbor: this.config.name, reason: printable(answer.error.reason) };
      this.context.sparseLog.warn(this.subject, fields, 'the OPEN of the peer is refused');
      this.notify(id, { type: 'BgpOpenMsgErr', notification: answer.error.notification });
      return;
    }
    const negotiated = answer.value;
    const connection = this.links.get(id);
    // now it is known whether the neighbour is external
    connection?.socket.setTimeToLive(...timeToLive(this.config, negotiated.peerAsn));
    if (connection && negotiated.receivesExtended) connection.framer.maxLength = MAX_EXTENDED_MESSAGE_LENGTH;
    this.notify(id, { type: 'BgpOpen', negotiated });
  }

  // ---- timers

  private startTimer({ id, timer, ms, jitter }: Extract<NeighborAction, { do: 'startTimer' }>): void {
    const time = jitter ? this.jitter(ms) : ms;
    const isUp = () => this.isUp(id);
    this.timers.startSession(id, timer, time, this.links.get(id), isUp, (event) => this.notify(id, event));
  }

  /** RFC 4271 §10: a factor between 0.75 and 1. */
  private jitter(ms: number): number {
    return ms * (0.75 + 0.25 * this.context.random());
  }
}

const isNotification = (reason: DownReason): boolean => reason.type === 'sent' || reason.type === 'received';
