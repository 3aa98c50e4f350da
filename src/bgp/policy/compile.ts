/**
 * Policies from description to `RoutePolicy`: names are looked up and patterns compiled once, each term becomes a list of
 * tests and a list of changes. Whether any term looks at the prefix decides if the policy runs once per route or once per
 * attribute set.
 */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { addressBytes, addressFromBytes, prefixContains } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { PolicyRoute, PolicyVerdict, RoutePolicy } from '../rib/mod.ts';
import { SegmentType } from '../wire/mod.ts';
import type { AsPath, Origin, PathAttributes } from '../wire/mod.ts';
import { compileAsPath } from './aspath.ts';
import { fits, hasWildcard, includesCommunity, kindWords, parseCommunity } from './community.ts';
import type { CommunityKind, CommunityPattern } from './community.ts';
import { permits } from './prefixlist.ts';
import type { PolicyDescription, PolicyMatch, PolicySet, PolicyTerm, PrefixList } from './types.ts';

type Test = (route: PolicyRoute, attributes: PathAttributes) => boolean;
type Change = (attributes: PathAttributes) => PathAttributes;

interface Term {
  readonly name: string;
  readonly tests: readonly Test[];
  readonly changes: readonly Change[];
  readonly verdict: PolicyTerm['then'];
}

const originCode: Record<'igp' | 'egp' | 'incomplete', Origin> = { igp: 0, egp: 1, incomplete: 2 };

/** Names of the devices by which packets leave to a next hop, at the moment; none when it is out of reach. */
export type DevicesOf = (nextHop: IpAddress) => readonly string[];

/**
 * Compiles a policy; the error names the policy, the term and what is wrong. What `devicesOf` says counts at the moment a
 * route comes by: one that stays is not judged anew when the way to its next hop changes.
 */
export function compilePolicy(
  description: PolicyDescription,
  lists: readonly PrefixList[] = [],
  devicesOf: DevicesOf = () => [],
): Result<RoutePolicy, string> {
  const byName = new Map(lists.map((list) => [list.name, list]));
  const terms: Term[] = [];
  for (const [i, term] of description.terms.entries()) {
    const name = term.name ?? String(i + 1);
    const tests = compileMatch(term.match ?? {}, byName, devicesOf);
    if (!tests.ok) return err(`policy ${description.name}, term ${name}: ${tests.error}`);
    const changes = compileSet(term.set ?? {});
    if (!changes.ok) return err(`policy ${description.name}, term ${name}: ${changes.error}`);
    terms.push({ name, tests: tests.value, changes: changes.value, verdict: term.then });
  }
  const accepts = description.default === 'accept';
  return ok({
    name: description.name,
    perPrefix: description.terms.some((term) => (term.match?.prefixLists ?? []).length > 0),
    rejectsAll: !accepts && !terms.some((term) => term.verdict === 'accept'),
    acceptsAll: accepts && terms.length === 0,
    apply: (route) => apply(terms, accepts, description.name, route),
  });
}

function apply(terms: readonly Term[], accepts: boolean, name: string, route: PolicyRoute): PolicyVerdict {
  // changes of terms that continue are seen by the terms after them
  let attributes = route.attributes;
  for (const term of terms) {
    let matched = true;
    for (const test of term.tests) matched &&= test(route, attributes);
    if (!matched) continue;
    if (term.verdict === 'reject') return { accept: false, reason: `policy ${name}, term ${term.name}` };
    for (const change of term.changes) attributes = change(attributes);
    if (term.verdict === 'accept') return { accept: true, attributes };
  }
  return accepts ? { accept: true, attributes } : { accept: false, reason: `policy ${name}, no term matched` };
}

// --------------------------------------------------------------------------------------------------------- matching

function compileMatch(
  match: PolicyMatch,
  lists: ReadonlyMap<string, PrefixList>,
  devicesOf: DevicesOf,
): Result<Test[], string> {
  const tests: Test[] = [];
  if (match.family !== undefined) tests.push((route) => route.family === match.family);
  if (match.source) tests.push((route) => match.source!.includes(route.source));
  if (match.neighborAs) {
    tests.push((route) => route.from !== undefined && match.neighborAs!.some((asn) => asn === route.from!.asn));
  }
  if (match.neighbors) {
    tests.push(
      (route) => route.from !== undefined && match.neighbors!.some((p) => prefixContains(p, route.from!.address)),
    );
  }
  if (match.prefixLists && match.prefixLists.length > 0) {
    const chosen: PrefixList[] = [];
    for (const name of match.prefixLists) {
      const list = lists.get(name);
      if (!list) return err(`there is no prefix list "${name}"`);
      chosen.push(list);
    }
    tests.push((route) => route.prefix !== undefined && chosen.some((list) => permits(list, route.prefix!)));
  }
  if (match.origin) {
    const codes = match.origin.map((name) => originCode[name]);
    tests.push((_, a) => codes.includes(a.origin));
  }
  const { med, localPref, asPathLength, nextHop } = match;
  if (med) tests.push((_, a) => a.med !== undefined && within(a.med, med));
  if (localPref) tests.push((_, a) => within(a.localPref ?? 100, localPref));
  if (asPathLength) tests.push((_, a) => within(pathLength(a.asPath), asPathLength));
  if (nextHop) {
    tests.push((_, a) => {
      const address = addressFromBytes(a.nextHop.address);
      return nextHop.some((p) => prefixContains(p, address));
    });
  }
  if (match.interface !== undefined) {
    const words = match.interface.split('*').map((word) => RegExp.escape(word));
    const named = new RegExp(`^${words.join('.*')}$`);
    tests.push(
      (route, a) =>
        route.source !== 'local' && devicesOf(addressFromBytes(a.nextHop.address)).some((device) => named.test(device)),
    );
  }
  if (match.asPath) {
    const matchers: ((path: AsPath) => boolean)[] = [];
    for (const pattern of match.asPath) {
      const compiled = compileAsPath(pattern);
      if (!compiled.ok) return compiled;
      matchers.push(compiled.value);
    }
    tests.push((_, a) => matchers.some((matches) => matches(a.asPath)));
  }
  const communities = [
    [match.communities, 'standard', false],
    [match.allCommunities, undefined, true],
    [match.extendedCommunities, 'extended', false],
    [match.largeCommunities, 'large', false],
  ] as const;
  for (const [texts, kind, all] of communities) {
    if (!texts) continue;
    const patterns = parseAll(texts);
    if (!patterns.ok) return patterns;
    // any kind may stand under `communities`, so that one list serves all
    const wrong = kind !== undefined && kind !== 'standard' && patterns.value.find((p) => p.kind !== kind);
    if (wrong) return err(`"${texts[patterns.value.indexOf(wrong)]}" is not of the kind ${kind}`);
    const has = (a: PathAttributes, p: CommunityPattern): boolean => includesCommunity(communitiesOf(a, p.kind), p);
    tests.push((_, a) => (all ? patterns.value.every((p) => has(a, p)) : patterns.value.some((p) => has(a, p))));
  }
  return ok(tests);
}

function parseAll(texts: readonly string[]): Result<CommunityPattern[], string> {
  const out: CommunityPattern[] = [];
  for (const text of texts) {
    const parsed = parseCommunity(text);
    if (!parsed.ok) return parsed;
    out.push(parsed.value);
  }
  return ok(out);
}

const within = (value: number, range: { readonly min?: number; readonly max?: number }): boolean =>
  value >= (range.min ?? 0) && value <= (range.max ?? 0xffffffff);

/** As the decision counts it: a set is one. */
const pathLength = (path: AsPath): number =>
  path.reduce((length, s) => length + (s.type === SegmentType.Set ? 1 : s.asns.length), 0);

const communityField = {
  standard: 'communities',
  extended: 'extendedCommunities',
  large: 'largeCommunities',
} as const satisfies Record<CommunityKind, keyof PathAttributes>;

const communitiesOf = (a: PathAttributes, kind: CommunityKind): readonly number[] => a[communityField[kind]];

// --------------------------------------------------------------------------------------------------------- changing

function compileSet(set: PolicySet): Result<Change[], string> {
  const changes: Change[] = [];
  const { localPref, med, origin, nextHop, prepend } = set;
  if (localPref !== undefined) changes.push((a) => (a.localPref === localPref ? a : { ...a, localPref }));
  if (med !== undefined) changes.push((a) => ({ ...a, med: newMed(a.med, med) }));
  if (origin !== undefined) changes.push((a) => ({ ...a, origin: originCode[origin] }));
  if (prepend && prepend.length > 0) changes.push((a) => ({ ...a, asPath: withPrepended(a.asPath, prepend) }));
  if (nextHop !== undefined) {
    const address = addressBytes(nextHop);
    changes.push((a) => ({ ...a, nextHop: { address, linkLocal: undefined } }));
  }
  for (const [texts, how] of [
    [set.setCommunities, 'set'],
    [set.removeCommunities, 'remove'],
    [set.addCommunities, 'add'],
  ] as const) {
    if (!texts) continue;
    const patterns = parseAll(texts);
    if (!patterns.ok) return patterns;
    const wild = how !== 'remove' && patterns.value.findIndex(hasWildcard);
    if (wild !== false && wild >= 0) return err(`"${texts[wild]}" has a wildcard, which only removal can have`);
    changes.push((a) => changeCommunities(a, patterns.value, how));
  }
  return ok(changes);
}

function newMed(med: number | undefined, change: NonNullable<PolicySet['med']>): number | undefined {
  if (change === 'remove') return undefined;
  if (typeof change === 'number') return change;
  return Math.min(0xffffffff, Math.max(0, (med ?? 0) + change.add));
}

function withPrepended(path: AsPath, asns: readonly number[]): AsPath {
  const first = path[0];
  if (first?.type === SegmentType.Sequence && first.asns.length + asns.length <= 255) {
    return [{ type: SegmentType.Sequence, asns: [...asns, ...first.asns] }, ...path.slice(1)];
  }
  return [{ type: SegmentType.Sequence, asns }, ...path];
}

function changeCommunities(
  a: PathAttributes,
  patterns: readonly CommunityPattern[],
  how: 'set' | 'add' | 'remove',
): PathAttributes {
  const changed = { ...a };
  for (const kind of ['standard', 'extended', 'large'] as const) {
    const mine = patterns.filter((p) => p.kind === kind);
    const before = communitiesOf(a, kind);
    const step = kindWords[kind];
    const after: number[] = [];
    for (let at = 0; at < before.length && how !== 'set'; at += step) {
      if (how === 'remove' && mine.some((p) => fits(p, before, at))) continue;
      after.push(...before.slice(at, at + step));
    }
    if (how !== 'remove') for (const p of mine) if (!includesCommunity(after, p)) after.push(...p.words);
    changed[communityField[kind]] = after;
  }
  return changed;
}
