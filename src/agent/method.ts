/** Address autodetection methods as text: `first-found`, `can-reach=…`, `interface=…`, `skip-interface=…`, `cidr=…`. */
import { err, ok, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { parseAddress, parsePrefix } from '../net/mod.ts';
import type { IpAddress, Prefix } from '../net/mod.ts';

export type DetectionMethod = { readonly text: string } & (
  | { readonly type: 'first-found' }
  /** The address packets to `target` are sent from. */
  | { readonly type: 'can-reach'; readonly target: IpAddress }
  /** Interfaces matched by one of the (unanchored) expressions; the usual exceptions do not hold. */
  | { readonly type: 'interface' | 'skip-interface'; readonly patterns: readonly RegExp[] }
  | { readonly type: 'cidr'; readonly prefixes: readonly Prefix[] }
  /** The address itself, from `address` in the configuration. */
  | { readonly type: 'address'; readonly address: IpAddress }
);

export const methodSyntax =
  'first-found, can-reach=ADDRESS, interface=REGEX[,REGEX…], skip-interface=REGEX[,REGEX…], cidr=CIDR[,CIDR…] or ADDRESS';

function parsePatterns(list: string): RegExp[] | string {
  const patterns: RegExp[] = [];
  for (const part of list.split(',').map((p) => p.trim())) {
    if (part === '') return 'an expression is empty';
    try {
      patterns.push(new RegExp(part));
    } catch {
      return `"${printable(part)}" is not a regular expression`;
    }
  }
  return patterns;
}

export function parseMethod(input: string): Result<DetectionMethod, string> {
  const text = input.trim();
  const equals = text.indexOf('=');
  const [name, value] = equals < 0 ? [text, ''] : [text.slice(0, equals), text.slice(equals + 1)];
  if (text === 'first-found') return ok({ type: 'first-found', text });
  const address = parseAddress(text);
  if (address !== undefined) return ok({ type: 'address', address, text });
  if (name === 'can-reach') {
    const target = parseAddress(value);
    return target === undefined
      ? err(`can-reach wants an IP address, not "${printable(value)}"`)
      : ok({ type: name, target, text });
  }
  if (name === 'interface' || name === 'skip-interface') {
    const patterns = parsePatterns(value);
    return typeof patterns === 'string' ? err(patterns) : ok({ type: name, patterns, text });
  }
  if (name === 'cidr') {
    const prefixes: Prefix[] = [];
    for (const part of value.split(',').map((p) => p.trim())) {
      const prefix = parsePrefix(part);
      if (prefix === undefined) return err(`"${printable(part)}" is not a prefix such as 10.168.0.0/24`);
      prefixes.push(prefix);
    }
    return ok({ type: 'cidr', prefixes, text });
  }
  return err(`unknown method "${printable(text)}"`);
}

/** The method for one family: the configured address itself, or how to find one. */
export function methodFor(
  config: {
    readonly address?: IpAddress | undefined;
    readonly address6?: IpAddress | undefined;
    readonly addressMethod: DetectionMethod;
    readonly address6Method: DetectionMethod;
  },
  family: 4 | 6,
): DetectionMethod {
  const address = family === 4 ? config.address : config.address6;
  if (address !== undefined) return { type: 'address', address, text: address };
  return family === 4 ? config.addressMethod : config.address6Method;
}
