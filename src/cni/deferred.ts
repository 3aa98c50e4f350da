/**
 * DELs that came while no agent was there. A DEL is to succeed whenever it can: runtimes keep a pod "terminating" for as
 * long as it fails, and on a node that is being drained the agent may have gone first. So the executable leaves a note and
 * reports success, and the next agent does the work before it answers its first request. Until then the address stays
 * taken, which harms nobody.
 *
 * The notes lie beside the socket, in /run: a reboot takes them away together with the interfaces they are about. The
 * executable writes its note first and then tries the agent once more, and the agent reads the notes after it has begun
 * to listen; so a note is either read, or its writer gets through. An agent that was too busy to take the connection finds
 * the note when it looks again, as it does now and then.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';

export const deferredDirectory = (socketPath: string): string => `${socketPath}.deferred`;

/** Container ids and interface names hold no colon, and no slash. */
const notePath = (socketPath: string, container: string, name: string): string =>
  `${deferredDirectory(socketPath)}/${container}:${name}`;

/** Throws what the file system says. */
export function defer(socketPath: string, container: string, name: string): void {
  mkdirSync(deferredDirectory(socketPath), { recursive: true, mode: 0o700 });
  writeFileSync(notePath(socketPath, container, name), '', { mode: 0o600 });
}

/** Takes the note back: the DEL was done, or an ADD of the same attachment came after it. */
export function settleDeferred(socketPath: string, container: string, name: string): void {
  try {
    rmSync(notePath(socketPath, container, name), { force: true });
  } catch {
    // it is settled once more at the next start: a second DEL does nothing
  }
}

export const isDeferred = (socketPath: string, container: string, name: string): boolean =>
  existsSync(notePath(socketPath, container, name));

/** What was put off: `[container, interface]` pairs. */
export function readDeferred(socketPath: string): [string, string][] {
  const notes: [string, string][] = [];
  let files: string[] = [];
  try {
    files = readdirSync(deferredDirectory(socketPath));
  } catch {
    return notes; // nothing was ever put off
  }
  for (const file of files) {
    const at = file.indexOf(':');
    if (at > 0) notes.push([file.slice(0, at), file.slice(at + 1)]);
  }
  return notes;
}
