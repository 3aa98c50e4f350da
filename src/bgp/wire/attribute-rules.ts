/**
 * What each path attribute must look like, and what RFC 7606 asks for when it does not: one entry per attribute, in the
 * order of the types. A rule reads the value into a draft of the attributes, or says what is wrong.
 */
import { decodeAs4Path, decodeAsPath } from './as-path.ts';
import { decodeWords, u32 } from './communities.ts';
import { afiSafi, AttributeFlag, AttributeType, type Origin, UpdateError } from './iana.ts';
import { decodeNextHop, mpNextHopLengthValid } from './next-hop.ts';
import {
  type Aggregator,
  type AsPath,
  type NextHop,
  RouteSource,
  type SessionContext,
  type UnknownAttribute,
} from './types.ts';

/** Attributes while they are read; undefined or empty is "not seen". */
export interface AttributeDraft {
  origin: Origin | undefined;
  asPath: AsPath | undefined;
  nextHop: NextHop | undefined;
  med: number | undefined;
  localPref: number | undefined;
  atomicAggregate: boolean;
  aggregator: Aggregator | undefined;
  communities: readonly number[];
  originatorId: number | undefined;
  clusterList: readonly number[];
  extendedCommunities: readonly number[];
  largeCommunities: readonly number[];
  as4Path: AsPath | undefined;
  as4Aggregator: Aggregator | undefined;
  unknown: UnknownAttribute[];
  partial: number;
}

export type Treatment = 'attribute-discard' | 'treat-as-withdraw' | 'session-reset';

export interface RuleFault {
  readonly treatment: Treatment;
  readonly reason: string;
  /** Subcode of the NOTIFICATION, for `session-reset`. */
  readonly subcode?: number;
}

export interface RuleInput {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly source: RouteSource;
  readonly context: SessionContext;
}

export interface AttributeRule {
  readonly name: string;
  /** The Optional and Transitive bits it must have, RFC 7606 §3 c. */
  readonly flags: number;
  /** Optional transitive and sent on as it came: a Partial bit must stay with it, RFC 4271 §5. */
  readonly passedOn?: true;
  /** Only iBGP peers may send it; from others it is discarded, RFC 7606 §7.5, 7.9, 7.10. */
  readonly internalOnly?: true;
  /** Of no concern here whatever it looks like; said in words for those who ask why it is gone. */
  ignored?(input: RuleInput): string | undefined;
  /** To be told as a fault when ignored: the peer should not have sent it. */
  readonly ignoredIsFault?: true;
  read(draft: AttributeDraft, input: RuleInput): RuleFault | undefined;
}

const wellKnown = AttributeFlag.Transitive;
const optionalTransitive = AttributeFlag.Optional | AttributeFlag.Transitive;
const optionalNonTransitive = AttributeFlag.Optional;

const withdraw = (reason: string): RuleFault => ({ treatment: 'treat-as-withdraw', reason });
const discard = (reason: string): RuleFault => ({ treatment: 'attribute-discard', reason });
const lengthOf = (input: RuleInput): number => input.end - input.start;
const badLength = (input: RuleInput): string => `length ${lengthOf(input)}`;

/** A rule for one u32; a wrong length withdraws. */
function number(key: 'med' | 'localPref' | 'originatorId') {
  return (draft: AttributeDraft, input: RuleInput): RuleFault | undefined => {
    if (lengthOf(input) !== 4) return withdraw(badLength(input));
    draft[key] = u32(input.bytes, input.start);
    return undefined;
  };
}

/** A rule for a list of values of `octets` octets, one at least; a wrong length withdraws. */
function list(
  key: 'communities' | 'clusterList' | 'extendedCommunities' | 'largeCommunities',
  octets: number,
): (draft: AttributeDraft, input: RuleInput) => RuleFault | undefined {
  return (draft, input) => {
    const words = decodeWords(input.bytes, input.start, input.end, octets);
    if (!words) return withdraw(badLength(input));
    draft[key] = words;
    return undefined;
  };
}

/** RFC 6793 §4.1: a speaker of four-octet AS numbers must not send these two, and what it sends of them is discarded. */
const fromFourOctetPeer = (input: RuleInput): string | undefined =>
  input.context.fourOctetAs ? 'the peer sends four-octet AS numbers everywhere' : undefined;

export const attributeRules: Readonly<Record<number, AttributeRule | undefined>> = {
  // RFC 7606 §7.1
  [AttributeType.Origin]: {
    name: 'ORIGIN',
    flags: wellKnown,
    read(draft, input) {
      if (lengthOf(input) !== 1) return withdraw(badLength(input));
      const value = input.bytes[input.start]!;
      if (value > 2) return withdraw(`value ${value}`);
      draft.origin = value as Origin;
      return undefined;
    },
  },
  // RFC 7606 §7.2
  [AttributeType.AsPath]: {
    name: 'AS_PATH',
    flags: wellKnown,
    read(draft, input) {
      const path = decodeAsPath(input.bytes, input.start, input.end, input.context.fourOctetAs ? 4 : 2);
      if (typeof path === 'string') return withdraw(path);
      draft.asPath = path;
      return undefined;
    },
  },
  // RFC 7606 §7.3; beside routes in MP_REACH_NLRI alone it means nothing, RFC 4760 §3
  [AttributeType.NextHop]: {
    name: 'NEXT_HOP',
    flags: wellKnown,
    ignored: (input) => (input.source === RouteSource.MpReach ? 'the routes stand in MP_REACH_NLRI' : undefined),
    read(draft, input) {
      if (lengthOf(input) !== 4) return withdraw(badLength(input));
      const hop = decodeNextHop(input.bytes.subarray(input.start, input.end));
      if (!hop) return withdraw('not the address of a host');
      draft.nextHop = hop;
      return undefined;
    },
  },
  // RFC 7606 §7.4
  [AttributeType.MultiExitDisc]: { name: 'MULTI_EXIT_DISC', flags: optionalNonTransitive, read: number('med') },
  // RFC 7606 §7.5
  [AttributeType.LocalPref]: { name: 'LOCAL_PREF', flags: wellKnown, internalOnly: true, read: number('localPref') },
  // RFC 7606 §7.6
  [AttributeType.AtomicAggregate]: {
    name: 'ATOMIC_AGGREGATE',
    flags: wellKnown,
    read(draft, input) {
      if (lengthOf(input) !== 0) return discard(badLength(input));
      draft.atomicAggregate = true;
      return undefined;
    },
  },
  // RFC 7606 §7.7, RFC 7607
  [AttributeType.Aggregator]: {
    name: 'AGGREGATOR',
    flags: optionalTransitive,
    passedOn: true,
    read(draft, input) {
      const { bytes, start } = input;
      const four = input.context.fourOctetAs;
      if (lengthOf(input) !== (four ? 8 : 6)) return discard(badLength(input));
      const asn = four ? u32(bytes, start) : (bytes[start]! << 8) | bytes[start + 1]!;
      if (asn === 0) return discard('AS number 0');
      draft.aggregator = { asn, address: u32(bytes, input.end - 4) };
      return undefined;
    },
  },
  // RFC 7606 §7.8
  [AttributeType.Communities]: {
    name: 'COMMUNITIES',
    flags: optionalTransitive,
    passedOn: true,
    read: list('communities', 4),
  },
  // RFC 7606 §7.9
  [AttributeType.OriginatorId]: {
    name: 'ORIGINATOR_ID',
    flags: optionalNonTransitive,
    internalOnly: true,
    read: number('originatorId'),
  },
  // RFC 7606 §7.10
  [AttributeType.ClusterList]: {
    name: 'CLUSTER_LIST',
    flags: optionalNonTransitive,
    internalOnly: true,
    read: list('clusterList', 4),
  },
  // RFC 7606 §7.11; its structure was checked when the UPDATE was taken apart
  [AttributeType.MpReachNlri]: {
    name: 'MP_REACH_NLRI',
    flags: optionalNonTransitive,
    ignored: (input) => (input.source === RouteSource.MpReach ? undefined : 'the routes stand in the NLRI field'),
    read: readMpReach,
  },
  // RFC 7606 §7.14
  [AttributeType.ExtendedCommunities]: {
    name: 'EXTENDED COMMUNITIES',
    flags: optionalTransitive,
    passedOn: true,
    read: list('extendedCommunities', 8),
  },
  // RFC 6793 §6: whatever is wrong with these two, only they are dropped
  [AttributeType.As4Path]: {
    name: 'AS4_PATH',
    flags: optionalTransitive,
    ignored: fromFourOctetPeer,
    ignoredIsFault: true,
    read(draft, input) {
      const path = decodeAs4Path(input.bytes, input.start, input.end);
      if (typeof path === 'string') return discard(path);
      draft.as4Path = path;
      return undefined;
    },
  },
  [AttributeType.As4Aggregator]: {
    name: 'AS4_AGGREGATOR',
    flags: optionalTransitive,
    ignored: fromFourOctetPeer,
    ignoredIsFault: true,
    read(draft, input) {
      if (lengthOf(input) !== 8) return discard(badLength(input));
      const asn = u32(input.bytes, input.start);
      if (asn === 0) return discard('AS number 0');
      draft.as4Aggregator = { asn, address: u32(input.bytes, input.start + 4) };
      return undefined;
    },
  },
  // RFC 8092 §6
  [AttributeType.LargeCommunities]: {
    name: 'LARGE COMMUNITIES',
    flags: optionalTransitive,
    passedOn: true,
    read: list('largeCommunities', 12),
  },
};

function readMpReach(draft: AttributeDraft, input: RuleInput): RuleFault | undefined {
  const { bytes, start, end } = input;
  const hopLength = bytes[start + 3] ?? 0;
  const family = afiSafi(((bytes[start] ?? 0) << 8) | (bytes[start + 1] ?? 0), bytes[start + 2] ?? 0);
  const fits = start + 5 + hopLength <= end && mpNextHopLengthValid(family, hopLength, input.context);
  if (!fits) {
    const reason = `a next hop of ${hopLength} octets`;
    return { treatment: 'session-reset', reason, subcode: UpdateError.OptionalAttribute };
  }
  const hop = decodeNextHop(bytes.subarray(start + 4, start + 4 + hopLength));
  if (!hop) return withdraw('the next hop is not the address of a host');
  draft.nextHop = hop;
  return undefined;
}

export function emptyDraft(): AttributeDraft {
  return {
    origin: undefined,
    asPath: undefined,
    nextHop: undefined,
    med: undefined,
    localPref: undefined,
    atomicAggregate: false,
    aggregator: undefined,
    communities: none,
    originatorId: undefined,
    clusterList: none,
    extendedCommunities: none,
    largeCommunities: none,
    as4Path: undefined,
    as4Aggregator: undefined,
    unknown: [],
    partial: 0,
  };
}

/** One empty list for all: most sets have no communities of most kinds. */
const none: readonly number[] = [];
