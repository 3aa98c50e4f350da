/**
 * Godwit in the middle of others, with collisions made to order: nobody's connection gets through until both sides of
 * every session have dialled (RFC 4271 §6.8). After each round exactly one connection a session is left, on both sides
 * the same one.
 */
import type { SpeakerEvent } from '../../../src/bgp/mod.ts';
import { until } from '../netns.ts';
import { Godwit } from './godwit.ts';
import { Lan } from './lan.ts';
import { addresses } from './pair.ts';
import type { NeighborSpec, Router, RouterSpec } from './spec.ts';

const HUB_AS = 65001;
export const collisionSettings = {
  global: { gracefulRestart: 'off' },
  neighbor: { timers: { idleHold: 0.05, idleHoldMax: 0.05, connectRetry: 5 } },
};

/**
 * Godwit, router 1, and `count` others; each has a session with it over IPv4 and one over IPv6, or `pairs` of each, between
 * addresses made for them (with one other only).
 */
export class Star<Other extends Router = Router> implements AsyncDisposable {
  readonly lan = new Lan();
  readonly others: Other[] = [];
  readonly count: number;
  private readonly pairs: number;
  hub!: Godwit;
  /** Sessions that had two connections, one made by either side, before a word was said. */
  collisions = 0;
  /** Neighbours of which the hub lost a connection before it was a session. */
  private readonly lost = new Set<string>();

  constructor(count: number, pairs = 1) {
    this.count = count;
    this.pairs = pairs;
    for (const n of this.all) {
      this.lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
      if (pairs === 1) continue;
      for (const [address4, address6] of this.ends(n)) {
        this.lan.namespaces.run(`r${n}`, 'ip', 'addr', 'add', `${address4}/24`, 'dev', 'eth0');
        this.lan.namespaces.run(`r${n}`, 'ip', 'addr', 'add', `${address6}/64`, 'dev', 'eth0', 'nodad');
      }
    }
  }

  /** The addresses of a router's sessions. */
  private ends(n: number): [address4: string, address6: string][] {
    if (this.pairs === 1) return [[addresses(n).address4, addresses(n).address6]];
    return Array.from({ length: this.pairs }, (_, k) => [`10.99.0.${50 * n + 50 + k}`, `fd99::${n}:${k}`]);
  }

  /** Sessions of one of the others. */
  private get sessions(): number {
    return 2 * this.pairs;
  }

  private get all(): number[] {
    return Array.from({ length: this.count + 1 }, (_, i) => i + 1);
  }

  async start(startOther: (lan: Lan, name: string, spec: RouterSpec) => Promise<Other>): Promise<void> {
    const towards = (n: number, from: number, asn: number): NeighborSpec[] => {
      const near = this.ends(from);
      return this.ends(n).flatMap((end, k) => end.map((address, i) => ({ address, asn, local: near[k]![i]! })));
    };
    const neighbors = this.all.slice(1).flatMap((n) => towards(n, 1, HUB_AS + n));
    this.hub = await Godwit.start(this.lan, 'r1', { ...addresses(1), asn: HUB_AS, neighbors }, collisionSettings);
    void this.follow();
    for (const n of this.all.slice(1)) {
      const announce = [{ prefix: `10.${n}.0.0/24` }];
      const spec = { ...addresses(n), asn: HUB_AS + n, neighbors: towards(1, n, HUB_AS), announce };
      this.others.push(await startOther(this.lan, `r${n}`, spec));
    }
    await this.settled();
  }

  /**
   * One round. Ends all sessions with nobody's connection getting through; lets in those the others make, then those the hub
   * makes, but nothing that is said on either; and when each session has two, lets them talk.
   */
  async collide(endSessions: (router: Other) => unknown): Promise<void> {
    for (const n of this.all) this.hold(n, ['connections']);
    await Promise.all(this.others.map(endSessions));
    await until('all sessions have ended', () => this.sockets(1, 'established').length === 0, 30_000);
    for (const n of this.all.slice(1)) this.hold(n, ['connections', 'words']);
    this.hold(1, ['words']);
    await until(
      'the others are connected',
      () => this.sockets(1, 'established').length === this.sessions * this.count,
      40_000,
    );
    this.lost.clear();
    for (const n of this.all.slice(1)) this.hold(n, ['words']);
    // once seen it counts: either side may give its second connection up before the others have theirs
    const collided = new Set<string>();
    const look = () => {
      const open = this.sockets(1, 'established').join(' ');
      for (const { address } of this.hub.spec.neighbors) {
        const connections = open.split(`${address}]:`).length + open.split(`${address}:`).length - 2;
        if (connections === 2 || this.lost.has(address)) collided.add(address);
      }
      return collided.size === this.sessions * this.count;
    };
    await until('two connections a session', look, 40_000);
    this.collisions += collided.size;
    for (const n of this.all) this.hold(n, []);
    await this.settled();
  }

  /** What router `n` does not hear of others: that they connect, or anything they say on a connection. */
  private hold(n: number, what: readonly ('connections' | 'words')[]): void {
    const rules = {
      connections: ['tcp dport 179 tcp flags & (syn | ack) == syn drop'],
      // longer than a segment without octets in it can be
      words: ['ip length > 64', 'ip6 length > 44'].flatMap((long) => [
        `tcp dport 179 ${long} drop`,
        `tcp sport 179 ${long} drop`,
      ]),
    };
    const lines = what.flatMap((name) => rules[name]);
    const chain = ['chain input {', 'type filter hook input priority 0', ...lines, '}'].join('\n');
    const table = `table inet hold {\n}\ndelete table inet hold\ntable inet hold {\n${lines.length > 0 ? chain : ''}\n}`;
    this.lan.namespaces.run(`r${n}`, 'nft', table);
  }

  /** Waits until one connection a session is left, both ends mean the same one, and call the session Established. */
  async settled(): Promise<void> {
    const one = () => {
      const theirs = this.all.slice(1).flatMap((n) => this.sockets(n, 'established'));
      return (
        theirs.length === this.sessions * this.count &&
        theirs.sort().join() === this.sockets(1, 'established').sort().join()
      );
    };
    const established = async () => {
      for (const { address } of this.hub.spec.neighbors) if (!(await this.hub.established(address))) return false;
      for (const other of this.others) {
        for (const { address } of other.spec.neighbors) if (!(await other.established(address))) return false;
      }
      return true;
    };
    await until('one connection a session', async () => one() && (await established()) && one(), 30_000);
  }

  /** Hears what becomes of the hub's attempts, as long as it lives. */
  private async follow(): Promise<void> {
    try {
      for await (const event of this.hub.control.stream<SpeakerEvent>('/events')) {
        if (event.type === 'attempt-failed') this.lost.add(event.neighbor);
      }
    } catch {
      // the hub is gone
    }
  }

  /** The TCP sockets of a router in a state, each as its two ends in one order whoever is asked. */
  private sockets(n: number, state: string): string[] {
    const lines = this.lan.namespaces.run(`r${n}`, 'ss', '-Htn', 'state', state).split('\n').filter(Boolean);
    // BIRD's sockets are bound to the device
    return lines.map((line) => line.replaceAll('%eth0', '').trim().split(/\s+/).slice(2).sort().join(' '));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.hub, ...this.others].map((router) => router[Symbol.asyncDispose]()));
    this.lan[Symbol.dispose]();
  }
}
