/**
 * Godwit in the middle of others, with collisions made to order: nobody's connection gets through until both sides of
 * every session have dialled (RFC 4271 §6.8). After each round exactly one connection a session is left, on both sides
 * the same one.
 */
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

/** Godwit, router 1, and `count` others; each has a session with it over IPv4 and one over IPv6. */
export class Star implements AsyncDisposable {
  readonly lan = new Lan();
  readonly others: Router[] = [];
  readonly count: number;
  hub!: Godwit;

  constructor(count: number) {
    this.count = count;
    for (const n of this.all) this.lan.join(`r${n}`, addresses(n).address4, addresses(n).address6);
  }

  private get all(): number[] {
    return Array.from({ length: this.count + 1 }, (_, i) => i + 1);
  }

  async start(startOther: (lan: Lan, name: string, spec: RouterSpec) => Promise<Router>): Promise<void> {
    const towards = (n: number, asn: number): NeighborSpec[] =>
      [addresses(n).address4, addresses(n).address6].map((address) => ({ address, asn }));
    const neighbors = this.all.slice(1).flatMap((n) => towards(n, HUB_AS + n));
    this.hub = await Godwit.start(this.lan, 'r1', { ...addresses(1), asn: HUB_AS, neighbors }, collisionSettings);
    for (const n of this.all.slice(1)) {
      const announce = [{ prefix: `10.${n}.0.0/24` }];
      const spec = { ...addresses(n), asn: HUB_AS + n, neighbors: towards(1, HUB_AS), announce };
      this.others.push(await startOther(this.lan, `r${n}`, spec));
    }
    await this.settled();
  }

  /** Lets no connection begin, ends all sessions, waits until everybody dials, and lets all of them through at once. */
  async collide(endSessions: (router: Router) => unknown): Promise<void> {
    const rule = 'tcp dport 179 tcp flags & (syn | ack) == syn drop';
    const table = `table inet hold {\n chain input {\n type filter hook input priority 0; ${rule};\n }\n }`;
    for (const n of this.all) this.lan.namespaces.run(`r${n}`, 'nft', table);
    await Promise.all(this.others.map(endSessions));
    const dialling = (n: number) => this.sockets(n, 'syn-sent').length;
    const everybody = () => dialling(1) === 2 * this.count && this.all.slice(1).every((n) => dialling(n) === 2);
    await until('both sides dial', everybody, 30_000);
    for (const n of this.all) this.lan.namespaces.run(`r${n}`, 'nft', 'delete table inet hold');
    await this.settled();
  }

  /** Waits until one connection a session is left, both ends mean the same one, and call the session Established. */
  async settled(): Promise<void> {
    const one = () => {
      const theirs = this.all.slice(1).flatMap((n) => this.sockets(n, 'established'));
      return theirs.length === 2 * this.count && theirs.sort().join() === this.sockets(1, 'established').sort().join();
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
