/**
 * Path attributes (RFC 4271 §5) from a block of octets, with the error handling of RFC 7606. This module walks the block
 * and weighs the faults; what is right for each attribute stands in `attribute-rules.ts`. Runs once per distinct block.
 */
import { mergeAs4Path } from './as-path.ts';
import { AttributeCursor } from './attribute-cursor.ts';
import {
  type AttributeDraft,
  type AttributeRule,
  attributeRules,
  emptyDraft,
  type RuleInput,
  type Treatment,
} from './attribute-rules.ts';
import { AS_TRANS, AttributeFlag, AttributeType, ErrorCode, UpdateError } from './iana.ts';
import { protocolError } from './notification.ts';
import {
  type AttributeFault,
  type AttributeOutcome,
  type PathAttributes,
  type ProtocolError,
  RouteSource,
  type SessionContext,
} from './types.ts';

/** A bound on what one bad message can make us remember and log. */
const MAX_FAULTS = 16;
const MAX_NOTIFICATION_DATA = 4000;

/**
 * Decodes and validates the block `bytes[start, end)` of `UpdateView.block(source)`; nothing in the result aliases it.
 * With `RouteSource.None` only the faults matter: the attributes given then are not those of any route.
 */
export function decodeAttributes(
  bytes: Uint8Array,
  start: number,
  end: number,
  source: RouteSource,
  context: SessionContext,
): AttributeOutcome {
  const judge = new Judge();
  const draft = emptyDraft();
  const cursor = new AttributeCursor(bytes, start, end);
  const input = { bytes, start, end, source, context };
  while (cursor.next()) {
    const { type } = cursor;
    if (type === AttributeType.MpUnreachNlri) continue; // `UpdateView` has dealt with it
    // RFC 7606 §3 g; a second MP_REACH_NLRI never gets here
    if (judge.seenBefore(type)) judge.fault(type, 'attribute-discard', 'it stands there again');
    else {
      input.start = cursor.valueStart;
      input.end = cursor.valueEnd;
      const rule = attributeRules[type];
      if (rule) readKnown(judge, draft, input, cursor, rule);
      else readUnknown(judge, draft, input, cursor);
    }
  }
  if (cursor.overrun !== undefined) judge.fault(0, 'treat-as-withdraw', cursor.overrun);
  mergeFourOctet(draft, context);
  return judge.verdict(draft, source);
}

function readKnown(
  judge: Judge,
  draft: AttributeDraft,
  input: RuleInput,
  cursor: AttributeCursor,
  rule: AttributeRule,
): void {
  const { type, flags } = cursor;
  const ignored = rule.ignored?.(input);
  if (ignored !== undefined) {
    if (rule.ignoredIsFault) judge.fault(type, 'attribute-discard', ignored);
    return;
  }
  if ((flags & (AttributeFlag.Optional | AttributeFlag.Transitive)) !== rule.flags) {
    judge.fault(type, 'treat-as-withdraw', `flags 0x${flags.toString(16)}`);
    return;
  }
  if (rule.internalOnly && input.context.peerType === 'external') {
    judge.fault(type, 'attribute-discard', 'only internal peers may send it');
    return;
  }
  const fault = rule.read(draft, input);
  if (fault) {
    judge.fault(type, fault.treatment, fault.reason);
    if (fault.subcode !== undefined) judge.reset(fault.subcode, input.bytes.subarray(cursor.start, cursor.valueEnd));
  } else if (flags & AttributeFlag.Partial && rule.passedOn) draft.partial |= 1 << (type & 31);
}

/** RFC 4271 §5, §6.3: what is unknown and optional is passed on if transitive, else left out; the rest is fatal. */
function readUnknown(judge: Judge, draft: AttributeDraft, input: RuleInput, cursor: AttributeCursor): void {
  const { type, flags } = cursor;
  if ((flags & AttributeFlag.Optional) === 0) {
    judge.fault(type, 'session-reset', 'not known, and well-known by its flags');
    judge.reset(UpdateError.UnrecognizedWellKnown, input.bytes.subarray(cursor.start, cursor.valueEnd));
  } else if (flags & AttributeFlag.Transitive) {
    const kept = flags & ~AttributeFlag.ExtendedLength;
    draft.unknown.push({ type, flags: kept, value: input.bytes.slice(input.start, input.end) });
  }
}

/** RFC 6793 §4.2.3. */
function mergeFourOctet(draft: AttributeDraft, context: SessionContext): void {
  if (context.fourOctetAs) return;
  const { aggregator, as4Aggregator } = draft;
  if (aggregator && as4Aggregator) {
    // somebody on the way replaced AGGREGATOR without knowing its companions: both are out of date
    if (aggregator.asn !== AS_TRANS) return;
    draft.aggregator = as4Aggregator;
  }
  if (draft.asPath && draft.as4Path) draft.asPath = mergeAs4Path(draft.asPath, draft.as4Path);
}

const severity: Record<Treatment, number> = { 'attribute-discard': 1, 'treat-as-withdraw': 2, 'session-reset': 3 };

/** Knows which attributes were there and what is wrong with them; the severest treatment wins, RFC 7606 §3 h. */
class Judge {
  private readonly faults: AttributeFault[] = [];
  private worst: Treatment | undefined;
  private notification: ProtocolError | undefined;
  /** Types below 32 as bits: those are nearly all there ever are. */
  private low = 0;
  private high: Set<number> | undefined;

  has(type: number): boolean {
    return type < 32 ? (this.low & (1 << type)) !== 0 : this.high?.has(type) === true;
  }

  /** Whether the type was seen; it is from now on. */
  seenBefore(type: number): boolean {
    if (this.has(type)) return true;
    if (type < 32) this.low |= 1 << type;
    else (this.high ??= new Set()).add(type);
    return false;
  }

  fault(type: number, treatment: Treatment, what: string): void {
    const worse = this.worst === undefined || severity[treatment] > severity[this.worst];
    if (worse) this.worst = treatment;
    const name = type === 0 ? 'path attributes' : (attributeRules[type]?.name ?? `attribute ${type}`);
    // the fault that decides is kept whatever came before it
    if (this.faults.length >= MAX_FAULTS && !worse) return;
    if (this.faults.length >= MAX_FAULTS) this.faults.pop();
    this.faults.push({ type, treatment, reason: `${name}: ${what}` });
  }

  /** What to send if the session is reset: the first reason given stays. */
  reset(subcode: number, data: Uint8Array): void {
    const reason = `bad UPDATE: ${this.faults.at(-1)?.reason ?? 'attributes'}`;
    this.notification ??= protocolError(
      ErrorCode.UpdateMessage,
      subcode,
      reason,
      data.subarray(0, MAX_NOTIFICATION_DATA),
    );
  }

  verdict(draft: AttributeDraft, source: RouteSource): AttributeOutcome {
    if (source !== RouteSource.None) this.requireMandatory(draft, source);
    else if (this.worst === 'treat-as-withdraw') {
      // RFC 7606 §5.2: without reachable routes in sight we may have missed them, so nothing less will do
      this.fault(0, 'session-reset', 'an error in a message without routes');
      this.reset(UpdateError.MalformedAttributeList, new Uint8Array(0));
    }
    const faults = this.faults;
    if (this.worst === 'session-reset') {
      const fallback = protocolError(ErrorCode.UpdateMessage, UpdateError.MalformedAttributeList, 'bad UPDATE');
      return { treatment: 'session-reset', error: this.notification ?? fallback, faults };
    }
    if (this.worst === 'treat-as-withdraw') return { treatment: 'treat-as-withdraw', faults };
    const attributes = finished(draft);
    return this.worst === undefined
      ? { treatment: 'ok', attributes }
      : { treatment: 'attribute-discard', attributes, faults };
  }

  /** RFC 7606 §3 d. One that was there and bad has been judged already. */
  private requireMandatory(draft: AttributeDraft, source: RouteSource): void {
    const missing = (type: AttributeType) => {
      if (!this.has(type)) this.fault(type, 'treat-as-withdraw', 'missing');
    };
    if (draft.origin === undefined) missing(AttributeType.Origin);
    if (draft.asPath === undefined) missing(AttributeType.AsPath);
    if (draft.nextHop === undefined) {
      missing(source === RouteSource.MpReach ? AttributeType.MpReachNlri : AttributeType.NextHop);
    }
  }
}

function finished(draft: AttributeDraft): PathAttributes {
  return {
    origin: draft.origin ?? 0,
    asPath: draft.asPath ?? [],
    nextHop: draft.nextHop ?? noNextHop,
    med: draft.med,
    localPref: draft.localPref,
    atomicAggregate: draft.atomicAggregate,
    aggregator: draft.aggregator,
    communities: draft.communities,
    originatorId: draft.originatorId,
    clusterList: draft.clusterList,
    extendedCommunities: draft.extendedCommunities,
    largeCommunities: draft.largeCommunities,
    unknown: draft.unknown.length > 1 ? draft.unknown.sort((a, b) => a.type - b.type) : draft.unknown,
    partial: draft.partial,
  };
}

/** For messages without routes only; a route without a next hop is withdrawn. */
const noNextHop = { address: new Uint8Array(4), linkLocal: undefined };
