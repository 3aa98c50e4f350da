/**
 * Flannel's `vxlan` backend on this node: its ends, one a family, and what the lease says of them. Pure, and the one writer
 * of its devices.
 */
import { VXLAN_OVERHEAD, vxlanMac } from '../../calc/mod.ts';
import type { LeaseVxlan } from '../../calc/mod.ts';
import { VXLAN_MARK, VxlanPart } from '../../dataplane/mod.ts';
import type { Caretaker, TunnelKernel, TunnelOptions } from '../../dataplane/mod.ts';
import type { VxlanPeer, VxlanTunnel } from '../../desired/mod.ts';
import { formatVtep, subnetList } from '../../ipam/mod.ts';
import type { LeaseAttributes, SubnetLease, VxlanBackend } from '../../ipam/mod.ts';
import { familyOf, prefixAddress } from '../../net/mod.ts';
import type { Family, IpAddress, MacAddress } from '../../net/mod.ts';
import type { HostSnapshot, NodeAddress } from '../detect.ts';

export const HOST_GW = 'host-gw';
export const VXLAN = 'vxlan';

/** Flannel's names: the tunnel's number is part of them. */
const NAMES: Readonly<Record<Family, string>> = { 4: 'flannel.', 6: 'flannel-v6.' };
const deviceName = (vni: number, family: Family): string => `${NAMES[family]}${vni}`;

export const leaseVxlan = ({ vni, directRouting }: VxlanBackend): LeaseVxlan => ({
  ...{ vni, directRouting },
  device: { 4: deviceName(vni, 4), 6: deviceName(vni, 6) },
});

/** The MAC of this node's end: what a device that is there already has, so that nobody need learn another. */
function macOf(backend: VxlanBackend, node: string, host: HostSnapshot, family: Family): MacAddress {
  const device = host.links.find(({ name, kind }) => name === deviceName(backend.vni, family) && kind === 'vxlan');
  return device?.address ?? vxlanMac(node, family);
}

/** The backend part of this node's lease. */
export function backendAttributes(
  backend: VxlanBackend | undefined,
  node: string,
  families: readonly Family[],
  host: HostSnapshot,
): Pick<LeaseAttributes, 'backendType' | 'backendData' | 'backendV6Data'> {
  if (!backend) return { backendType: HOST_GW };
  const data = (family: Family) => formatVtep({ vni: backend.vni, mac: macOf(backend, node, host, family) });
  return {
    backendType: VXLAN,
    ...(families.includes(4) && { backendData: data(4) }),
    ...(families.includes(6) && { backendV6Data: data(6) }),
  };
}

/** The largest packet that fits through the tunnel from this address, bytes. */
export const innerMtu = (backend: VxlanBackend, { address, mtu }: NodeAddress): number =>
  (backend.mtu === 0 ? mtu : backend.mtu) - VXLAN_OVERHEAD[familyOf(address)];

/** A tunnel as far as this node decides it; the peers come from the others' leases. */
export type VxlanEnd = Omit<VxlanTunnel, 'peers' | 'from'>;

/** This node's ends: with the address of its own subnet, as Flannel has it. */
export function vxlanEnds(
  backend: VxlanBackend,
  node: string,
  lease: SubnetLease,
  addresses: readonly NodeAddress[],
  host: HostSnapshot,
): VxlanEnd[] {
  return subnetList(lease.subnets).flatMap((subnet): VxlanEnd[] => {
    const family = familyOf(subnet);
    const uplink = addresses.find(({ address }) => familyOf(address) === family);
    if (!uplink) return [];
    const { vni, port } = backend;
    return [
      {
        ...{ device: deviceName(vni, family), vni, port, local: uplink.address, uplink: uplink.device },
        ...{ address: prefixAddress(subnet), mac: macOf(backend, node, host, family), mtu: innerMtu(backend, uplink) },
      },
    ];
  });
}

/** Keeps the devices. One of another number than before is another device, and the old one goes when nobody uses it. */
export class VxlanDevices {
  private readonly kernel: TunnelKernel;
  private readonly caretaker: Caretaker;
  private readonly options: TunnelOptions;
  private readonly parts = new Map<string, VxlanPart>();
  private wanted: readonly VxlanEnd[] = [];

  constructor(kernel: TunnelKernel, caretaker: Caretaker, options: TunnelOptions) {
    this.kernel = kernel;
    this.options = options;
    this.caretaker = caretaker;
  }

  /** Takes charge of what an earlier life left. */
  adopt(host: HostSnapshot): void {
    for (const { name, alias } of host.links) if (alias === VXLAN_MARK && name.startsWith('flannel')) this.part(name);
  }

  /** Undefined: not known yet, and nothing is touched. `nodes`: all there are, with an end of their own or not. */
  setDesired(ends: readonly VxlanEnd[] | undefined, peers: readonly VxlanPeer[], nodes: readonly IpAddress[]): void {
    if (ends === undefined) return;
    this.wanted = ends;
    const wanted = new Map(
      ends.map((end): [string, VxlanTunnel] => {
        const family = familyOf(end.local);
        const from = new Set(nodes.filter((node) => familyOf(node) === family));
        return [end.device, { ...end, peers: peers.filter(({ node }) => familyOf(node) === family), from }];
      }),
    );
    for (const device of wanted.keys()) this.part(device);
    for (const [device, part] of this.parts) part.setDesired(wanted.get(device) ?? 'absent');
  }

  /** Brings the devices up to what is wanted now: routes through them may be wanted already, and are written later. */
  settle(): void {
    for (const { device } of this.wanted) this.caretaker.settle(this.part(device));
  }

  /** Those there are, or were. */
  get devices(): readonly string[] {
    return [...this.parts.keys()];
  }

  owns(device: string): boolean {
    return this.parts.has(device);
  }

  /** Whether the others may send by it. */
  get inPlace(): boolean {
    return this.wanted.length > 0 && this.wanted.every(({ device }) => this.part(device).state().inPlace);
  }

  /** Devices that are there although none is wanted, with what they wait for. */
  get leftovers(): readonly string[] {
    return [...this.parts].flatMap(([device, part]) => {
      const { inPlace, waiting } = part.state();
      return inPlace ? [`${device}${waiting === undefined ? '' : `: ${waiting}`}`] : [];
    });
  }

  private part(device: string): VxlanPart {
    let part = this.parts.get(device);
    if (!part) {
      part = new VxlanPart(this.kernel, device, device.startsWith(NAMES[6]) ? 6 : 4, this.options);
      this.parts.set(device, part);
      this.caretaker.add(part);
    }
    return part;
  }
}
