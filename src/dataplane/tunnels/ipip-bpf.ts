/**
 * IPIP for kernels without ipip.ko: a TUN device, two programs, and a map of the nodes packets are taken from. All of
 * it lives on without this process; the next one finds the programs by their name and the map by its program.
 */
import { BpfMap, mapsOfProgram } from '../../bpf/mod.ts';
import type { IpipTunnel } from '../../desired/mod.ts';
import { addressBytes, addressFromBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import type { Link } from '../../netlink/mod.ts';
import { openTun } from '../../sys/mod.ts';
import type { Fd } from '../../sys/mod.ts';
import type { PlannedChange } from '../part.ts';
import type { TunnelKernel } from './device.ts';
import { ipipDecapsulation, ipipEncapsulation, ipipGuard, PEER_VALUE_BYTES } from './ipip-programs.ts';
import { unpackReassembled } from './ipip-reassembled.ts';
import { hookName, ProgramHooks } from './program-hooks.ts';

/** A new form of the programs or of the map needs a new number: then what an older life attached is replaced. */
const FORM = 5;
const PEER_LIMIT = 65_536;
const KEY_BYTES = 4;

export class BpfIpip implements Disposable {
  private readonly kernel: TunnelKernel;
  private readonly hooks: ProgramHooks;
  private tun: Fd | undefined;
  private unpacking: Disposable | undefined;
  private tunnel: IpipTunnel | undefined;
  private peers: BpfMap | undefined;

  constructor(kernel: TunnelKernel) {
    this.kernel = kernel;
    this.hooks = new ProgramHooks(kernel);
  }

  /** Makes the device, or takes it over. What is held of one that was deleted is let go. */
  open(device: string): void {
    this.close();
    const tun = this.kernel.inside(() => openTun(device));
    this.tun = tun;
    const takes = (source: IpAddress, destination: IpAddress) =>
      destination === this.tunnel?.local && this.tunnel.peers.has(source);
    this.unpacking = this.kernel.inside(() => unpackReassembled(tun, takes));
  }

  private close(): void {
    this.unpacking?.[Symbol.dispose]();
    this.unpacking = undefined;
    this.tun?.close();
    this.tun = undefined;
  }

  changes(tunnel: IpipTunnel, link: Link, uplink: Link): PlannedChange[] {
    this.tunnel = tunnel;
    const { device } = tunnel;
    const changes: PlannedChange[] = [];
    if (!this.tun) changes.push({ text: `# hold the TUN device ${device}`, apply: () => this.open(device) });
    const ends = { local: tunnel.local, tunnel: link.index, uplink: uplink.index };
    // the name tells what a program was made for: a changed address or uplink means new programs
    const name = hookName(`${FORM} ${tunnel.local} ${link.index} ${uplink.index}`);
    changes.push(...this.ingressChanges(tunnel, uplink, name, (peers) => ipipDecapsulation(ends, peers)));
    // the program asks the FIB in the name of the tunnel device, which answers only a device that forwards
    const forwarding = `net/ipv4/conf/${device}/forwarding`;
    const { sysctls } = this.kernel;
    if (sysctls.read(forwarding) !== '1')
      changes.push({ text: `sysctl -w ${forwarding}=1`, apply: () => sysctls.write(forwarding, '1') });
    if (!this.hooks.attached(link, 'egress').some((program) => program.name === name))
      changes.push(this.hooks.attachment(link, 'egress', name, () => ipipEncapsulation(ends)));
    return changes;
  }

  /** For the kernel's own tunnel device, where nf_tables cannot keep strangers' packets from it: a program that only looks. */
  guardChanges(tunnel: IpipTunnel, uplink: Link): PlannedChange[] {
    const name = hookName(`${FORM} guard ${tunnel.local} ${uplink.index}`);
    const ends = { local: tunnel.local, uplink: uplink.index };
    return this.ingressChanges(tunnel, uplink, name, (peers) => ipipGuard(ends, peers));
  }

  /** The map of peers, and the program at the uplink that asks it. */
  private ingressChanges(
    tunnel: IpipTunnel,
    uplink: Link,
    name: string,
    program: (peers: number) => Uint8Array,
  ): PlannedChange[] {
    const incoming = this.hooks.attached(uplink, 'ingress').find((program) => program.name === name);
    if (incoming) this.peers ??= mapsOfProgram(incoming.programId, KEY_BYTES, PEER_VALUE_BYTES)?.[0];
    const peers = this.peerChanges(tunnel.peers);
    if (incoming) return peers;
    return [...peers, this.hooks.attachment(uplink, 'ingress', name, () => program(this.ensurePeers().fd.number))];
  }

  /** Takes our programs off every device but `keep`. */
  detachments(keep?: Link): PlannedChange[] {
    return this.hooks
      .incoming()
      .filter(([link]) => link.index !== keep?.index)
      .map(([link, program]) => this.hooks.detachment(link, program));
  }

  /** A number that grows while packets come in: when the last one of each peer came. */
  received(): number {
    if (!this.peers) {
      const [first] = this.hooks.incoming();
      this.peers = first && mapsOfProgram(first[1].programId, KEY_BYTES, PEER_VALUE_BYTES)?.[0];
    }
    let sum = 0;
    for (const [, value] of this.peers?.entries() ?? [])
      sum += Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
    return sum;
  }

  private ensurePeers(): BpfMap {
    return (this.peers ??= BpfMap.create('godwit_ipip', KEY_BYTES, PEER_VALUE_BYTES, PEER_LIMIT));
  }

  private peerChanges(wanted: ReadonlySet<IpAddress>): PlannedChange[] {
    const there = new Set((this.peers?.entries() ?? []).map(([address]) => addressFromBytes(address)));
    const added = [...wanted].filter((peer) => !there.has(peer));
    const gone = [...there].filter((peer) => !wanted.has(peer));
    if (added.length + gone.length === 0) return [];
    const text = `# IPIP is taken from ${[...added.map((p) => `+${p}`), ...gone.map((p) => `-${p}`)].join(' ')}`;
    const apply = () => {
      const map = this.ensurePeers();
      for (const peer of added) map.set(addressBytes(peer), new Uint8Array(PEER_VALUE_BYTES));
      for (const peer of gone) map.delete(addressBytes(peer));
    };
    return [{ text, apply }];
  }

  /** Lets go of descriptors; the tunnel goes on. */
  [Symbol.dispose](): void {
    this.close();
    this.peers?.[Symbol.dispose]();
    this.peers = undefined;
  }
}
