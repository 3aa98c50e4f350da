/** Kernel settings that are kept at a value: forwarding, and what goes with it. Nothing is set back at the end. */
import { readFileSync } from 'node:fs';
import { forEachAttribute, forEachMessage, listenNetlink, NETLINK, RTM, RTNLGRP } from '../netlink/mod.ts';
import { writeSysctl } from '../sys/mod.ts';
import type { NetworkNamespace } from '../sys/mod.ts';
import type { Part, PlannedChange } from './part.ts';

export interface Sysctls {
  /** Undefined when there is no such setting (an interface that is gone, a kernel without IPv6). */
  read(name: string): string | undefined;
  write(name: string, value: string): void;
}

/** The settings of a namespace, or of the one this thread is in at each call. */
export function openSysctls(namespace?: NetworkNamespace): Sysctls {
  const inside = <T>(action: () => T): T => (namespace ? namespace.run(action) : action());
  return {
    read: (name) =>
      inside(() => {
        try {
          return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
        } catch {
          return undefined;
        }
      }),
    write: (name, value) => inside(() => writeSysctl(name, value)),
  };
}

export class SysctlPart implements Part {
  readonly name = 'sysctl';
  private readonly sysctls: Sysctls;
  private wanted: readonly SysctlWish[] = [];

  constructor(sysctls: Sysctls) {
    this.sysctls = sysctls;
  }

  setDesired(wanted: readonly SysctlWish[]): void {
    this.wanted = wanted;
  }

  plan(): PlannedChange[] {
    return this.wanted.flatMap((wish) => {
      const value = this.sysctls.read(wish.name);
      if (value === undefined && wish.optional === true) return [];
      if (value === wish.value || (wish.onlyFrom !== undefined && value !== wish.onlyFrom)) return [];
      const text = `sysctl -w ${dotted(wish.name)}=${wish.value}`;
      return [{ text, apply: () => this.sysctls.write(wish.name, wish.value) }];
    });
  }
}

/** As sysctl(8) writes it: an interface's own dots become slashes. */
const dotted = (name: string): string => name.replace(/[./]/g, (c) => (c === '/' ? '.' : '/'));

export interface SysctlWish {
  /** With slashes: `net/ipv4/ip_forward`. */
  readonly name: string;
  readonly value: string;
  /** Changed only when it stands at this value now. */
  readonly onlyFrom?: string;
  /** Its absence is no fault. */
  readonly optional?: boolean;
}

/** What a node that routes for its pods needs. */
export function forwardingSysctls(node: {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly bridge: string;
  readonly uplinks: readonly string[];
}): SysctlWish[] {
  const wishes: SysctlWish[] = [];
  if (node.ipv4) wishes.push({ name: 'net/ipv4/ip_forward', value: '1' });
  if (!node.ipv6) return wishes;
  // a router does not listen to router advertisements, and the node may owe its default route to one: 2 listens all the same
  for (const uplink of node.uplinks) {
    wishes.push({ name: `net/ipv6/conf/${uplink}/accept_ra`, value: '2', onlyFrom: '1', optional: true });
  }
  wishes.push({ name: 'net/ipv6/conf/all/forwarding', value: '1' });
  // no pod may become this node's router (CVE-2020-10749)
  wishes.push({ name: `net/ipv6/conf/${node.bridge}/accept_ra`, value: '0', optional: true });
  return wishes;
}

const NETCONFA_IFINDEX = 1;
const NETCONFA_IFINDEX_ALL = -1;

/** Calls back when forwarding is switched for the whole node, in the namespace this thread is in now, until disposed. */
export function watchForwarding(changed: () => void): Disposable {
  return listenNetlink({
    protocol: NETLINK.ROUTE,
    groups: [RTNLGRP.IPV4_NETCONF, RTNLGRP.IPV6_NETCONF],
    receiveBufferBytes: 1 << 20,
    data: (bytes) => {
      let node = false;
      forEachMessage(bytes, (header, body) => {
        if (header.type !== RTM.NEWNETCONF) return;
        body.skip(4); // struct netconfmsg: the family, padded
        forEachAttribute(body, (type, value) => {
          // the same is told for each interface that comes: only the whole node's is of interest
          if (type === NETCONFA_IFINDEX && value.i32le() === NETCONFA_IFINDEX_ALL) node = true;
        });
      });
      if (node) changed();
    },
    lost: () => changed(),
  });
}
