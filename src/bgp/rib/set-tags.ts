/** The tag of an attribute set: whose it is, and how its octets are to be read. The same octets under another tag are another set. */
import { IPV4_UNICAST, IPV6_UNICAST } from '../wire/mod.ts';
import type { RouteSource, SessionContext } from '../wire/mod.ts';
import type { Family } from '../../net/mod.ts';

/** How the octets of a set are to be read: the properties of a session that `decodeAttributes` depends on. */
export const contexts: SessionContext[] = [];
export const fourOctet = 1;
export const internal = 2;
const mixedNextHop = 4;
for (let i = 0; i < 8; i++) {
  const both = new Set([IPV4_UNICAST, IPV6_UNICAST]);
  const none = new Set<typeof IPV4_UNICAST>();
  contexts.push({
    fourOctetAs: (i & fourOctet) !== 0,
    extendedMessages: true,
    peerType: i & internal ? 'internal' : 'external',
    families: both,
    extendedNextHop: i & mixedNextHop ? both : none,
    addPathReceive: none,
    addPathSend: none,
  });
}
/** Sets made here, by a policy or of our own routes: as an iBGP neighbour that knows everything would send them. */
export const madeContext = 15;

/** The index that stands for this context in a set's tag. */
export function contextIndex(context: SessionContext): number {
  return (
    (context.fourOctetAs ? fourOctet : 0) |
    (context.peerType === 'internal' ? internal : 0) |
    (context.extendedNextHop.has(IPV4_UNICAST) ? mixedNextHop : 0)
  );
}

/** peer (16) | context (4, the highest: made here) | IPv6 (1) | source (2); never 0, as a source is never None. */
export function tagOf(peer: number, context: number, source: RouteSource, family: Family): number {
  return (peer << 7) | (context << 3) | (family === 6 ? 4 : 0) | source;
}
export const sourceOf = (tag: number): RouteSource => (tag & 3) as RouteSource;

/** The properties of the session that the octets of a set with this tag are to be read with. */
export const contextOf = (tag: number): SessionContext => contexts[(tag >>> 3) & 7]!;
export const familyOfTag = (tag: number): Family => (tag & 4 ? 6 : 4);
export const peerOfTag = (tag: number): number => tag >>> 7;
export const isMade = (tag: number): boolean => (tag & (madeContext << 3)) === madeContext << 3;
