/** This host's addresses, where BGP needs one that the connection does not tell. */
import { networkInterfaces } from 'node:os';
import { familyOf, isLinkLocal, parseAddress, prefixContains, prefixOf } from '../../net/mod.ts';
import type { Family, IpAddress, Prefix } from '../../net/mod.ts';
import type { Clock } from '../../base/mod.ts';

interface Interface {
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

  /** What to announce as our next hop on a connection whose local address is `local`, by family. */
  nextHops(local: IpAddress): { readonly [F in Family]?: IpAddress } & { readonly linkLocal?: IpAddress } {
    const family = familyOf(local);
    const around = this.holding(local)?.addresses.map((a) => a.address) ?? [];
    const found: { [F in Family]?: IpAddress } & { linkLocal?: IpAddress } = { [family]: local };
    const other = around.find((a) => familyOf(a) !== family && !isLinkLocal(a));
    if (other) found[family === 4 ? 6 : 4] = other;
    const linkLocal = around.find((a) => familyOf(a) === 6 && isLinkLocal(a));
    if (linkLocal) found.linkLocal = linkLocal;
    return found;
  }

  /** The connected prefix that holds both ends, when there is one. */
  sharedSubnet(local: IpAddress, remote: IpAddress): Prefix | undefined {
    const own = this.holding(local)?.addresses.find((a) => a.address === local);
    if (!own) return undefined;
    const subnet = prefixOf(local, own.length);
    return prefixContains(subnet, remote) ? subnet : undefined;
  }

  private holding(address: IpAddress): Interface | undefined {
    if (this.clock.now() - this.readAt > FRESH_MS) this.read();
    return this.interfaces.find((i) => i.addresses.some((a) => a.address === address));
  }

  private read(): void {
    this.readAt = this.clock.now();
    this.interfaces = Object.values(networkInterfaces()).map((entries) => ({
      addresses: (entries ?? []).flatMap((entry) => {
        const address = parseAddress(entry.address.replace(/%.*$/, ''));
        return address ? [{ address, length: Number(entry.cidr?.split('/')[1] ?? 128) }] : [];
      }),
    }));
  }
}
