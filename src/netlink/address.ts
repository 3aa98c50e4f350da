/** Interface addresses: RTM_{NEW,DEL,GET}ADDR, struct ifaddrmsg. */
import type { Reader } from '../base/mod.ts';
import { addressBytes, addressFromBytes, familyOf, formatInterfaceAddress } from '../net/mod.ts';
import type { InterfaceAddress, IpAddress } from '../net/mod.ts';
import { AF } from '../sys/mod.ts';
import { IFA, NLM_F, RTM } from './codes.ts';
import { forEachAttribute } from './message.ts';
import type { Batch } from './message.ts';

export interface KernelAddress extends InterfaceAddress {
  /** Interface index. */
  readonly index: number;
  readonly scope: number;
  /** IFA_F bits. */
  readonly flags: number;
}

export function decodeAddress(body: Reader): KernelAddress | undefined {
  body.skip(1);
  const prefixLength = body.u8();
  let flags = body.u8();
  const scope = body.u8();
  const index = body.u32le();
  let address: IpAddress | undefined;
  forEachAttribute(body, (type, value) => {
    // on point-to-point links ADDRESS is the peer's, and LOCAL comes with it
    if (type === IFA.LOCAL || (type === IFA.ADDRESS && address === undefined)) {
      if (value.remaining === 4 || value.remaining === 16) address = addressFromBytes(value.view(value.remaining));
    } else if (type === IFA.FLAGS) flags = value.u32le();
  });
  return body.failed || address === undefined ? undefined : { address, prefixLength, index, scope, flags };
}

interface AddressOptions {
  readonly scope?: number;
  /** IFA_F bits, such as NODAD. */
  readonly flags?: number;
}

function encode(batch: Batch, index: number, address: InterfaceAddress, options: AddressOptions): Batch {
  const bytes = addressBytes(address.address);
  const v4 = familyOf(address.address) === 4;
  batch.u8(v4 ? AF.INET : AF.INET6).u8(address.prefixLength);
  batch
    .u8(0)
    .u8(options.scope ?? 0)
    .u32(index);
  batch.attribute(IFA.LOCAL, bytes).attribute(IFA.ADDRESS, bytes);
  if (v4 && address.prefixLength < 31) {
    const broadcast = bytes.slice();
    for (let bit = address.prefixLength; bit < 32; bit++) broadcast[bit >> 3]! |= 0x80 >> (bit & 7);
    batch.attribute(IFA.BROADCAST, broadcast);
  }
  if (options.flags !== undefined) batch.attributeU32(IFA.FLAGS, options.flags);
  return batch.end();
}

/** Adds, or does nothing when it is there (NLM_F_REPLACE). */
export function addAddress(
  batch: Batch,
  index: number,
  address: InterfaceAddress,
  options: AddressOptions = {},
): Batch {
  const name = `add address ${formatInterfaceAddress(address)} to link ${index}`;
  return encode(batch.begin(RTM.NEWADDR, NLM_F.ACK | NLM_F.CREATE | NLM_F.REPLACE, name), index, address, options);
}

export function deleteAddress(batch: Batch, index: number, address: InterfaceAddress): Batch {
  const name = `delete address ${formatInterfaceAddress(address)} from link ${index}`;
  return encode(batch.begin(RTM.DELADDR, NLM_F.ACK, name), index, address, {});
}
