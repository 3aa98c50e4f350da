/** Looking into a running lab: a command of the user's in one of its nodes, and the logs of its programs. */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { GodwitError, printable, sleep } from '../base/mod.ts';
import { NetworkNamespace } from '../sys/mod.ts';
import type { Lab } from './lab.ts';
import { datastoreUrl } from './programs.ts';
import { logFile, programOf, programsOf } from './roster.ts';
import { usesDatastore } from './topology.ts';

/**
 * What Godwit's own commands are to find when they run in a lab's node without saying where: its datastore, and the sockets
 * of the speaker and the announcer there.
 */
export function environmentIn(
  { layout, topology }: Pick<Lab, 'layout' | 'topology'>,
  node: string,
): Record<string, string> {
  const found: Record<string, string> = {};
  if (usesDatastore(topology)) found['GODWIT_DATASTORE'] = datastoreUrl(layout, topology.datastore);
  for (const { who, machine, kind } of programsOf(topology)) {
    const control = `${layout.programDirectory(who)}/control`;
    if (machine !== node) continue;
    if (kind === 'godwit') found['GODWIT_BGP_SOCKET'] = control;
    if (kind === 'gateway') found['GODWIT_GATEWAY_SOCKET'] = control;
  }
  return found;
}

/**
 * Starts it with this process's terminal, directory and environment, to which `more` is added. Throws GodwitError when there
 * is no such program.
 */
export function runIn(path: string, command: readonly string[], more: Record<string, string> = {}): Bun.Subprocess {
  const [name] = command;
  if (name === undefined || Bun.which(name) === null) {
    const hint =
      name?.startsWith('-') === true ? 'options stand before the node: lab exec --lab NAME NODE -- COMMAND' : '';
    throw new GodwitError('usage', `no such command: ${printable(name ?? '', 80)}`, { hint });
  }
  using namespace = NetworkNamespace.open(path);
  const env = { ...process.env, ...more };
  return namespace.run(() => Bun.spawn([...command], { env, stdio: ['inherit', 'inherit', 'inherit'] }));
}

/** The log file of a program: an agent by its host, a routing program by its machine, an announcer, the datastore. */
export const logOf = ({ layout, topology }: Lab, who: string): string => logFile(layout, programOf(topology, who));

const CHUNK_BYTES = 64 << 10;

export interface LogOptions {
  /** Only the last of what is there. */
  readonly lines?: number | undefined;
  /** Goes on until the file is gone. */
  readonly follow: boolean;
  readonly write: (text: string) => Promise<unknown>;
}

export async function followLog(path: string, options: LogOptions): Promise<void> {
  const fd = openSync(path, 'r');
  try {
    if (options.lines !== undefined) await options.write(lastLines(fd, statSync(path).size, options.lines));
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      // with `lines`, the file position is already at the end
      const length = readSync(fd, buffer, 0, buffer.length, null);
      if (length > 0) await options.write(decoder.decode(buffer.subarray(0, length), { stream: true }));
      else if (!options.follow || !existsSync(path)) return;
      else await sleep(200);
    }
  } finally {
    closeSync(fd);
  }
}

/** Reads all of it, so that the position is behind it, and gives the end. */
function lastLines(fd: number, size: number, count: number): string {
  const bytes = new Uint8Array(size);
  let length = 0;
  while (length < size) {
    const read = readSync(fd, bytes, length, size - length, null);
    if (read === 0) break;
    length += read;
  }
  const lines = new TextDecoder().decode(bytes.subarray(0, length)).split('\n');
  return lines.slice(-count - 1).join('\n');
}
