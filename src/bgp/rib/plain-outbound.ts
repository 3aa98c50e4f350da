/** What is announced of a plain block, made octet by octet; see `plain.ts`. */
import type { Writer } from '../../base/mod.ts';
import { AttributeFlag, AttributeType, SegmentType } from '../wire/mod.ts';
import { contains } from './outbound.ts';
import type { ExportRules, RouteOrigin } from './outbound.ts';
import type { PlainBlock } from './plain.ts';

/** Longest AS_PATH whose length still fits one octet: (255 − 2) / 4. */
const maxPath = 63;

/** Whether announcements under these rules can be made from plain blocks at all. */
export function plainRules(rules: ExportRules): boolean {
  const { strip, self } = rules;
  return (
    rules.family === 4 &&
    rules.context.fourOctetAs &&
    self?.address.length === 4 &&
    (!rules.policy || rules.policy.acceptsAll === true) &&
    rules.removePrivateAs === undefined &&
    !(strip.standard || strip.extended || strip.large) &&
    !rules.drain
  );
}

/**
 * As `outbound` and `encodeAttributes` under `plainRules`: appends the octets to `out`. False when this block needs the
 * long way; `out` is to be reset then.
 */
export function plainOutbound(
  block: PlainBlock,
  origin: RouteOrigin,
  rules: ExportRules,
  localPref: number,
  out: Writer,
): boolean {
  const { at, size, bytes } = block;
  const external = rules.kind === 'ebgp';
  const reflected = !external && origin.kind === 'ibgp';
  // non-transitive ones among them would have to be picked out
  if (external && at[AttributeType.ExtendedCommunities] !== 0) return false;
  copy(out, block, AttributeType.Origin);
  if (external) {
    const first = rules.localAs;
    const second = rules.localAs === rules.ownAs || rules.localAsReplace ? 0 : rules.ownAs;
    const count = block.pathLength + (second === 0 ? 1 : 2);
    if (count > maxPath) return false;
    out
      .u8(AttributeFlag.Transitive)
      .u8(AttributeType.AsPath)
      .u8(2 + 4 * count);
    out.u8(SegmentType.Sequence).u8(count).u32(first);
    if (second !== 0) out.u32(second);
    octets(out, bytes, at[AttributeType.AsPath]! + 2, 4 * block.pathLength);
  } else copy(out, block, AttributeType.AsPath);
  if (keepsNextHop(block, rules)) copy(out, block, AttributeType.NextHop);
  else {
    out.u8(AttributeFlag.Transitive).u8(AttributeType.NextHop).u8(4);
    octets(out, rules.self!.address, 0, 4);
  }
  if (!external) {
    copy(out, block, AttributeType.MultiExitDisc);
    out.u8(AttributeFlag.Transitive).u8(AttributeType.LocalPref).u8(4).u32(localPref);
  }
  copy(out, block, AttributeType.AtomicAggregate);
  copy(out, block, AttributeType.Aggregator);
  copy(out, block, AttributeType.Communities);
  if (reflected) {
    if (at[AttributeType.OriginatorId] !== 0) copy(out, block, AttributeType.OriginatorId);
    else out.u8(AttributeFlag.Optional).u8(AttributeType.OriginatorId).u8(4).u32(origin.routerId);
    const clusters = at[AttributeType.ClusterList] === 0 ? 0 : size[AttributeType.ClusterList]!;
    if (clusters + 4 > 255) return false;
    out
      .u8(AttributeFlag.Optional)
      .u8(AttributeType.ClusterList)
      .u8(clusters + 4)
      .u32(rules.clusterId);
    octets(out, bytes, at[AttributeType.ClusterList]!, clusters);
  }
  copy(out, block, AttributeType.ExtendedCommunities);
  copy(out, block, AttributeType.LargeCommunities);
  return true;
}

function keepsNextHop(block: PlainBlock, rules: ExportRules): boolean {
  if (rules.nextHop !== 'auto') return rules.nextHop === 'unchanged';
  if (rules.kind === 'ibgp') return true;
  const { sharedSubnet } = rules;
  return sharedSubnet?.address.length === 4 && contains(sharedSubnet, block.bytes, block.at[AttributeType.NextHop]!);
}

/** The whole attribute, if it is there. */
function copy(out: Writer, block: PlainBlock, type: number): void {
  const at = block.at[type]!;
  if (at !== 0) octets(out, block.bytes, at - 3, block.size[type]! + 3);
}

function octets(out: Writer, bytes: Uint8Array, at: number, count: number): void {
  out.zeros(count);
  const into = out.bytes;
  const to = out.length - count;
  for (let i = 0; i < count; i++) into[to + i] = bytes[at + i]!;
}
