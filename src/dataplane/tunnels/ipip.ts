/**
 * The IPIP tunnel of a node: the kernel's own `ipip` device where there is one, else a TUN device with two BPF programs
 * that is the same on the wire and in the route table. Either form is adopted as it is found after a restart.
 */
import { BpfMap, loadClassifier, mapsOfProgram } from '../../bpf/mod.ts';
import type { IpipTunnel } from '../../desired/mod.ts';
import { addressBytes, addressFromBytes } from '../../net/mod.ts';
import { addClsact, addLink, deleteBpfFilter, deleteLink, setBpfFilter, setLink } from '../../netlink/mod.ts';
import type { Link, Rtnetlink } from '../../netlink/mod.ts';
import { errno, isErrno, openTun, writeSysctl } from '../../sys/mod.ts';
import type { Fd } from '../../sys/mod.ts';
import { clearAddresses, settleDevice } from './device.ts';
import { ipipDecapsulation, ipipEncapsulation } from './ipip-programs.ts';

/** Which of the two forms is in use. */
export type IpipForm = 'kernel' | 'bpf';

/** Our filters' priority, and with their name our mark. */
const FILTER_PRIORITY = 71;
const FILTER_NAME = 'godwit_ipip';
const PEER_LIMIT = 65_536;
const KEY_BYTES = 4;

export class IpipTunnelDriver implements Disposable {
  private readonly netlink: Rtnetlink;
  private tun: Fd | undefined;
  private peers: BpfMap | undefined;

  constructor(netlink: Rtnetlink) {
    this.netlink = netlink;
  }

  /** Makes the kernel hold this tunnel; writes only what differs. Throws KernelError with what was refused. */
  apply(tunnel: IpipTunnel): IpipForm {
    const uplink = this.netlink.link(tunnel.uplink);
    if (!uplink) throw new Error(`IPIP: there is no uplink ${tunnel.uplink}`);
    const { link, form } = this.ensureDevice(tunnel);
    settleDevice(this.netlink, link, tunnel.mtu, tunnel.address);
    if (form === 'bpf') this.ensurePrograms(tunnel, link.index, uplink.index);
    return form;
  }

  /** Takes the tunnel away, whichever form it has. */
  remove(device: string, uplink: string): void {
    const lower = this.netlink.link(uplink);
    if (lower) {
      const ours = this.netlink
        .bpfFilters(lower.index, 'ingress')
        .filter((filter) => filter.name.startsWith(FILTER_NAME));
      this.netlink.changeEach(ours, (batch, filter) => deleteBpfFilter(batch, filter));
    }
    this.release();
    const link = this.netlink.link(device);
    if (!link) return;
    // the kernel's own tunl0 cannot be deleted: it is emptied and set down
    clearAddresses(this.netlink, link.index);
    this.netlink.changeEach([link], (batch) => setLink(batch, link.index, { up: false }, device));
    this.netlink.changeEach([link], (batch) => deleteLink(batch, link.index, device));
  }

  private ensureDevice(tunnel: IpipTunnel): { link: Link; form: IpipForm } {
    const found = this.netlink.link(tunnel.device);
    if (found && found.kind !== 'tun') return { link: found, form: 'kernel' };
    if (!found) {
      const [refused] = this.netlink.changeEach([tunnel], (batch) =>
        addLink(batch, { kind: 'ipip', name: tunnel.device }),
      );
      const made = this.netlink.link(tunnel.device);
      if (made) return { link: made, form: 'kernel' };
      if (refused && !isErrno(refused, errno.EOPNOTSUPP, errno.ENODEV)) throw refused;
    }
    this.tun ??= openTun(tunnel.device);
    return { link: this.netlink.link(tunnel.device)!, form: 'bpf' };
  }

  private ensurePrograms(tunnel: IpipTunnel, tunnelIndex: number, uplinkIndex: number): void {
    const ends = { local: tunnel.local, tunnel: tunnelIndex, uplink: uplinkIndex };
    // the name tells what a program was made for: a changed address or uplink means new programs
    const name = `${FILTER_NAME} ${tunnel.local} ${tunnelIndex} ${uplinkIndex}`;
    const own = (index: number, hook: 'ingress' | 'egress') =>
      this.netlink
        .bpfFilters(index, hook)
        .find((filter) => filter.name === name && filter.priority === FILTER_PRIORITY);
    const incoming = own(uplinkIndex, 'ingress');
    if (incoming && !this.peers) this.peers = mapsOfProgram(incoming.programId, KEY_BYTES)?.[0];
    const peers = (this.peers ??= BpfMap.create(FILTER_NAME, KEY_BYTES, 4, PEER_LIMIT));
    this.ensurePeers(tunnel, peers);
    if (!incoming) {
      using program = loadClassifier(FILTER_NAME, ipipDecapsulation(ends, peers.fd.number));
      this.attach(uplinkIndex, 'ingress', name, program);
    }
    if (!own(tunnelIndex, 'egress')) {
      // the program asks the FIB in the name of the tunnel device, which answers only a device that forwards
      writeSysctl(`net/ipv4/conf/${tunnel.device}/forwarding`, 1);
      using program = loadClassifier(FILTER_NAME, ipipEncapsulation(ends));
      this.attach(tunnelIndex, 'egress', name, program);
    }
  }

  private attach(index: number, hook: 'ingress' | 'egress', name: string, program: Fd): void {
    const [refused] = this.netlink.changeEach([index], (batch) => addClsact(batch, index));
    if (refused && !isErrno(refused, errno.EEXIST)) throw refused;
    const filter = { index, hook, name, priority: FILTER_PRIORITY, program: program.number };
    this.netlink.change((batch) => setBpfFilter(batch, filter));
  }

  private ensurePeers(tunnel: IpipTunnel, map: BpfMap): void {
    const there = new Set(map.keys().map(addressFromBytes));
    for (const peer of tunnel.peers) if (!there.has(peer)) map.set(addressBytes(peer), new Uint8Array(4));
    for (const peer of there) if (!tunnel.peers.has(peer)) map.delete(addressBytes(peer));
  }

  private release(): void {
    this.tun?.close();
    this.tun = undefined;
    this.peers?.[Symbol.dispose]();
    this.peers = undefined;
  }

  /** Lets go of descriptors; the tunnel goes on. */
  [Symbol.dispose](): void {
    this.release();
  }
}
