/**
 * What a speaker tells whoever listens: `monitor`, the agent, tests. Texts from peers are escaped already; `neighbor` is the
 * neighbour's `neighborKey`.
 */
import type { Family } from '../../net/mod.ts';
import type { SessionState } from '../fsm/mod.ts';

export type SpeakerEvent =
  | {
      readonly type: 'state';
      readonly neighbor: string;
      readonly from: SessionState;
      readonly to: SessionState;
    }
  | { readonly type: 'up'; readonly neighbor: string; readonly asn: number; readonly families: readonly Family[] }
  | { readonly type: 'down'; readonly neighbor: string; readonly reason: string; readonly retained: boolean }
  | { readonly type: 'attempt-failed'; readonly neighbor: string; readonly reason: string }
  | { readonly type: 'end-of-rib'; readonly neighbor: string; readonly family: Family }
  | { readonly type: 'stale-swept'; readonly neighbor: string; readonly family: Family; readonly routes: number }
  | { readonly type: 'bad-update'; readonly neighbor: string; readonly treatment: string; readonly reason: string }
  | {
      readonly type: 'prefix-limit';
      readonly neighbor: string;
      readonly family: Family;
      readonly direction: 'in' | 'out';
      readonly level: 'warn' | 'exceeded';
      readonly count: number;
    }
  | { readonly type: 'added' | 'removed'; readonly neighbor: string }
  | { readonly type: 'restart-finished'; readonly because: string };

export class EventHub {
  private readonly listeners = new Set<(event: SpeakerEvent) => void>();

  listen(listener: (event: SpeakerEvent) => void): Disposable {
    this.listeners.add(listener);
    return { [Symbol.dispose]: () => void this.listeners.delete(listener) };
  }

  emit(event: SpeakerEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}
