/**
 * Where routed pods' addresses come from: Calico's blocks in the datastore. What was asked for becomes IPAM's wishes, what
 * went wrong becomes a CNI error: one that is worth another try (11), or one that is not.
 */
import { codes, CniError } from './error.ts';
import type { AssignRequest, BlockIpam, IpamError, Want } from '../ipam/blocks/mod.ts';
import { familyOf } from '../net/mod.ts';
import type { Family, IpAddress } from '../net/mod.ts';
import type { AddressWishes, PodName } from './shape.ts';

export interface AddressRequest {
  readonly handle: string;
  readonly families: readonly Family[];
  readonly addresses: readonly IpAddress[];
  readonly from: AddressWishes;
  readonly pod: PodName | undefined;
}

export interface AddressSource {
  /** All of them or none; asking again with the same handle gives the same. Throws CniError. */
  assign(request: AddressRequest, signal: AbortSignal): Promise<readonly IpAddress[]>;
  /** Takes back whatever the handle has. Throws CniError. */
  release(handle: string, signal: AbortSignal): Promise<void>;
}

export class BlockAddresses implements AddressSource {
  private readonly ipam: BlockIpam;
  private readonly wallNow: () => number;

  constructor(ipam: BlockIpam, wallNow: () => number) {
    this.ipam = ipam;
    this.wallNow = wallNow;
  }

  async assign(request: AddressRequest, signal: AbortSignal): Promise<readonly IpAddress[]> {
    const { handle, pod } = request;
    const attributes = {
      ...(pod && { namespace: pod.namespace, pod: pod.name }),
      ...{ node: this.ipam.node, timestamp: goTimeText(this.wallNow()) },
    };
    const want = wants(request);
    const labels = pod && (await this.ipam.labelsOf(pod.namespace));
    if (labels?.ok === false) throw describe(labels.error);
    const wanted: AssignRequest = { handle, attributes, want, namespaceLabels: labels?.value };
    const given = await this.ipam.assign(wanted, signal);
    if (!given.ok) throw describe(given.error);
    return given.value.map(({ address }) => address);
  }

  async release(handle: string, signal: AbortSignal): Promise<void> {
    const released = await this.ipam.release(handle, signal);
    if (!released.ok) throw describe(released.error);
  }
}

/** One wish a family: the address asked for, or any one; throws CniError for wishes that contradict each other. */
export function wants({ families, addresses, from }: AddressRequest): Want[] {
  const out: Want[] = [];
  for (const family of [4, 6] as const) {
    const asked = addresses.filter((address) => familyOf(address) === family);
    if (asked.length > 1) throw new CniError(codes.noAddress, `more than one address asked for: ${asked.join(', ')}`);
    if (asked[0] !== undefined) out.push({ address: asked[0] });
    else if (!from.exactly && (from.families ?? families).includes(family))
      out.push({ family, ...(from.pools[family] && { pools: from.pools[family] }) });
  }
  if (out.length === 0) throw new CniError(codes.noAddress, 'no address of any family is asked for');
  return out;
}

const final = ['no-pool', 'exhausted', 'block-limit', 'in-use', 'not-in-pool', 'invalid'];

function describe(error: IpamError): CniError {
  const details = [error.message, error.hint].filter((text) => text !== undefined && text !== '').join('; ');
  if (final.includes(error.kind)) return new CniError(codes.noAddress, 'no address can be given', details);
  return new CniError(codes.tryAgain, 'IPAM does not answer now', details);
}

/** As Go prints a time, which is what Calico writes into its blocks. */
const goTimeText = (milliseconds: number): string =>
  `${new Date(milliseconds).toISOString().replace('T', ' ').replace('Z', '')} +0000 UTC`;
