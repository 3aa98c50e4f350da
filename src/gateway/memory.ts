/**
 * What was announced, kept in a file over a restart, so that a first list that lost most of it is noticed. Written after
 * the gateways were told, and at most once in a while: a crash in between costs the guard the newest news, nothing else.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, replaceFile } from '../base/mod.ts';
import type { Clock, Logger } from '../base/mod.ts';
import { parseAddress, parsePrefix } from '../net/mod.ts';
import type { Prefix } from '../net/mod.ts';
import type { Announcement } from './announce.ts';

/** A bunch of changes is written once it is over, and bunches not more often than that. */
const SOON_MS = 50;
const WRITE_EVERY_MS = 1000;

type Announced = () => Iterable<readonly [Prefix, Announcement]>;

export class Memory {
  private readonly announced: Announced;
  private readonly clock: Clock;
  private readonly log: Logger;
  private file: string | undefined;
  private timer: Disposable | undefined;
  private writtenAt = -Infinity;

  /** `announced` gives what is to be written, as it is by then. */
  constructor(file: string | undefined, announced: Announced, clock: Clock, log: Logger) {
    this.file = file;
    this.announced = announced;
    this.clock = clock;
    this.log = log;
  }

  use(file: string | undefined): void {
    this.file = file;
  }

  /** Empty in the first life. */
  recall(): Map<Prefix, Announcement> {
    const recalled = new Map<Prefix, Announcement>();
    if (this.file === undefined) return recalled;
    let text: string;
    try {
      text = readFileSync(this.file, 'utf8');
    } catch {
      return recalled;
    }
    for (const line of text.split('\n')) {
      const [prefixText, addressText, kind, ...node] = line.split(' ');
      const prefix = parsePrefix(prefixText ?? '');
      const nextHop = parseAddress(addressText ?? '');
      if (prefix === undefined || nextHop === undefined || kind === undefined) continue;
      const aggregate = kind === 'aggregate';
      recalled.set(prefix, { nextHop, node: node.join(' '), draining: false, aggregate, covered: false });
    }
    return recalled;
  }

  changed(): void {
    const next = Math.max(SOON_MS, this.writtenAt + WRITE_EVERY_MS - this.clock.now());
    this.timer ??= this.clock.after(next, () => this.write());
  }

  /** Writes now what waits to be written. */
  flush(): void {
    if (this.timer) this.write();
  }

  private write(): void {
    this.timer?.[Symbol.dispose]();
    this.timer = undefined;
    this.writtenAt = this.clock.now();
    if (this.file === undefined) return;
    let text = '';
    for (const [prefix, { nextHop, node, aggregate }] of this.announced()) {
      text += `${prefix} ${nextHop} ${aggregate ? 'aggregate' : 'node'} ${node}\n`;
    }
    try {
      mkdirSync(dirname(this.file), { recursive: true });
      replaceFile(this.file, text, { mode: 0o644, outlives: 'kill' });
    } catch (error) {
      this.log.warn({ file: this.file, error: messageOf(error) }, 'what is announced cannot be remembered');
    }
  }
}
