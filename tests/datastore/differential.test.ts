// Random requests, the same to Debian's etcd and to the embedded store: every answer must be the same.
import { describe, expect, test } from 'bun:test';
import type { OutgoingRequestOp, OutgoingTxnRequest } from '../../src/datastore/wire/messages.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import { b, EtcdApi, text } from '../support/etcd-api.ts';
import type { WatchReader } from '../support/etcd-api.ts';
import { have } from '../support/peers.ts';

const here = have('embedded store against etcd, differential', 'etcd');
const SEEDS = [1, 2, 3];
const STEPS = 1500;

/** Small numbers and few keys, so that requests meet. */
class Random {
  private seed: number;
  constructor(seed: number) {
    this.seed = seed * 7919;
  }
  below(n: number): number {
    this.seed = (this.seed * 48_271) % 2_147_483_647;
    return Math.floor((this.seed / 2_147_483_647) * n);
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

const KEYS = ['a', 'a/', 'a/1', 'a/2', 'a0', 'b', 'b/1', 'c', 'd', 'zz'];
const LEASES = ['1001', '1002', '9007199254740995'];

class Requests {
  private readonly random: Random;
  revision = 1;
  constructor(random: Random) {
    this.random = random;
  }

  private key = (): Uint8Array => b(this.random.pick(KEYS));
  private end = (): Uint8Array =>
    this.random.chance(50) ? new Uint8Array(0) : b(this.random.pick([...KEYS, '\0', 'b0', 'z']));
  private value = (): Uint8Array => b(this.random.pick(['', '1', '2', 'long'.repeat(20)]));
  private lease = (): string => (this.random.chance(20) ? this.random.pick(LEASES) : '0');
  private past = (): number => Math.max(0, this.revision - this.random.below(20) + 1);

  range() {
    const { random } = this;
    const bound = () => (random.chance(20) ? this.past() : 0);
    return {
      key: random.chance(3) ? b('') : this.key(),
      rangeEnd: this.end(),
      limit: random.chance(30) ? random.below(5) : 0,
      revision: random.chance(30) ? this.past() : 0,
      sortOrder: random.below(3),
      sortTarget: random.below(5),
      keysOnly: random.chance(10),
      countOnly: random.chance(10),
      minModRevision: bound(),
      maxModRevision: bound(),
      minCreateRevision: bound(),
      maxCreateRevision: bound(),
    };
  }

  put() {
    const { random } = this;
    const [ignoreValue, ignoreLease] = [random.chance(8), random.chance(8)];
    return {
      key: random.chance(2) ? b('') : this.key(),
      value: ignoreValue && random.chance(80) ? b('') : this.value(),
      lease: ignoreLease && random.chance(80) ? '0' : this.lease(),
      prevKv: random.chance(50),
      ignoreValue,
      ignoreLease,
    };
  }

  deleteRange() {
    return { key: this.key(), rangeEnd: this.end(), prevKv: this.random.chance(50) };
  }

  txn(depth = 0): OutgoingTxnRequest {
    const { random } = this;
    const ops = (): OutgoingRequestOp[] =>
      Array.from({ length: random.below(4) }, (): OutgoingRequestOp => {
        const kind = random.below(depth < 2 ? 8 : 7);
        if (kind < 3) return { put: this.put() };
        if (kind < 5) return { range: this.range() };
        return kind < 7 ? { deleteRange: this.deleteRange() } : { txn: this.txn(depth + 1) };
      });
    const compare = Array.from({ length: random.below(3) }, () => {
      const target = random.below(5);
      const operand = [
        { version: random.below(3) },
        { createRevision: this.past() },
        { modRevision: this.past() },
        { value: this.value() },
        { lease: this.lease() },
      ][target];
      return { key: this.key(), rangeEnd: this.end(), result: random.below(4), target, ...operand };
    });
    return { compare, success: ops(), failure: ops() };
  }
}

/** An answer without what may differ: identities, terms, and the headers of answers within a transaction. */
function normal(answer: unknown, depth = 0): unknown {
  if (answer instanceof Uint8Array) return `"${text(answer)}"`;
  if (Array.isArray(answer)) return answer.map((item) => normal(item, depth + 1));
  if (typeof answer !== 'object' || answer === null) return answer;
  const entries = Object.entries(answer).filter(([name]) => name !== 'header' || depth === 0);
  return Object.fromEntries(
    entries.map(([name, value]) => [
      name,
      name === 'header' ? (value as { revision: number }).revision : normal(value, depth + 1),
    ]),
  );
}

const THE_END = 'the end';

/** All events up to the last put. */
async function history(watch: WatchReader): Promise<{ prevKv?: unknown }[]> {
  const events: { prevKv?: unknown }[] = [];
  for (;;) {
    const response = await watch.next();
    expect(response.canceled).toBe(false);
    events.push(...response.events.map((event) => normal(event) as { prevKv?: unknown }));
    if (text(response.events.at(-1)?.kv?.value) === THE_END) return events;
  }
}

describe.skipIf(!here)('the embedded store against etcd', () => {
  test.each(SEEDS)(
    `${STEPS} random requests, seed %d`,
    async (seed) => {
      await using etcd = await startEtcd();
      await using store = await startGodwitStore();
      using one = await EtcdApi.connect(etcd.url);
      using two = await EtcdApi.connect(store.url);
      using watchOne = one.watch();
      using watchTwo = two.watch();
      const everything = { rangeEnd: b('\0'), prevKv: true };
      await watchOne.create('\0', everything);
      await watchTwo.create('\0', everything);
      // read from the start: a watch that falls behind a compaction is cancelled
      const histories = Promise.all([watchOne, watchTwo].map(history));
      const random = new Random(seed);
      const requests = new Requests(random);
      /** The same to both; the answer, or the refusal's code and text. */
      const both = async (name: string, call: (api: EtcdApi) => Promise<unknown>): Promise<void> => {
        const [left, right] = await Promise.all(
          [one, two].map((api) =>
            call(api).then(
              (answer) => normal(answer),
              (error: unknown) => String(error),
            ),
          ),
        );
        expect({ name, answer: right }).toEqual({ name, answer: left });
        const revision = (left as { header?: unknown }).header;
        if (typeof revision === 'number') requests.revision = revision;
      };
      for (let step = 0; step < STEPS; step++) {
        const kind = random.below(100);
        const at = `step ${step}`;
        if (kind < 35) {
          const request = requests.put();
          await both(`${at} put`, (api) => api.call(methods.put, request));
        } else if (kind < 55) {
          const request = requests.range();
          await both(`${at} range`, (api) => api.call(methods.range, request));
        } else if (kind < 65) {
          const request = requests.deleteRange();
          await both(`${at} delete`, (api) => api.call(methods.deleteRange, request));
        } else if (kind < 90) {
          const request = requests.txn();
          await both(`${at} txn`, (api) => api.call(methods.txn, request));
        } else if (kind < 93) {
          const revision = Math.max(0, requests.revision - random.below(10));
          await both(`${at} compact`, (api) => api.call(methods.compact, { revision, physical: true }));
        } else if (kind < 96) {
          const id = random.pick(LEASES);
          await both(`${at} grant`, (api) => api.call(methods.leaseGrant, { id, ttl: 1000 }));
        } else if (kind < 98) {
          const id = random.pick(LEASES);
          await both(`${at} revoke`, (api) => api.call(methods.leaseRevoke, { id }));
        } else {
          const id = random.pick(LEASES);
          const keys = async (api: EtcdApi) => {
            const answer = await api.call(methods.leaseTimeToLive, { id, keys: true });
            return { granted: answer.grantedTtl, keys: answer.keys.map(text).sort() };
          };
          await both(`${at} keys of a lease`, keys);
        }
      }
      // both watches saw the same history
      await Promise.all([one, two].map((api) => api.put('zz', THE_END)));
      const [left, right] = await histories;
      expect(left!.length).toBeGreaterThan(STEPS / 4);
      // a compaction may take a previous value away before the event is told: then one of the two lacks it
      for (const [i, event] of left!.entries()) {
        const other = right![i];
        const both = event.prevKv !== undefined && other?.prevKv !== undefined;
        expect(both ? other : { ...other, prevKv: undefined }).toEqual(both ? event : { ...event, prevKv: undefined });
      }
      expect(right!.length).toBe(left!.length);
    },
    60_000,
  );
});
