/** The pod's network namespace, as a path from the runtime. */
import { statSync } from 'node:fs';
import { NetworkNamespace } from '../sys/mod.ts';
import { messageOf, printable } from '../base/mod.ts';
import { CniError, codes } from './error.ts';

/** The namespaces no pod lives in: this thread's and the first process's. Device and inode. */
const hostNamespaces = new Set<string>();
let namespaceDevice = -1;

function readHostNamespaces(): void {
  const own = statSync('/proc/thread-self/ns/net');
  hostNamespaces.add(`${own.dev}:${own.ino}`);
  // files of namespaces lie on a file system of their own, whatever they are bound to
  namespaceDevice = own.dev;
  try {
    const first = statSync('/proc/1/ns/net');
    hostNamespaces.add(`${first.dev}:${first.ino}`);
  } catch {
    // not ours to look at; where the agent is the host's, its own namespace is the one that matters
  }
}

/**
 * Opens it; throws CniError: code 4. The host's own namespace is refused: a runtime whose container has died may pass
 * /proc/PID/ns/net of a process that has that number now, and eth0 would be made, or deleted, on the host.
 */
export function openPodNamespace(path: string): NetworkNamespace {
  if (hostNamespaces.size === 0) readHostNamespaces();
  const refuse = (what: string): CniError =>
    new CniError(codes.invalidEnvironment, `CNI_NETNS ${printable(path)} ${what}`);
  let namespace: NetworkNamespace;
  try {
    // looked at before it is opened: a FIFO would block, a device might act
    if (statSync(path).dev !== namespaceDevice) throw refuse('is not a namespace');
    namespace = NetworkNamespace.open(path);
  } catch (error) {
    throw error instanceof CniError ? error : refuse(`cannot be opened: ${printable(messageOf(error))}`);
  }
  const fault = !namespace.isNetwork
    ? 'is a namespace of another kind'
    : hostNamespaces.has(namespace.identity)
      ? "is the host's own network namespace"
      : undefined;
  if (fault === undefined) return namespace;
  namespace[Symbol.dispose]();
  throw refuse(fault);
}
