/**
 * Nodes behind a router that knows no pod prefix: node N in subnet S has 192.168.S.(1+N) on `eth0`, the router .1 of each.
 * A node can have a pod, 10.233.N.2, on a routed veth as Calico's are.
 */
import { openSysctls } from '../../src/dataplane/mod.ts';
import type { Part, TunnelKernel } from '../../src/dataplane/mod.ts';
import { Rtnetlink } from '../../src/netlink/mod.ts';
import { openNftables } from '../../src/nft/mod.ts';
import type { Nftables } from '../../src/nft/mod.ts';
import type { NetworkNamespace } from '../../src/sys/mod.ts';
import { TestNamespaces } from './netns.ts';

export const ROUTER = 'r';

export interface RoutedNode {
  readonly name: string;
  readonly address: string;
  readonly space: NetworkNamespace;
  readonly kernel: TunnelKernel;
}

/** What tunnels' parts need of the kernel, in a namespace. */
export function tunnelKernel(space: NetworkNamespace): TunnelKernel {
  let nft: Nftables | undefined;
  return {
    netlink: Rtnetlink.in(space),
    sysctls: openSysctls(space),
    nft: () => (nft ??= space.run(openNftables)),
    inside: (action) => space.run(action),
  };
}

export class RoutedNodes implements Disposable {
  readonly spaces = new TestNamespaces();
  private readonly subnets = new Set<number>();
  private readonly routers = new Map<number, string>();

  constructor() {
    this.spaces.add(ROUTER);
    this.spaces.run(ROUTER, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  }

  /** A second router, `r2`, for this subnet, behind a link of that MTU; before its nodes are added. */
  bottleneck(subnet: number, mtu: number): void {
    const router = 'r2';
    this.spaces.add(router);
    this.routers.set(subnet, router);
    this.in(
      ROUTER,
      `ip link add far mtu ${mtu} type veth peer name near mtu ${mtu} netns ${this.spaces.name(router)}; ip link set far up;
       ip addr add 172.16.0.1/30 dev far; ip route add 192.168.${subnet}.0/24 via 172.16.0.2`,
    );
    this.in(
      router,
      `ip link set near up; ip addr add 172.16.0.2/30 dev near; ip route add default via 172.16.0.1; sysctl -qw net.ipv4.ip_forward=1`,
    );
  }

  /** Node `n` in subnet `subnet`; with IPv6 fd00:S::(1+N) beside. */
  add(n: number, subnet = n): RoutedNode {
    const name = `n${n}`;
    const space = this.spaces.add(name);
    const router = this.routers.get(subnet) ?? ROUTER;
    if (!this.subnets.has(subnet)) {
      this.subnets.add(subnet);
      this.in(
        router,
        `ip link add lan${subnet} type bridge; ip link set lan${subnet} up; ip addr add 192.168.${subnet}.1/24 dev lan${subnet};
         ip addr add fd00:${subnet}::1/64 dev lan${subnet} nodad`,
      );
    }
    this.in(
      router,
      `ip link add to${n} type veth peer name eth0 netns ${this.spaces.name(name)}; ip link set to${n} master lan${subnet} up`,
    );
    const host = 1 + n - (subnet - 1);
    const address = `192.168.${subnet}.${host}`;
    this.in(
      name,
      `ip link set lo up; ip link set eth0 up; ip addr add ${address}/24 dev eth0; ip addr add fd00:${subnet}::${host}/64 dev eth0 nodad;
       ip route add default via 192.168.${subnet}.1; ip -6 route add default via fd00:${subnet}::1;
       sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`,
    );
    return { name, address, space, kernel: tunnelKernel(space) };
  }

  /** A pod of node `n`: namespace `pN`, 10.233.N.2. */
  addPod(n: number, mtu = 1500): NetworkNamespace {
    const pod = `p${n}`;
    const space = this.spaces.add(pod);
    this.in(
      `n${n}`,
      `ip link add cali${n} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${this.spaces.name(pod)}; ip link set cali${n} up;
       sysctl -qw net.ipv4.conf.cali${n}.proxy_arp=1; ip route add 10.233.${n}.2 dev cali${n} scope link`,
    );
    this.in(
      pod,
      `ip link set lo up; ip link set eth0 up; ip addr add 10.233.${n}.2/32 dev eth0;
       ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1`,
    );
    return space;
  }

  /** Runs a few shell lines in a namespace; throws when one fails. */
  in(name: string, script: string): string {
    return this.spaces.run(name, 'sh', '-ec', script);
  }

  /** Whether all of a few pings are answered. */
  ping(from: string, to: string, ...options: string[]): boolean {
    return this.spaces.status(from, 'ping', '-c', '2', '-i', '0.05', '-W', '2', ...options, to) === 0;
  }

  [Symbol.dispose](): void {
    this.spaces[Symbol.dispose]();
  }
}

/** One look of a part; the changes it made, as text. */
export function pass(part: Part): string[] {
  const changes = part.plan();
  for (const change of changes) change.apply();
  return changes.map((change) => change.text);
}
