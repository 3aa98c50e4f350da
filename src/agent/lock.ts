/**
 * One agent a node: a name in the network namespace's own list of abstract unix sockets. It goes with the process, however
 * that ends, and tells apart the nodes of a lab that share a file system.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { GodwitError } from '../base/mod.ts';
import { AF, bindSocket, errno, isErrno, openSocket, SOCK } from '../sys/mod.ts';

const NAME = '\0godwit-agent';

/** Throws GodwitError `locked` when another agent has it. Call it inside the node's namespace. */
export function lockNode(runDir: string): Disposable {
  mkdirSync(runDir, { recursive: true, mode: 0o755 });
  const pidFile = `${runDir}/agent.pid`;
  const fd = openSocket(AF.UNIX, SOCK.STREAM, 0);
  try {
    bindSocket(fd, Uint8Array.of(AF.UNIX, 0, ...new TextEncoder().encode(NAME)));
  } catch (error) {
    fd.close();
    if (!isErrno(error, errno.EADDRINUSE)) throw error;
    const message = `another agent runs in this network namespace${holder(pidFile)}`;
    throw new GodwitError('locked', message, { hint: 'a node has one agent: stop the other first' });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return fd;
}

function holder(pidFile: string): string {
  try {
    const pid = readFileSync(pidFile, 'utf8').trim();
    return /^\d{1,10}$/.test(pid) ? ` (process ${pid})` : '';
  } catch {
    return '';
  }
}
