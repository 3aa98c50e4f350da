/** The pod's network namespace, as a path from the runtime. */
import { statSync } from 'node:fs';
import { isErrno, NetworkNamespace } from '../sys/mod.ts';
import { messageOf, printable } from '../base/mod.ts';
import { CniError, codes } from './error.ts';

/** Device and inode of a namespace file; undefined when it is not there. */
export function namespaceIdentity(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Files of namespaces lie on a file system of their own, whatever they are bound to. */
const namespaceDevice = (): number => statSync('/proc/thread-self/ns/net').dev;

/**
 * Opens it; throws CniError: code 4. The host's own namespace is refused: a runtime whose container has died may pass
 * /proc/PID/ns/net of a process that has that number now, and eth0 would be made, or deleted, on the host.
 */
export function openPodNamespace(path: string): NetworkNamespace {
  const shown = printable(path);
  let device: number;
  try {
    // before opening: a FIFO would block, a device might act
    device = statSync(path).dev;
  } catch (error) {
    throw new CniError(codes.invalidEnvironment, `CNI_NETNS ${shown} cannot be opened`, messageOf(error));
  }
  if (device !== namespaceDevice()) {
    throw new CniError(codes.invalidEnvironment, `CNI_NETNS ${shown} is not a namespace`);
  }
  const namespace = NetworkNamespace.open(path);
  try {
    const { identity } = namespace;
    const hosts = ['/proc/thread-self/ns/net', '/proc/1/ns/net'].map(namespaceIdentity);
    if (hosts.includes(identity)) {
      throw new CniError(codes.invalidEnvironment, `CNI_NETNS ${shown} is the host's own network namespace`);
    }
    namespace.run(() => {});
  } catch (error) {
    namespace[Symbol.dispose]();
    if (!isErrno(error)) throw error;
    throw new CniError(codes.invalidEnvironment, `CNI_NETNS ${shown} is not a network namespace`, error.message);
  }
  return namespace;
}
