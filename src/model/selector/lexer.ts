/** The words of Calico's selector language. One pass, one character of look-ahead; every token knows its position. */
import { err, ok, printable } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';

export interface SelectorError {
  /** Offset of the character where it went wrong, from 0. */
  readonly position: number;
  readonly message: string;
}

const symbols = ['(', ')', '{', '}', ',', '==', '!=', '!', '&&', '||'] as const;
const operators = ['contains', 'starts with', 'ends with', 'not in', 'in'] as const;
const functions = ['all', 'global', 'has'] as const;
export type Operator = (typeof operators)[number];

export type Token = { readonly at: number } & (
  | { readonly type: (typeof symbols)[number] | 'end' }
  | { readonly type: 'operator'; readonly operator: Operator }
  | { readonly type: 'function'; readonly name: (typeof functions)[number]; readonly argument: string }
  | { readonly type: 'label' | 'string'; readonly value: string }
);

const MAX_LABEL = 512;
const isSpace = (c: string | undefined): boolean => c === ' ' || c === '\t';
const isName = (c: string | undefined): boolean => c !== undefined && /[a-zA-Z0-9_./-]/.test(c);

export function tokenize(text: string): Result<Token[], SelectorError> {
  const tokens: Token[] = [];
  let at = 0;
  const fail = (position: number, message: string) => err({ position, message });
  const skip = (from: number): number => {
    let i = from;
    while (isSpace(text[i])) i++;
    return i;
  };
  const nameEnd = (from: number): number => {
    let i = from;
    while (isName(text[i])) i++;
    return i;
  };
  for (;;) {
    at = skip(at);
    const c = text[at];
    if (c === undefined) {
      tokens.push({ type: 'end', at });
      return ok(tokens);
    }
    const symbol = symbols.find((s) => text.startsWith(s, at));
    if (symbol !== undefined) {
      tokens.push({ type: symbol, at });
      at += symbol.length;
      continue;
    }
    if (c === '"' || c === "'") {
      const end = text.indexOf(c, at + 1);
      if (end < 0) return fail(at, 'this string has no closing quote');
      tokens.push({ type: 'string', value: text.slice(at + 1, end), at });
      at = end + 1;
      continue;
    }
    if (tokens.at(-1)?.type === 'label') {
      const operator = operatorAt(text, at, skip);
      if (!operator) return fail(at, 'expected ==, !=, in, not in, contains, starts with or ends with');
      tokens.push({ type: 'operator', operator: operator.operator, at });
      at = operator.end;
      continue;
    }
    const end = nameEnd(at);
    if (end === at) return fail(at, `unexpected ${printable(JSON.stringify(c))}`);
    const name = functions.find((f) => text.slice(at, end) === f);
    if (name !== undefined && text[end] === '(') {
      const from = skip(end + 1);
      const to = name === 'has' ? nameEnd(from) : from;
      if (name === 'has' && to === from) return fail(from, 'expected the name of a label in has(…)');
      const close = skip(to);
      if (text[close] !== ')') return fail(close, `expected ) after ${name}(`);
      if (to - from > MAX_LABEL) return fail(from, `a label's name has at most ${MAX_LABEL} characters`);
      tokens.push({ type: 'function', name, argument: text.slice(from, to), at });
      at = close + 1;
      continue;
    }
    if (end - at > MAX_LABEL) return fail(at, `a label's name has at most ${MAX_LABEL} characters`);
    tokens.push({ type: 'label', value: text.slice(at, end), at });
    at = end;
  }
}

/** Between the words of an operator any number of spaces may stand, also none: `notin`. */
function operatorAt(text: string, at: number, skip: (from: number) => number) {
  for (const operator of operators) {
    let i = at;
    const fits = operator.split(' ').every((word, n) => {
      if (n > 0) i = skip(i);
      if (!text.startsWith(word, i)) return false;
      i += word.length;
      return true;
    });
    if (fits && !isName(text[i])) return { operator, end: i };
  }
  return undefined;
}
