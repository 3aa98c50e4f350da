/** Kubernetes' Nodes: their pod CIDRs, addresses, labels, conditions. */
import { z } from 'zod';
import { familyOf, parseAddress, parsePrefix } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import { CORDON_MARK, DRAIN_MARK, isMarked } from '../../model/mod.ts';
import type { FactTable, NodeFacts } from '../facts.ts';
import { followApi } from '../kubernetes/follow.ts';
import type { ApiAccess } from '../kubernetes/access.ts';
import { Claims } from './claims.ts';
import { Source } from './source.ts';

const texts = z.record(z.string(), z.string()).nullish();
const schema = z.looseObject({
  metadata: z.looseObject({ labels: texts, annotations: texts }),
  spec: z
    .looseObject({
      podCIDR: z.string().optional(),
      podCIDRs: z.array(z.string()).nullish(),
      unschedulable: z.boolean().optional(),
    })
    .nullish(),
  status: z
    .looseObject({
      addresses: z.array(z.looseObject({ type: z.string(), address: z.string() })).nullish(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish(),
    })
    .nullish(),
});
type ApiNode = z.output<typeof schema>;

export class KubernetesSource extends Source {
  private readonly access: ApiAccess;
  private readonly claims = new Claims();

  constructor(access: ApiAccess) {
    super();
    this.access = access;
  }

  async run(facts: FactTable, signal: AbortSignal, changed: () => void): Promise<void> {
    const part = this.part();
    for await (const update of followApi(this.access, '/api/v1/nodes', signal)) {
      if (update.type === 'put') this.take(facts, update.name, update.object);
      else if (update.type === 'delete') {
        this.claims.set(facts, update.name, undefined, []);
        facts.node(update.name, undefined);
      } else part.heard(update);
      changed();
    }
  }

  /** A Node that cannot be read stays as it was. */
  private take(facts: FactTable, name: string, object: unknown): void {
    const parsed = schema.safeParse(object);
    if (!parsed.success) return;
    facts.node(name, factsOf(parsed.data));
    this.claims.set(facts, name, name, podCidrs(parsed.data));
  }
}

function podCidrs({ spec }: ApiNode): Prefix[] {
  const all = spec?.podCIDRs ?? (spec?.podCIDR === undefined ? [] : [spec.podCIDR]);
  return all.flatMap((text) => parsePrefix(text) ?? []);
}

export function factsOf({ metadata, spec, status }: ApiNode): NodeFacts {
  const labels = metadata.labels ?? {};
  const annotations = metadata.annotations ?? {};
  const addresses: Partial<Record<Family, IpAddress>> = {};
  for (const { type, address } of status?.addresses ?? []) {
    const parsed = type === 'InternalIP' ? parseAddress(address) : undefined;
    if (parsed !== undefined) addresses[familyOf(parsed)] ??= parsed;
  }
  const condition = (type: string) => status?.conditions?.find((c) => c.type === type)?.status;
  const ready = condition('Ready');
  return {
    addresses,
    labels,
    cordoned: spec?.unschedulable === true || isMarked(CORDON_MARK, labels, annotations),
    draining: isMarked(DRAIN_MARK, labels, annotations),
    ready: ready === undefined ? undefined : ready === 'True' && condition('NetworkUnavailable') !== 'True',
  };
}
