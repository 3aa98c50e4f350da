/**
 * Calico's selector language: which objects a resource is about, by their labels.
 *
 *     selector  = and { "||" and } ;            and = term { "&&" term } ;
 *     term      = { "!" } ( "all()" | "global()" | "has(" label ")" | "(" selector ")" | label test ) ;
 *     test      = ( "==" | "!=" | "contains" | "starts with" | "ends with" ) string
 *               | ( "in" | "not in" ) "{" [ string { "," string } ] "}" ;
 *
 * The empty selector selects everything. `!=` and `not in` hold for objects that lack the label, the other tests do not.
 * A selector is parsed once, in time proportional to its length, into closures; matching looks up labels and nothing else.
 */
import { err, ok, unreachable } from '../../base/mod.ts';
import type { Result } from '../../base/mod.ts';
import { tokenize } from './lexer.ts';
import type { SelectorError, Token } from './lexer.ts';

export type Labels = Readonly<Record<string, string>>;
type Match = (labels: Labels) => boolean;

/** The parsed expression: for tools that explain; `matches` is what programs use. */
export type SelectorNode =
  | { readonly type: 'all' | 'global' }
  | { readonly type: 'has'; readonly label: string }
  | { readonly type: 'compare'; readonly label: string; readonly test: Comparison; readonly value: string }
  | { readonly type: 'in' | 'not in'; readonly label: string; readonly values: ReadonlySet<string> }
  | { readonly type: 'not'; readonly term: SelectorNode }
  | { readonly type: 'and' | 'or'; readonly terms: readonly SelectorNode[] };
type Comparison = '==' | '!=' | 'contains' | 'starts with' | 'ends with';

export interface Selector {
  /** As it was written. */
  readonly text: string;
  readonly root: SelectorNode;
  matches(labels: Labels): boolean;
}

const MAX_LENGTH = 65_536;
const MAX_DEPTH = 100;

export function parseSelector(text: string): Result<Selector, SelectorError> {
  if (text.length > MAX_LENGTH)
    return err({ position: MAX_LENGTH, message: `a selector has at most ${MAX_LENGTH} characters` });
  const tokens = tokenize(text);
  if (!tokens.ok) return tokens;
  const parser = new Parser(tokens.value);
  const root = tokens.value.length === 1 ? ({ type: 'all' } as const) : parser.whole();
  if (root === undefined) return err(parser.error!);
  return ok({ text, root, matches: compile(root) });
}

export const allSelector: Selector = { text: 'all()', root: { type: 'all' }, matches: () => true };

/** Recursive descent. A method gives undefined after it noted what is wrong in `error`. */
class Parser {
  error: SelectorError | undefined;
  private readonly tokens: readonly Token[];
  private next = 0;
  private depth = 0;

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  whole(): SelectorNode | undefined {
    const node = this.or();
    return node === undefined || this.token.type === 'end' ? node : this.fail('expected && or || or the end');
  }

  private get token(): Token {
    return this.tokens[this.next]!;
  }

  private fail(message: string): undefined {
    this.error ??= { position: this.token.at, message };
    return undefined;
  }

  private take(type: Token['type']): boolean {
    if (this.token.type !== type) return false;
    this.next++;
    return true;
  }

  private or(): SelectorNode | undefined {
    return this.chain('or', '||', () => this.chain('and', '&&', () => this.term()));
  }

  private chain(type: 'and' | 'or', separator: '&&' | '||', part: () => SelectorNode | undefined) {
    const terms: SelectorNode[] = [];
    do {
      const term = part();
      if (term === undefined) return undefined;
      terms.push(term);
    } while (this.take(separator));
    return terms.length === 1 ? terms[0] : { type, terms };
  }

  private term(): SelectorNode | undefined {
    let negated = false;
    while (this.take('!')) negated = !negated;
    const node = this.operand();
    return node !== undefined && negated ? { type: 'not', term: node } : node;
  }

  private operand(): SelectorNode | undefined {
    const { token } = this;
    if (token.type === 'function') {
      this.next++;
      return token.name === 'has' ? { type: 'has', label: token.argument } : { type: token.name };
    }
    if (token.type === '(') {
      if (++this.depth > MAX_DEPTH) return this.fail(`more than ${MAX_DEPTH} levels of parentheses`);
      this.next++;
      const node = this.or();
      this.depth--;
      if (node === undefined) return undefined;
      return this.take(')') ? node : this.fail('expected )');
    }
    if (token.type !== 'label') return this.fail('expected a label, all(), has(…), ! or (');
    this.next++;
    return this.test(token.value);
  }

  private test(label: string): SelectorNode | undefined {
    const { token } = this;
    const test = token.type === 'operator' ? token.operator : token.type;
    if (test === 'in' || test === 'not in') {
      this.next++;
      return this.set(test, label);
    }
    if (test !== '==' && test !== '!=' && test !== 'contains' && test !== 'starts with' && test !== 'ends with')
      return this.fail('expected ==, !=, in, not in, contains, starts with or ends with');
    this.next++;
    const value = this.string();
    return value === undefined ? undefined : { type: 'compare', label, test, value };
  }

  private set(type: 'in' | 'not in', label: string): SelectorNode | undefined {
    if (!this.take('{')) return this.fail('expected { and a list of strings');
    const values = new Set<string>();
    while (this.token.type === 'string') {
      values.add(this.string()!);
      if (!this.take(',')) break;
    }
    return this.take('}') ? { type, label, values } : this.fail('expected a string or }');
  }

  private string(): string | undefined {
    const { token } = this;
    if (token.type !== 'string') return this.fail('expected a string in quotes');
    this.next++;
    return token.value;
  }
}

/** Own properties only: a label called `constructor` is a label like any other. */
const labelOf = (labels: Labels, name: string): string | undefined =>
  Object.hasOwn(labels, name) ? labels[name] : undefined;

const isIn = (values: ReadonlySet<string>, value: string | undefined): boolean =>
  value !== undefined && values.has(value);

function compile(node: SelectorNode): Match {
  switch (node.type) {
    case 'all':
      return () => true;
    case 'global':
      return () => false;
    case 'has':
      return (labels) => labelOf(labels, node.label) !== undefined;
    case 'in':
      return (labels) => isIn(node.values, labelOf(labels, node.label));
    case 'not in':
      return (labels) => !isIn(node.values, labelOf(labels, node.label));
    case 'not': {
      const term = compile(node.term);
      return (labels) => !term(labels);
    }
    case 'and': {
      const terms = node.terms.map(compile);
      return (labels) => terms.every((term) => term(labels));
    }
    case 'or': {
      const terms = node.terms.map(compile);
      return (labels) => terms.some((term) => term(labels));
    }
    case 'compare':
      return compileComparison(node.test, node.label, node.value);
    default:
      return unreachable(node);
  }
}

function compileComparison(test: Comparison, label: string, value: string): Match {
  switch (test) {
    case '==':
      return (labels) => labelOf(labels, label) === value;
    case '!=':
      return (labels) => labelOf(labels, label) !== value;
    case 'contains':
      return (labels) => labelOf(labels, label)?.includes(value) ?? false;
    case 'starts with':
      return (labels) => labelOf(labels, label)?.startsWith(value) ?? false;
    case 'ends with':
      return (labels) => labelOf(labels, label)?.endsWith(value) ?? false;
    default:
      return unreachable(test);
  }
}
