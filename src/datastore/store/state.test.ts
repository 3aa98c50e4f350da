import { expect, test } from 'bun:test';
import { putRequest, txnRequest } from '../wire/messages.ts';
import type { Outgoing } from '../wire/protobuf.ts';
import { Mvcc } from './mvcc.ts';
import type { Key, Version } from './mvcc.ts';
import { State } from './state.ts';
import type { Effects } from './state.ts';

const b = (text: string) => new TextEncoder().encode(text);
const put = (request: Outgoing<typeof putRequest>) => putRequest.decode(putRequest.encode(request))!;
const everything = { key: '' as Key, end: null };

function dump(state: State) {
  const live = [...state.mvcc.range(everything)].map(
    (v) => `${v.key}=${Buffer.from(v.value).toString()}@${v.revision} ${v.lease}`,
  );
  const leases = [...state.leases.all()].map(({ id, keys }) => `${id}: ${[...keys].sort().join()}`).sort();
  return { revision: state.mvcc.revision, history: state.mvcc.historyLength, live, leases };
}

function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => (state = (state * 48_271) % 2_147_483_647) % n;
}

/** One random write; refused ones change nothing and give undefined. */
function step(state: State, below: (n: number) => number): Effects | undefined {
  const key = () => b(`k${below(8)}`);
  const lease = () => String(below(4));
  try {
    switch (below(5)) {
      case 0:
        return state.grant({ id: String(1 + below(3)), ttl: 60 }, 0, () => '9').effects;
      case 1:
        return state.revoke(String(1 + below(3))).effects;
      case 2:
        return state.deleteRange({ key: key(), rangeEnd: below(3) === 0 ? b('k9') : b(''), prevKv: false }).effects;
      case 3: {
        const success = [{ put: { key: key(), value: b('t'), lease: lease() } }, { put: { key: key() } }];
        return state.txn(txnRequest.decode(txnRequest.encode({ success }))!).effects;
      }
      default:
        return state.put(put({ key: key(), value: b(String(below(100))), lease: lease() })).effects;
    }
  } catch {
    return undefined;
  }
}

test('writes that cannot be saved are undone without a trace, keys on leases too', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const below = random(seed);
    const state = new State();
    for (let i = 0; i < 30; i++) step(state, below);
    const before = dump(state);
    const batch: Effects[] = [];
    for (let i = 0; i < 20; i++) {
      const effects = step(state, below);
      if (effects) batch.push(effects);
    }
    for (const effects of batch.toReversed()) state.undo(effects);
    expect(dump(state)).toEqual(before);
  }
});

test('a refused transaction leaves nothing', () => {
  const state = new State();
  state.put(put({ key: b('a'), value: b('1') }));
  const before = dump(state);
  const success = [{ put: { key: b('a'), value: b('2') } }, { put: { key: b('b'), lease: '77' } }];
  const request = txnRequest.decode(txnRequest.encode({ success }))!;
  expect(() => state.txn(request)).toThrow('lease not found');
  expect(dump(state)).toEqual(before);
});

test('what was loaded after a compaction is what was there before, at every revision kept', () => {
  for (let seed = 1; seed <= 30; seed++) {
    const below = random(seed * 31);
    const state = new State();
    const disk: Version[] = [];
    for (let i = 0; i < 80; i++) disk.push(...(step(state, below)?.versions ?? []));
    const { revision } = state.mvcc;
    const at = (mvcc: Mvcc, r: number) => [...mvcc.range(everything, r)].map((v) => `${v.key}@${v.revision}`);
    const cut = 1 + below(revision);
    const expected = Array.from({ length: revision - cut + 1 }, (_, i) => at(state.mvcc, cut + i));
    const changes = [...state.mvcc.changesFrom(cut)];
    // half the time the rows that the compaction left behind are removed from disk, half the time it was too late
    const gone = new Set(state.compact(cut));
    const loaded = new Mvcc();
    loaded.load(below(2) === 0 ? disk : disk.filter((version) => !gone.has(version)), revision, cut);
    for (const mvcc of [state.mvcc, loaded]) {
      expect(Array.from({ length: revision - cut + 1 }, (_, i) => at(mvcc, cut + i))).toEqual(expected);
      expect([...mvcc.changesFrom(cut)]).toEqual(changes);
      expect(mvcc.revision).toBe(revision);
    }
  }
});
