/**
 * Calico's WorkloadEndpoint of each routed pod: which pod, where, with which address and interface. It tells others what is
 * in use; no packet waits for it. So it is written behind the answer of an ADD, many in one transaction, and written again
 * until the datastore has it.
 *
 * A pod's new sandbox has the key of its old one. So a DEL deletes only what still names its own container, by
 * compare-and-swap.
 */
import { Backoff, messageOf, printable, sleep } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import type { Attachment } from '../ipam/mod.ts';
import {
  encodeStored,
  goTime,
  isObject,
  parseGiven,
  parseJson,
  resourceKey,
  workloadEndpointName,
} from '../model/mod.ts';
import type { JsonObject, KeyValueStore, StoreOperation } from '../model/mod.ts';
import { formatInterfaceAddress } from '../net/mod.ts';
import { codes, CniError } from './error.ts';

/** Where pods are made known. */
export interface EndpointRegistry {
  /** Makes it known, soon. */
  publish(attachment: Attachment): void;
  /** Makes sure that it is known, as after a restart; what is there already stays as it is. */
  confirm(attachment: Attachment): void;
  /** Takes it back if it is still this container's. Throws CniError when the datastore does not answer. */
  withdraw(endpoint: EndpointIdentity, signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface EndpointIdentity {
  readonly container: string;
  readonly interface: string;
  readonly namespace?: string | undefined;
  readonly pod?: string | undefined;
}

/** etcd takes 128 operations in one transaction. */
const MAX_TOGETHER = 100;

export interface WorkloadEndpointsOptions {
  readonly store: KeyValueStore;
  /** Name of the node. */
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Pending {
  readonly value: string;
  readonly container: string;
  readonly unlessThere: boolean;
}

export class WorkloadEndpoints implements EndpointRegistry {
  private readonly options: WorkloadEndpointsOptions;
  private readonly pending = new Map<string, Pending>();
  private readonly closing = new AbortController();
  private working = false;
  /** The transaction that is on its way. */
  private writing: Promise<void> | undefined;

  constructor(options: WorkloadEndpointsOptions) {
    this.options = options;
  }

  publish(attachment: Attachment): void {
    this.enqueue(attachment, false);
  }

  confirm(attachment: Attachment): void {
    this.enqueue(attachment, true);
  }

  private enqueue(attachment: Attachment, unlessThere: boolean): void {
    const { node, clock, log } = this.options;
    const made = workloadEndpoint(attachment, node, clock.wallNow());
    if (typeof made === 'string') {
      log.warn({ container: attachment.container, reason: printable(made) }, 'no WorkloadEndpoint can name this pod');
      return;
    }
    this.pending.set(made.key, { value: made.value, container: attachment.container, unlessThere });
    if (!this.working) void this.work();
  }

  /** Never rejects. */
  private async work(): Promise<void> {
    const { clock, log } = this.options;
    const { signal } = this.closing;
    this.working = true;
    const backoff = new Backoff(100, 10_000);
    // what is asked for in the same turn goes together
    await Promise.resolve();
    while (this.pending.size > 0 && !signal.aborted) {
      const work = [...this.pending].slice(0, MAX_TOGETHER);
      try {
        this.writing = this.write(work);
        await this.writing;
        backoff.reset();
        for (const [key, wish] of work) if (this.pending.get(key) === wish) this.pending.delete(key);
      } catch (error) {
        log.warn({ waiting: this.pending.size, error: messageOf(error) }, 'WorkloadEndpoints cannot be written; again');
        await sleep(backoff.next(), signal, clock);
      }
    }
    this.working = false;
  }

  private async write(work: readonly (readonly [string, Pending])[]): Promise<void> {
    const { store } = this.options;
    const puts: StoreOperation[] = [];
    for (const [key, wish] of work) {
      const there = wish.unlessThere ? (await store.get(key)).kv : undefined;
      // withdrawn while we were looking: not to be written any more
      if (this.pending.get(key) !== wish) continue;
      if (!there || containerOf(there.value) !== wish.container) puts.push({ op: 'put', key, value: wish.value });
    }
    if (puts.length > 0) await store.transaction({ if: [], do: puts });
  }

  async withdraw(endpoint: EndpointIdentity, signal: AbortSignal): Promise<void> {
    const name = endpointName(endpoint, this.options.node);
    if (name === undefined) return;
    const key = resourceKey('WorkloadEndpoint', name, endpoint.namespace);
    if (this.pending.get(key)?.container === endpoint.container) this.pending.delete(key);
    // what is on its way is there before it is looked for
    await this.writing?.catch(() => {});
    try {
      for (;;) {
        const { kv } = await this.options.store.get(key);
        if (!kv || containerOf(kv.value) !== endpoint.container || signal.aborted) return;
        const { succeeded } = await this.options.store.transaction({
          if: [{ key, modRevision: kv.modRevision }],
          do: [{ op: 'delete', key }],
        });
        if (succeeded) return;
      }
    } catch (error) {
      throw new CniError(codes.tryAgain, 'the WorkloadEndpoint cannot be deleted now', messageOf(error));
    }
  }

  close(): void {
    this.closing.abort();
  }
}

/** Undefined for a name no resource can have. */
function endpointName({ container, interface: endpoint, pod }: EndpointIdentity, node: string): string | undefined {
  const of = pod === undefined ? { orchestrator: 'cni', containerID: container } : { orchestrator: 'k8s', pod };
  return workloadEndpointName({ node, endpoint, ...of });
}

/** Key and stored form, or why there can be none. */
export function workloadEndpoint(
  attachment: Attachment,
  node: string,
  now: number,
): { readonly key: string; readonly value: string } | string {
  const identity = identityOf(attachment);
  const { namespace = 'default', pod } = identity;
  const name = endpointName(identity, node);
  if (name === undefined) return 'it has no name';
  const orchestrator = pod === undefined ? 'cni' : 'k8s';
  const labels = { 'projectcalico.org/namespace': namespace, 'projectcalico.org/orchestrator': orchestrator };
  const spec = {
    ...{ orchestrator, node, containerID: attachment.container, ...(pod !== undefined && { pod }) },
    ...{ endpoint: attachment.interface, ipNetworks: attachment.addresses.map(formatInterfaceAddress) },
    profiles: [pod === undefined ? attachment.network : `kns.${namespace}`],
    ...{ interfaceName: attachment.hostInterface, mac: attachment.mac },
  };
  const metadata: JsonObject = { name, namespace, uid: crypto.randomUUID(), creationTimestamp: goTime(now), labels };
  const parsed = parseGiven({ kind: 'WorkloadEndpoint', apiVersion: 'projectcalico.org/v3', metadata, spec });
  if (!parsed.ok) return parsed.error.map(({ path, message }) => `${path} ${message}`).join('; ');
  return { key: resourceKey('WorkloadEndpoint', name, namespace), value: encodeStored(parsed.value) };
}

export function identityOf(attachment: Pick<Attachment, 'container' | 'interface' | 'pod'>): EndpointIdentity {
  const { container, interface: name, pod } = attachment;
  return { container, interface: name, ...(pod && { namespace: pod.namespace, pod: pod.name }) };
}

function containerOf(value: string): string | undefined {
  const json = parseJson(value);
  const spec = json.ok && isObject(json.value) ? json.value['spec'] : undefined;
  const container = isObject(spec) ? spec['containerID'] : undefined;
  return typeof container === 'string' ? container : undefined;
}
