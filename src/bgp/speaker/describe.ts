/** NOTIFICATIONs and reasons in words. Text from the peer is escaped here and nowhere later. */
import { printable } from '../../base/mod.ts';
import {
  CeaseSubcode,
  ErrorCode,
  HeaderError,
  OpenError,
  shutdownText,
  unwrapHardReset,
  UpdateError,
} from '../wire/mod.ts';
import type { NotificationMessage } from '../wire/mod.ts';
import type { DownReason } from '../fsm/mod.ts';

const subcodes: Record<number, Record<string, number>> = {
  [ErrorCode.MessageHeader]: HeaderError,
  [ErrorCode.OpenMessage]: OpenError,
  [ErrorCode.UpdateMessage]: UpdateError,
  [ErrorCode.Cease]: CeaseSubcode,
};

const nameOf = (table: Record<string, number>, value: number): string | undefined =>
  Object.entries(table).find(([, number]) => number === value)?.[0];

/** `AdministrativeShutdown` becomes `administrative shutdown`. */
const words = (name: string): string => name.replace(/(?<=[a-z])[A-Z]/g, (c) => ` ${c.toLowerCase()}`).toLowerCase();

export function describeNotification(n: NotificationMessage): string {
  const inner = unwrapHardReset(n);
  const code = words(nameOf(ErrorCode, inner.code) ?? `code ${inner.code}`);
  const subcode = nameOf(subcodes[inner.code] ?? {}, inner.subcode);
  const text = shutdownText(inner);
  const detail = subcode === undefined ? '' : `, ${words(subcode)}`;
  const quoted = text === undefined ? '' : `: "${printable(text)}"`;
  return `${code}${detail} (${inner.code}/${inner.subcode})${quoted}${inner === n ? '' : ', hard reset'}`;
}

export function describeReason(reason: DownReason): string {
  switch (reason.type) {
    case 'tcp':
      return reason.detail;
    case 'sent':
      return `sent ${describeNotification(reason.notification)}`;
    case 'received':
      return `received ${describeNotification(reason.notification)}`;
    case 'send-hold':
      return 'the peer did not read for the send hold time';
    case 'peer-restart':
      return 'the peer restarted';
    case 'collision':
      return 'lost to a connection made at the same time';
    default:
      return reason satisfies never;
  }
}
