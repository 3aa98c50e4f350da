/**
 * The guard between what the datastore says and what the gateways are told. New and changed announcements pass at once.
 * Withdrawals pass as long as they are few: a list that is suddenly much shorter (a wrong prefix, an emptied store, a
 * datastore restored from an old backup) would cut off the pods, so it is held until it heals or somebody confirms it.
 * Pure.
 */
import type { Prefix } from '../net/mod.ts';
import { sameAnnouncement } from './announce.ts';
import type { Announcement, Announcements } from './announce.ts';

export interface GuardOptions {
  /** Prefixes that must be known before anything is announced or any session is opened. */
  readonly minimumReady: number;
  /** Share of what is announced that may be withdrawn at once, 0 to 100. */
  readonly maxWithdrawPercent: number;
  /** This many withdrawals always pass, whatever their share: small clusters change, too. */
  readonly alwaysWithdraw: number;
}

export interface GuardDecision {
  readonly announce: readonly (readonly [Prefix, Announcement])[];
  readonly withdraw: readonly Prefix[];
  /** Withdrawals that wait for confirmation, or for the datastore to heal. */
  readonly held: readonly Prefix[];
}

/** What to tell the gateways, who hold `announced`, now that `wanted` is the truth. */
export function guardChanges(
  announced: Announcements,
  wanted: Announcements,
  options: GuardOptions,
  confirmed = false,
): GuardDecision {
  const announce = [...wanted].filter(([prefix, next]) => !sameAnnouncement(announced.get(prefix), next));
  const gone = [...announced.keys()].filter((prefix) => !wanted.has(prefix));
  const allowed = Math.max(options.alwaysWithdraw, (announced.size * options.maxWithdrawPercent) / 100);
  return confirmed || gone.length <= allowed
    ? { announce, withdraw: gone, held: [] }
    : { announce, withdraw: [], held: gone };
}
