/**
 * When what an earlier life left in the kernel may go: once every neighbour that is to be up has told its whole table. Those
 * that restart together with us say so only after they have waited for us (RFC 4724 §4.1), so the end of our own restart is
 * too early; and those that are not there are not waited for without end.
 */
import type { Clock } from '../../base/mod.ts';
import type { SpeakerEvent } from './events.ts';
import type { Speaker } from './speaker.ts';

/** How long neighbours that are not there, or have not told everything, keep what is stale, beyond the speaker's own wait. */
const PATIENCE_MS = 30_000;
/** How often it is looked whether all that neighbours told is decided. */
const DECIDE_MS = 5;

export interface SweepGateOptions {
  readonly clock: Clock;
  /** The speaker that lives now. */
  readonly speaker: () => Speaker | undefined;
  /** Whether the speaker has said all it knows, and whatever else has to come before. */
  readonly ready: () => boolean;
  /** The rest may go. `told`: the neighbours have told everything; else they were waited for long enough. */
  readonly open: (told: boolean) => void;
}

export class SweepGate implements Disposable {
  private readonly options: SweepGateOptions;
  private looking: Disposable | undefined;
  private patience: Disposable | undefined;

  constructor(options: SweepGateOptions) {
    this.options = options;
  }

  /** To be told everything that happens to the speaker. */
  heard({ type }: SpeakerEvent): void {
    if (type === 'end-of-rib' || type === 'removed') this.lookSoon();
  }

  /** Looks when what came before an End-of-RIB has arrived in the FIB as well: it must not be swept. */
  lookSoon(): void {
    this.looking ??= this.options.clock.after(DECIDE_MS, () => {
      this.looking = undefined;
      if (this.options.speaker()?.settled === false) this.lookSoon();
      else this.look();
    });
  }

  /** Looks now: what is waited for may have come. Opens each time that it has. */
  look(late = false): void {
    const { clock, speaker, ready, open } = this.options;
    const live = speaker();
    if (!live || !ready()) return;
    const told = haveTold(live);
    if (!told && !late) {
      this.patience ??= clock.after(PATIENCE_MS, () => this.look(true));
      return;
    }
    this.patience?.[Symbol.dispose]();
    this.patience = undefined;
    open(told);
  }

  [Symbol.dispose](): void {
    this.looking?.[Symbol.dispose]();
    this.patience?.[Symbol.dispose]();
  }
}

/** Whether each neighbour that is to be up is, and has said End-of-RIB for all it speaks. */
function haveTold({ peers }: Speaker): boolean {
  return [...peers.values()].every(({ session, keptDown }) => {
    return keptDown || (session?.active === true && session.families.every((family) => session.finished.has(family)));
  });
}
