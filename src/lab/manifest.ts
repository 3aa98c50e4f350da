/**
 * What a lab consists of, on disk before any of it is made. Whoever finds the file can take the lab down, also when the
 * process that was bringing it up was killed half way. It is replaced by rename, so it is whole or it is not there.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { err, GodwitError, messageOf, ok, replaceFile } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import { isAlive, processId, tryLock } from '../sys/mod.ts';
import type { Fd } from '../sys/mod.ts';
import { LabLayout, LABS } from './layout.ts';

const processSchema = z.object({ pid: z.number().int().positive(), started: z.number() });

const schema = z.object({
  version: z.literal(2),
  name: z.string(),
  /** What the user named, and its text. */
  source: z.string(),
  scenario: z.string(),
  state: z.enum(['starting', 'up', 'stopping']),
  /** Milliseconds since the epoch. */
  created: z.number(),
  /** The kernel's boot id: after a reboot nothing of the lab is left but files. */
  boot: z.string(),
  /** The command that brings it up, or holds it up (`lab run`). */
  owner: processSchema.optional(),
  /** Namespace files. */
  namespaces: z.array(z.string()),
  /** What was started in them: who (`node1`, `datastore`) and which process. */
  processes: z.record(z.string(), processSchema),
  /** Addresses the CNI plugin gave, by pod. */
  pods: z.record(z.string(), z.array(z.string())),
  /** Machines of the scenario that are not there: not yet, or no more. */
  absent: z.array(z.string()),
  /** Programs the lab itself killed when asked to. */
  killed: z.array(z.string()),
});

export type Manifest = z.infer<typeof schema>;

export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

export function writeManifest(layout: LabLayout, manifest: Manifest): void {
  const temporary = `${layout.manifest}.${process.pid}`;
  try {
    const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
    replaceFile(layout.manifest, text, { mode: 0o600, temporary, outlives: 'kill' });
  } catch (error) {
    throw new GodwitError('disk', `cannot write ${layout.manifest}: ${messageOf(error)}`, { cause: error });
  }
}

/** `absent`: no such lab. `unreadable`: there is something of a lab, but not what it consists of. */
export function readManifest(layout: LabLayout): Result<Manifest, GodwitError> {
  let text: string;
  try {
    text = readFileSync(layout.manifest, 'utf8');
  } catch (error) {
    if (!isMissing(error)) return err(unreadable(layout, messageOf(error)));
    return err(directoryExists(layout) ? unreadable(layout, 'the file is missing') : absent(layout.name));
  }
  try {
    const parsed = schema.safeParse(JSON.parse(text));
    if (parsed.success && parsed.data.name === layout.name) return ok(parsed.data);
    const issue = parsed.error?.issues[0];
    return err(unreadable(layout, issue ? `${issue.path.join('.')}: ${issue.message}` : 'it names another lab'));
  } catch (error) {
    return err(unreadable(layout, messageOf(error)));
  }
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

function directoryExists(layout: LabLayout): boolean {
  return listDirectories().includes(layout.name);
}

function absent(name: string): GodwitError {
  const others = listLabs();
  const hint = others.length === 0 ? 'bring one up: godwit lab up host-gw --detach' : `there is ${others.join(', ')}`;
  return new GodwitError('absent', `no lab ${name} is up`, { hint });
}

function unreadable(layout: LabLayout, reason: string): GodwitError {
  const hint = `what is left of it goes with: godwit lab down ${layout.name}`;
  return new GodwitError('unreadable', `${layout.manifest}: ${reason}`, { hint });
}

function listDirectories(): string[] {
  try {
    return readdirSync(LABS, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** Names of all labs that left anything, in order. */
export const listLabs = (): string[] => listDirectories().filter(isLabName).sort();

function isLabName(name: string): boolean {
  try {
    return new LabLayout(name).name === name;
  } catch {
    return false;
  }
}

/** Whether the command that brings the lab up, or holds it up, still runs. */
export function ownerOf(manifest: Manifest): Manifest['owner'] {
  if (manifest.owner === undefined || manifest.boot !== bootId() || !isAlive(manifest.owner)) return undefined;
  return manifest.owner;
}

/**
 * Makes the lab's directory, and with it the claim to the name; undefined when there is one already. The manifest is
 * complete before anything else is made.
 */
export function claimLab(layout: LabLayout, manifest: Manifest): boolean {
  const staging = `${LABS}/.${layout.name}.${process.pid}`;
  try {
    mkdirSync(LABS, { recursive: true, mode: 0o755 });
    sweepClaims();
    // others may pass through: FRR is not root in its own directory
    mkdirSync(staging, { recursive: true, mode: 0o711 });
    writeFileSync(`${staging}/manifest.json`, `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 });
    // a rename onto a directory that has something in it fails: of two at once, one wins
    renameSync(staging, layout.directory);
    return true;
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    if (error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST'))
      return false;
    throw new GodwitError('disk', `cannot keep a lab below ${LABS}: ${messageOf(error)}`, { cause: error });
  }
}

/** Removes the directories of claims that were killed between their making and their renaming. */
export function sweepClaims(): void {
  for (const entry of listDirectories()) {
    const pid = /^\..+\.(\d+)$/.exec(entry)?.[1];
    if (pid !== undefined && !processId(Number(pid))) rmSync(`${LABS}/${entry}`, { recursive: true, force: true });
  }
}

export const myself = (): Manifest['owner'] => processId(process.pid);

/** One command at a time changes a lab. Undefined while another does. */
export function lockLab(layout: LabLayout): Fd | undefined {
  return tryLock(layout.directory);
}
