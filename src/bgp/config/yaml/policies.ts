// oxlint-disable unicorn/no-thenable -- `then` is the word for a term's verdict, and a term is never awaited
/** Prefix lists and policies as they are written in YAML. */
import { z } from 'zod';
import { addressBits, familyOf, parsePrefix, prefixLength } from '../../../net/mod.ts';
import type {
  PolicyDescription,
  PolicyMatch,
  PolicySet,
  PolicyTerm,
  PrefixList,
  PrefixRule,
} from '../../policy/mod.ts';
import {
  asn,
  choice,
  field,
  forms,
  hostAddress,
  integer,
  isMapping,
  list,
  named,
  prefix,
  section,
  string,
} from './fields.ts';

const ruleForm = '[permit|deny] PREFIX [ge LENGTH] [le LENGTH], as "10.0.0.0/8 ge 16 le 24"';

/** One line of a prefix list. */
export function parsePrefixRule(text: string): PrefixRule | undefined {
  const match = /^(?:(permit|deny)\s+)?(\S+?)(?:\s+ge\s+(\d+))?(?:\s+le\s+(\d+))?$/.exec(text.trim());
  const parsed = match && parsePrefix(match[2]!);
  if (!parsed) return undefined;
  const bits = addressBits(familyOf(parsed));
  const ge = match[3] === undefined ? undefined : Number(match[3]);
  const le = match[4] === undefined ? undefined : Number(match[4]);
  const shortest = ge ?? prefixLength(parsed);
  if (shortest < prefixLength(parsed) || shortest > bits || (le ?? bits) > bits || (le ?? bits) < shortest) {
    return undefined;
  }
  return {
    prefix: parsed,
    permit: match[1] !== 'deny',
    ...(ge !== undefined && { ge }),
    ...(le !== undefined && { le }),
  };
}

const rule = field<PrefixRule>(ruleForm, (value) => (typeof value === 'string' ? parsePrefixRule(value) : undefined));

const texts = list(string(200), 'texts');
const range = section({ min: integer(0, 0xffffffff).optional(), max: integer(0, 0xffffffff).optional() });

const match = section({
  prefixLists: list(string(100), 'names of prefix lists').optional(),
  prefixes: list(rule, ruleForm).optional(),
  asPath: texts.optional(),
  asPathLength: range.optional(),
  communities: texts.optional(),
  allCommunities: texts.optional(),
  extendedCommunities: texts.optional(),
  largeCommunities: texts.optional(),
  nextHop: list(prefix, 'prefixes').optional(),
  interface: string(15).optional(),
  neighbors: list(prefix, 'prefixes').optional(),
  neighborAs: list(asn, 'AS numbers').optional(),
  source: list(choice('ebgp', 'ibgp', 'local'), 'ebgp, ibgp, local').optional(),
  origin: list(choice('igp', 'egp', 'incomplete'), 'igp, egp, incomplete').optional(),
  med: range.optional(),
  localPref: range.optional(),
  family: field('ipv4 or ipv6', (value) => (value === 'ipv4' ? 4 : value === 'ipv6' ? 6 : undefined)).optional(),
});

const set = section({
  localPref: integer(0, 0xffffffff).optional(),
  med: forms((value): z.ZodType<number | 'remove' | { add: number }> => {
    if (isMapping(value)) return section({ add: integer(-0xffffffff, 0xffffffff) });
    return value === 'remove' ? choice('remove') : integer(0, 0xffffffff);
  }).optional(),
  origin: choice('igp', 'egp', 'incomplete').optional(),
  addCommunities: texts.optional(),
  removeCommunities: texts.optional(),
  setCommunities: texts.optional(),
  prepend: list(asn, 'AS numbers').optional(),
  nextHop: hostAddress.optional(),
});

const verdict = choice('accept', 'reject', 'continue');
const term = section({ name: string(100).optional(), match: match.optional(), set: set.optional(), then: verdict });
const policy = forms((value) =>
  Array.isArray(value)
    ? list(term, 'terms').transform((terms) => ({ terms, default: 'reject' as const }))
    : section({ terms: list(term, 'terms'), default: choice('accept', 'reject').default('reject') }),
);

export const prefixListsSchema = named(list(rule, ruleForm), 'prefix lists');
export const policiesSchema = named(policy, 'policies');

export type RawPolicies = z.output<typeof policiesSchema>;
export type RawPrefixLists = z.output<typeof prefixListsSchema>;

/** Policies that every configuration has. */
export const builtinPolicies: readonly PolicyDescription[] = [
  { name: 'accept', terms: [], default: 'accept' },
  { name: 'reject', terms: [], default: 'reject' },
];

/** Names lists that stand inside terms, so that the policy compiler sees names only. */
export function describePolicies(
  policies: RawPolicies,
  lists: RawPrefixLists,
): { policies: PolicyDescription[]; prefixLists: PrefixList[] } {
  const prefixLists: PrefixList[] = Object.entries(lists).map(([name, rules]) => ({ name, rules }));
  const described: PolicyDescription[] = [...builtinPolicies];
  for (const [name, raw] of Object.entries(policies)) {
    const terms = raw.terms.map((t, index): PolicyTerm => {
      const { prefixes, ...rest } = t.match ?? {};
      const names = [...(rest.prefixLists ?? [])];
      if (prefixes) {
        const inline = `${name}[${index}]`;
        prefixLists.push({ name: inline, rules: prefixes });
        names.push(inline);
      }
      const matching = { ...rest, ...(names.length > 0 && { prefixLists: names }) } as PolicyMatch;
      return {
        then: t.then,
        ...(t.name !== undefined && { name: t.name }),
        ...(t.match && { match: matching }),
        ...(t.set && { set: t.set as PolicySet }),
      };
    });
    described.push({ name, terms, default: raw.default });
  }
  return { policies: described, prefixLists };
}
