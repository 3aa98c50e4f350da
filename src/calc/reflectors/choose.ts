/**
 * Which nodes reflect routes. Stability first: who is a reflector stays one while it can, so that a node more or less
 * moves nobody. New ones are taken from the failure domain that has the fewest, by an order that depends on names alone.
 */

export interface Candidate {
  readonly name: string;
  /** Value of the failure domain's label; undefined is a domain of its own, shared by all without the label. */
  readonly domain: string | undefined;
  /** Fit to become one now. */
  readonly ready: boolean;
  /** Not fit for so long that another should take its place. */
  readonly lost: boolean;
}

/** The reflectors from now on, at most `count`; those of `current` that are no candidates are out. */
export function chooseReflectors(
  current: readonly string[],
  candidates: readonly Candidate[],
  count: number,
): Candidate[] {
  const byName = new Map(candidates.map((candidate) => [candidate.name, candidate]));
  const present = current.flatMap((name) => byName.get(name) ?? []);
  const kept = thin(
    present.filter(({ lost }) => !lost),
    count,
  );
  const spare = candidates.filter(({ name, ready }) => ready && !current.includes(name));
  // all in one place means that one fault takes all of them: the only reason to move one that works
  if (kept.length > 1 && domains(kept).size === 1 && spare.some(({ domain }) => domain !== kept[0]!.domain)) {
    kept.splice(kept.indexOf(last(kept)), 1);
  }
  const chosen = [...kept];
  while (chosen.length < count) {
    const next = best(spare, chosen);
    if (!next) break;
    chosen.push(next);
  }
  // one that is lost is better than none: it may come back
  chosen.push(...present.filter((candidate) => !chosen.includes(candidate)).slice(0, count - chosen.length));
  return chosen;
}

const domains = (of: readonly Candidate[]): Map<string | undefined, number> => {
  const counts = new Map<string | undefined, number>();
  for (const { domain } of of) counts.set(domain, (counts.get(domain) ?? 0) + 1);
  return counts;
};

/** Takes away what is too many, from the fullest domain first. */
function thin(kept: readonly Candidate[], count: number): Candidate[] {
  const out = [...kept];
  while (out.length > count) {
    const counts = domains(out);
    const fullest = Math.max(...counts.values());
    const crowd = out.filter(({ domain }) => counts.get(domain) === fullest);
    const unready = crowd.filter(({ ready }) => !ready);
    out.splice(out.indexOf(last(unready.length > 0 ? unready : crowd)), 1);
  }
  return out;
}

function best(spare: readonly Candidate[], chosen: readonly Candidate[]): Candidate | undefined {
  const counts = domains(chosen);
  let found: Candidate | undefined;
  for (const candidate of spare) {
    if (chosen.includes(candidate)) continue;
    if (!found || rank(candidate, counts) < rank(found, counts)) found = candidate;
  }
  return found;
}

/** Compared as text: the domain's load first, then the order of names. */
const rank = ({ name, domain }: Candidate, counts: Map<string | undefined, number>): string =>
  `${String(counts.get(domain) ?? 0).padStart(4, '0')} ${order(name)}`;

const last = (of: readonly Candidate[]): Candidate =>
  of.reduce((worst, candidate) => (order(candidate.name) > order(worst.name) ? candidate : worst));

/** An order that is the same everywhere and puts node-1 and node-2 nowhere near each other. */
const order = (name: string): string => `${(Bun.hash.crc32(name) >>> 0).toString(16).padStart(8, '0')} ${name}`;
