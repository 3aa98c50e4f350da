/** Who may become a neighbour without being listed: dynamic ranges, their limits, and strangers. */
import { PrefixMap } from '../../net/mod.ts';
import type { IpAddress, Prefix } from '../../net/mod.ts';
import { neighborKey } from '../config/mod.ts';
import type { BgpConfig, DynamicRange, NeighborConfig } from '../config/mod.ts';
import type { SparseLog } from './sparse-log.ts';

export class Admission {
  private readonly log: SparseLog;
  private ranges = new PrefixMap<DynamicRange>();
  /** How many neighbours each range has now. */
  private readonly members = new Map<string, number>();

  constructor(log: SparseLog) {
    this.log = log;
  }

  apply(config: BgpConfig): void {
    this.ranges = new PrefixMap();
    for (const range of config.dynamic) this.ranges.set(range.range, range);
  }

  range(prefix: string): DynamicRange | undefined {
    return this.ranges.get(prefix as Prefix);
  }

  /** The range by which this address may come in now. */
  admit(address: IpAddress): DynamicRange | undefined {
    const range = this.ranges.lookup(address)?.[1];
    if (range && (this.members.get(range.range) ?? 0) < range.limit) return range;
    const reason = range ? `dynamic range ${range.range} is full` : 'not configured';
    this.log.warn(range?.range ?? '', { address, reason }, 'connection refused');
    return undefined;
  }

  /** A neighbour of the range was made (1) or forgotten (−1). */
  count(range: string, change: 1 | -1): void {
    this.members.set(range, (this.members.get(range) ?? 0) + change);
  }
}

/** A neighbour of a range: it dials us, we never dial it. */
export function neighborFromRange(range: DynamicRange, address: IpAddress, device: string | undefined): NeighborConfig {
  const { range: _range, limit: _limit, name: _name, ...settings } = range;
  const where = device === undefined ? {} : { device };
  return {
    ...settings,
    ...where,
    address,
    name: neighborKey(address, device),
    port: 179,
    passive: true,
    enabled: true,
  };
}
