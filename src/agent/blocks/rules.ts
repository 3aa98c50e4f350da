/** BGPFilter rules as terms of a policy: the first rule that fits decides. */
import type { PolicyMatch, PolicySet, PolicyTerm, PrefixList, PrefixRule } from '../../bgp/policy/mod.ts';
import type { BgpFilterRule } from '../../model/mod.ts';
import { addressBits, prefixLength } from '../../net/mod.ts';
import type { Family, Prefix } from '../../net/mod.ts';

/** Calico keeps a route's priority (a kernel metric: less is better) in LOCAL_PREF (more is better) on its way. */
const MAX_PRIORITY = 2_147_483_647;
export const localPrefOf = (priority: number): number => MAX_PRIORITY - priority;

export interface RuleTerms {
  readonly terms: readonly PolicyTerm[];
  readonly lists: readonly PrefixList[];
}

/** `name` begins the names of prefix lists; `external` says of which kind the session is. */
export function ruleTerms(name: string, rules: readonly BgpFilterRule[], family: Family, external: boolean): RuleTerms {
  const terms: PolicyTerm[] = [];
  const lists: PrefixList[] = [];
  for (const [i, rule] of rules.entries()) {
    if (rule.peerType !== undefined && (rule.peerType === 'eBGP') !== external) continue;
    const list = rule.cidr === undefined ? undefined : prefixList(`${name} ${i + 1}`, rule.cidr, rule, family);
    if (list) lists.push(list);
    const [match, set] = [matchOf(rule, list?.name), setOf(rule)];
    terms.push({
      name: String(i + 1),
      ...(Object.keys(match).length > 0 && { match }),
      ...(Object.keys(set).length > 0 && { set }),
      // oxlint-disable-next-line unicorn/no-thenable -- the word for a term's verdict; never awaited
      then: rule.action === 'Accept' ? 'accept' : 'reject',
    });
  }
  return { terms, lists };
}

function prefixList(name: string, cidr: Prefix, rule: BgpFilterRule, family: Family): PrefixList {
  const bits = addressBits(family);
  const { min, max } = rule.prefixLength ?? {};
  const within = rule.matchOperator === 'In' || rule.matchOperator === 'NotIn';
  const permit = rule.matchOperator === 'In' || rule.matchOperator === 'Equal';
  const ge = Math.max(min ?? 0, prefixLength(cidr));
  const le = Math.min(max ?? bits, bits);
  const these: PrefixRule = within ? { prefix: cidr, permit, ge, le } : { prefix: cidr, permit };
  const all = (family === 4 ? '0.0.0.0/0' : '::/0') as Prefix;
  return { name, rules: permit ? [these] : [these, { prefix: all, permit: true, le: bits }] };
}

function matchOf(rule: BgpFilterRule, list: string | undefined): PolicyMatch {
  const { communities, asPathPrefix, priority } = rule;
  const preference = priority === undefined ? undefined : localPrefOf(priority);
  return {
    ...(list !== undefined && { prefixLists: [list] }),
    ...(rule.interface !== undefined && { interface: rule.interface }),
    ...(rule.source === 'RemotePeers' && { source: ['ebgp', 'ibgp'] as const }),
    ...(communities && { communities: communities.values }),
    ...(asPathPrefix.length > 0 && { asPath: [`^${asPathPrefix.join(' ')}`] }),
    ...(preference !== undefined && { localPref: { min: preference, max: preference } }),
  };
}

function setOf({ operations }: BgpFilterRule): PolicySet {
  const communities = operations.flatMap(({ addCommunity }) => addCommunity?.value ?? []);
  const prepend = operations.flatMap(({ prependASPath }) => prependASPath?.prefix ?? []);
  const priority = operations.findLast(({ setPriority }) => setPriority)?.setPriority?.value;
  return {
    ...(communities.length > 0 && { addCommunities: communities }),
    ...(prepend.length > 0 && { prepend }),
    ...(priority !== undefined && { localPref: localPrefOf(priority) }),
  };
}
