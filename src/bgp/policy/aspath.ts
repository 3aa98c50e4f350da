/**
 * AS path patterns, matched against the AS numbers of a path one by one, not against text:
 *
 *     64512          this AS somewhere in the path
 *     ^64512 .* 65001$   begins with 64512, ends with 65001
 *     ^$             the empty path
 *     ^(64512|64513)+$   only these two
 *     ^64512 [65000-65100 4200000000]? .$
 *
 * An element is a number, a range `a-b`, `.` for any AS, a set `[…]` of numbers and ranges (`[^…]`: none of them), or
 * alternatives in parentheses. `*`, `+`, `?` and `{n,m}` follow an element. Without `^` or `$` the pattern floats. An AS_SET
 * in the path stands for one element that matches when any of its members does.
 *
 * The pattern becomes a nondeterministic automaton that is run by keeping the set of states it can be in (Thompson 1968):
 * time is path length times pattern length, whatever the pattern, where backtracking could take for ever.
 */
import { err, ok } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { SegmentType } from '../wire/mod.ts';
import type { AsPath } from '../wire/mod.ts';

interface Range {
  readonly low: number;
  readonly high: number;
}

type Node =
  | { readonly type: 'as'; readonly ranges: readonly Range[]; readonly not: boolean }
  | { readonly type: 'all'; readonly parts: readonly Node[] }
  | { readonly type: 'any'; readonly parts: readonly Node[] }
  | { readonly type: 'repeat'; readonly node: Node; readonly min: number; readonly max: number };

/** A state: one AS leads to `next`, or both of `split` may be gone to without one. */
type State =
  | { readonly type: 'as'; readonly ranges: readonly Range[]; readonly not: boolean; readonly next: number }
  | { readonly type: 'split'; readonly to: number[] }
  | { readonly type: 'end' };

/** A bound on the states of one pattern, and so on its cost: `{n,m}` multiplies. */
const maxStates = 2000;
const anyAs: readonly Range[] = [{ low: 0, high: 0xffffffff }];

export type PathMatcher = (path: AsPath) => boolean;

/** A matcher for the pattern, or what is wrong with it. */
export function compileAsPath(pattern: string): Result<PathMatcher, string> {
  const parser = new Parser(pattern);
  const parsed = parser.pattern();
  if (!parsed) return err(`AS path pattern "${pattern}": ${parser.fault}`);
  const states: State[] = [];
  const start = build(parsed, states);
  if (states.length > maxStates) return err(`AS path pattern "${pattern}": it stands for too many states`);
  return ok((path) => run(states, start, path));
}

class Parser {
  fault = '';
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  pattern(): Node | undefined {
    this.spaces();
    const begin = this.take('^');
    const body = this.alternatives();
    if (!body) return undefined;
    this.spaces();
    const end = this.take('$');
    this.spaces();
    if (this.at < this.text.length) return this.fail(`"${this.text[this.at]}" at ${this.at + 1} is not expected`);
    const anything: Node = { type: 'repeat', node: { type: 'as', ranges: anyAs, not: false }, min: 0, max: Infinity };
    return { type: 'all', parts: [...(begin ? [] : [anything]), body, ...(end ? [] : [anything])] };
  }

  private alternatives(): Node | undefined {
    const parts: Node[] = [];
    do {
      const part = this.sequence();
      if (!part) return undefined;
      parts.push(part);
    } while (this.take('|'));
    return parts.length === 1 ? parts[0] : { type: 'any', parts };
  }

  private sequence(): Node | undefined {
    const parts: Node[] = [];
    for (;;) {
      this.spaces();
      const next = this.text[this.at];
      if (next === undefined || next === '|' || next === ')' || next === '$') return { type: 'all', parts };
      const element = this.element();
      if (!element) return undefined;
      const repeated = this.repeat(element);
      if (!repeated) return undefined;
      parts.push(repeated);
    }
  }

  private element(): Node | undefined {
    if (this.take('.')) return { type: 'as', ranges: anyAs, not: false };
    if (this.take('(')) {
      const inner = this.alternatives();
      if (inner && !this.take(')')) return this.fail('")" is missing');
      return inner;
    }
    if (this.take('[')) {
      const not = this.take('^');
      const ranges: Range[] = [];
      for (this.spaces(); !this.take(']'); this.spaces()) {
        const range = this.range();
        if (!range) return undefined;
        ranges.push(range);
      }
      return { type: 'as', ranges, not };
    }
    const range = this.range();
    return range && { type: 'as', ranges: [range], not: false };
  }

  private repeat(node: Node): Node | undefined {
    if (this.take('*')) return { type: 'repeat', node, min: 0, max: Infinity };
    if (this.take('+')) return { type: 'repeat', node, min: 1, max: Infinity };
    if (this.take('?')) return { type: 'repeat', node, min: 0, max: 1 };
    if (!this.take('{')) return node;
    const min = this.number();
    if (min === undefined) return this.fail('"{" must be followed by a number');
    const max = this.take(',') ? (this.number() ?? Infinity) : min;
    if (!this.take('}')) return this.fail('"}" is missing');
    if (max < min || min > 255 || (max !== Infinity && max > 255))
      return this.fail('repetitions must be 0 to 255, ascending');
    return { type: 'repeat', node, min, max };
  }

  private range(): Range | undefined {
    const low = this.number();
    if (low === undefined) {
      const found = this.text[this.at];
      return this.fail(found === undefined ? 'it ends early' : `"${found}" at ${this.at + 1} is not expected`);
    }
    if (!this.take('-')) return { low, high: low };
    const high = this.number();
    if (high === undefined || high < low) return this.fail(`a range from ${low} needs a greater number behind "-"`);
    return { low, high };
  }

  private number(): number | undefined {
    const start = this.at;
    while (this.text[this.at]! >= '0' && this.text[this.at]! <= '9') this.at++;
    const value = Number(this.text.slice(start, this.at));
    if (this.at > start && value <= 0xffffffff) return value;
    this.at = start;
    return undefined;
  }

  private spaces(): void {
    while (this.text[this.at] === ' ' || this.text[this.at] === '_') this.at++;
  }

  private take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    return true;
  }

  private fail(fault: string): undefined {
    this.fault ||= fault;
    return undefined;
  }
}

/** Appends the states of the pattern and returns the first; built from the end to the front. */
function build(pattern: Node, states: State[]): number {
  const push = (state: State): number => (states.length > maxStates ? 0 : states.push(state) - 1);
  const to = (node: Node, next: number): number => {
    switch (node.type) {
      case 'as':
        return push({ type: 'as', ranges: node.ranges, not: node.not, next });
      case 'all':
        return node.parts.reduceRight((after, part) => to(part, after), next);
      case 'any':
        return push({ type: 'split', to: node.parts.map((part) => to(part, next)) });
      case 'repeat': {
        let after = next;
        if (node.max === Infinity) {
          const loop: number[] = [next];
          after = push({ type: 'split', to: loop });
          if (states.length <= maxStates) loop.push(to(node.node, after));
        } else {
          for (let i = node.min; i < node.max && states.length <= maxStates; i++) {
            after = push({ type: 'split', to: [next, to(node.node, after)] });
          }
        }
        for (let i = 0; i < node.min && states.length <= maxStates; i++) after = to(node.node, after);
        return after;
      }
      default:
        return node satisfies never;
    }
  };
  const end = push({ type: 'end' });
  return to(pattern, end);
}

function run(states: readonly State[], start: number, path: AsPath): boolean {
  let now = new Set<number>();
  enter(states, now, start);
  const step = (asns: readonly number[]): void => {
    const after = new Set<number>();
    for (const s of now) {
      const state = states[s]!;
      if (state.type === 'as' && asns.some((asn) => covers(state.ranges, asn) !== state.not)) {
        enter(states, after, state.next);
      }
    }
    now = after;
  };
  for (const segment of path) {
    if (segment.type === SegmentType.Set) step(segment.asns);
    else for (const asn of segment.asns) step([asn]);
    if (now.size === 0) return false;
  }
  for (const s of now) if (states[s]!.type === 'end') return true;
  return false;
}

/** Adds a state and all that can be gone to from it without an AS. */
function enter(states: readonly State[], into: Set<number>, state: number): void {
  const open = [state];
  for (let s = open.pop(); s !== undefined; s = open.pop()) {
    if (into.has(s)) continue;
    into.add(s);
    const at = states[s]!;
    if (at.type === 'split') open.push(...at.to);
  }
}

function covers(ranges: readonly Range[], asn: number): boolean {
  for (const range of ranges) if (asn >= range.low && asn <= range.high) return true;
  return false;
}
