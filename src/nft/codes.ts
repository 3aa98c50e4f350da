/** Numbers of linux/netfilter/nfnetlink.h and nf_tables.h, by their kernel names. */
export const NFNL = { SUBSYS_NFTABLES: 10, MSG_BATCH_BEGIN: 16, MSG_BATCH_END: 17, GROUP_NFTABLES: 7 } as const;

export const NFPROTO = { ip: 2, ip6: 10, inet: 1 } as const;

const message = (number: number): number => (NFNL.SUBSYS_NFTABLES << 8) | number;
export const NFT_MSG = {
  NEWTABLE: message(0),
  GETTABLE: message(1),
  DELTABLE: message(2),
  NEWCHAIN: message(3),
  GETCHAIN: message(4),
  NEWRULE: message(6),
  GETRULE: message(7),
  NEWSET: message(9),
  GETSET: message(10),
  NEWSETELEM: message(12),
  GETSETELEM: message(13),
  NEWGEN: message(15),
} as const;

export const NFTA_TABLE = { NAME: 1, USERDATA: 6 } as const;
export const NFTA_CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 } as const;
export const NFTA_HOOK = { HOOKNUM: 1, PRIORITY: 2 } as const;
export const NFTA_RULE = { TABLE: 1, CHAIN: 2, EXPRESSIONS: 4, USERDATA: 7 } as const;
export const NFTA_SET = { TABLE: 1, NAME: 2, KEY_TYPE: 4, KEY_LEN: 5, ID: 10 } as const;
export const NFTA_SET_ELEM_LIST = { TABLE: 1, SET: 2, ELEMENTS: 3 } as const;
export const NFTA_SET_ELEM_KEY = 1;
export const NFTA_LOOKUP = { SET: 1, SREG: 2, FLAGS: 5 } as const;
export const NFT_LOOKUP_F_INV = 1;
/** How nft(8) names a set's key; of no interest to the kernel. */
export const NFT_KEY_TYPE = { 4: 7, 6: 8 } as const;
export const NFTA_LIST_ELEM = 1;
export const NFTA_EXPR = { NAME: 1, DATA: 2 } as const;
export const NFTA_DATA = { VALUE: 1, VERDICT: 2 } as const;
export const NFTA_VERDICT_CODE = 1;
export const NFTA_META = { DREG: 1, KEY: 2 } as const;
export const NFTA_CMP = { SREG: 1, OP: 2, DATA: 3 } as const;
export const NFTA_PAYLOAD = { DREG: 1, BASE: 2, OFFSET: 3, LEN: 4 } as const;
export const NFTA_BITWISE = { SREG: 1, DREG: 2, LEN: 3, MASK: 4, XOR: 5 } as const;
export const NFTA_IMMEDIATE = { DREG: 1, DATA: 2 } as const;
export const NFTA_MASQ_FLAGS = 1;
export const NFTA_FIB = { DREG: 1, RESULT: 2, FLAGS: 3 } as const;
export const NFT_FIB_RESULT_OIF = 1;
export const NFTA_FIB_F = { SADDR: 1, IIF: 8, PRESENT: 32 } as const;
export const NFTA_GEN_PROC_PID = 2;

export const NFT_META = { OIFNAME: 7, IIFNAME: 6, NFPROTO: 15, L4PROTO: 16 } as const;
export const NFT_CMP = { EQ: 0, NEQ: 1 } as const;
export const NFT_PAYLOAD_NETWORK_HEADER = 1;
export const NFT_PAYLOAD_TRANSPORT_HEADER = 2;
/** The verdict register, and the first data register (16 bytes). */
export const NFT_REG = { VERDICT: 0, R1: 1 } as const;
export const NF_NAT_RANGE_PROTO_RANDOM_FULLY = 16;

export const NF_INET_HOOK = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const;
export const NF_VERDICT = { drop: 0, accept: 1, return: -5 } as const;
