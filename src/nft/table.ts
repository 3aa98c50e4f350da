/**
 * nf_tables objects as plain values, and their text in nft's own syntax. A table is written whole: its rules carry a hash
 * of their text in their comment, its own comment one of everything, so that reading the comments back is enough to see
 * whether somebody changed, removed or added something.
 */
import { unreachable } from '../base/mod.ts';
import { compareAddresses, familyOf } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import type { NF_INET_HOOK, NFPROTO } from './codes.ts';

export type NftFamily = keyof typeof NFPROTO;
export type Hook = keyof typeof NF_INET_HOOK;

export type Statement =
  | { readonly type: 'source' | 'destination'; readonly prefix: Prefix; readonly negate?: boolean }
  /** A set of the same table, by its name. */
  | {
      readonly type: 'sourceSet' | 'destinationSet';
      readonly set: string;
      readonly family: Family;
      readonly negate?: boolean;
    }
  /** Number of the protocol in the IP header. */
  | { readonly type: 'protocol'; readonly number: number }
  /** Destination port of UDP. */
  | { readonly type: 'udpPort'; readonly port: number }
  /** A name that ends with `*` is the beginning of one. */
  | { readonly type: 'inputDevice' | 'outputDevice'; readonly name: string; readonly negate?: boolean }
  /** The packet came in by a device the route back to its source does not lead to (RFC 3704 section 2.2). */
  | { readonly type: 'sourceElsewhere' }
  /** Source address of the way out, with ports chosen at random (no clash under load). */
  | { readonly type: 'masquerade' }
  | { readonly type: 'verdict'; readonly verdict: 'accept' | 'drop' | 'return' };

export interface Rule {
  readonly statements: readonly Statement[];
  /** What it is for; part of the comment seen in `nft list`. */
  readonly purpose: string;
}

export interface BaseChain {
  readonly type: 'filter' | 'nat';
  readonly hook: Hook;
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
}

export interface Chain {
  readonly name: string;
  /** Absent for a chain that is only jumped to. */
  readonly base?: BaseChain;
  readonly rules: readonly Rule[];
}

/** Addresses that rules look up by one hash, however many there are. */
export interface AddressSet {
  readonly name: string;
  readonly family: Family;
  readonly addresses: readonly IpAddress[];
}

export interface TableName {
  readonly family: NftFamily;
  readonly name: string;
}

export interface Table extends TableName {
  readonly sets?: readonly AddressSet[];
  readonly chains: readonly Chain[];
}

/** What is read back: enough to compare with `expectedState`. */
export interface ChainState {
  readonly name: string;
  readonly base?: BaseChain;
  /** Comments of the rules, in order; empty text for a rule without one. */
  readonly rules: readonly string[];
}
export interface SetState {
  readonly name: string;
  /** In ascending order. */
  readonly addresses: readonly IpAddress[];
}
export interface TableState extends TableName {
  readonly comment: string;
  readonly sets: readonly SetState[];
  readonly chains: readonly ChainState[];
}

export function formatStatement(statement: Statement): string {
  const not = 'negate' in statement && statement.negate ? '!= ' : '';
  switch (statement.type) {
    case 'source':
    case 'destination': {
      const field = statement.type === 'source' ? 'saddr' : 'daddr';
      return `${familyOf(statement.prefix) === 4 ? 'ip' : 'ip6'} ${field} ${not}${statement.prefix}`;
    }
    case 'sourceSet':
    case 'destinationSet': {
      const field = statement.type === 'sourceSet' ? 'saddr' : 'daddr';
      return `${statement.family === 4 ? 'ip' : 'ip6'} ${field} ${not}@${statement.set}`;
    }
    case 'protocol':
      return `meta l4proto ${statement.number}`;
    case 'udpPort':
      return `udp dport ${statement.port}`;
    case 'inputDevice':
      return `iifname ${not}"${statement.name}"`;
    case 'outputDevice':
      return `oifname ${not}"${statement.name}"`;
    case 'sourceElsewhere':
      return 'fib saddr . iif oif missing';
    case 'masquerade':
      return 'masquerade fully-random';
    case 'verdict':
      return statement.verdict;
    default:
      return unreachable(statement);
  }
}

const ruleText = (rule: Rule): string => rule.statements.map(formatStatement).join(' ');

const hash = (text: string): string => Bun.hash.xxHash64(text).toString(16).padStart(16, '0');

/** The mark on a rule: what it is for, and a hash of its text. */
export const ruleComment = (rule: Rule): string => `${rule.purpose} #${hash(ruleText(rule)).slice(0, 8)}`;

export function formatRule(rule: Rule): string {
  return `${ruleText(rule)} comment "${ruleComment(rule)}"`;
}

export function formatBase({ type, hook, priority, policy }: BaseChain): string {
  return `type ${type} hook ${hook} priority ${priority}; policy ${policy};`;
}

/** As nft writes a set's head. */
export const formatSetType = (set: AddressSet): string => `type ${set.family === 4 ? 'ipv4_addr' : 'ipv6_addr'};`;

const inOrder = (addresses: readonly IpAddress[]): IpAddress[] => addresses.toSorted(compareAddresses);

/** The mark on a table: a hash of all it holds. */
export function tableComment(table: Table): string {
  const sets = (table.sets ?? []).map((set) => `${set.name} ${formatSetType(set)} ${inOrder(set.addresses).join()}`);
  const chains = table.chains.flatMap((chain) => [
    `${chain.name} ${chain.base ? formatBase(chain.base) : ''}`,
    ...chain.rules.map(formatRule),
  ]);
  const parts = [...sets, ...chains];
  return `godwit #${hash(parts.join('\n'))}`;
}

/** How `table` looks when it is read back untouched. */
export function expectedState(table: Table): TableState {
  const chains = table.chains.map((chain): ChainState => ({
    name: chain.name,
    ...(chain.base === undefined ? {} : { base: chain.base }),
    rules: chain.rules.map(ruleComment),
  }));
  const sets = (table.sets ?? []).map(({ name, addresses }) => ({ name, addresses: inOrder(addresses) }));
  return { family: table.family, name: table.name, comment: tableComment(table), sets, chains };
}

/** What differs between the table as it should be and as it was read, as a sentence; undefined when nothing does. */
export function tableDrift(table: Table, state: TableState | undefined): string | undefined {
  const name = `${table.family} ${table.name}`;
  if (state === undefined) return `table ${name} is missing`;
  const expected = expectedState(table);
  if (state.comment !== expected.comment) return `table ${name} is of another generation`;
  const order = (sets: readonly SetState[]) => sets.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (!Bun.deepEquals(order(state.sets), order(expected.sets))) return `sets of table ${name} were changed`;
  const have = new Map(state.chains.map((chain) => [chain.name, chain]));
  for (const want of expected.chains) {
    const chain = have.get(want.name);
    if (!chain) return `chain ${want.name} of table ${name} is missing`;
    if (!Bun.deepEquals(chain.base, want.base)) return `chain ${want.name} of table ${name} hangs elsewhere`;
    if (!Bun.deepEquals(chain.rules, want.rules)) return `rules of chain ${want.name} of table ${name} were changed`;
  }
  if (have.size > expected.chains.length) return `table ${name} has chains of others`;
  return undefined;
}
