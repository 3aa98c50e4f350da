/** `godwit ipam check` and `release`: how it is proved that nobody uses an address is told in `ipam/blocks/collect.ts`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { GodwitError, messageOf } from '../../base/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import {
  audit,
  BlockIpam,
  BrokenUsersError,
  free,
  freeHandles,
  freeOrphans,
  judge,
  readPicture,
  settingsFrom,
} from '../../ipam/blocks/mod.ts';
import type { Allocation, Audit, Suspicion, Verdict } from '../../ipam/blocks/mod.ts';
import { goJson, isObject, parseJson } from '../../model/mod.ts';
import type { Json, JsonObject } from '../../model/mod.ts';
import { parseAddress } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { useDatastore } from '../datastore.ts';
import type { DatastoreCommandOptions } from '../datastore.ts';
import { print } from '../output.ts';

const REPORT_VERSION = 'godwit/1';

interface CheckOptions extends DatastoreCommandOptions {
  readonly showAllIps?: boolean;
  readonly showProblemIps?: boolean;
  readonly output?: string;
}

function writeReport(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new GodwitError('output', `the report cannot be written: ${messageOf(error)}`);
  }
}

export async function check(options: CheckOptions): Promise<void> {
  await useDatastore(options, async (store) => {
    const found = await look(store);
    if (options.output !== undefined) writeReport(options.output, reportText(found));
    await print(checkText(found, options));
    if (found.problems > 0) process.exitCode = 1;
  });
}

async function look(store: Datastore): Promise<Audit> {
  try {
    return audit(await readPicture(store, Date.now()));
  } catch (error) {
    if (!(error instanceof BrokenUsersError)) throw error;
    throw new GodwitError('broken', error.message, { hint: 'Repair or delete them first: godwit delete …' });
  }
}

const holder = (a: Allocation): string =>
  a.pod === undefined ? (a.type ?? a.handle ?? 'unknown') : `pod ${a.namespace ?? ''}/${a.pod}`;

function checkText(found: Audit, options: CheckOptions): string {
  const lines: string[] = [];
  const section = <T>(count: readonly T[], what: string, line: (item: T) => string) => {
    lines.push(`${count.length} ${what}`);
    if (options.showProblemIps || options.showAllIps) lines.push(...count.map((item) => `  ${line(item)}`));
  };
  if (options.showAllIps)
    lines.push(
      ...found.allocations.map(
        (a) =>
          `  ${a.address} ${holder(a)} on ${a.node ?? '-'}: ${a.owners.join(', ') || (a.coolingDown ? 'cooling down' : 'nobody uses it')}`,
      ),
    );
  const inUse = found.allocations.filter((a) => a.owners.length > 0).length;
  lines.push(`${found.allocations.length} addresses are given, ${inUse} of them in use`);
  section(
    found.leaked,
    'given and used by nobody we know',
    (a) => `${a.address} ${holder(a)} on ${a.node ?? '-'}, handle ${a.handle ?? '-'}`,
  );
  section(
    found.unrecorded,
    'in use, in a pool and not given: they could be given twice',
    (u) => `${u.address} ${u.owners.join(', ')}`,
  );
  section(found.foreign, 'in use and in no enabled pool', (u) => `${u.address} ${u.owners.join(', ')}`);
  section(found.shared, 'with more than one user', (u) => `${u.address} ${u.owners.join(', ')}`);
  section(found.leakedHandles, 'handles without an address', (h) => h.handle);
  section(found.missingHandles, 'handles in blocks without a record', (h) => h);
  section(found.brokenBlocks, 'broken blocks, from which nothing is given', (b) => `${b.key}: ${b.fault}`);
  section(
    found.affinityFaults,
    'claims to blocks that are half done or stale; nodes repair their own',
    (f) => `${f.key}: ${f.fault}`,
  );
  section(found.orphans, 'blocks of nodes that have no Node object', (o) => `${o.cidr} of ${o.owner}`);
  lines.push(found.problems === 0 ? 'No problems.' : `${found.problems} problems.`);
  return lines.join('\n');
}

/** In the form of calicoctl's report. */
function reportText(found: Audit): string {
  const allocations: Record<string, Json> = {};
  for (const a of found.allocations) {
    allocations[a.address] = [
      {
        ip: a.address,
        handle: a.handle,
        sequenceNumber: a.sequenceNumber,
        pod: a.pod,
        namespace: a.namespace,
        node: a.node,
        type: a.type,
        creationTimestamp: a.timestamp,
        inUse: a.owners.length > 0,
        borrowed: a.borrowed,
        coolingDown: a.coolingDown,
        owners: a.owners,
      },
    ];
  }
  const leakedHandles = found.leakedHandles.map(({ handle, revision }) => ({ ID: handle, Revision: String(revision) }));
  const orphans = found.orphans.map(orphanText);
  const time = new Date(found.time).toISOString();
  return `${goJson({ version: REPORT_VERSION, time, allocations, leakedHandles, orphans })}\n`;
}

const orphanText = ({ owner, cidr }: Audit['orphans'][number]): string => `${owner} ${cidr}`;

interface Report {
  readonly time: number;
  readonly suspicions: readonly Suspicion[];
  readonly handles: Audit['leakedHandles'];
  /** Blocks of nodes that are gone, as text. */
  readonly orphans: readonly string[];
}

export function parseReport(text: string): Report {
  const json = parseJson(text);
  const value = json.ok && isObject(json.value) ? json.value : undefined;
  const time = Date.parse(textOf(value?.['time']));
  if (!value || value['version'] !== REPORT_VERSION || Number.isNaN(time) || !isObject(value['allocations']))
    throw new GodwitError('input', 'it is no report of godwit ipam check');
  const suspicions: Suspicion[] = [];
  for (const [key, list] of Object.entries(value['allocations'])) {
    const [item] = Array.isArray(list) ? (list as readonly Json[]) : [];
    const address = parseAddress(key);
    if (!isObject(item) || address === undefined || item['inUse'] !== false || item['coolingDown'] === true) continue;
    suspicions.push({
      address,
      handle: optionalText(item['handle']),
      sequenceNumber: integerOf(item['sequenceNumber']),
      since: time,
    });
  }
  const handles = (Array.isArray(value['leakedHandles']) ? (value['leakedHandles'] as readonly JsonObject[]) : []).map(
    (h) => ({
      handle: textOf(h['ID']),
      revision: Number(textOf(h['Revision'])),
    }),
  );
  const orphans = Array.isArray(value['orphans']) ? (value['orphans'] as readonly Json[]).map(textOf) : [];
  return { time, suspicions, handles, orphans };
}

const textOf = (value: Json | undefined): string => (typeof value === 'string' ? value : '');
const optionalText = (value: Json | undefined): string | undefined => (typeof value === 'string' ? value : undefined);
const integerOf = (value: Json | undefined): bigint =>
  typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value)) ? BigInt(value) : -1n;

interface ReleaseOptions extends DatastoreCommandOptions {
  readonly ip?: IpAddress;
  readonly fromReport?: readonly string[];
  readonly grace: number;
  readonly force?: boolean;
  readonly dryRun?: boolean;
}

export async function release(options: ReleaseOptions): Promise<void> {
  if ((options.ip === undefined) === (options.fromReport === undefined))
    throw new GodwitError('input', 'release what?', { hint: 'Give --ip or --from-report, one of the two.' });
  const reports = (options.fromReport ?? []).map(readReport);
  await useDatastore(options, async (store) => {
    const ipam = new BlockIpam({ store, node: 'godwit-cli' });
    const found = await look(store);
    if (options.ip !== undefined) return releaseOne(ipam, found, options.ip, options);
    return releaseReported(store, ipam, found, reports, options);
  });
}

function readReport(path: string): Report {
  try {
    return parseReport(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new GodwitError('input', `${path}: ${messageOf(error)}`);
  }
}

async function releaseOne(ipam: BlockIpam, found: Audit, address: IpAddress, options: ReleaseOptions): Promise<void> {
  const allocation = found.allocations.find((a) => a.address === address);
  if (!allocation || allocation.coolingDown) return print(`${address} is not assigned`);
  if (allocation.owners.length > 0 && !options.force)
    throw new GodwitError('in-use', `${address} is in use by ${allocation.owners.join(', ')}`, {
      hint: 'With --force it is taken away all the same.',
    });
  if (options.dryRun) return print(`${address} (${holder(allocation)}) would be released`);
  const result = await ipam.takeBack(allocation);
  if (!result.ok) throw result.error;
  return print(result.value ? `${address} released` : `${address} was changed meanwhile and is left alone`);
}

async function releaseReported(
  store: Datastore,
  ipam: BlockIpam,
  found: Audit,
  reports: readonly Report[],
  options: ReleaseOptions,
): Promise<void> {
  const [first, ...others] = reports;
  // what every report says; suspected since the oldest of them
  const suspicions = first!.suspicions
    .filter((s) =>
      others.every((r) => r.suspicions.some((o) => o.address === s.address && o.sequenceNumber === s.sequenceNumber)),
    )
    .map((s) => ({ ...s, since: Math.min(...reports.map((report) => report.time)) }));
  const verdicts = judge(suspicions, found, options.grace * 1000);
  const count = (verdict: Verdict['verdict']) => verdicts.filter((v) => v.verdict === verdict).length;
  const freed = options.dryRun ? [] : await free(ipam, verdicts);
  const oldEnough = found.time - Math.min(...reports.map((report) => report.time)) >= options.grace * 1000;
  const handles = first!.handles.filter((h) =>
    found.leakedHandles.some((now) => now.handle === h.handle && now.revision === h.revision),
  );
  const freedHandles = options.dryRun || !oldEnough ? 0 : await freeHandles(store, handles);
  const orphans = found.orphans.filter((orphan) =>
    reports.every((report) => report.orphans.includes(orphanText(orphan))),
  );
  const { ipCooldownSeconds } = (await settingsFrom(store).current()).config;
  const freedBlocks =
    options.dryRun || !oldEnough ? 0 : await freeOrphans(store, orphans, ipCooldownSeconds, Date.now());
  const lines = options.dryRun
    ? [`${count('free')} addresses and ${oldEnough ? handles.length : 0} handles would be released`]
    : [`${freed.length} addresses and ${freedHandles} handles released`];
  if (freedBlocks > 0) lines.push(`${freedBlocks} empty blocks of nodes that are gone given up`);
  if (count('too-young') > 0)
    lines.push(`${count('too-young')} are suspected for less than the grace of ${options.grace} s: come again later`);
  if (count('in-use') > 0) lines.push(`${count('in-use')} are in use now`);
  if (count('changed') > 0) lines.push(`${count('changed')} were given anew meanwhile`);
  return print(lines.join('\n'));
}
