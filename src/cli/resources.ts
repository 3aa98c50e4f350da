/**
 * `godwit get|create|apply|replace|patch|delete|validate`: resources as calicoctl handles them. What was read with
 * `get -o yaml` has a resource version; writing it back fails if somebody else changed the object meanwhile.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { parse } from 'yaml';
import { GodwitError, messageOf, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import type { Datastore } from '../datastore/mod.ts';
import { BLOCKS, blocksPrefix, releaseAffinity, decodeBlock } from '../ipam/blocks/mod.ts';
import {
  describeProblem,
  emptyObject,
  isObject,
  kindByName,
  kindNames,
  kinds,
  parseGiven,
  parseJson,
  ResourceClient,
  storedJson,
  versionOf,
} from '../model/mod.ts';
import type { AnyResource, Json, JsonObject, Kind, ResourceError } from '../model/mod.ts';
import { familyOf, prefixCovers } from '../net/mod.ts';
import { useDatastore, withDatastore } from './datastore.ts';
import type { DatastoreCommandOptions } from './datastore.ts';
import { print, say } from './output.ts';
import { alongWith, checkAgainstStore, overlaps } from './resources/checks.ts';
import { readGiven } from './resources/input.ts';
import type { GivenObject } from './resources/input.ts';
import { render, withResourceOutput } from './resources/output.ts';
import type { ResourceFormat } from './resources/output.ts';

interface Options extends DatastoreCommandOptions {
  readonly filename?: readonly string[];
  readonly output?: ResourceFormat | 'ps';
  readonly namespace?: string;
  readonly allNamespaces?: boolean;
  readonly dryRun?: boolean;
  readonly patch?: string;
  readonly skipNotExists?: boolean;
  readonly skipExists?: boolean;
}

const DEFAULT_NAMESPACE = 'default';
const kindList = `one of ${kindNames.map((kind) => kind.toLowerCase()).join(', ')}, or a short form: ipp, no, bgpp, bgpconfig, bgpfilter, wep …`;

export function register(command: Command): void {
  const several = (value: string, before: readonly string[] | undefined) => [...(before ?? []), value];
  withResourceOutput(command);
  const withFile = () =>
    command.option('-f, --filename <file>', 'file or directory of YAML or JSON, - for stdin; may be repeated', several);
  const withDryRun = () => command.option('--dry-run', 'judge and show, but write nothing');
  const withNamespace = () => command.option('-n, --namespace <name>', 'namespace of the object', DEFAULT_NAMESPACE);
  const verb = command.name();
  if (verb === 'validate') {
    withFile().action((options: Options) => validate(options));
    return;
  }
  withDatastore(withFile());
  switch (verb) {
    case 'get':
      withNamespace()
        .option('-A, --all-namespaces', 'objects of all namespaces')
        .argument('[kind]', kindList)
        .argument('[names...]')
        .action((kind: string | undefined, names: readonly string[], options: Options) => get(kind, names, options));
      break;
    case 'delete':
      withDryRun();
      withNamespace()
        .option('--skip-not-exists', 'what is not there is no error')
        .argument('[kind]', kindList)
        .argument('[names...]')
        .action((kind: string | undefined, names: readonly string[], options: Options) => remove(kind, names, options));
      break;
    case 'patch':
      withDryRun();
      withNamespace()
        .requiredOption(
          '-p, --patch <json>',
          'JSON or YAML merged into the object; null removes a field; @FILE reads it from a file',
        )
        .argument('<kind>', kindList)
        .argument('<name>')
        .action((kind: string, name: string, options: Options) => patch(kind, name, options));
      break;
    case 'create':
      withDryRun()
        .option('--skip-exists', 'what is there already stays as it is, and is no error')
        .action((options: Options) => write(verb, options));
      break;
    case 'apply':
    case 'replace':
      withDryRun().action((options: Options) => write(verb, options));
      break;
    default:
      throw new Error(`no command of resources: ${verb}`);
  }
}

const formatOf = (options: Options, otherwise: ResourceFormat): ResourceFormat =>
  options.output === 'ps' ? 'table' : (options.output ?? otherwise);

/** `get pool one two`, and `get pool/one bgppeer/tor` as kubectl has it and `-o name` prints it. */
function namedIds(words: readonly string[], options: Options): Id[] {
  const id = (kind: Kind, name: string): Id => ({
    ...{ kind, name, namespace: kinds[kind].namespaced ? options.namespace : undefined },
  });
  const [first = '', ...names] = words;
  if (!first.includes('/')) {
    const kind = kindOf(first);
    return names.map((name) => id(kind, name));
  }
  return words.map((word) => {
    const [kind, name, ...rest] = word.split('/');
    if (!kind || !name || rest.length > 0)
      throw new GodwitError('input', `${printable(word)} is not KIND/NAME, as the others before it`);
    return id(kindOf(kind), name);
  });
}

function kindOf(text: string): Kind {
  const kind = kindByName(text);
  if (kind) return kind;
  throw new GodwitError('input', `${printable(text)} is no kind of resource`, { hint: kindList });
}

async function givenFiles(
  options: Options,
  hint = 'Name files with -f, or - for standard input.',
): Promise<GivenObject[]> {
  if (!options.filename) throw new GodwitError('input', 'nothing to work on', { hint });
  return readGiven(options.filename);
}

/** Refuses all when any is wrong: half a file applied is worse than none. */
function allRight(given: readonly GivenObject[]): AnyResource[] {
  const wrong = given.filter((object) => object.problems.length > 0);
  if (wrong.length > 0) {
    const text = wrong.flatMap(({ where, problems }) => problems.map((problem) => `${where}: ${problem}`)).join('\n');
    throw new GodwitError('invalid', text, { hint: 'Nothing was written.' });
  }
  return given.map((object) => object.resource!);
}

async function validate(options: Options): Promise<void> {
  const given = await givenFiles(options);
  const resources = allRight(given);
  const pools = resources.filter((resource) => resource.kind === 'IPPool');
  const problems = pools.flatMap((pool) => overlaps(pool, pools).map((problem) => `IPPool ${pool.name}: ${problem}`));
  if (problems.length > 0) throw new GodwitError('invalid', problems.join('\n'));
  tellIgnored(resources);
  if (options.output) await print(render(formatOf(options, 'yaml'), { resources, single: true }));
  else await print(`${resources.length} resource${resources.length === 1 ? ' is' : 's are'} valid.`);
}

function tellIgnored(resources: readonly AnyResource[]): void {
  for (const { kind, name, ignored } of resources) {
    if (ignored.length > 0)
      say(`${kind} ${name}: kept, and without meaning here: ${ignored.map((path) => printable(path)).join(', ')}`);
  }
}

async function write(verb: 'create' | 'apply' | 'replace', options: Options): Promise<void> {
  const resources = allRight(await givenFiles(options));
  // what is referred to first, whatever the order of the files
  resources.sort((a, b) => kindNames.indexOf(a.kind) - kindNames.indexOf(b.kind));
  const done: AnyResource[] = [];
  const failures: string[] = [];
  await useDatastore(options, async (store) => {
    for (const resource of resources) {
      const result = await writeOne(store, verb, resource, options);
      if (result.ok) done.push(result.value);
      else if (result.error.kind !== 'exists' || !options.skipExists) failures.push(result.error.message);
    }
  });
  tellIgnored(done);
  await report(pastTense[verb], done, options);
  if (failures.length > 0) throw new GodwitError('write', failures.join('\n'));
}

const pastTense = { create: 'created', apply: 'applied', replace: 'replaced', patch: 'patched' } as const;

async function report(what: string, done: readonly AnyResource[], options: Options): Promise<void> {
  if (done.length === 0) return;
  if (options.output) return print(render(formatOf(options, 'yaml'), { resources: done, single: true }));
  const note = options.dryRun ? ' (dry run, nothing was written)' : '';
  return print(done.map((resource) => `${resource.kind} ${resource.name} ${what}${note}`).join('\n'));
}

async function writeOne(
  store: Datastore,
  verb: 'create' | 'apply' | 'replace',
  resource: AnyResource,
  options: Options,
): Promise<Result<AnyResource, ResourceError>> {
  const client = new ResourceClient(store);
  const { kind, name, namespace } = resource;
  const creating = verb === 'create' || (verb === 'apply' && !(await exists(client, kind, name, namespace)));
  const problems = await checkAgainstStore(store, resource, creating);
  if (problems.length > 0)
    return { ok: false, error: { kind: 'invalid', message: problems.map((p) => `${kind} ${name}: ${p}`).join('\n') } };
  const writeOptions = { dryRun: options.dryRun === true, ...(await alongWith(store, resource)) };
  return client[verb](resource, writeOptions);
}

async function exists(
  client: ResourceClient,
  kind: Kind,
  name: string,
  namespace: string | undefined,
): Promise<boolean> {
  const found = await client.get(kind, name, namespace);
  return found.ok || found.error.kind !== 'not-found';
}

async function get(kindName: string | undefined, names: readonly string[], options: Options): Promise<void> {
  const failures: string[] = [];
  const wanted = await wantedIds(kindName, names, options, 'Name a kind (godwit get pools), or files with -f.');
  const kind = wanted.length === 0 && kindName !== undefined ? kindOf(kindName) : undefined;
  await useDatastore(options, async (store) => {
    const client = new ResourceClient(store);
    const found: AnyResource[] = [];
    let revision: number | undefined;
    if (kind !== undefined) {
      const list = await client.list(
        kind,
        kinds[kind].namespaced && !options.allNamespaces ? options.namespace : undefined,
      );
      found.push(...(list.items as unknown as AnyResource[]));
      for (const { key, problems } of list.broken)
        failures.push(`${key} is broken: ${problems.map(describeProblem).join('; ')}`);
      revision = list.revision;
    }
    for (const id of wanted) {
      const result = await client.get(id.kind, id.name, id.namespace);
      if (result.ok) found.push(result.value as unknown as AnyResource);
      else failures.push(result.error.message);
    }
    const single = wanted.length === 1;
    const listing = {
      resources: found,
      single,
      ...(kind !== undefined && { kind }),
      ...(revision !== undefined && { revision }),
    };
    const format = formatOf(options, 'table');
    const document = format === 'yaml' || format === 'json';
    if (found.length > 0 || (kind !== undefined && document)) await print(render(format, listing));
    else if (kind !== undefined && !document && failures.length === 0)
      say(`there is no ${kind}${whereOf(kind, options)}`);
  });
  if (failures.length > 0) throw new GodwitError('read', failures.join('\n'));
}

const whereOf = (kind: Kind, { namespace, allNamespaces }: Options): string =>
  kinds[kind].namespaced && allNamespaces !== true ? ` in namespace ${namespace} (-A: in all)` : '';

interface Id {
  readonly kind: Kind;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly version?: string | undefined;
}

async function wantedIds(
  kindName: string | undefined,
  names: readonly string[],
  options: Options,
  hint?: string,
): Promise<Id[]> {
  if (kindName !== undefined) {
    if (options.filename) throw new GodwitError('input', 'either names or files (-f), not both');
    return namedIds([kindName, ...names], options);
  }
  return allRight(await givenFiles(options, hint)).map((resource) => {
    const { kind, name, namespace } = resource;
    return { kind, name, namespace, version: versionOf(resource) };
  });
}

async function remove(kindName: string | undefined, names: readonly string[], options: Options): Promise<void> {
  const wanted = await wantedIds(kindName, names, options, 'Name a kind and names, or files with -f.');
  if (wanted.length === 0) throw new GodwitError('input', `which ${printable(kindName ?? '')}? Name at least one.`);
  const failures: string[] = [];
  await useDatastore(options, async (store) => {
    for (const id of wanted) {
      const failure = await removeOne(store, id, options);
      if (failure === undefined)
        await print(`${id.kind} ${id.name} deleted${options.dryRun ? ' (dry run, nothing was written)' : ''}`);
      else if (failure.kind !== 'not-found' || !options.skipNotExists) failures.push(failure.message);
    }
  });
  if (failures.length > 0) throw new GodwitError('delete', failures.join('\n'));
}

async function removeOne(store: Datastore, id: Id, options: Options): Promise<ResourceError | undefined> {
  const client = new ResourceClient(store);
  let { version } = id;
  const pool = id.kind === 'IPPool' ? await client.get('IPPool', id.name) : undefined;
  if (pool?.ok) await tellUsers(store, pool.value);
  if (pool && !options.dryRun) {
    if (pool.ok && version !== undefined && version !== String(pool.value.revision))
      return { kind: 'conflict', message: `IPPool ${id.name} was changed meanwhile; look at it again` };
    if (pool.ok) {
      await emptyPool(store, client, pool.value);
      version = undefined;
    }
  }
  const result = await client.delete(id, { dryRun: options.dryRun === true, version });
  return result.ok ? undefined : result.error;
}

/** Calico deletes it without a word, and pods find out. */
async function tellUsers(store: Datastore, { name, spec }: Parameters<typeof overlaps>[0]): Promise<void> {
  const { kvs } = await store.list(blocksPrefix(familyOf(spec.cidr)));
  const blocks = kvs.flatMap(({ value }) => {
    const block = decodeBlock(value);
    return block.ok && prefixCovers(spec.cidr, block.value.cidr) ? [block.value] : [];
  });
  const used = blocks.flatMap(({ allocations, attributes }) =>
    allocations.filter((index) => index !== null && attributes[index]?.releasedAt === undefined),
  ).length;
  if (used === 0) return;
  const what =
    used === 1 ? '1 address of it is given: its user is' : `${used} addresses of it are given: their users are`;
  say(`IPPool ${name}: ${what} not reached from other nodes without it; disable it, and delete it when they are gone`);
}

/** Stops giving addresses from the pool, then takes its blocks from their nodes; addresses in use stay until released. */
async function emptyPool(
  store: Datastore,
  client: ResourceClient,
  pool: Parameters<typeof overlaps>[0],
): Promise<void> {
  if (!pool.spec.disabled) {
    const spec = { ...(pool.raw['spec'] as JsonObject), disabled: true };
    const disabled = parseGiven({ ...storedJson(pool), spec });
    if (disabled.ok) await client.replace(disabled.value);
  }
  const { kvs } = await store.list(BLOCKS);
  for (const kv of kvs) {
    const block = decodeBlock(kv.value);
    if (!block.ok || block.value.affinity === undefined || !prefixCovers(pool.spec.cidr, block.value.cidr)) continue;
    await releaseAffinity(store, block.value.affinity, block.value.cidr, {
      requireEmpty: false,
      cooldownSeconds: 0,
      now: Date.now(),
    });
  }
}

async function patch(kindName: string, name: string, options: Options): Promise<void> {
  const kind = kindOf(kindName);
  const change = readPatch(options.patch ?? '');
  const namespace = kinds[kind].namespaced ? options.namespace : undefined;
  await useDatastore(options, async (store) => {
    const client = new ResourceClient(store);
    const current = await client.get(kind, name, namespace);
    if (!current.ok) throw new GodwitError(current.error.kind, current.error.message);
    const before = current.value as unknown as AnyResource;
    const json = storedJson(before);
    const merged = mergePatch(
      { ...json, metadata: { ...(json['metadata'] as JsonObject), resourceVersion: String(before.revision) } },
      change,
    );
    const parsed = parseGiven(merged);
    if (!parsed.ok)
      throw new GodwitError('invalid', parsed.error.map((p) => `${kind} ${name}: ${describeProblem(p)}`).join('\n'));
    if (parsed.value.kind !== kind || parsed.value.name !== name)
      throw new GodwitError('invalid', 'kind and name cannot be patched');
    const result = await writeOne(store, 'replace', parsed.value, options);
    if (!result.ok) throw new GodwitError(result.error.kind, result.error.message);
    await report(pastTense.patch, [result.value], options);
  });
}

function readPatch(text: string): JsonObject {
  let value: unknown;
  try {
    value = parse(text.startsWith('@') ? readFileSync(text.slice(1), 'utf8') : text);
  } catch (error) {
    throw new GodwitError('input', `the patch cannot be read: ${messageOf(error)}`);
  }
  const json = parseJson(JSON.stringify(value ?? null));
  if (!json.ok || !isObject(json.value))
    throw new GodwitError('input', 'the patch is no object', { hint: `As in -p '{"spec":{"disabled":true}}'.` });
  return json.value;
}

/** RFC 7386. */
export function mergePatch(target: Json | undefined, change: Json): Json {
  if (!isObject(change)) return change;
  const out = emptyObject();
  if (isObject(target)) Object.assign(out, target);
  for (const [key, value] of Object.entries(change)) {
    if (value === null || value === undefined) delete out[key];
    else out[key] = mergePatch(out[key], value);
  }
  return { ...out };
}
