/**
 * Rules as the kernel's virtual machine wants them: each statement becomes a few expressions that load a packet field
 * into a register, mask it and compare it. In an `inet` table an address test first asks for its family.
 */
import { addressBytes, familyOf, prefixAddress, prefixLength } from '../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../net/mod.ts';
import type { Batch } from '../netlink/mod.ts';
import {
  NFPROTO,
  NFT_CMP,
  NFT_META,
  NFT_REG,
  NFT_PAYLOAD_NETWORK_HEADER,
  NFT_PAYLOAD_TRANSPORT_HEADER,
} from './codes.ts';
import { NF_NAT_RANGE_PROTO_RANDOM_FULLY, NF_VERDICT, NFTA_BITWISE, NFTA_CMP, NFTA_DATA, NFTA_EXPR } from './codes.ts';
import { NFT_FIB_RESULT_OIF, NFTA_FIB, NFTA_FIB_F } from './codes.ts';
import {
  NFT_LOOKUP_F_INV,
  NFTA_IMMEDIATE,
  NFTA_LIST_ELEM,
  NFTA_LOOKUP,
  NFTA_MASQ_FLAGS,
  NFTA_META,
  NFTA_PAYLOAD,
  NFTA_SET_ELEM_KEY,
  NFTA_VERDICT_CODE,
} from './codes.ts';
import type { NftFamily, Statement } from './table.ts';

const IFNAMSIZ = 16;
const UDP = 17;
/** In the header of RFC 768. */
const UDP_DESTINATION_PORT = 2;

function expression(batch: Batch, name: string, data: () => void): void {
  batch.nested(NFTA_LIST_ELEM, () => {
    batch.attributeString(NFTA_EXPR.NAME, name).nested(NFTA_EXPR.DATA, data);
  });
}

function loadMeta(batch: Batch, key: number): void {
  expression(batch, 'meta', () => {
    batch.attributeU32be(NFTA_META.DREG, NFT_REG.R1).attributeU32be(NFTA_META.KEY, key);
  });
}

function compare(batch: Batch, value: ArrayLike<number>, negate = false): void {
  expression(batch, 'cmp', () => {
    batch
      .attributeU32be(NFTA_CMP.SREG, NFT_REG.R1)
      .attributeU32be(NFTA_CMP.OP, negate ? NFT_CMP.NEQ : NFT_CMP.EQ)
      .nested(NFTA_CMP.DATA, () => batch.attribute(NFTA_DATA.VALUE, value));
  });
}

/** Where the addresses stand in the headers of RFC 791 and RFC 8200. */
const offsets = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } } as const;

/** Loads one of the addresses of a packet of that family; packets of the other family do not match. */
function loadAddress(batch: Batch, of: 'source' | 'destination', family: Family, table: NftFamily): void {
  if (table === 'inet') {
    loadMeta(batch, NFT_META.NFPROTO);
    compare(batch, [family === 4 ? NFPROTO.ip : NFPROTO.ip6]);
  }
  loadPayload(batch, NFT_PAYLOAD_NETWORK_HEADER, offsets[family][of], family === 4 ? 4 : 16);
}

function loadPayload(batch: Batch, base: number, offset: number, length: number): void {
  expression(batch, 'payload', () => {
    batch
      .attributeU32be(NFTA_PAYLOAD.DREG, NFT_REG.R1)
      .attributeU32be(NFTA_PAYLOAD.BASE, base)
      .attributeU32be(NFTA_PAYLOAD.OFFSET, offset)
      .attributeU32be(NFTA_PAYLOAD.LEN, length);
  });
}

function matchAddress(
  batch: Batch,
  of: 'source' | 'destination',
  prefix: Prefix,
  negate: boolean,
  table: NftFamily,
): void {
  const family = familyOf(prefix);
  const length = family === 4 ? 4 : 16;
  loadAddress(batch, of, family, table);
  const bits = prefixLength(prefix);
  if (bits < length * 8) {
    const mask = Uint8Array.from({ length }, (_, i) => 0xff << (8 - Math.min(8, Math.max(0, bits - 8 * i))));
    expression(batch, 'bitwise', () => {
      batch
        .attributeU32be(NFTA_BITWISE.SREG, NFT_REG.R1)
        .attributeU32be(NFTA_BITWISE.DREG, NFT_REG.R1)
        .attributeU32be(NFTA_BITWISE.LEN, length)
        .nested(NFTA_BITWISE.MASK, () => batch.attribute(NFTA_DATA.VALUE, mask))
        .nested(NFTA_BITWISE.XOR, () => batch.attribute(NFTA_DATA.VALUE, new Uint8Array(length)));
    });
  }
  compare(batch, addressBytes(prefixAddress(prefix)), negate);
}

function lookUp(batch: Batch, set: string, negate: boolean): void {
  expression(batch, 'lookup', () => {
    batch.attributeString(NFTA_LOOKUP.SET, set).attributeU32be(NFTA_LOOKUP.SREG, NFT_REG.R1);
    if (negate) batch.attributeU32be(NFTA_LOOKUP.FLAGS, NFT_LOOKUP_F_INV);
  });
}

/** Appends the elements of a set. */
export function encodeElements(batch: Batch, addresses: readonly IpAddress[]): void {
  for (const address of addresses) {
    batch.nested(NFTA_LIST_ELEM, () => {
      batch.nested(NFTA_SET_ELEM_KEY, () => batch.attribute(NFTA_DATA.VALUE, addressBytes(address)));
    });
  }
}

function matchDevice(batch: Batch, key: number, name: string, negate: boolean): void {
  const bytes = new Uint8Array(IFNAMSIZ);
  const begins = name.endsWith('*');
  const { written } = new TextEncoder().encodeInto(begins ? name.slice(0, -1) : name, bytes);
  loadMeta(batch, key);
  compare(batch, begins ? bytes.subarray(0, written) : bytes, negate);
}

/** Appends the expressions of one statement. */
export function encodeStatement(batch: Batch, statement: Statement, table: NftFamily): void {
  switch (statement.type) {
    case 'source':
    case 'destination':
      matchAddress(batch, statement.type, statement.prefix, statement.negate ?? false, table);
      break;
    case 'sourceSet':
    case 'destinationSet':
      loadAddress(batch, statement.type === 'sourceSet' ? 'source' : 'destination', statement.family, table);
      lookUp(batch, statement.set, statement.negate ?? false);
      break;
    case 'protocol':
      loadMeta(batch, NFT_META.L4PROTO);
      compare(batch, [statement.number]);
      break;
    case 'udpPort':
      loadMeta(batch, NFT_META.L4PROTO);
      compare(batch, [UDP]);
      loadPayload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DESTINATION_PORT, 2);
      compare(batch, [statement.port >> 8, statement.port & 0xff]);
      break;
    case 'inputDevice':
      matchDevice(batch, NFT_META.IIFNAME, statement.name, statement.negate ?? false);
      break;
    case 'outputDevice':
      matchDevice(batch, NFT_META.OIFNAME, statement.name, statement.negate ?? false);
      break;
    case 'sourceElsewhere':
      expression(batch, 'fib', () => {
        batch
          .attributeU32be(NFTA_FIB.DREG, NFT_REG.R1)
          .attributeU32be(NFTA_FIB.RESULT, NFT_FIB_RESULT_OIF)
          .attributeU32be(NFTA_FIB.FLAGS, NFTA_FIB_F.SADDR | NFTA_FIB_F.IIF | NFTA_FIB_F.PRESENT);
      });
      compare(batch, [0, 0, 0, 0]);
      break;
    case 'masquerade':
      expression(batch, 'masq', () => batch.attributeU32be(NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY));
      break;
    case 'verdict':
      expression(batch, 'immediate', () => {
        batch.attributeU32be(NFTA_IMMEDIATE.DREG, NFT_REG.VERDICT).nested(NFTA_IMMEDIATE.DATA, () => {
          batch.nested(NFTA_DATA.VERDICT, () => {
            batch.attributeU32be(NFTA_VERDICT_CODE, NF_VERDICT[statement.verdict] >>> 0);
          });
        });
      });
      break;
  }
}
