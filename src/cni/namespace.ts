/** The pod's network namespace, as a path from the runtime. */
import { statSync } from 'node:fs';
import { NetworkNamespace } from '../sys/mod.ts';
import { messageOf, printable } from '../base/mod.ts';
import { CniError, codes } from './error.ts';

/** Opens namespaces of pods, and none else's. Made in the thread, and namespace, of the agent. */
export class PodNamespaces {
  /** Where no pod lives: this thread's and the first process's. Device and inode. */
  private readonly hosts = new Set<string>();
  /** Files of namespaces lie on a file system of their own, whatever they are bound to. */
  private readonly device: number;

  constructor() {
    const own = statSync('/proc/thread-self/ns/net');
    this.device = own.dev;
    this.hosts.add(`${own.dev}:${own.ino}`);
    try {
      const first = statSync('/proc/1/ns/net');
      this.hosts.add(`${first.dev}:${first.ino}`);
    } catch {
      // not ours to look at; where the agent is the host's, its own namespace is the one that matters
    }
  }

  /**
   * Throws CniError: code 4. The host's own namespace is refused: a runtime whose container has died may pass
   * /proc/PID/ns/net of a process that has that number now, and eth0 would be made on the host.
   */
  open(path: string): NetworkNamespace {
    const refuse = (what: string): CniError =>
      new CniError(codes.invalidEnvironment, `CNI_NETNS ${printable(path)} ${what}`);
    let namespace: NetworkNamespace;
    try {
      // looked at before it is opened: a FIFO would block, a device might act
      if (statSync(path).dev !== this.device) throw refuse('is not a namespace');
      namespace = NetworkNamespace.open(path);
    } catch (error) {
      throw error instanceof CniError ? error : refuse(`cannot be opened: ${printable(messageOf(error))}`);
    }
    const fault = !namespace.isNetwork
      ? 'is a namespace of another kind'
      : this.hosts.has(namespace.identity)
        ? "is the host's own network namespace"
        : undefined;
    if (fault === undefined) return namespace;
    namespace[Symbol.dispose]();
    throw refuse(fault);
  }
}
