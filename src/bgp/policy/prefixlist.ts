/** Prefix lists: `10.0.0.0/8 ge 16 le 24` and the like, first match decides. */
import { addressBits, familyOf, prefixCovers, prefixLength } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import type { PrefixList, PrefixRule } from './types.ts';

function matches(rule: PrefixRule, prefix: Prefix): boolean {
  const length = prefixLength(prefix);
  const own = prefixLength(rule.prefix);
  const min = rule.ge ?? own;
  // with ge alone anything longer will do, without either only the prefix itself
  const max = rule.le ?? (rule.ge === undefined ? own : addressBits(familyOf(rule.prefix)));
  return length >= min && length <= max && prefixCovers(rule.prefix, prefix);
}

/** Whether the list permits the prefix; no match is a no. */
export function permits(list: PrefixList, prefix: Prefix): boolean {
  for (const rule of list.rules) if (matches(rule, prefix)) return rule.permit;
  return false;
}
