/**
 * The IPIP tunnel of a node, `tunl0`: the kernel's own `ipip` device where there is one, else a TUN device with two BPF
 * programs that is the same on the wire and in the route table. Which of the two is found out by asking for the first.
 * Either form is adopted as it is found after a restart, put right when somebody changed it, and taken away only when
 * nobody uses it any more.
 */
import { GodwitError, systemClock } from '../../base/mod.ts';
import type { IpipTunnel } from '../../desired/mod.ts';
import { addLink, deleteLink, setLink } from '../../netlink/mod.ts';
import type { Link } from '../../netlink/mod.ts';
import type { TableName } from '../../nft/mod.ts';
import { errno, isErrno } from '../../sys/mod.ts';
import type { Part, PlannedChange } from '../part.ts';
import { clearAddresses, DEFAULT_PODS, DEFAULT_QUIET_MS, deviceChanges, Farewell, routesThrough } from './device.ts';
import type { TunnelKernel, TunnelOptions, TunnelState, Waiting } from './device.ts';
import { Guard, guardTable } from './guard.ts';
import { BpfIpip } from './ipip-bpf.ts';
import { ReversePaths } from './reverse-paths.ts';

/** Which of the two forms is in use. */
export type IpipForm = 'kernel' | 'bpf';

/** Our mark on the device, in its alias. */
export const IPIP_MARK = 'godwit:ipip';
export const IPIP_GUARD: TableName = { family: 'ip', name: 'godwit-ipip' };
const IPIP_PROTOCOL = 4;

export class IpipPart implements Part, Disposable {
  readonly name = 'ipip';
  private readonly kernel: TunnelKernel;
  private readonly device: string;
  private readonly bpf: BpfIpip;
  private readonly farewell: Farewell;
  private readonly guard: Guard;
  private readonly pods: readonly string[];
  private readonly reversePaths: ReversePaths;
  private want: IpipTunnel | 'absent' | undefined;
  private waiting: Waiting | undefined;
  /** Whether programs of another life may still hang on other devices. */
  private swept = false;
  /** Whether it was seen that nothing of ours is there. */
  private gone = false;

  constructor(
    kernel: TunnelKernel,
    { clock = systemClock, quietMs = DEFAULT_QUIET_MS, pods = DEFAULT_PODS, reversePaths }: TunnelOptions = {},
    device = 'tunl0',
  ) {
    this.kernel = kernel;
    this.device = device;
    this.bpf = new BpfIpip(kernel);
    this.farewell = new Farewell(clock, quietMs);
    this.guard = new Guard(() => kernel.nft(), IPIP_GUARD);
    this.pods = pods;
    this.reversePaths = reversePaths ?? new ReversePaths(kernel.sysctls);
  }

  /** Undefined: not known yet, and nothing is touched. */
  setDesired(want: IpipTunnel | 'absent' | undefined): void {
    if (typeof want === 'object' && typeof this.want === 'object' && want.uplink !== this.want.uplink)
      this.swept = false;
    this.want = want;
  }

  /** The form that is there; undefined when there is none of ours. */
  form(): IpipForm | undefined {
    const link = this.kernel.netlink.link(this.device);
    return link?.alias === IPIP_MARK ? formOf(link) : undefined;
  }

  state(): TunnelState {
    return { inPlace: this.form() !== undefined, waiting: this.waiting?.reason };
  }

  lookAgainMs(): number | undefined {
    return this.waiting?.forMs;
  }

  /**
   * Whether somebody took away what hangs on devices, or nodes out of the map: the kernel tells nobody of that. So it is
   * asked now and then, and costs little enough for that.
   */
  harmed(): boolean {
    const { want } = this;
    if (typeof want !== 'object') return false;
    const { netlink } = this.kernel;
    const [link, uplink] = [netlink.link(this.device), netlink.link(want.uplink)];
    // of links the kernel tells
    if (!link || !uplink) return false;
    if (formOf(link) === 'bpf') return this.bpf.changes(want, link, uplink).length > 0;
    return this.guard.withoutNft && this.bpf.guardChanges(want, uplink).length > 0;
  }

  plan(): PlannedChange[] {
    const { want } = this;
    this.waiting = undefined;
    if (want === undefined) return [];
    if (want === 'absent') return this.removal();
    this.farewell.reset();
    this.gone = false;
    const uplink = this.kernel.netlink.link(want.uplink);
    if (!uplink) throw new Error(`IPIP: there is no uplink ${want.uplink}`);
    const link = this.kernel.netlink.link(this.device);
    if (link) return this.repairs(want, link, uplink);
    const text = `ip link add ${this.device} type ipip # or a TUN device with BPF programs, ${want.local} by ${want.uplink}`;
    // which form it gets decides what else is to be done
    const apply = () => {
      const made = this.create();
      for (const change of this.repairs(want, made, uplink)) change.apply();
    };
    return [{ text, apply }];
  }

  private repairs(want: IpipTunnel, link: Link, uplink: Link): PlannedChange[] {
    const form = formOf(link);
    if (form === undefined) {
      const hint = 'remove it; IPIP needs this name for its device';
      throw new GodwitError('conflict', `interface ${link.name} is there, but it is ${link.kind || 'hardware'}`, {
        hint,
      });
    }
    const { netlink } = this.kernel;
    const stale = this.swept ? [] : this.bpf.detachments(uplink);
    this.swept = true;
    const device = deviceChanges(netlink, link, { mark: IPIP_MARK, mtu: want.mtu, address: want.address });
    const paths = this.reversePaths.changes(this.name, [this.device, want.uplink]);
    // the guard first: the device takes packets as soon as it is up
    const guard = this.guardChanges(want, form, uplink);
    if (form === 'kernel') return [...stale, ...guard, ...device, ...paths];
    return [...stale, ...guard, ...device, ...this.bpf.changes(want, link, uplink), ...paths];
  }

  /** By nf_tables, which sees all interfaces; the programs of the BPF form look at what comes in themselves. */
  private guardChanges(want: IpipTunnel, form: IpipForm, uplink: Link): readonly PlannedChange[] {
    const packets = { type: 'protocol', number: IPIP_PROTOCOL } as const;
    const tunnel = { packets, local: want.local, from: want.peers, pods: this.pods };
    const table = guardTable(IPIP_GUARD, tunnel, { input: form === 'kernel' });
    return this.guard.changes(table, () => (form === 'kernel' ? this.bpf.guardChanges(want, uplink) : []));
  }

  private create(): Link {
    const { netlink } = this.kernel;
    const [refused] = netlink.changeEach([0], (batch) => void addLink(batch, { kind: 'ipip', name: this.device }));
    // asking loads the module, and with it comes a tunl0: then the request itself is refused as a second one
    if (refused && !isErrno(refused, errno.EOPNOTSUPP, errno.ENODEV, errno.EEXIST)) throw refused;
    if (!netlink.link(this.device)) this.bpf.open(this.device);
    const made = netlink.link(this.device);
    if (!made) throw new Error(`${this.device} is gone again`);
    return made;
  }

  private removal(): PlannedChange[] {
    const { netlink } = this.kernel;
    const link = netlink.link(this.device);
    const form = link?.alias === IPIP_MARK ? formOf(link) : undefined;
    if (link && form !== undefined) {
      const received = form === 'bpf' ? this.bpf.received() : netlink.receivedPackets(this.device);
      this.waiting = this.farewell.waitsFor(routesThrough(netlink, link.index), received);
      if (this.waiting !== undefined) return [];
    }
    if (this.gone && form === undefined) return [];
    const remove = link && form !== undefined ? [this.deviceRemoval(link)] : [];
    const changes = [
      ...this.bpf.detachments(),
      ...remove,
      ...this.reversePaths.changes(this.name, []),
      ...this.guard.removal(),
    ];
    this.gone = changes.length === 0;
    return changes;
  }

  private deviceRemoval(link: Link): PlannedChange {
    const { netlink } = this.kernel;
    const apply = () => {
      this.bpf[Symbol.dispose]();
      // the kernel's own tunl0 cannot be deleted: it is emptied, unmarked and set down
      clearAddresses(netlink, link.index);
      netlink.change((batch) => void setLink(batch, link.index, { up: false, alias: '' }, link.name));
      netlink.changeEach([link], (batch) => void deleteLink(batch, link.index, link.name));
    };
    return { text: `ip link del ${link.name}`, apply };
  }

  /** Lets go of descriptors; the tunnel goes on. */
  [Symbol.dispose](): void {
    this.bpf[Symbol.dispose]();
  }
}

const formOf = (link: Link): IpipForm | undefined =>
  link.kind === 'ipip' ? 'kernel' : link.kind === 'tun' ? 'bpf' : undefined;
