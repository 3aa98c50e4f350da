/**
 * Taking a lab down, from whatever is left of it. Nothing is believed that can be looked up: processes are found by the
 * namespace they are in, namespaces by the manifest and by their mark, and all of it may be gone already. So it works
 * after a kill -9 at any point of coming up or going down, and without the manifest.
 */
import { existsSync, lstatSync, rmSync } from 'node:fs';
import { GodwitError, messageOf, sleep } from '../base/mod.ts';
import { isAlive, NetworkNamespace, removeNetworkNamespace, signalProcess } from '../sys/mod.ts';
import type { Fd, ProcessId } from '../sys/mod.ts';
import { Rtnetlink } from '../netlink/mod.ts';
import { NEIGHBOR_LIMITS } from './layout.ts';
import type { LabLayout } from './layout.ts';
import { bootId, listLabs, lockLab, ownerOf, readManifest, sweepClaims, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import { putBack } from './neighbors.ts';
import { markedNamespaces, markOf } from './network.ts';
import { endProcesses, processesIn } from './process.ts';

const OWNER_GRACE_MS = 20_000;
const LOCK_WAIT_MS = 30_000;

export interface DownOptions {
  /** How long programs may take to end by themselves, milliseconds. */
  readonly graceMs?: number;
  /** Aborted when the user has no patience: SIGKILL at once. */
  readonly force?: AbortSignal;
  readonly tell?: (line: string) => void;
}

/** Throws GodwitError `absent` when there is nothing of that name, `stuck` when something would not go. */
export async function takeDown(layout: LabLayout, options: DownOptions = {}): Promise<void> {
  const tell = options.tell ?? (() => {});
  const read = readManifest(layout);
  if (!read.ok && read.error.kind === 'absent') {
    sweepClaims();
    if (markedNamespaces(layout).length === 0) throw read.error;
    tell(`${layout.name}: no manifest; namespaces that carry its mark are removed`);
    return removeParts(layout, undefined, options);
  }
  if (!read.ok) tell(`${read.error.message}; what carries the lab's mark is removed`);
  const manifest = read.ok ? read.value : undefined;
  if (manifest && (await askOwner(layout, manifest, tell))) return;
  using _lock = await lockOrThrow(layout);
  // the one who had the lock may have done it all
  if (!existsSync(layout.directory)) return;
  try {
    if (manifest) writeManifest(layout, { ...manifest, state: 'stopping' });
  } catch (error) {
    // a full disk, say: taking down makes room
    tell(messageOf(error));
  }
  await removeParts(layout, manifest, options);
}

/** Whether the command that holds the lab up took it down when asked to. */
async function askOwner(layout: LabLayout, manifest: Manifest, tell: (line: string) => void): Promise<boolean> {
  const owner = ownerOf(manifest);
  if (!owner || owner.pid === process.pid) return false;
  tell(`${layout.name}: asking the process that holds it up (${owner.pid}) to take it down`);
  const gone = () => !existsSync(layout.directory);
  signalProcess(owner, 'SIGTERM');
  for (const end = performance.now() + OWNER_GRACE_MS; performance.now() < end; await sleep(20)) {
    if (!isAlive(owner)) return gone();
  }
  tell(`${layout.name}: process ${owner.pid} does not end, killing it`);
  signalProcess(owner, 'SIGKILL');
  return false;
}

async function lockOrThrow(layout: LabLayout): Promise<Fd> {
  for (const end = performance.now() + LOCK_WAIT_MS; ; await sleep(20)) {
    const lock = lockLab(layout);
    if (lock) return lock;
    if (performance.now() > end) {
      throw new GodwitError('busy', `another command works on the lab ${layout.name}`, {
        hint: 'try again when it is done',
      });
    }
  }
}

async function removeParts(layout: LabLayout, manifest: Manifest | undefined, options: DownOptions): Promise<void> {
  const paths = new Set(markedNamespaces(layout));
  for (const path of manifest?.namespaces ?? []) if (isOurs(path)) paths.add(path);
  const identities = new Set<string>();
  for (const path of paths) {
    const identity = identityOf(path);
    if (identity !== undefined) identities.add(identity);
  }
  const recorded = manifest && manifest.boot === bootId() ? Object.values(manifest.processes) : [];
  const find = (): ProcessId[] => [...processesIn(identities), ...recorded.filter(isAlive)];
  const { graceMs = 5_000, force } = options;
  const stuck = await endProcesses(find, { graceMs, ...(force && { force }) });
  if (stuck.length > 0) {
    const hint = `when they are gone: godwit lab down ${layout.name}`;
    throw new GodwitError('stuck', `the lab ${layout.name} is not down: ${stuck.join('; ')}`, { hint });
  }
  for (const path of paths) removeNetworkNamespace(path);
  rmSync(layout.directory, { recursive: true, force: true });
  sweepClaims();
  if (listLabs().length === 0) putBack(NEIGHBOR_LIMITS);
}

/**
 * A namespace of the manifest: one with the mark is found anyway; one without may be of the moment between making and
 * marking, with nothing but a loopback in it, or a file that never became a namespace. Anything else is somebody else's.
 */
function isOurs(path: string): boolean {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  const mark = markOf(path);
  if (mark === undefined) return lstatSync(path).size === 0;
  if (mark !== '') return false;
  using namespace = NetworkNamespace.open(path);
  using netlink = Rtnetlink.in(namespace);
  return netlink.links().length === 1;
}

function identityOf(path: string): string | undefined {
  try {
    using namespace = NetworkNamespace.open(path);
    return namespace.identity;
  } catch {
    return undefined;
  }
}
