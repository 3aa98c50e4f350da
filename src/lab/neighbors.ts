/**
 * The kernel has one table of neighbours (ARP, ND) for all network namespaces together, and by default room for 1,024 in
 * it. A lab has every host's view of every other in there: what a cluster of a hundred keeps on a hundred machines is
 * 9,900 entries here. Without room they push each other out, and sessions die of silence. The limits are the machine's, so
 * they are raised only where a lab needs it, it is told, and they are put back when the last lab goes.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { familyOf } from '../net/mod.ts';
import type { Topology } from './topology.ts';

/** By sysctl: what it was before, and what it was set to. */
const recordSchema = z.record(z.string(), z.object({ before: z.number(), after: z.number() }));
type LimitRecord = z.infer<typeof recordSchema>;

const FAMILIES = [4, 6] as const;
/** arp(7). Entries older than five seconds go above the second, none comes beyond the third. */
const THRESHOLDS = ['gc_thresh1', 'gc_thresh2', 'gc_thresh3'] as const;
/** The kernel's own second. */
const DEFAULT_THRESH2 = 512;

const sysctlOf = (family: 4 | 6, threshold: string) => `net.ipv${family}.neigh.default.${threshold}`;
const fileOf = (sysctl: string) => `/proc/sys/${sysctl.replaceAll('.', '/')}`;

/** Entries of a family when all machines of each segment know each other. */
export function neighborsOf({ machines, segments }: Pick<Topology, 'machines' | 'segments'>, family: 4 | 6): number {
  const interfaces = machines
    .flatMap((machine) => machine.interfaces)
    .filter(({ addresses }) => addresses.some(({ address }) => familyOf(address) === family));
  return segments.reduce((sum, { name }) => {
    const there = interfaces.filter(({ segment }) => segment.name === name).length;
    return sum + there * (there - 1);
  }, 0);
}

/**
 * Makes room for so many entries, and as many of others, until `putBack` with the same file. Gives the settings that were
 * made, and those that are needed and not this process's to make, as sysctl(8) takes them.
 */
export function makeRoom(
  file: string,
  entries: (family: 4 | 6) => number,
): { readonly made: readonly string[]; readonly refused: readonly string[] } {
  const record = readRecord(file);
  const made: string[] = [];
  const refused: string[] = [];
  for (const family of FAMILIES) {
    const need = 2 * entries(family);
    if (need <= (readLimit(sysctlOf(family, 'gc_thresh2')) ?? DEFAULT_THRESH2)) continue;
    for (const sysctl of THRESHOLDS.map((threshold) => sysctlOf(family, threshold))) {
      const now = readLimit(sysctl);
      if (now !== undefined && now >= need) continue;
      if (now !== undefined) {
        record[sysctl] = { before: record[sysctl]?.after === now ? record[sysctl].before : now, after: need };
        writeFileSync(file, JSON.stringify(record), { mode: 0o600 });
      }
      const list = now !== undefined && writeLimit(sysctl, need) ? made : refused;
      list.push(`${sysctl}=${need}`);
    }
  }
  return { made, refused };
}

/** Puts back the limits that nobody has changed since. */
export function putBack(file: string): void {
  for (const [sysctl, { before, after }] of Object.entries(readRecord(file)))
    if (readLimit(sysctl) === after) writeLimit(sysctl, before);
  rmSync(file, { force: true });
}

function readRecord(file: string): LimitRecord {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    // none, or torn: then the limits stay as they are
    return {};
  }
}

/** Undefined where there is none: only the machine's first network namespace has them. */
function readLimit(sysctl: string): number | undefined {
  try {
    return Number(readFileSync(fileOf(sysctl), 'utf8'));
  } catch {
    return undefined;
  }
}

function writeLimit(sysctl: string, value: number): boolean {
  try {
    writeFileSync(fileOf(sysctl), `${value}\n`);
    return true;
  } catch {
    return false;
  }
}
