/**
 * The bridge that this node's pods are attached to: there, up, marked as ours, with the gateway address of each of our
 * subnets, and with a MAC that stays (a bridge without one of its own takes that of a port, and pods' neighbour entries go
 * stale as ports come and go). A bridge of that name that somebody else made is taken over with its ports. Pods that lost
 * their bridge (it was deleted: the kernel lets its ports go) become its ports again.
 */
import { GodwitError, unreachable } from '../base/mod.ts';
import type { BridgeNetwork } from '../desired/mod.ts';
import {
  addressBytes,
  familyOf,
  formatInterfaceAddress,
  macFromBytes,
  prefixContains,
  prefixLength,
} from '../net/mod.ts';
import type { InterfaceAddress, IpAddress, MacAddress } from '../net/mod.ts';
import { addAddress, addLink, deleteAddress, deleteLink, IFA_F, isUp, setBridgePort, setLink } from '../netlink/mod.ts';
import type { Batch, KernelAddress, Link, Rtnetlink } from '../netlink/mod.ts';
import { ROUTED_PREFIX } from './endpoints-routed.ts';
import type { Part, PlannedChange } from './part.ts';

/** Our mark on links, in their alias. */
export const BRIDGE_ALIAS = 'godwit:bridge';

/** What it looks at and writes with. */
export type LinkKernel = Pick<Rtnetlink, 'links' | 'addresses' | 'change'>;

type Step =
  | { readonly type: 'create'; readonly mtu: number; readonly mac: MacAddress }
  | { readonly type: 'mark' }
  /** Sets the address it has anyway, which makes it stay. */
  | { readonly type: 'pin'; readonly mac: MacAddress }
  | { readonly type: 'mtu'; readonly mtu: number }
  | { readonly type: 'up' }
  | { readonly type: 'port'; readonly port: Link }
  | { readonly type: 'address' | 'stale'; readonly address: InterfaceAddress };

/** Locally administered, and as stable as the gateway's address: 0a:58 and its last four bytes. */
export function bridgeMac(gateway: IpAddress): MacAddress {
  return macFromBytes(Uint8Array.of(0x0a, 0x58, ...addressBytes(gateway).slice(-4)));
}

/** A bridged pod's end here that is in no bridge; the mark is made last, so one that has it was in one. */
const isLost = ({ kind, name, alias, master }: Link) =>
  kind === 'veth' && master === 0 && alias.startsWith('godwit:') && !name.startsWith(ROUTED_PREFIX);

/** What is missing; pure. Throws when the name is taken by something that is no bridge. */
export function bridgeSteps(want: BridgeNetwork, links: readonly Link[], addresses: readonly KernelAddress[]): Step[] {
  const steps: Step[] = [];
  const link = links.find((l) => l.name === want.bridge);
  const gateways = want.subnets.map(({ gateway, subnet }) => ({
    address: gateway,
    prefixLength: prefixLength(subnet),
  }));
  const ports = links.filter(isLost).map((port): Step => ({ type: 'port', port }));
  if (!link) {
    steps.push({ type: 'create', mtu: want.mtu, mac: bridgeMac(want.subnets[0]!.gateway) }, { type: 'mark' });
    steps.push(...gateways.map((address): Step => ({ type: 'address', address })), { type: 'up' }, ...ports);
    return steps;
  }
  if (link.kind !== 'bridge') {
    throw new GodwitError(
      'conflict',
      `interface ${want.bridge} is there, but it is ${link.kind || 'hardware'}, not a bridge`,
      {
        hint: 'remove it, or give the agent another name with --bridge',
      },
    );
  }
  if (link.alias !== BRIDGE_ALIAS) {
    if (link.address !== undefined) steps.push({ type: 'pin', mac: link.address });
    steps.push({ type: 'mark' });
  }
  if (link.mtu !== want.mtu) steps.push({ type: 'mtu', mtu: want.mtu });
  const there = addresses.filter((a) => a.index === link.index);
  const equal = (a: InterfaceAddress, b: InterfaceAddress) =>
    a.address === b.address && a.prefixLength === b.prefixLength;
  for (const address of gateways) if (!there.some((a) => equal(a, address))) steps.push({ type: 'address', address });
  // a gateway of a subnet we held before; an administrator's address from elsewhere stays
  for (const address of there) {
    const pods = want.subnets.some(({ network }) => prefixContains(network, address.address));
    if (pods && !gateways.some((a) => equal(a, address))) {
      steps.push({ type: 'stale', address: { address: address.address, prefixLength: address.prefixLength } });
    }
  }
  if (!isUp(link)) steps.push({ type: 'up' });
  return [...steps, ...ports];
}

function formatStep(bridge: string, step: Step): string {
  switch (step.type) {
    case 'create':
      return `ip link add ${bridge} mtu ${step.mtu} address ${step.mac} type bridge`;
    case 'mark':
      return `ip link set ${bridge} alias ${BRIDGE_ALIAS}`;
    case 'pin':
      return `ip link set ${bridge} address ${step.mac}`;
    case 'mtu':
      return `ip link set ${bridge} mtu ${step.mtu}`;
    case 'up':
      return `ip link set ${bridge} up`;
    case 'port':
      return `ip link set ${step.port.name} master ${bridge}`;
    case 'address':
      return `ip address add ${formatInterfaceAddress(step.address)} dev ${bridge}`;
    case 'stale':
      return `ip address del ${formatInterfaceAddress(step.address)} dev ${bridge}`;
    default:
      return unreachable(step);
  }
}

/** Makes a pod's end a port of the bridge of that index. */
function joinBridge(batch: Batch, { index, name }: Link, bridge: number): void {
  setLink(batch, index, { master: bridge }, name);
  // as it was attached: frames of a pod that reaches itself through a service address go back by the port they came from
  setBridgePort(batch, index, { hairpin: true });
}

export class BridgePart implements Part {
  readonly name = 'bridge';
  private readonly kernel: LinkKernel;
  private want: BridgeNetwork | undefined;
  /** Name of a bridge that shall be gone. */
  private unwanted: string | undefined;

  constructor(kernel: LinkKernel) {
    this.kernel = kernel;
  }

  /** Undefined: nothing is wanted and nothing is touched. */
  setDesired(want: BridgeNetwork | undefined): void {
    this.want = want;
  }

  /** The bridge of this name goes, if it bears our mark, as soon as nothing is attached to it. */
  remove(bridge: string): void {
    this.want = undefined;
    this.unwanted = bridge;
  }

  plan(): PlannedChange[] {
    const { want, unwanted } = this;
    if (unwanted !== undefined) return this.removal(unwanted);
    if (!want) return [];
    const steps = bridgeSteps(want, this.kernel.links(), this.kernel.addresses());
    return steps.map((step) => ({ text: formatStep(want.bridge, step), apply: () => this.apply(want.bridge, step) }));
  }

  private removal(bridge: string): PlannedChange[] {
    const links = this.kernel.links();
    const link = links.find(({ name }) => name === bridge);
    if (link?.kind !== 'bridge' || link.alias !== BRIDGE_ALIAS) return [];
    const ports = links.filter(({ master }) => master === link.index).map(({ name }) => name);
    if (ports.length > 0) throw new Error(`${bridge} is still used: ${ports.slice(0, 10).join(', ')}`);
    const apply = () => this.kernel.change((b) => void deleteLink(b, link.index, bridge));
    return [{ text: `ip link del ${bridge}`, apply }];
  }

  private apply(bridge: string, step: Step): void {
    if (step.type === 'create') {
      const { mtu, mac } = step;
      this.kernel.change((b) => addLink(b, { kind: 'bridge', name: bridge, mtu, address: mac }));
      return;
    }
    const links = this.kernel.links();
    const index = links.find((link) => link.name === bridge)?.index;
    // gone meanwhile: its event brings the next pass
    if (index === undefined) return;
    if (step.type === 'port' && !links.some((link) => link.index === step.port.index && isLost(link))) return;
    this.kernel.change((b) => {
      if (step.type === 'mark') setLink(b, index, { alias: BRIDGE_ALIAS }, bridge);
      else if (step.type === 'pin') setLink(b, index, { address: step.mac }, bridge);
      else if (step.type === 'mtu') setLink(b, index, { mtu: step.mtu }, bridge);
      else if (step.type === 'up') setLink(b, index, { up: true }, bridge);
      else if (step.type === 'port') joinBridge(b, step.port, index);
      else if (step.type === 'stale') deleteAddress(b, index, step.address);
      else {
        // duplicate address detection waits for a carrier, which a bridge without ports does not have
        const nodad = familyOf(step.address.address) === 6 ? { flags: IFA_F.NODAD } : {};
        addAddress(b, index, step.address, nodad);
      }
    });
  }
}
