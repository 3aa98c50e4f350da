/**
 * BGP-4. Bytes flow one way through it:
 *
 *     socket ─► wire ─► fsm ─► adj-RIB-in ─► decision ─► loc-RIB ─► adj-RIB-out ─► wire ─► socket
 *                                                          └► FIB
 *
 * | folder    | what it is                                                              | touches the world |
 * |-----------|-------------------------------------------------------------------------|-------------------|
 * | `wire`    | messages and attributes, decoding and encoding, RFC 7606                | no                |
 * | `fsm`     | the session machine of RFC 4271 §8: events in, actions out              | no                |
 * | `policy`  | import and export policies                                              | no                |
 * | `rib`     | tables, best path, update groups: bytes of UPDATEs in, bytes out        | no                |
 * | `fib`     | best paths to routes of this node, next hops through the node's routes  | no                |
 * | `config`  | what a speaker is told, the difference of two; `yaml/` reads it         | reads files       |
 * | `speaker` | sockets, timers, turns; carries out what the pure parts decide          | yes               |
 * | `control` | the daemon: control socket, status, metrics, reload                     | yes               |
 *
 * To read it: `wire/types.ts`, `fsm/types.ts` and `rib/types.ts` are the vocabulary; then `fsm/session.ts`,
 * `speaker/speaker.ts` and `speaker/peer.ts` show how it runs; `rib/decide.ts` how a path is chosen.
 * Embedding: `createSpeaker({ config, clock, log, fib })`, then `run(signal)`, `apply(config)`, `announce`, `withdraw`.
 */
export * from './config/mod.ts';
export * from './config/yaml/mod.ts';
export * from './control/mod.ts';
export { hasWildcard, parseCommunity } from './policy/mod.ts';
export { createSpeaker, FakeNetwork, networkAttributes, Speaker } from './speaker/mod.ts';
export type { FibSink, Network, SpeakerEvent, SpeakerOptions } from './speaker/mod.ts';
export { isHostAddress } from './wire/mod.ts';
export type { BestChange, LocalRoute, NextHopResolver, Resolution } from './rib/mod.ts';
