/**
 * Where a lab keeps things, from its name alone: namespaces where `ip netns` finds them, everything else below one
 * directory, which goes with the lab.
 */
import { GodwitError, printable } from '../base/mod.ts';

export const LABS = '/run/godwit/lab';
export const NAMESPACES = '/run/netns';
/** What was changed on the machine for labs, whichever. */
export const NEIGHBOR_LIMITS = `${LABS}/neighbor-limits.json`;

/** Sockets below the directory must fit in 108 bytes, and namespaces carry the name in theirs. */
export const LAB_NAME = /^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$/;
export const LAB_NAME_RULE =
  'a name of up to 32 lower-case letters, digits and inner hyphens that starts with a letter';

export class LabLayout {
  readonly name: string;
  readonly directory: string;

  /** Throws for what cannot be a lab's name: it becomes part of paths. */
  constructor(name: string) {
    if (!LAB_NAME.test(name)) {
      const hint = `wanted: ${LAB_NAME_RULE}`;
      throw new GodwitError('usage', `${printable(name, 60)} cannot be the name of a lab`, { hint });
    }
    this.name = name;
    this.directory = `${LABS}/${name}`;
  }

  get manifest(): string {
    return `${this.directory}/manifest.json`;
  }

  /** What tells this lab's namespaces from others, whatever their names: the alias of their loopback. */
  get mark(): string {
    return `godwit-lab:${this.name}`;
  }

  namespace(node: string): string {
    return `${NAMESPACES}/${this.name}-${node}`;
  }

  /** Home of the datastore's process, so that everything of a lab runs in one of its namespaces. */
  get datastoreNamespace(): string {
    return this.namespace('datastore');
  }

  get datastoreDirectory(): string {
    return `${this.directory}/datastore`;
  }

  get datastoreLog(): string {
    return `${this.datastoreDirectory}/log`;
  }

  hostDirectory(host: string): string {
    return `${this.directory}/hosts/${host}`;
  }

  /** The CNI plugin's directory, as a runtime's /opt/cni/bin. */
  pluginDirectory(host: string): string {
    return `${this.hostDirectory(host)}/bin`;
  }

  /** Where a routing program or an announcer has its configuration, its sockets and its log. */
  programDirectory(who: string): string {
    return `${this.directory}/programs/${who}`;
  }

  agentLog(host: string): string {
    return `${this.hostDirectory(host)}/agent.log`;
  }

  agentSocket(host: string): string {
    return `${this.hostDirectory(host)}/run/agent.sock`;
  }

  cniSocket(host: string): string {
    return `${this.hostDirectory(host)}/run/cni.sock`;
  }
}
