/** A neighbour's settings in the terms of its session machine and of its sockets. */
import type { NeighborConfig } from '../config/mod.ts';
import type { SessionSettings } from '../fsm/mod.ts';

/** A session that lived this long is no longer one that fails. */
const STABLE_MS = 60_000;

export function sessionSettings({ timers, passive }: NeighborConfig): SessionSettings {
  return {
    passive,
    delayOpenMs: timers.delayOpen * 1000,
    connectRetryMs: timers.connectRetry * 1000,
    openHoldMs: timers.open * 1000,
    sendHoldMs: timers.sendHold === 'auto' ? 'auto' : timers.sendHold * 1000,
    idleHoldMinMs: timers.idleHold * 1000,
    idleHoldMaxMs: timers.idleHoldMax * 1000,
    stableMs: STABLE_MS,
    ...(timers.keepalive !== undefined && { keepaliveMs: timers.keepalive * 1000 }),
  };
}

/**
 * Time to live of what is sent, and the least accepted: GTSM (RFC 5082), or as many hops as configured to external
 * neighbours. One that may be external or internal is taken for an internal one until its OPEN has told its AS.
 */
export function timeToLive(config: NeighborConfig, asn?: number): [ttl: number, minimum: number] {
  const { ttlSecurity, multihop } = config;
  if (ttlSecurity > 0) return [255, 256 - ttlSecurity];
  const external = asn === undefined ? isExternal(config) : asn !== config.localAs;
  return [external ? multihop : 255, 0];
}

/** Whether it can be nothing but external. */
function isExternal({ remoteAs, localAs }: NeighborConfig): boolean {
  if (typeof remoteAs === 'object') return !remoteAs.includes(localAs);
  return typeof remoteAs === 'number' ? remoteAs !== localAs : remoteAs === 'external';
}
