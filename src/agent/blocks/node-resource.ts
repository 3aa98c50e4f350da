/**
 * This node's own Node resource: that it exists, and that its addresses are this node's. Everything else in it (AS number,
 * reflector id, labels, what other programs put there) is its writers' and stays. It is what the other nodes make their
 * sessions to this one from, so it is made again when somebody deletes it while the agent runs.
 */
import { Backoff, messageOf, sleep, Wakeup } from '../../base/mod.ts';
import type { Logger } from '../../base/mod.ts';
import { DatastoreError } from '../../datastore/mod.ts';
import type { PublishedTunnels } from '../../calc/mod.ts';
import type { Datastore } from '../../datastore/mod.ts';
import { API_VERSION, isObject, parseGiven, ResourceClient } from '../../model/mod.ts';
import type { AnyResource, Json, JsonObject, Resource } from '../../model/mod.ts';
import { formatInterfaceAddress } from '../../net/mod.ts';
import type { InterfaceAddress } from '../../net/mod.ts';

/** What this node says of itself. */
export interface NodeFacts {
  /** An address that is absent is left as it is in the resource. */
  readonly ipv4: InterfaceAddress | undefined;
  readonly ipv6: InterfaceAddress | undefined;
  /** Undefined: nothing is known of them, and they are left as they are. */
  readonly tunnels: PublishedTunnels | undefined;
}

/** Whether the resource says what is so of the node's addresses. */
export function saysSo(node: Resource<'Node'> | undefined, facts: NodeFacts): boolean {
  const same = (want: InterfaceAddress | undefined, have: InterfaceAddress | undefined) =>
    want === undefined || (have !== undefined && formatInterfaceAddress(want) === formatInterfaceAddress(have));
  return (
    node !== undefined && same(facts.ipv4, node.spec.bgp?.ipv4Address) && same(facts.ipv6, node.spec.bgp?.ipv6Address)
  );
}

function saysAll(node: Resource<'Node'> | undefined, facts: NodeFacts): boolean {
  if (!node || !saysSo(node, facts)) return false;
  const { tunnels } = facts;
  if (!tunnels) return true;
  const { spec, metadata } = node;
  return (
    spec.bgp?.ipv4IPIPTunnelAddr === tunnels.ipipAddress &&
    spec.ipv4VXLANTunnelAddr === tunnels.vxlanAddress[4] &&
    spec.ipv6VXLANTunnelAddr === tunnels.vxlanAddress[6] &&
    Object.entries(tunnels.annotations).every(([key, value]) => metadata.annotations[key] === value)
  );
}

/** The resource with the facts in it, everything else as it was. */
export function withFacts(name: string, before: Resource<'Node'> | undefined, facts: NodeFacts): AnyResource {
  const raw: JsonObject = before?.raw ?? {};
  const spec = objectOf(raw['spec']);
  const { tunnels } = facts;
  const bgp = merged(objectOf(spec['bgp']), {
    ...(facts.ipv4 && { ipv4Address: formatInterfaceAddress(facts.ipv4) }),
    ...(facts.ipv6 && { ipv6Address: formatInterfaceAddress(facts.ipv6) }),
    ...(tunnels && { ipv4IPIPTunnelAddr: tunnels.ipipAddress }),
  });
  const ends = tunnels
    ? { ipv4VXLANTunnelAddr: tunnels.vxlanAddress[4], ipv6VXLANTunnelAddr: tunnels.vxlanAddress[6] }
    : {};
  const old = before ? objectOf(raw['metadata']) : { name };
  const metadata = {
    ...old,
    ...(tunnels && { annotations: { ...objectOf(old['annotations']), ...tunnels.annotations } }),
    // only this very version of it is replaced
    ...(before && { resourceVersion: String(before.revision) }),
  };
  const given = { ...raw, kind: 'Node', apiVersion: API_VERSION, metadata, spec: merged({ ...spec, bgp }, ends) };
  if (before) return { ...before, raw: given };
  const parsed = parseGiven(given);
  if (!parsed.ok) throw new Error(`node ${name}: ${parsed.error.map(({ message }) => message).join('; ')}`);
  return parsed.value;
}

const objectOf = (value: Json | undefined): JsonObject => (isObject(value) ? value : {});

/** With these fields; those that are undefined are taken out. */
function merged(object: JsonObject, fields: Readonly<Record<string, string | undefined>>): JsonObject {
  const all: Record<string, Json | undefined> = { ...object, ...fields };
  for (const [key, value] of Object.entries(all)) if (value === undefined) delete all[key];
  return all;
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
    if (this.facts && !saysAll(this.seen(), this.facts)) this.wakeup.notify();
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
      if (saysAll(before, facts)) return undefined;
      const wanted = withFacts(this.name, before, facts);
      const written = before ? await client.replace(wanted) : await client.create(wanted);
      if (!written.ok) return written.error.message;
      const fields = { node: this.name, ipv4: facts.ipv4?.address, ipv6: facts.ipv6?.address };
      this.log.info(fields, before ? 'this node’s resource is brought up to date' : 'this node’s resource is made');
      return undefined;
    } catch (error) {
      if (error instanceof DatastoreError) return messageOf(error);
      throw error;
    }
  }
}
