/**
 * The CNI_* variables, checked: they name files and kernel objects, and come from whoever runs the plugin. Used by both
 * halves, so that a bad one is refused without an agent, too; hence no imports from outside this folder.
 */
import { CniError, codes } from './error.ts';

export const verbs = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Verb = (typeof verbs)[number];

/** The variables that travel from the executable to the agent. */
export const variables = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_ARGS'] as const;
export type Variables = Readonly<Partial<Record<(typeof variables)[number], string>>>;

export interface Environment {
  readonly verb: Verb;
  /** Empty for verbs that are not about one container, as the next two. */
  readonly container: string;
  readonly interface: string;
  /** Path of the network namespace; a DEL may come without (the container is gone). */
  readonly namespace: string;
  readonly args: ReadonlyMap<string, string>;
}

const MAX_CONTAINER_LENGTH = 128;
const MAX_PATH_LENGTH = 4096;
const MAX_ARGS_LENGTH = 16_384;

/** The specification's rule for container ids and network names. */
export const isIdentifier = (text: string, maxLength: number): boolean =>
  text.length <= maxLength && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);

/** What the kernel and the specification allow of an interface name, printable ASCII only. */
export const isInterfaceName = (text: string): boolean =>
  /^[!-~]{1,15}$/.test(text) && !/[/:]/.test(text) && text !== '.' && text !== '..';

const invalid = (message: string): CniError => new CniError(codes.invalidEnvironment, message);

/** For a message: a value that was just found to be bad is shown quoted and cut. */
const quote = (text: string): string => JSON.stringify(text.slice(0, 64));

function parseArgs(text: string): Map<string, string> {
  if (text.length > MAX_ARGS_LENGTH) throw invalid(`CNI_ARGS is longer than ${MAX_ARGS_LENGTH} bytes`);
  const args = new Map<string, string>();
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (at <= 0) throw invalid(`CNI_ARGS: ${quote(pair)} is not KEY=VALUE`);
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const known = (key: string) => /^(IgnoreUnknown|IP|MAC|K8S_POD_[A-Z_]+)$/.test(key);
  const unknown = [...args.keys()].find((key) => !known(key));
  if (unknown !== undefined && !/^(1|t|true)$/i.test(args.get('IgnoreUnknown') ?? '')) {
    throw invalid(`CNI_ARGS: unknown key ${quote(unknown)}, and IgnoreUnknown is not set`);
  }
  return args;
}

/** Throws CniError: code 4. */
export function parseEnvironment(env: Variables): Environment {
  const verb = verbs.find((v) => v === env.CNI_COMMAND);
  if (verb === undefined) throw invalid(`CNI_COMMAND ${quote(env.CNI_COMMAND ?? '')} is none of ${verbs.join(', ')}`);
  const [container, name] = [env.CNI_CONTAINERID ?? '', env.CNI_IFNAME ?? ''];
  const namespace = env.CNI_NETNS ?? '';
  const args = parseArgs(env.CNI_ARGS ?? '');
  if (verb === 'GC' || verb === 'STATUS' || verb === 'VERSION') {
    return { verb, container: '', interface: '', namespace: '', args };
  }
  if (!isIdentifier(container, MAX_CONTAINER_LENGTH)) {
    throw invalid(`CNI_CONTAINERID ${quote(container)} is not a letter or digit followed by letters, digits, _ . -`);
  }
  if (!isInterfaceName(name)) throw invalid(`CNI_IFNAME ${quote(name)} is not an interface name`);
  if (namespace === '' && verb !== 'DEL') throw invalid('CNI_NETNS is not set');
  // oxlint-disable-next-line no-control-regex -- no file of a runtime has such a name
  if (namespace !== '' && (!/^\/[^\u0000-\u001f]*$/.test(namespace) || namespace.length > MAX_PATH_LENGTH)) {
    throw invalid(`CNI_NETNS ${quote(namespace)} is not an absolute path`);
  }
  return { verb, container, interface: name, namespace, args };
}
