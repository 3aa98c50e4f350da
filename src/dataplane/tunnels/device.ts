/** What every kind of tunnel device has in common. */
import { familyOf } from '../../net/mod.ts';
import type { IpAddress } from '../../net/mod.ts';
import { addAddress, deleteAddress, isUp, setLink } from '../../netlink/mod.ts';
import type { KernelAddress, Link, Rtnetlink } from '../../netlink/mod.ts';

const LINK_SCOPE = 253;

/** Brings the device up with this MTU and exactly this one global address; writes only what differs. */
export function settleDevice(netlink: Rtnetlink, link: Link, mtu: number, address: IpAddress | undefined): void {
  if (!isUp(link) || link.mtu !== mtu)
    netlink.change((batch) => setLink(batch, link.index, { up: true, mtu }, link.name));
  const there = globalAddresses(netlink, link.index);
  if (address !== undefined && !there.some((a) => a.address === address)) {
    const prefixLength = familyOf(address) === 4 ? 32 : 128;
    netlink.change((batch) => addAddress(batch, link.index, { address, prefixLength }));
  }
  clearAddresses(netlink, link.index, address);
}

const globalAddresses = (netlink: Rtnetlink, index: number): KernelAddress[] =>
  netlink.addresses().filter((a) => a.index === index && a.scope !== LINK_SCOPE);

/** Takes away every global address but `keep`. */
export function clearAddresses(netlink: Rtnetlink, index: number, keep?: IpAddress): void {
  const surplus = globalAddresses(netlink, index).filter((a) => a.address !== keep);
  netlink.changeEach(surplus, (batch, a) => deleteAddress(batch, index, a));
}
