/**
 * This node's addresses over time. A choice once made is kept for as long as the address is on an interface, whatever else
 * appears, goes down or is renamed: other nodes route by it. When it is gone, another takes its place only after a grace
 * period, because a DHCP renewal or a driver that is reloaded takes the address away for moments.
 */
import { familyOf } from '../net/mod.ts';
import type { Family } from '../net/mod.ts';
import { detectAddress } from './detect.ts';
import type { Detection, HostSnapshot, NodeAddress } from './detect.ts';
import type { DetectionMethod } from './method.ts';

/** How long an address may be missing before another one is taken, milliseconds. */
export const ADDRESS_GRACE_MS = 10_000;

export interface AddressState {
  /** The address in use; stays while it is missing for less than the grace period. */
  readonly current: NodeAddress | undefined;
  /** When it was first seen missing, monotonic milliseconds; undefined while it is there. */
  readonly missingSince: number | undefined;
  readonly detection: Detection;
}

/** One look. `before` is the state of the look before this one. */
export function followAddress(
  before: AddressState | undefined,
  host: HostSnapshot,
  method: DetectionMethod,
  family: Family,
  skip: readonly string[],
  now: number,
): AddressState {
  const detection = detectAddress(host, method, family, skip);
  const held = before?.current;
  if (!held) return { current: detection.choice, missingSince: undefined, detection };
  const there = host.addresses.find((a) => a.address === held.address && familyOf(a.address) === family);
  const link = there && host.links.find((l) => l.index === there.index);
  if (there && link) {
    const { address, prefixLength, index } = there;
    const current = { address, prefixLength, index, device: link.name, mtu: link.mtu };
    return { current, missingSince: undefined, detection };
  }
  const missingSince = before.missingSince ?? now;
  const over = now - missingSince >= ADDRESS_GRACE_MS;
  if (over && detection.choice) return { current: detection.choice, missingSince: undefined, detection };
  return { current: held, missingSince, detection };
}
