/**
 * What has to go through a whole table before anything is decided, a share a turn: one for each neighbour and family. One
 * that begins anew takes the place of the one that runs, which began with other settings.
 */
import type { Family } from '../../net/mod.ts';
import type { FamilyTable } from './table.ts';
import type { PeerId } from './types.ts';

export class Passes {
  private readonly running = new Map<string, Iterator<void>>();

  get size(): number {
    return this.running.size;
  }

  begin(id: PeerId, family: Family, pass: Iterator<void>): void {
    this.running.set(`${id} ${family}`, pass);
  }

  /** One share of one of them; false when there are none. */
  step(): boolean {
    for (const [key, pass] of this.running) {
      if (pass.next().done === true) this.running.delete(key);
      return true;
    }
    return false;
  }
}

/** Prefixes looked at in one go when a neighbour's routes are dropped. */
const dropShare = 32768;

/** Drops all routes of a neighbour that never comes back. */
export function* dropping(table: FamilyTable, peer: PeerId): Generator<void> {
  for (let from = 1; table.received[peer]! > 0; from += dropShare) {
    table.dropBetween(peer, false, from, Math.min(from + dropShare, table.prefixes.top));
    yield;
  }
}
