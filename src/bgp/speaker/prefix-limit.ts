/** What a neighbour hears that has sent, or would have to be sent, more prefixes than agreed: RFC 4486 §4. */
import type { Family } from '../../net/mod.ts';
import { Afi, CeaseSubcode, ceaseNotification, Safi } from '../wire/mod.ts';
import type { NotificationMessage } from '../wire/mod.ts';

/** Cease / Maximum Number of Prefixes Reached, with AFI, SAFI and the limit. */
export function prefixesCease(family: Family, limit: number): NotificationMessage {
  const data = new Uint8Array(7);
  const view = new DataView(data.buffer);
  view.setUint16(0, family === 4 ? Afi.IPv4 : Afi.IPv6);
  view.setUint8(2, Safi.Unicast);
  view.setUint32(3, limit);
  return { ...ceaseNotification(CeaseSubcode.MaximumPrefixes), data };
}
