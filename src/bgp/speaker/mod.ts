/**
 * The speaker: everything that touches sockets, timers and the order of work. Read `speaker.ts` first (what a speaker
 * is), then `neighbors.ts` (who they are), `peer.ts` (one of them: carries out the session machine's actions), `links.ts`
 * (its connections), `established.ts` (messages of a session), `connection.ts` (framing and back-pressure) and
 * `scheduler.ts` (who has a turn when).
 */
export { neighborFromRange } from './admission.ts';
export { FakeNetwork } from './fake-network.ts';
export { describeNotification, describeReason } from './describe.ts';
export type { SpeakerEvent } from './events.ts';
export type { FibSink } from './fib-feed.ts';
export { TcpNetwork } from './network.ts';
export type { DialOptions, Listener, Network, Socket, SocketHandlers } from './network.ts';
export { networkAttributes } from './networks.ts';
export type { Peer } from './peer.ts';
export { PolicyBook } from './policies.ts';
export { createSpeaker, Speaker } from './speaker.ts';
export type { SpeakerOptions } from './speaker.ts';
export { SweepGate } from './sweep-gate.ts';
