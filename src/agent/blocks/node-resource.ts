/**
 * This node's own Node resource: that it exists, and that its addresses are this node's. Everything else in it (AS number,
 * reflector id, labels, what other programs put there) is its writers' and stays. It is what the other nodes make their
 * sessions to this one from, so it is made again when somebody deletes it while the agent runs.
 */
import { Backoff, messageOf, sleep, Wakeup } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import { API_VERSION, isObject, parseGiven, ResourceClient } from '../../model/mod.ts';
import type { AnyResource, Json, JsonObject, Resource } from '../../model/mod.ts';
import { formatInterfaceAddress } from '../../net/mod.ts';
import type { InterfaceAddress } from '../../net/mod.ts';

/** What this node says of itself; what is absent is left as it is in the resource. */
export interface NodeFacts {
  readonly ipv4: InterfaceAddress | undefined;
  readonly ipv6: InterfaceAddress | undefined;
}

/** Whether the resource says what is so. */
export function saysSo(node: Resource<'Node'> | undefined, facts: NodeFacts): boolean {
  const same = (want: InterfaceAddress | undefined, have: InterfaceAddress | undefined) =>
    want === undefined || (have !== undefined && formatInterfaceAddress(want) === formatInterfaceAddress(have));
  return (
    node !== undefined && same(facts.ipv4, node.spec.bgp?.ipv4Address) && same(facts.ipv6, node.spec.bgp?.ipv6Address)
  );
}

/** The resource with the facts in it, everything else as it was. */
export function withFacts(name: string, before: Resource<'Node'> | undefined, facts: NodeFacts): AnyResource {
  const object = (value: Json | undefined): JsonObject => (isObject(value) ? value : {});
  const raw: JsonObject = before?.raw ?? {};
  const spec = object(raw['spec']);
  const bgp = {
    ...object(spec['bgp']),
    ...(facts.ipv4 && { ipv4Address: formatInterfaceAddress(facts.ipv4) }),
    ...(facts.ipv6 && { ipv6Address: formatInterfaceAddress(facts.ipv6) }),
  };
  const metadata = {
    ...(before ? object(raw['metadata']) : { name }),
    // only this very version of it is replaced
    ...(before && { resourceVersion: String(before.revision) }),
  };
  const given = { ...raw, kind: 'Node', apiVersion: API_VERSION, metadata, spec: { ...spec, bgp } };
  if (before) return { ...before, raw: given };
  const parsed = parseGiven(given);
  if (!parsed.ok) throw new Error(`node ${name}: ${parsed.error.map(({ message }) => message).join('; ')}`);
  return parsed.value;
}

export class NodeResourceKeeper {
  /** Why the resource is not as it should be; undefined while it is. */
  problem: string | undefined = 'this node’s address is not known yet';
  private readonly name: string;
  private readonly log: Logger;
  private readonly seen: () => Resource<'Node'> | undefined;
  private readonly wakeup = new Wakeup();
  private facts: NodeFacts | undefined;

  /** `seen` gives the resource as it was last told of. */
  constructor(name: string, seen: () => Resource<'Node'> | undefined, log: Logger) {
    this.name = name;
    this.seen = seen;
    this.log = log;
  }

  setFacts(facts: NodeFacts): void {
    if (Bun.deepEquals(this.facts, facts)) return;
    this.facts = facts;
    this.wakeup.notify();
  }

  /** The resource may have been changed by somebody. */
  look(): void {
    if (this.facts && !saysSo(this.seen(), this.facts)) this.wakeup.notify();
  }

  /** Writes whenever what is there is not so, until aborted; the resource stays. */
  async run(store: Datastore, signal: AbortSignal): Promise<void> {
    const client = new ResourceClient(store);
    const backoff = new Backoff(200, 30_000);
    while (!signal.aborted) {
      const { facts } = this;
      const problem = facts && (await this.settle(client, facts));
      if (facts) {
        if (problem !== undefined && problem !== this.problem)
          this.log.warn({ node: this.name, problem }, 'this node’s resource cannot be written; trying again');
        this.problem = problem;
      }
      if (problem === undefined) {
        backoff.reset();
        await this.wakeup.wait(signal);
      } else await sleep(backoff.next(), signal);
    }
  }

  private async settle(client: ResourceClient, facts: NodeFacts): Promise<string | undefined> {
    try {
      const found = await client.get('Node', this.name);
      if (!found.ok && found.error.kind === 'broken') return found.error.message;
      const before = found.ok ? found.value : undefined;
      if (saysSo(before, facts)) return undefined;
      const wanted = withFacts(this.name, before, facts);
      const written = before ? await client.replace(wanted) : await client.create(wanted);
      if (!written.ok) return written.error.message;
      const fields = { node: this.name, ipv4: facts.ipv4?.address, ipv6: facts.ipv6?.address };
      this.log.info(fields, before ? 'this node’s resource carries its address' : 'this node’s resource is made');
      return undefined;
    } catch (error) {
      if (error instanceof DatastoreError) return messageOf(error);
      throw error;
    }
  }
}
