/** Resources as a person gives them: YAML or JSON, several documents in a file, lists, a directory, standard input. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isNode, LineCounter, parseAllDocuments } from 'yaml';
import type { ScalarTag } from 'yaml';
import { GodwitError, messageOf, printable } from '../../base/mod.ts';
import { describeProblem, isObject, parseGiven, parseJson } from '../../model/mod.ts';
import type { AnyResource, Json, JsonObject } from '../../model/mod.ts';

/** An object of a file, read or refused. */
export interface GivenObject {
  /** `pools.yaml:12: IPPool p`, for messages. */
  readonly where: string;
  readonly json: Json;
  readonly resource: AnyResource | undefined;
  /** Sentences; empty when the object is right. */
  readonly problems: readonly string[];
}

export async function readGiven(paths: readonly string[]): Promise<GivenObject[]> {
  const out: GivenObject[] = [];
  for (const path of paths) {
    for (const [name, text] of await readTexts(path)) out.push(...parseGivenText(name, text));
  }
  if (out.length === 0)
    throw new GodwitError(
      'input',
      `there is no resource in ${paths.map((path) => (path === '-' ? 'standard input' : path)).join(', ')}`,
    );
  return out;
}

async function readTexts(path: string): Promise<(readonly [string, string])[]> {
  if (path === '-') return [['stdin', await Bun.stdin.text()]];
  try {
    if (!statSync(path).isDirectory()) return [[path, readFileSync(path, 'utf8')]];
    const names = readdirSync(path).filter((name) => /\.(ya?ml|json)$/.test(name));
    return names.sort().map((name) => [join(path, name), readFileSync(join(path, name), 'utf8')] as const);
  } catch (error) {
    throw new GodwitError('input', `cannot read ${path}: ${messageOf(error)}`);
  }
}

/** calicoctl reads YAML 1.1, in which these mean true and false; YAML 1.2 would make texts of them. */
const boolean = (value: boolean, test: RegExp): ScalarTag => ({
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test,
  identify: () => false,
  resolve: () => value,
});
const yes = boolean(true, /^(yes|Yes|YES|on|On|ON)$/);
const no = boolean(false, /^(no|No|NO|off|Off|OFF)$/);

/** All objects of a text; throws where the text is no YAML. */
export function parseGivenText(name: string, text: string): GivenObject[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, customTags: (tags) => [yes, no, ...tags] });
  const out: GivenObject[] = [];
  for (const document of 'empty' in documents ? [] : documents) {
    const [fault] = document.errors;
    if (fault)
      throw new GodwitError(
        'input',
        `${name}:${lines.linePos(fault.pos[0]).line}: ${fault.message.split('\n')[0]!.replace(/ at line \d+, column \d+:$/, '')}`,
      );
    const start = isNode(document.contents) ? (document.contents.range?.[0] ?? 0) : 0;
    const where = `${name}:${lines.linePos(start).line}`;
    let json: Json;
    try {
      // through JSON: what is no JSON (dates, repeated anchors without end) must not reach the store
      const parsed = parseJson(JSON.stringify(document.toJS({ maxAliasCount: 100 })));
      if (!parsed.ok) throw new Error(parsed.error);
      json = parsed.value;
    } catch (error) {
      throw new GodwitError('input', `${where}: ${messageOf(error)}`);
    }
    // nothing between two lines of `---`, or after the last
    if (json === null) continue;
    for (const object of unwrapList(json)) out.push(judge(where, withTextLabels(object)));
  }
  return out;
}

/** `kind: List` and `kind: IPPoolList` hold items; a bare list does as well. */
function unwrapList(json: Json): readonly Json[] {
  if (Array.isArray(json)) return json as readonly Json[];
  if (!isObject(json)) return [json];
  const { kind, items, apiVersion } = json;
  if (typeof kind !== 'string' || !kind.endsWith('List') || !Array.isArray(items)) return [json];
  const itemKind = kind.slice(0, -'List'.length);
  return (items as readonly Json[]).map((item) =>
    isObject(item) && itemKind !== '' ? { kind: itemKind, apiVersion, ...item } : item,
  );
}

/** `rack: 1` and `reflector: true` are texts in labels and annotations, whatever YAML makes of them. */
function withTextLabels(json: Json): Json {
  if (!isObject(json) || !isObject(json['metadata'])) return json;
  const metadata: Record<string, Json | undefined> = { ...json['metadata'] };
  for (const key of ['labels', 'annotations']) {
    const map = metadata[key];
    if (!isObject(map)) continue;
    const texts = Object.entries(map).map(([name, value]) => {
      return [name, typeof value === 'boolean' || typeof value === 'number' ? String(value) : value] as const;
    });
    metadata[key] = Object.fromEntries(texts);
  }
  return { ...json, metadata };
}

function judge(where: string, json: Json): GivenObject {
  const label = `${where}: ${labelOf(json)}`;
  const result = parseGiven(json);
  if (result.ok) return { where: label, json, resource: result.value, problems: [] };
  return { where: label, json, resource: undefined, problems: result.error.map(describeProblem) };
}

function labelOf(json: Json): string {
  if (!isObject(json)) return 'no object';
  const metadata = isObject(json['metadata']) ? json['metadata'] : ({} as JsonObject);
  const text = (value: Json | undefined) => (typeof value === 'string' ? printable(value, 80) : '(none)');
  return `${text(json['kind'])} ${text(metadata['name'])}`;
}
