/**
 * From what is known of this node to what its kernel should hold, all kinds at once, and to what its routes to the others
 * depend on. Pure: the agent hands the parts of the plan to their writers, the dry run prints what they would do with it.
 */
import type { LeaseView } from '../../calc/mod.ts';
import { forwardingSysctls } from '../../dataplane/mod.ts';
import type { SysctlWish } from '../../dataplane/mod.ts';
import type { BridgeNetwork, NatRules, PodSubnet } from '../../desired/mod.ts';
import { subnetList } from '../../ipam/mod.ts';
import type { NetworkConfig, SubnetEnv, SubnetLease } from '../../ipam/mod.ts';
import { nthAddress, prefixContains } from '../../net/mod.ts';
import type { Prefix } from '../../net/mod.ts';
import { connectedPrefixes } from '../connected.ts';
import type { HostSnapshot, NodeAddress } from '../detect.ts';
import { leaseName } from './ownership.ts';
import { HOST_GW, innerMtu, leaseVxlan, VXLAN, vxlanEnds } from './vxlan.ts';
import type { VxlanEnd } from './vxlan.ts';

export interface PlanInputs {
  /** This node's name. */
  readonly node: string;
  readonly bridge: string;
  readonly mtu: number | 'auto';
  readonly ipMasq: boolean;
  readonly etcdPrefix: string;
  readonly otherSegments?: LeaseView['otherSegments'];
  readonly network: NetworkConfig | undefined;
  readonly ownLease: SubnetLease | undefined;
  /** This node's addresses, the IPv4 one first. */
  readonly addresses: readonly NodeAddress[];
  readonly host: HostSnapshot;
}

export interface NodePlan {
  readonly networks: readonly Prefix[];
  /** This node's ends of the network's VXLAN, peers left out; undefined: not known yet. */
  readonly vxlan: readonly VxlanEnd[] | undefined;
  /** What the leases of the others are judged by. */
  readonly view: LeaseView;
  /** Undefined until a lease is held and an uplink known. */
  readonly bridge: BridgeNetwork | undefined;
  readonly sysctls: readonly SysctlWish[];
  /** Undefined: not known yet. */
  readonly masquerade: NatRules | 'absent' | undefined;
  readonly subnetEnv: SubnetEnv | undefined;
}

const networksOf = (config: NetworkConfig): Prefix[] =>
  [config.ipv4?.network, config.ipv6?.network].filter((network) => network !== undefined);

export function planNode(inputs: PlanInputs): NodePlan {
  const { network, ownLease, host, bridge, addresses } = inputs;
  const networks = network ? networksOf(network) : [];
  const ownSubnets = ownLease ? subnetList(ownLease.subnets) : [];
  const ipv6 = network?.ipv6 !== undefined;
  const uplinks = [...new Set(addresses.map((a) => a.device))];
  return {
    ...{ networks, vxlan: vxlanOf(inputs) },
    view: {
      networks,
      backendType: network?.vxlan ? VXLAN : HOST_GW,
      vxlan: network?.vxlan && leaseVxlan(network.vxlan),
      ownLease: ownLease && leaseName(ownLease, inputs.etcdPrefix),
      ownSubnets,
      ownAddresses: host.addresses.map((a) => a.address),
      connected: connectedPrefixes(host, bridge),
      uplink: addresses[0]?.device,
      otherSegments: inputs.otherSegments,
    },
    bridge: bridgeNetwork(inputs, networks, ownSubnets),
    sysctls: network ? forwardingSysctls({ ipv4: network.ipv4 !== undefined, ipv6, bridge, uplinks }) : [],
    masquerade: inputs.ipMasq ? network && { sources: networks, inside: networks, hosts: [] } : 'absent',
    subnetEnv: subnetEnv(inputs),
  };
}

function vxlanOf({ network, node, ownLease, addresses, host }: PlanInputs): readonly VxlanEnd[] | undefined {
  if (!network) return undefined;
  if (!network.vxlan) return [];
  return ownLease && vxlanEnds(network.vxlan, node, ownLease, addresses, host);
}

/** The uplink's MTU less what the tunnel takes, the smallest where the families have one each. */
function mtuOf({ mtu, addresses, network }: PlanInputs): number | undefined {
  if (mtu !== 'auto') return mtu;
  const vxlan = network?.vxlan;
  const sizes = addresses.map((address) => (vxlan ? innerMtu(vxlan, address) : address.mtu));
  return sizes.length === 0 ? undefined : Math.min(...sizes);
}

function bridgeNetwork(
  inputs: PlanInputs,
  networks: readonly Prefix[],
  own: readonly Prefix[],
): BridgeNetwork | undefined {
  const mtu = mtuOf(inputs);
  const subnets = own.flatMap((subnet): PodSubnet[] => {
    const gateway = nthAddress(subnet, 1);
    const network = networks.find((n) => prefixContains(n, gateway));
    return network === undefined ? [] : [{ subnet, gateway, network }];
  });
  return mtu === undefined || subnets.length === 0 ? undefined : { bridge: inputs.bridge, mtu, subnets };
}

function subnetEnv(inputs: PlanInputs): SubnetEnv | undefined {
  const { network, ownLease, ipMasq } = inputs;
  const mtu = mtuOf(inputs);
  if (!network || !ownLease || mtu === undefined) return undefined;
  return { config: network, subnets: ownLease.subnets, mtu, masquerade: ipMasq };
}
