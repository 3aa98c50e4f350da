/** Policy routing rules: RTM_{NEW,DEL,GET}RULE, struct fib_rule_hdr. */
import type { Reader } from '../base/mod.ts';
import { addressBytes, prefixAddress, prefixFromBytes, prefixLength } from '../net/mod.ts';
import type { Family, Prefix } from '../net/mod.ts';
import { AF } from '../sys/mod.ts';
import { FR_ACT_TO_TBL, FRA, NLM_F, RTM } from './codes.ts';
import { forEachAttribute, readString } from './message.ts';
import type { Batch } from './message.ts';

export interface Rule {
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly source: Prefix | undefined;
  readonly destination: Prefix | undefined;
  readonly inputDevice: string;
  readonly mark: number;
  readonly markMask: number;
  /** RTPROT number: who made it. */
  readonly protocol: number;
  /** FR_ACT number; looking up `table` is 1. */
  readonly action: number;
}

export function decodeRule(body: Reader): Rule | undefined {
  const family = body.u8();
  const [destinationLength, sourceLength] = [body.u8(), body.u8()];
  body.skip(1);
  let table = body.u8();
  body.skip(2);
  const action = body.u8();
  body.skip(4);
  if (body.failed || (family !== AF.INET && family !== AF.INET6)) return undefined;
  let [priority, mark, markMask, protocol] = [0, 0, 0, 0];
  let source: Prefix | undefined;
  let destination: Prefix | undefined;
  let inputDevice = '';
  const bytes = family === AF.INET ? 4 : 16;
  const read = (value: Reader, length: number) =>
    value.remaining === bytes ? prefixFromBytes(value.view(bytes), length) : undefined;
  forEachAttribute(body, (type, value) => {
    if (type === FRA.DST) destination = read(value, destinationLength);
    else if (type === FRA.SRC) source = read(value, sourceLength);
    else if (type === FRA.IIFNAME) inputDevice = readString(value);
    else if (type === FRA.PRIORITY) priority = value.u32le();
    else if (type === FRA.FWMARK) mark = value.u32le();
    else if (type === FRA.FWMASK) markMask = value.u32le();
    else if (type === FRA.TABLE) table = value.u32le();
    else if (type === FRA.PROTOCOL) protocol = value.u8();
  });
  const of: Family = family === AF.INET ? 4 : 6;
  return { family: of, priority, table, source, destination, inputDevice, mark, markMask, protocol, action };
}

function encode(batch: Batch, rule: Rule): Batch {
  const length = (prefix: Prefix | undefined) => (prefix === undefined ? 0 : prefixLength(prefix));
  batch
    .u8(rule.family === 4 ? AF.INET : AF.INET6)
    .u8(length(rule.destination))
    .u8(length(rule.source))
    .u8(0);
  batch
    .u8(rule.table < 256 ? rule.table : 0)
    .u8(0)
    .u8(0)
    .u8(FR_ACT_TO_TBL)
    .u32(0);
  if (rule.destination !== undefined) batch.attribute(FRA.DST, addressBytes(prefixAddress(rule.destination)));
  if (rule.source !== undefined) batch.attribute(FRA.SRC, addressBytes(prefixAddress(rule.source)));
  if (rule.inputDevice !== '') batch.attributeString(FRA.IIFNAME, rule.inputDevice);
  if (rule.markMask !== 0) batch.attributeU32(FRA.FWMARK, rule.mark).attributeU32(FRA.FWMASK, rule.markMask);
  batch.attributeU32(FRA.PRIORITY, rule.priority).attributeU32(FRA.TABLE, rule.table);
  batch.attributeU8(FRA.PROTOCOL, rule.protocol);
  return batch.end();
}

export function addRule(batch: Batch, rule: Rule): Batch {
  const flags = NLM_F.ACK | NLM_F.CREATE | NLM_F.EXCL;
  return encode(batch.begin(RTM.NEWRULE, flags, `rule ${rule.priority} table ${rule.table}`), rule);
}

export function deleteRule(batch: Batch, rule: Rule): Batch {
  return encode(batch.begin(RTM.DELRULE, NLM_F.ACK, `delete rule ${rule.priority} table ${rule.table}`), rule);
}
