/** A pod's attachment to the network: which node, which interface, which addresses. */
import { z } from 'zod';
import * as f from '../fields.ts';
import { defineKind } from '../kind.ts';
import type { Problem } from '../kind.ts';

const spec = f.section({
  orchestrator: f.optional(f.text(63)),
  workload: f.optional(f.text(253)),
  node: f.optional(f.name),
  containerID: f.optional(f.text(128, /^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,126}[a-zA-Z0-9])?$/, 'a container id')),
  pod: f.optional(f.name),
  endpoint: f.optional(f.text(63)),
  serviceAccountName: f.optional(f.text(253)),
  ipNetworks: f.withDefault(f.list(f.interfaceAddress(), 'addresses, as 10.233.1.2/32'), []),
  ipNATs: f.withDefault(
    f.list(f.section({ internalIP: f.address(), externalIP: f.address() }), '{internalIP, externalIP}'),
    [],
  ),
  ipv4Gateway: f.optional(f.address(4)),
  ipv6Gateway: f.optional(f.address(6)),
  profiles: f.withDefault(f.list(f.text(253), 'names of profiles'), []),
  interfaceName: f.optional(f.text(15, /^[a-zA-Z0-9_.-]{1,15}$/, 'an interface name')),
  mac: f.optional(f.mac),
  ports: f.optional(f.opaque),
  allowSpoofedSourcePrefixes: f.withDefault(f.list(f.interfaceAddress(), 'IP prefixes'), []),
  qosControls: f.optional(f.opaque),
});
export type WorkloadEndpointSpec = z.output<typeof spec>;

const escape = (part: string): string => part.replaceAll('-', '--');

/** `<node>-k8s-<pod>-<endpoint>` and the like, dashes inside a part doubled; undefined when a part is missing. */
export function workloadEndpointName(spec: WorkloadEndpointNameParts): string | undefined {
  const { node, orchestrator, endpoint } = spec;
  const subject =
    orchestrator === 'k8s'
      ? spec.pod
      : orchestrator === 'cni'
        ? spec.containerID
        : orchestrator === 'libnetwork'
          ? 'libnetwork'
          : spec.workload;
  if (node === undefined || orchestrator === undefined || endpoint === undefined || subject === undefined)
    return undefined;
  return [node, orchestrator, subject, endpoint].map(escape).join('-');
}
export type WorkloadEndpointNameParts = Pick<
  WorkloadEndpointSpec,
  'node' | 'orchestrator' | 'endpoint' | 'pod' | 'containerID' | 'workload'
>;

function check(spec: WorkloadEndpointSpec, name: string): Problem[] {
  const problems: Problem[] = [];
  const expected = workloadEndpointName(spec);
  if (expected === undefined)
    problems.push({ path: 'spec', message: 'needs node, orchestrator, endpoint and pod, containerID or workload' });
  else if (name !== expected) problems.push({ path: 'metadata.name', message: `${name} is not; allowed: ${expected}` });
  for (const [i, network] of spec.ipNetworks.entries()) {
    if (network.prefixLength === (network.address.includes(':') ? 128 : 32)) continue;
    problems.push({ path: `spec.ipNetworks[${i}]`, message: 'holds more than one address; allowed: a /32 or /128' });
  }
  return problems;
}

export const workloadEndpoint = defineKind<'WorkloadEndpoint', WorkloadEndpointSpec>({
  kind: 'WorkloadEndpoint',
  plural: 'workloadendpoints',
  shortNames: ['wep', 'weps'],
  namespaced: true,
  spec,
  columns: [
    { heading: 'WORKLOAD', cell: ({ spec }) => spec.workload ?? spec.pod ?? '' },
    { heading: 'NODE', cell: ({ spec }) => spec.node ?? '' },
    { heading: 'NETWORKS', cell: ({ spec }) => spec.ipNetworks.map((n) => `${n.address}/${n.prefixLength}`).join(',') },
    { heading: 'INTERFACE', cell: ({ spec }) => spec.interfaceName ?? '' },
  ],
  wide: [
    { heading: 'NAME', cell: (endpoint) => endpoint.name },
    { heading: 'WORKLOAD', cell: ({ spec }) => spec.workload ?? spec.pod ?? '' },
    { heading: 'NODE', cell: ({ spec }) => spec.node ?? '' },
    { heading: 'NETWORKS', cell: ({ spec }) => spec.ipNetworks.map((n) => `${n.address}/${n.prefixLength}`).join(',') },
    { heading: 'INTERFACE', cell: ({ spec }) => spec.interfaceName ?? '' },
    { heading: 'PROFILES', cell: ({ spec }) => spec.profiles.join(',') },
  ],
  check,
});
