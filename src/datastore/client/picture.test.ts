import { expect, test } from 'bun:test';
import type { KeyValue, LeaseId, WatchEvent } from '../datastore.ts';
import { Picture } from './picture.ts';

const kv = (key: string, modRevision: number, version = 1): KeyValue => ({
  key,
  value: `v${modRevision}`,
  createRevision: 1,
  modRevision,
  version,
  lease: '0' as LeaseId,
});
const put = (key: string, modRevision: number, version = 1): WatchEvent => ({
  type: 'put',
  kv: kv(key, modRevision, version),
});
const gone = (key: string, modRevision: number): WatchEvent => ({ type: 'delete', key, modRevision });
const told = (key: string, modRevision: number, version = 1) => ({ type: 'put', kv: kv(key, modRevision, version) });

test('a second list tells only the difference', () => {
  const picture = new Picture();
  expect(picture.list([kv('a', 2), kv('b', 3)], 3)).toMatchObject([told('a', 2), told('b', 3)]);
  expect(picture.list([kv('a', 2), kv('b', 3)], 9)).toEqual([]);
  expect(picture.list([kv('b', 12, 2), kv('c', 11)], 12)).toMatchObject([
    told('b', 12, 2),
    told('c', 11),
    { type: 'delete', key: 'a' },
  ]);
});

test('repeated and old events are told once and never backwards', () => {
  const picture = new Picture();
  picture.list([kv('a', 2)], 5);
  expect(picture.event(put('a', 2))).toEqual({ update: undefined, suspect: false }); // before the list
  expect(picture.event(put('a', 7, 2)).update).toMatchObject(told('a', 7, 2));
  expect(picture.event(put('a', 7, 2)).update).toBeUndefined();
  expect(picture.event(gone('a', 6)).update).toBeUndefined();
  expect(picture.event(gone('a', 8)).update).toEqual({ type: 'delete', key: 'a' });
  expect(picture.event(put('a', 7, 2)).update).toBeUndefined(); // a deleted key does not come back by an old event
  expect(picture.list([], 8)).toEqual([]);
  expect(picture.event(put('a', 9)).update).toMatchObject(told('a', 9));
});

test('an event out of order is applied where it is news, and reported', () => {
  const picture = new Picture();
  picture.list([], 5);
  expect(picture.event(put('a', 8))).toMatchObject({ suspect: false });
  expect(picture.event(put('b', 7))).toMatchObject({ update: told('b', 7), suspect: true });
});

test('several events of one revision are in order', () => {
  const picture = new Picture();
  picture.list([], 5);
  for (const key of ['a', 'b', 'c']) expect(picture.event(put(key, 6))).toMatchObject({ suspect: false });
});

test('a skipped version and a deletion of the unknown are reported', () => {
  const picture = new Picture();
  picture.list([kv('a', 2, 1)], 5);
  expect(picture.event(put('a', 6, 2)).suspect).toBe(false);
  expect(picture.event(put('a', 9, 4)).suspect).toBe(true);
  expect(picture.event(gone('b', 10)).suspect).toBe(true);
});

test('after distrust the next list is the truth, and still only a difference of keys', () => {
  const picture = new Picture();
  picture.list([kv('a', 100), kv('b', 101)], 200);
  picture.distrustRevisions();
  expect(picture.list([kv('a', 3)], 4)).toMatchObject([told('a', 3), { type: 'delete', key: 'b' }]);
  expect(picture.revision).toBe(4);
});
