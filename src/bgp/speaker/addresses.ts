/** This host's addresses, where BGP needs one that the connection does not tell. */
import { networkInterfaces } from 'node:os';
import { familyOf, isLinkLocal, parseAddress, prefixContains, prefixOf } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { Clock } from '../../base/mod.ts';

interface Interface {
  readonly name: string;
  readonly addresses: readonly { readonly address: IpAddress; readonly length: number }[];
}

/** Looked up again when older than this: a thousand sessions coming up at once read it once. */
const FRESH_MS = 2000;

export class HostAddresses {
  private readonly clock: Clock;
  private interfaces: readonly Interface[] = [];
  private readAt = -Infinity;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /**
   * What to announce as our next hop on a connection whose local address is `local`, by family; `device` goes with a
   * link-local one, in whose place the device's global address is announced when it has one (RFC 2545 §3).
   */
  nextHops(
    local: IpAddress,
    device?: string,
  ): { readonly [F in Family]?: IpAddress } & { readonly linkLocal?: IpAddress } {
    const family = familyOf(local);
    const around = this.holding(local, device)?.addresses.map((a) => a.address) ?? [];
    const global = (of: Family) => around.find((a) => familyOf(a) === of && !isLinkLocal(a));
    const found: { [F in Family]?: IpAddress } & { linkLocal?: IpAddress } = {
      [family]: device === undefined ? local : (global(family) ?? local),
    };
    const other = global(family === 4 ? 6 : 4);
    if (other) found[family === 4 ? 6 : 4] = other;
    const linkLocal = device === undefined ? around.find((a) => familyOf(a) === 6 && isLinkLocal(a)) : local;
    if (linkLocal) found.linkLocal = linkLocal;
    return found;
  }

  /** The connected prefix that holds both ends, when there is one. A link-local one is no prefix that tells anything. */
  sharedSubnet(local: IpAddress, remote: IpAddress, device?: string): Prefix | undefined {
    if (device !== undefined) return undefined;
    const own = this.holding(local)?.addresses.find((a) => a.address === local);
    if (!own) return undefined;
    const subnet = prefixOf(local, own.length);
    return prefixContains(subnet, remote) ? subnet : undefined;
  }

  private holding(address: IpAddress, device?: string): Interface | undefined {
    if (this.clock.now() - this.readAt > FRESH_MS) this.read();
    return this.interfaces.find(
      (i) => (device === undefined || i.name === device) && i.addresses.some((a) => a.address === address),
    );
  }

  private read(): void {
    this.readAt = this.clock.now();
    this.interfaces = Object.entries(networkInterfaces()).map(([name, entries]) => ({
      name,
      addresses: (entries ?? []).flatMap((entry) => {
        const address = parseAddress(entry.address.replace(/%.*$/, ''));
        return address ? [{ address, length: Number(entry.cidr?.split('/')[1] ?? 128) }] : [];
      }),
    }));
  }
}
