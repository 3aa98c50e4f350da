/** BGP settings of the whole cluster (`default`) or of one node (`node.NAME`). */
import { z } from 'zod';
import * as f from '../fields.ts';
import { defineKind, yesNo } from '../kind.ts';
import type { Problem } from '../kind.ts';

/** A reference to a password that is kept elsewhere, never in the resource. */
export const password = f.section({
  secretKeyRef: f.optional(
    f.section({ name: f.text(253), key: f.text(253), optional: f.optional(f.explicit(f.flag)) }),
  ),
});
const ranges = f.withDefault(f.list(f.section({ cidr: f.optional(f.prefix()) }), 'IP prefixes as {cidr: …}'), []);
/** For which pools a program of Calico's installs the routes to other nodes' blocks. */
export const programmer = f.choice('Enabled', 'Disabled', 'EnabledIPIPOnly', 'EnabledNoEncapOnly');
/** A metric of the kernel's route table, as Felix and BIRD share it. */
export const priority = f.integer(1, 2_147_483_646);

const spec = f.section({
  logSeverityScreen: f.withDefault(f.text(32), 'Info'),
  nodeToNodeMeshEnabled: f.withDefault(f.explicit(f.flag), true),
  asNumber: f.optional(f.explicit(f.asn())),
  serviceLoadBalancerIPs: ranges,
  serviceExternalIPs: ranges,
  serviceClusterIPs: ranges,
  serviceLoadBalancerAggregation: f.withDefault(f.choice('Enabled', 'Disabled'), 'Enabled'),
  communities: f.withDefault(
    f.list(f.section({ name: f.text(63), value: f.community }), 'communities as {name, value}'),
    [],
  ),
  prefixAdvertisements: f.withDefault(
    f.list(
      f.section({ cidr: f.prefix(), communities: f.list(f.text(63), 'communities or names of such') }),
      'advertisements as {cidr, communities}',
    ),
    [],
  ),
  /** 179 where neither the node's nor the cluster's configuration says anything. */
  listenPort: f.optional(f.integer(1, 65_535)),
  nodeMeshPassword: f.optional(password),
  nodeMeshMaxRestartTime: f.optional(f.duration(0, 4095)),
  bindMode: f.withDefault(f.choice('None', 'NodeIP'), 'None'),
  ignoredInterfaces: f.withDefault(f.list(f.interfacePattern, 'interface names'), []),
  localWorkloadPeeringIPV4: f.optional(f.address(4)),
  localWorkloadPeeringIPV6: f.optional(f.address(6)),
  programClusterRoutes: f.optional(programmer),
  ipv4NormalRoutePriority: f.withDefault(priority, 1024),
  ipv6NormalRoutePriority: f.withDefault(priority, 1024),
});
export type BgpConfigurationSpec = z.output<typeof spec>;

function check(config: BgpConfigurationSpec, name: string): Problem[] {
  const problems: Problem[] = [];
  if (name !== 'default' && !name.startsWith('node.'))
    problems.push({
      path: 'metadata.name',
      message: `${name} is not; allowed: default, or node. and the name of a node`,
    });
  const known = new Set(config.communities.map((community) => community.name));
  for (const [i, advertisement] of config.prefixAdvertisements.entries()) {
    for (const [j, community] of advertisement.communities.entries()) {
      if (known.has(community) || f.community.safeParse(community).success) continue;
      const path = `spec.prefixAdvertisements[${i}].communities[${j}]`;
      problems.push({ path, message: `${community} is not; allowed: a community, or a name in spec.communities` });
    }
  }
  return problems;
}

/** Settings that mean the whole cluster and therefore stand in `default` only. */
const clusterOnly = [
  'nodeToNodeMeshEnabled',
  'asNumber',
  'serviceLoadBalancerIPs',
  'serviceExternalIPs',
  'serviceClusterIPs',
  'nodeMeshPassword',
  'nodeMeshMaxRestartTime',
] as const;

export const bgpConfiguration = defineKind<'BGPConfiguration', BgpConfigurationSpec>({
  kind: 'BGPConfiguration',
  plural: 'bgpconfigurations',
  shortNames: ['bgpconfig', 'bgpconfigs'],
  namespaced: false,
  spec,
  columns: [
    { heading: 'NAME', cell: (config) => config.name },
    { heading: 'LOGSEVERITY', cell: (config) => config.spec.logSeverityScreen },
    { heading: 'MESHENABLED', cell: (config) => yesNo(config.spec.nodeToNodeMeshEnabled) },
    { heading: 'ASNUMBER', cell: (config) => String(config.spec.asNumber ?? '-') },
  ],
  check,
  checkGiven: (given, name) =>
    clusterOnly
      .filter((key) => name !== 'default' && given[key] !== undefined && given[key] !== null)
      .map((key) => ({
        path: `spec.${key}`,
        message: 'is for the whole cluster; allowed: only in the one named default',
      })),
});
