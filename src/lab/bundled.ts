/** The scenarios that come with the program, as text inside it. */
import { readFileSync } from 'node:fs';
import { err, GodwitError, messageOf, printable } from '../base/mod.ts';
import type { Result } from '../base/mod.ts';
import calicoBgp from '../../scenarios/calico-bgp.yaml' with { type: 'text' };
import calicoBird from '../../scenarios/calico-bird.yaml' with { type: 'text' };
import calicoDualStack from '../../scenarios/calico-dual-stack.yaml' with { type: 'text' };
import calicoIpip from '../../scenarios/calico-ipip.yaml' with { type: 'text' };
import calicoIpv6 from '../../scenarios/calico-ipv6.yaml' with { type: 'text' };
import calicoVxlan from '../../scenarios/calico-vxlan.yaml' with { type: 'text' };
import gatewayAnnouncer from '../../scenarios/gateway-announcer.yaml' with { type: 'text' };
import gatewayDynamic from '../../scenarios/gateway-dynamic-neighbors.yaml' with { type: 'text' };
import hostGw from '../../scenarios/host-gw.yaml' with { type: 'text' };
import mesh100 from '../../scenarios/mesh-100.yaml' with { type: 'text' };
import routeReflector from '../../scenarios/route-reflector.yaml' with { type: 'text' };
import routed from '../../scenarios/routed.yaml' with { type: 'text' };
import { readScenario } from './read.ts';
import type { Topology } from './topology.ts';

/** The same with another program on the routers; what is said of FRR alone is left out. */
const variant = (text: string, name: string, program: string, word: string): string =>
  text
    .replace(`name: ${name}`, `name: ${name}-${program}`)
    .replaceAll('program: frr', `program: ${program}`)
    .replace(/drill: #.*/, 'drill:')
    .replaceAll(', loss: 1000', '')
    .replace(/^description: .*/m, (line) => `${line} (the gateways run ${word})`);

export const bundledScenarios: Readonly<Record<string, string>> = {
  'host-gw': hostGw,
  routed,
  'calico-bgp': calicoBgp,
  'calico-ipip': calicoIpip,
  'calico-vxlan': calicoVxlan,
  'calico-dual-stack': calicoDualStack,
  'calico-ipv6': calicoIpv6,
  'calico-bird': calicoBird,
  'route-reflector': routeReflector,
  'mesh-100': mesh100,
  'gateway-dynamic-neighbors': gatewayDynamic,
  'gateway-dynamic-neighbors-bird': variant(gatewayDynamic, 'gateway-dynamic-neighbors', 'bird', 'BIRD'),
  'gateway-dynamic-neighbors-godwit': variant(gatewayDynamic, 'gateway-dynamic-neighbors', 'godwit', 'godwit bgp'),
  'gateway-announcer': gatewayAnnouncer,
  'gateway-announcer-bird': variant(gatewayAnnouncer, 'gateway-announcer', 'bird', 'BIRD'),
  'gateway-announcer-godwit': variant(gatewayAnnouncer, 'gateway-announcer', 'godwit', 'godwit bgp'),
};

export interface LoadedScenario {
  readonly topology: Topology;
  readonly text: string;
  /** What the user called it. */
  readonly source: string;
}

/** By the name of a scenario that comes with the program, or by file; what has a slash or a dot in it is a file. */
export function loadScenario(nameOrFile: string): Result<LoadedScenario, GodwitError> {
  const isFile = /[./]/.test(nameOrFile);
  const names = Object.keys(bundledScenarios).join(', ');
  let text = isFile || !Object.hasOwn(bundledScenarios, nameOrFile) ? undefined : bundledScenarios[nameOrFile];
  if (text === undefined && !isFile) {
    const hint = `there are ${names}; or name a file, such as ./mine.yaml`;
    return err(new GodwitError('scenario', `no scenario ${printable(nameOrFile)}`, { hint }));
  }
  try {
    text ??= readFileSync(nameOrFile, 'utf8');
  } catch (error) {
    return err(new GodwitError('scenario', `cannot read the scenario: ${messageOf(error)}`, { cause: error }));
  }
  const topology = readScenario(nameOrFile, text);
  return topology.ok ? { ok: true, value: { topology: topology.value, text, source: nameOrFile } } : topology;
}
