/** Numbers of linux/netlink.h, rtnetlink.h, if_link.h, neighbour.h and fib_rules.h, by their kernel names. */
export const NETLINK = {
  ROUTE: 0,
  NETFILTER: 12,
  ADD_MEMBERSHIP: 1,
  CAP_ACK: 10,
  EXT_ACK: 11,
  GET_STRICT_CHK: 12,
} as const;

export const NLM_F = {
  REQUEST: 1,
  MULTI: 2,
  ACK: 4,
  ECHO: 8,
  DUMP_INTR: 0x10,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  APPEND: 0x800,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
} as const;

export const NLMSG = { ERROR: 2, DONE: 3 } as const;
export const NLA_F_NESTED = 0x8000;

export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWRULE: 32,
  DELRULE: 33,
  GETRULE: 34,
  NEWNETCONF: 80,
} as const;

/** Multicast groups. */
export const RTNLGRP = {
  LINK: 1,
  NEIGH: 3,
  IPV4_IFADDR: 5,
  IPV4_ROUTE: 7,
  IPV4_RULE: 8,
  IPV6_IFADDR: 9,
  IPV6_ROUTE: 11,
  IPV6_RULE: 19,
  IPV4_NETCONF: 24,
  IPV6_NETCONF: 25,
} as const;

export const IFF = {
  UP: 1,
  BROADCAST: 2,
  LOOPBACK: 8,
  POINTOPOINT: 0x10,
  RUNNING: 0x40,
  NOARP: 0x80,
  LOWER_UP: 0x10000,
} as const;
export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  LINKINFO: 18,
  IFALIAS: 20,
  STATS64: 23,
  AF_SPEC: 26,
  GROUP: 27,
  NET_NS_FD: 28,
  LINK_NETNSID: 37,
  INFO_KIND: 1,
  INFO_DATA: 2,
  VETH_PEER: 1,
  BRPORT_MODE: 4,
  BRPORT_ISOLATED: 33,
  VXLAN_ID: 1,
  VXLAN_LINK: 3,
  VXLAN_LOCAL: 4,
  VXLAN_LEARNING: 7,
  VXLAN_PORT: 15,
  VXLAN_LOCAL6: 17,
  INET_CONF: 1,
} as const;
/** Settings of an interface, as in /proc/sys/net/ipv4/conf (linux/ip.h). */
export const IPV4_DEVCONF = {
  FORWARDING: 1,
  PROXY_ARP: 3,
  ACCEPT_REDIRECTS: 4,
  SEND_REDIRECTS: 6,
  RP_FILTER: 8,
  ACCEPT_SOURCE_ROUTE: 9,
  ROUTE_LOCALNET: 26,
} as const;
export const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, FLAGS: 8 } as const;
export const IFA_F = { NODAD: 2, TENTATIVE: 0x40, PERMANENT: 0x80, NOPREFIXROUTE: 0x200 } as const;

export const RTA = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
} as const;
export const RTAX_MTU = 2;
export const RTN = {
  UNICAST: 1,
  LOCAL: 2,
  BROADCAST: 3,
  MULTICAST: 5,
  BLACKHOLE: 6,
  UNREACHABLE: 7,
  PROHIBIT: 8,
} as const;
export const RT_SCOPE = { UNIVERSE: 0, SITE: 200, LINK: 253, HOST: 254, NOWHERE: 255 } as const;
export const RT_TABLE = { DEFAULT: 253, MAIN: 254, LOCAL: 255 } as const;
export const RTNH_F = { DEAD: 1, ONLINK: 4, LINKDOWN: 16 } as const;
export const RTM_F_CLONED = 0x200;
/** Route protocol numbers of others (linux/rtnetlink.h, /etc/iproute2/rt_protos). */
export const RTPROT = { UNSPEC: 0, REDIRECT: 1, KERNEL: 2, BOOT: 3, STATIC: 4, BIRD: 12, DHCP: 16, BGP: 186 } as const;

export const NDA = { DST: 1, LLADDR: 2, VNI: 7, PROTOCOL: 12 } as const;
export const NUD = { REACHABLE: 2, STALE: 4, FAILED: 0x20, NOARP: 0x40, PERMANENT: 0x80 } as const;
export const NTF = { SELF: 2, PROXY: 8 } as const;

export const FRA = {
  DST: 1,
  SRC: 2,
  IIFNAME: 3,
  PRIORITY: 6,
  FWMARK: 10,
  TABLE: 15,
  FWMASK: 16,
  OIFNAME: 17,
  PROTOCOL: 21,
} as const;
export const FR_ACT_TO_TBL = 1;

export const RTM_TC = { NEWQDISC: 36, NEWTFILTER: 44, DELTFILTER: 45, GETTFILTER: 46 } as const;
export const TC = {
  KIND: 1,
  OPTIONS: 2,
  CLSACT_HANDLE: 0xffff0000,
  CLSACT_PARENT: 0xfffffff1,
  CLSACT_INGRESS: 0xfffffff2,
  CLSACT_EGRESS: 0xfffffff3,
  BPF_FD: 6,
  BPF_NAME: 7,
  BPF_FLAGS: 8,
  BPF_ID: 11,
  BPF_FLAG_DIRECT: 1,
} as const;
