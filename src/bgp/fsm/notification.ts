/** The NOTIFICATIONs that the machine itself sends. */
import { ErrorCode, FsmError } from '../wire/mod.ts';
import type { NotificationMessage } from '../wire/mod.ts';
import type { SessionState } from './types.ts';

const nothing = new Uint8Array(0);

export const holdTimerExpired: NotificationMessage = { code: ErrorCode.HoldTimerExpired, subcode: 0, data: nothing };

/** RFC 6608: the subcode tells in which state the unexpected event came. */
export function fsmError(state: SessionState): NotificationMessage {
  const subcodes: Partial<Record<SessionState, number>> = {
    OpenSent: FsmError.InOpenSent,
    OpenConfirm: FsmError.InOpenConfirm,
    Established: FsmError.InEstablished,
  };
  return { code: ErrorCode.FiniteStateMachine, subcode: subcodes[state] ?? FsmError.Unspecified, data: nothing };
}
