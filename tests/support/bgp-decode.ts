/** What a session would make of a message, in one call and as text: for replays of recorded messages. */
import { addressFromBytes, type IpAddress } from '../../src/net/mod.ts';
import {
  type AfiSafi,
  type AttributeOutcome,
  decodeAttributes,
  IPV4_UNICAST,
  IPV6_UNICAST,
  type NextHop,
  type PrefixBuffer,
  prefixAt,
  type ProtocolError,
  RouteSource,
  type SessionContext,
  UpdateView,
} from '../../src/bgp/wire/mod.ts';

const unicast: readonly AfiSafi[] = [IPV4_UNICAST, IPV6_UNICAST];

export function sessionContext(options: {
  external?: boolean;
  fourOctetAs?: boolean;
  addPath?: boolean;
  extendedNextHop?: boolean;
}): SessionContext {
  return {
    fourOctetAs: options.fourOctetAs ?? true,
    extendedMessages: true,
    peerType: options.external ? 'external' : 'internal',
    families: new Set(unicast),
    extendedNextHop: new Set(options.extendedNextHop ? [IPV4_UNICAST] : []),
    addPathReceive: new Set(options.addPath ? unicast : []),
    addPathSend: new Set(options.addPath ? unicast : []),
  };
}

export interface SeenUpdate {
  readonly error: ProtocolError | undefined;
  readonly withdrawn: readonly string[];
  readonly nlri: readonly string[];
  readonly mpNlri: readonly string[];
  /** Path identifiers of `nlri`, then of `mpNlri`. */
  readonly pathIds: readonly number[];
  readonly endOfRib: AfiSafi | undefined;
  readonly ignoredFamily: AfiSafi | undefined;
  /** Of the routes in the NLRI field and of those in MP_REACH_NLRI; of neither when the message carries none. */
  readonly outcomes: readonly AttributeOutcome[];
}

const prefixes = (buffer: PrefixBuffer): string[] =>
  Array.from({ length: buffer.count }, (_, i) => prefixAt(buffer, i));

/** Decodes `message`, a whole UPDATE with header. */
export function seeUpdate(message: Uint8Array, context: SessionContext): SeenUpdate {
  const view = new UpdateView();
  const error = view.decode(message, 0, message.length, context);
  const sources: RouteSource[] = [];
  if (view.nlri.count > 0) sources.push(RouteSource.Nlri);
  if (view.mpNlri.count > 0) sources.push(RouteSource.MpReach);
  if (view.attributesWithoutRoutes) sources.push(RouteSource.None);
  const outcomes = error
    ? []
    : sources.map((source) => {
        view.block(source);
        return decodeAttributes(view.blockBytes, view.blockStart, view.blockEnd, source, context);
      });
  return {
    error,
    withdrawn: [...prefixes(view.withdrawn), ...prefixes(view.mpWithdrawn)],
    nlri: prefixes(view.nlri),
    mpNlri: prefixes(view.mpNlri),
    pathIds: [...view.nlri.pathIds.subarray(0, view.nlri.count), ...view.mpNlri.pathIds.subarray(0, view.mpNlri.count)],
    endOfRib: view.endOfRib,
    ignoredFamily: view.ignoredFamily,
    outcomes,
  };
}

export const nextHopText = (hop: NextHop): IpAddress => addressFromBytes(hop.address);
