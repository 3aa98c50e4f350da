/** One neighbour in its update group: where it reads the stream, or what it must still be told before it does. */
import { DirtySet } from './dirty.ts';
import type { StreamReader } from './stream.ts';

/** There may be a thousand lagging members in a small network: their sets begin small. */
const lagCapacity = 2048;

export interface Lag {
  /** Prefixes it must be told of. */
  readonly dirty: DirtySet;
  /** Prefixes it may believe to have from us: withdraws of others need not be sent. */
  readonly held: DirtySet;
  /** Held, and not announced by this group because it has yet to look at them: only then are they withdrawn. */
  readonly waiting: DirtySet;
}

export const newLag = (held = new DirtySet(lagCapacity)): Lag => ({
  dirty: new DirtySet(lagCapacity),
  held,
  waiting: new DirtySet(lagCapacity),
});

export class Member {
  readonly peer: number;
  reader: StreamReader | undefined;
  lag: Lag | undefined;
  /** Owes the neighbour an End-of-RIB once it is in step. */
  endOfRib = true;
  /** Messages to send before the next update and when the lag is worked off: the marks of RFC 7313. */
  before: Uint8Array | undefined;
  after: Uint8Array | undefined;
  /** `outputReady` was told and not everything was pulled since. */
  signalled = false;

  constructor(peer: number) {
    this.peer = peer;
  }
}
