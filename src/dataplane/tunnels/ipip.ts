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
import { errno, isErrno } from '../../sys/mod.ts';
import { tableChanges, tableRemoval } from '../nft-table.ts';
import type { Part, PlannedChange } from '../part.ts';
import {
  clearAddresses,
  DEFAULT_QUIET_MS,
  deviceChanges,
  Farewell,
  reversePathChanges,
  routesThrough,
} from './device.ts';
import type { TunnelKernel, TunnelOptions, TunnelState, Waiting } from './device.ts';
import { BpfIpip } from './ipip-bpf.ts';
import { GUARD_TABLE, guardTable } from './ipip-guard.ts';

/** Which of the two forms is in use. */
export type IpipForm = 'kernel' | 'bpf';

/** Our mark on the device, in its alias. */
export const IPIP_MARK = 'godwit:ipip';

export class IpipPart implements Part, Disposable {
  readonly name = 'ipip';
  private readonly kernel: TunnelKernel;
  private readonly device: string;
  private readonly bpf: BpfIpip;
  private readonly farewell: Farewell;
  private want: IpipTunnel | 'absent' | undefined;
  private waiting: Waiting | undefined;
  /** Whether programs of another life may still hang on other devices. */
  private swept = false;
  /** Whether it was seen that nothing of ours is there. */
  private gone = false;
  /** Whether the kernel refused the guard's table for good. */
  private withoutNft = false;

  constructor(
    kernel: TunnelKernel,
    { clock = systemClock, quietMs = DEFAULT_QUIET_MS }: TunnelOptions = {},
    device = 'tunl0',
  ) {
    this.kernel = kernel;
    this.device = device;
    this.bpf = new BpfIpip(kernel);
    this.farewell = new Farewell(clock, quietMs);
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
    const { netlink, sysctls } = this.kernel;
    const stale = this.swept ? [] : this.bpf.detachments(uplink);
    this.swept = true;
    const device = deviceChanges(netlink, link, { mark: IPIP_MARK, mtu: want.mtu, address: want.address });
    const paths = reversePathChanges(sysctls, [this.device, want.uplink]);
    // the guard first: the device takes packets as soon as it is up
    if (form === 'kernel') {
      return [...stale, ...this.guard(want, uplink), ...device, ...paths];
    }
    return [...stale, ...device, ...this.bpf.changes(want, link, uplink), ...paths];
  }

  /** By nf_tables, which sees all interfaces; where the kernel has none, by a program at the uplink. */
  private guard(want: IpipTunnel, uplink: Link): PlannedChange[] {
    const byProgram = () => this.bpf.guardChanges(want, uplink);
    if (this.withoutNft) return byProgram();
    const unsupported = (error: unknown) => isErrno(error, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT);
    const fallBack = (): PlannedChange[] => {
      this.withoutNft = true;
      return byProgram();
    };
    try {
      return tableChanges(() => this.kernel.nft(), guardTable(want.peers)).map(({ text, apply }) => ({
        text,
        apply: () => {
          try {
            apply();
          } catch (error) {
            if (!unsupported(error)) throw error;
            for (const change of fallBack()) change.apply();
          }
        },
      }));
    } catch (error) {
      if (!unsupported(error)) throw error;
      return fallBack();
    }
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
    const guard = tableRemoval(() => this.kernel.nft(), GUARD_TABLE);
    const changes = [...this.bpf.detachments(), ...remove, ...guard];
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
