/**
 * IPIP for kernels without ipip.ko: a TUN device, two tc programs, and a map of the nodes packets are taken from. All of
 * it lives on without this process; the next one finds the programs by their name and the map by its program.
 */
import { BpfMap, loadClassifier, mapsOfProgram } from '../../bpf/mod.ts';
import type { IpipTunnel } from '../../desired/mod.ts';
import { addressBytes, addressFromBytes } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { addClsact, deleteBpfFilter, setBpfFilter } from '../../netlink/mod.ts';
import type { BpfFilter, Link, Rtnetlink } from '../../netlink/mod.ts';
import { errno, isErrno, openTun } from '../../sys/mod.ts';
import type { Fd } from '../../sys/mod.ts';
import type { PlannedChange } from '../part.ts';
import type { TunnelKernel } from './device.ts';
import { ipipDecapsulation, ipipEncapsulation, ipipGuard, PEER_VALUE_BYTES } from './ipip-programs.ts';

/** Our filters' priority, and with their name our mark. A new form of the programs or the map needs a new name. */
const FILTER_PRIORITY = 71;
const FILTER_MARK = 'godwit_ipip';
const FILTER_NAME = `${FILTER_MARK}_2`;
const PEER_LIMIT = 65_536;
const KEY_BYTES = 4;

type Hook = BpfFilter['hook'];

export class BpfIpip implements Disposable {
  private readonly kernel: TunnelKernel;
  private readonly netlink: Rtnetlink;
  private tun: Fd | undefined;
  private peers: BpfMap | undefined;

  constructor(kernel: TunnelKernel) {
    this.kernel = kernel;
    this.netlink = kernel.netlink;
  }

  /** Makes the device, or takes it over. What is held of one that was deleted is let go. */
  open(device: string): void {
    this.tun?.close();
    this.tun = this.kernel.inside(() => openTun(device));
  }

  changes(tunnel: IpipTunnel, link: Link, uplink: Link): PlannedChange[] {
    const { device } = tunnel;
    const changes: PlannedChange[] = [];
    if (!this.tun) changes.push({ text: `# hold the TUN device ${device}`, apply: () => this.open(device) });
    const ends = { local: tunnel.local, tunnel: link.index, uplink: uplink.index };
    // the name tells what a program was made for: a changed address or uplink means new programs
    const name = `${FILTER_NAME} ${tunnel.local} ${link.index} ${uplink.index}`;
    changes.push(...this.ingressChanges(tunnel, uplink, name, (peers) => ipipDecapsulation(ends, peers)));
    // the program asks the FIB in the name of the tunnel device, which answers only a device that forwards
    const forwarding = `net/ipv4/conf/${device}/forwarding`;
    const { sysctls } = this.kernel;
    if (sysctls.read(forwarding) !== '1')
      changes.push({ text: `sysctl -w ${forwarding}=1`, apply: () => sysctls.write(forwarding, '1') });
    if (!this.filters(link.index, 'egress').some((filter) => filter.name === name))
      changes.push(this.attachment(link, 'egress', name, () => ipipEncapsulation(ends)));
    return changes;
  }

  /** For the kernel's own tunnel device, where nf_tables cannot keep strangers' packets from it: a program that only looks. */
  guardChanges(tunnel: IpipTunnel, uplink: Link): PlannedChange[] {
    const name = `${FILTER_NAME} guard ${tunnel.local} ${uplink.index}`;
    return this.ingressChanges(tunnel, uplink, name, (peers) => ipipGuard(tunnel.local, peers));
  }

  /** The map of peers, and the program at the uplink that asks it. */
  private ingressChanges(
    tunnel: IpipTunnel,
    uplink: Link,
    name: string,
    program: (peers: number) => Uint8Array,
  ): PlannedChange[] {
    const incoming = this.filters(uplink.index, 'ingress').find((filter) => filter.name === name);
    if (incoming) this.peers ??= mapsOfProgram(incoming.programId, KEY_BYTES, PEER_VALUE_BYTES)?.[0];
    const peers = this.peerChanges(tunnel.peers);
    if (incoming) return peers;
    return [...peers, this.attachment(uplink, 'ingress', name, () => program(this.ensurePeers().fd.number))];
  }

  /** Takes our programs off every device but `keep`. */
  detachments(keep?: Link): PlannedChange[] {
    return this.incoming()
      .filter(([link]) => link.index !== keep?.index)
      .map(([link, filter]) => ({
        text: `tc filter del dev ${link.name} ingress prio ${filter.priority}`,
        apply: () => this.netlink.change((batch) => void deleteBpfFilter(batch, filter)),
      }));
  }

  /** Our programs for what comes in, wherever they are. */
  private incoming(): (readonly [Link, BpfFilter])[] {
    // pods' devices are ours and never have one; there may be hundreds of them
    const links = this.netlink.links().filter((link) => !link.alias.startsWith('godwit:'));
    return links.flatMap((link) => this.filters(link.index, 'ingress').map((filter) => [link, filter] as const));
  }

  /** A number that grows while packets come in: when the last one of each peer came. */
  received(): number {
    if (!this.peers) {
      const [first] = this.incoming();
      this.peers = first && mapsOfProgram(first[1].programId, KEY_BYTES, PEER_VALUE_BYTES)?.[0];
    }
    let sum = 0;
    const { peers } = this;
    for (const key of peers?.keys() ?? []) {
      const value = peers?.get(key);
      if (value) sum += Number(new DataView(value.buffer).getBigUint64(0, true));
    }
    return sum;
  }

  private filters(index: number, hook: Hook): BpfFilter[] {
    const all = this.netlink.bpfFilters(index, hook);
    return all.filter((filter) => filter.name.startsWith(FILTER_MARK) && filter.priority === FILTER_PRIORITY);
  }

  private attachment(link: Link, hook: Hook, name: string, program: () => Uint8Array): PlannedChange {
    return {
      text: `tc filter replace dev ${link.name} ${hook} prio ${FILTER_PRIORITY} bpf direct-action # ${name}`,
      apply: () => {
        using loaded = loadClassifier(FILTER_NAME, program());
        const { index } = link;
        const [refused] = this.netlink.changeEach([index], (batch) => void addClsact(batch, index));
        if (refused && !isErrno(refused, errno.EEXIST)) throw refused;
        const filter = { index, hook, name, priority: FILTER_PRIORITY, program: loaded.number };
        this.netlink.change((batch) => void setBpfFilter(batch, filter));
      },
    };
  }

  private ensurePeers(): BpfMap {
    return (this.peers ??= BpfMap.create(FILTER_NAME, KEY_BYTES, PEER_VALUE_BYTES, PEER_LIMIT));
  }

  private peerChanges(wanted: ReadonlySet<IpAddress>): PlannedChange[] {
    const there = new Set((this.peers?.keys() ?? []).map(addressFromBytes));
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
    this.tun?.close();
    this.tun = undefined;
    this.peers?.[Symbol.dispose]();
    this.peers = undefined;
  }
}
