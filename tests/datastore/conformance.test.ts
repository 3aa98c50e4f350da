// One suite, two servers: what holds for Debian's etcd holds for the embedded store.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { compareResult, compareTarget, sortOrder, sortTarget, watchFilter } from '../../src/datastore/wire/messages.ts';
import type { Outgoing } from '../../src/datastore/wire/protobuf.ts';
import { methods } from '../../src/datastore/wire/services.ts';
import { startEtcd, startGodwitStore } from '../support/datastores.ts';
import type { RunningStore } from '../support/datastores.ts';
import { b, EtcdApi, text } from '../support/etcd-api.ts';
import { have } from '../support/peers.ts';
import { until } from '../support/until.ts';

const servers: [name: string, here: boolean, start: () => Promise<RunningStore>][] = [
  ['etcd', have('etcd conformance', 'etcd'), startEtcd],
  ['the embedded store', true, startGodwitStore],
];

for (const [name, here, start] of servers) {
  describe.skipIf(!here)(name, () => {
    let server: RunningStore;
    let api: EtcdApi;
    /** The revision each test starts at. */
    let r: number;

    beforeAll(async () => {
      server = await start();
      api = await EtcdApi.connect(server.url);
    });
    afterAll(async () => {
      api?.[Symbol.dispose]();
      await server?.[Symbol.asyncDispose]();
    });
    beforeEach(async () => {
      r = (await api.del('\0', '\0')).header!.revision;
    });

    const keys = async (key: string, end = '', more: Parameters<EtcdApi['range']>[2] = {}) =>
      (await api.range(key, end, more)).kvs.map((kv) => text(kv.key));

    describe('KV', () => {
      test('put and get: revisions, versions, previous value', async () => {
        expect((await api.put('a', '1')).header?.revision).toBe(r + 1);
        const again = await api.call(methods.put, { key: b('a'), value: b('2'), prevKv: true });
        expect(text(again.prevKv?.value)).toBe('1');
        const { kvs, count, more } = await api.range('a');
        expect(kvs[0]).toMatchObject({ createRevision: r + 1, modRevision: r + 2, version: 2, lease: '0' });
        expect([count, more]).toEqual([1, false]);
        expect((await api.range('b')).kvs).toEqual([]);
      });

      test('a deleted key begins anew', async () => {
        await api.put('a', '1');
        const deleted = await api.call(methods.deleteRange, { key: b('a'), prevKv: true });
        expect([deleted.deleted, text(deleted.prevKvs[0]?.value)]).toEqual([1, '1']);
        expect((await api.del('a')).header?.revision).toBe(r + 2); // nothing deleted, no revision
        await api.put('a', '2');
        expect((await api.range('a')).kvs[0]).toMatchObject({ createRevision: r + 3, version: 1 });
      });

      test('ranges: half open, prefix, from a key on, all', async () => {
        for (const key of ['a', 'a/', 'a/1', 'a/2', 'a0', 'b', 'ä']) await api.put(key);
        expect(await keys('a/', 'a0')).toEqual(['a/', 'a/1', 'a/2']);
        expect(await keys('a/2', 'b')).toEqual(['a/2', 'a0']);
        expect(await keys('a0', '\0')).toEqual(['a0', 'b', 'ä']);
        expect(await keys('\0', '\0')).toHaveLength(7);
        expect(await keys('b', 'a')).toEqual([]);
        expect(await keys('b', 'b')).toEqual([]);
      });

      test('bytes that are no text, and empty values', async () => {
        const key = new Uint8Array([0xff, 0x00, 0xfe]);
        await api.call(methods.put, { key, value: new Uint8Array([0, 255]) });
        const { kvs } = await api.call(methods.range, { key });
        expect(Array.from(kvs[0]!.key)).toEqual([0xff, 0x00, 0xfe]);
        expect(Array.from(kvs[0]!.value)).toEqual([0, 255]);
        await api.put('empty', '');
        expect((await api.range('empty')).count).toBe(1);
      });

      test('limit, count, keys only', async () => {
        for (const key of ['a1', 'a2', 'a3', 'a4']) await api.put(key, 'v');
        const page = await api.range('a', 'b', { limit: 3 });
        expect([page.kvs.length, page.more, page.count]).toEqual([3, true, 4]);
        expect(await api.range('a', 'b', { limit: 4 })).toMatchObject({ more: false, count: 4 });
        expect(await api.range('a', 'b', { countOnly: true })).toMatchObject({ kvs: [], count: 4 });
        const { kvs } = await api.range('a', 'b', { keysOnly: true });
        expect(kvs.map((kv) => kv.value.length)).toEqual([0, 0, 0, 0]);
      });

      test('every order', async () => {
        for (const [key, value] of ['c=3', 'a=2', 'b=1', 'a=9', 'c=0'].map((pair) => pair.split('='))) {
          await api.put(key!, value);
        }
        const { none, ascending, descending } = sortOrder;
        const by = (target: number, order: number, limit = 0) =>
          keys('a', 'z', { sortTarget: target, sortOrder: order, limit });
        expect(await by(sortTarget.key, descending)).toEqual(['c', 'b', 'a']);
        expect(await by(sortTarget.value, ascending)).toEqual(['c', 'b', 'a']);
        expect(await by(sortTarget.createRevision, ascending)).toEqual(['c', 'a', 'b']);
        expect(await by(sortTarget.createRevision, none)).toEqual(['c', 'a', 'b']);
        expect(await by(sortTarget.modRevision, descending)).toEqual(['c', 'a', 'b']);
        expect(await by(sortTarget.modRevision, descending, 1)).toEqual(['c']);
        expect(await by(sortTarget.version, ascending, 1)).toEqual(['b']);
      });

      test('filters by revision', async () => {
        for (const key of ['a', 'b', 'c', 'd']) await api.put(key);
        await api.put('a');
        expect(await keys('a', 'z', { minModRevision: r + 3, maxModRevision: r + 4 })).toEqual(['c', 'd']);
        expect(await keys('a', 'z', { maxCreateRevision: r + 2 })).toEqual(['a', 'b']);
        expect((await api.range('a', 'z', { minModRevision: r + 5 })).count).toBe(4);
      });

      test('the past, and its end', async () => {
        await api.put('a', '1');
        await api.put('a', '2');
        await api.del('a');
        await api.put('b');
        const at = async (revision: number) => text((await api.range('a', '', { revision })).kvs[0]?.value);
        expect([await at(r + 1), await at(r + 2), await at(r + 3)]).toEqual(['1', '2', '']);
        const past = await api.range('a', 'z', { revision: r + 1 });
        expect(past.header?.revision).toBe(r + 4); // the header tells the present
        expect(await api.refusal(methods.range, { key: b('a'), revision: r + 5 })).toBe(
          '11 etcdserver: mvcc: required revision is a future revision',
        );
        await api.call(methods.compact, { revision: r + 2 });
        expect(await api.refusal(methods.range, { key: b('a'), revision: r + 1 })).toBe(
          '11 etcdserver: mvcc: required revision has been compacted',
        );
        expect(await at(r + 2)).toBe('2');
      });

      test('compaction of what is compacted, and of the future', async () => {
        await api.put('a');
        await api.call(methods.compact, { revision: r + 1, physical: true });
        const gone = '11 etcdserver: mvcc: required revision has been compacted';
        expect(await api.refusal(methods.compact, { revision: r + 1 })).toBe(gone);
        expect(await api.refusal(methods.compact, { revision: r + 2 })).toBe(
          '11 etcdserver: mvcc: required revision is a future revision',
        );
        expect((await api.range('a')).count).toBe(1);
      });

      test('ignore value and ignore lease', async () => {
        const { id } = await api.call(methods.leaseGrant, { ttl: 60 });
        await api.put('a', 'kept', id);
        await api.call(methods.put, { key: b('a'), value: b('new'), ignoreLease: true });
        expect((await api.range('a')).kvs[0]).toMatchObject({ lease: id });
        await api.call(methods.put, { key: b('a'), ignoreValue: true });
        const { kvs } = await api.range('a');
        expect([text(kvs[0]?.value), kvs[0]?.lease]).toEqual(['new', '0']);
      });

      test('refusals, with the text clients know', async () => {
        const put = (request: Outgoing<typeof methods.put.request>) => api.refusal(methods.put, request);
        expect(await put({})).toBe('3 etcdserver: key is not provided');
        expect(await put({ key: b('a'), value: b('x'), ignoreValue: true })).toBe('3 etcdserver: value is provided');
        expect(await put({ key: b('a'), lease: '7', ignoreLease: true })).toBe('3 etcdserver: lease is provided');
        expect(await put({ key: b('a'), ignoreValue: true })).toBe('3 etcdserver: key not found');
        expect(await put({ key: b('a'), lease: '7777' })).toBe('5 etcdserver: requested lease not found');
        expect(await api.refusal(methods.range, {})).toBe('3 etcdserver: key is not provided');
        expect(await api.refusal(methods.deleteRange, {})).toBe('3 etcdserver: key is not provided');
        const credentials = { name: 'root', password: 'x' };
        expect(await api.refusal(methods.authenticate, credentials)).toBe(
          '9 etcdserver: authentication is not enabled',
        );
        expect((await api.range('a')).header?.revision).toBe(r);
      });
    });

    describe('Txn', () => {
      const { equal, greater, less, notEqual } = compareResult;
      type Compare = Outgoing<typeof methods.txn.request>['compare'];
      const holds = async (...compare: NonNullable<Compare>) => (await api.call(methods.txn, { compare })).succeeded;

      test('every comparison', async () => {
        await api.put('a', 'm');
        await api.put('a', 'm');
        const key = b('a');
        const version = (result: number, value: number) =>
          holds({ key, target: compareTarget.version, result, version: value });
        expect(await Promise.all([version(equal, 2), version(greater, 1), version(greater, 2)])).toEqual([
          true,
          true,
          false,
        ]);
        expect(await Promise.all([version(less, 3), version(less, 2), version(notEqual, 2)])).toEqual([
          true,
          false,
          false,
        ]);
        const value = (result: number, than: string) =>
          holds({ key, target: compareTarget.value, result, value: b(than) });
        expect(await Promise.all([value(equal, 'm'), value(greater, 'a'), value(less, 'a')])).toEqual([
          true,
          true,
          false,
        ]);
        expect(await holds({ key, target: compareTarget.createRevision, createRevision: r + 1 })).toBe(true);
        expect(await holds({ key, target: compareTarget.modRevision, modRevision: r + 1 })).toBe(false);
        expect(await holds({ key, target: compareTarget.lease, lease: '0' })).toBe(true);
      });

      test('a missing key counts as zeros and has no value', async () => {
        const key = b('missing');
        expect(await holds({ key, target: compareTarget.version, version: 0 })).toBe(true);
        expect(await holds({ key, target: compareTarget.modRevision, modRevision: 0 })).toBe(true);
        expect(await holds({ key, target: compareTarget.value, value: b('') })).toBe(false);
        expect(await holds({ key, target: compareTarget.value, result: notEqual, value: b('x') })).toBe(false);
      });

      test('a range must hold as a whole', async () => {
        await api.put('a1', 'x');
        await api.put('a2', 'y');
        const range = { key: b('a'), rangeEnd: b('b'), target: compareTarget.version };
        expect(await holds({ ...range, version: 1 })).toBe(true);
        await api.put('a2', 'y');
        expect(await holds({ ...range, version: 1 })).toBe(false);
      });

      test('one revision for all, reads see the writes before them, the other branch does nothing', async () => {
        const answer = await api.call(methods.txn, {
          compare: [{ key: b('a'), target: compareTarget.version, version: 0 }],
          success: [
            { put: { key: b('a'), value: b('1') } },
            { range: { key: b('a'), rangeEnd: b('z') } },
            { put: { key: b('b'), value: b('2') } },
            { deleteRange: { key: b('c') } },
          ],
          failure: [{ put: { key: b('never') } }],
        });
        expect([answer.succeeded, answer.header?.revision]).toEqual([true, r + 1]);
        expect(answer.responses[1]?.range?.kvs.map((kv) => text(kv.key))).toEqual(['a']);
        expect(answer.responses[3]?.deleteRange?.deleted).toBe(0);
        const { kvs } = await api.range('a', 'z');
        expect(kvs.map((kv) => [text(kv.key), kv.modRevision])).toEqual([
          ['a', r + 1],
          ['b', r + 1],
        ]);
      });

      test('transactions in transactions: all conditions are judged first', async () => {
        const inner = {
          compare: [{ key: b('a'), target: compareTarget.version, version: 0 }],
          success: [{ put: { key: b('b'), value: b('a was not there') } }],
          failure: [{ put: { key: b('b'), value: b('a was there') } }],
        };
        const answer = await api.call(methods.txn, { success: [{ put: { key: b('a') } }, { txn: inner }] });
        expect(answer.responses[1]?.txn?.succeeded).toBe(true);
        expect(text((await api.range('b')).kvs[0]?.value)).toBe('a was not there');
      });

      test('a failing operation leaves nothing behind', async () => {
        const success = [{ put: { key: b('a') } }, { put: { key: b('b'), lease: '12345' } }];
        expect(await api.refusal(methods.txn, { success })).toBe('5 etcdserver: requested lease not found');
        const past = [{ put: { key: b('a') } }, { range: { key: b('a'), revision: r + 9 } }];
        expect(await api.refusal(methods.txn, { success: past })).toStartWith(
          '11 etcdserver: mvcc: required revision is',
        );
        expect((await api.range('a')).kvs).toEqual([]);
        expect((await api.range('a')).header?.revision).toBe(r);
      });

      test('a key is written once', async () => {
        const duplicate = '3 etcdserver: duplicate key given in txn request';
        const put = (key: string) => ({ put: { key: b(key) } });
        const drop = (key: string, end = '') => ({ deleteRange: { key: b(key), rangeEnd: b(end) } });
        const refusal = (...success: object[]) => api.refusal(methods.txn, { success });
        expect(await refusal(put('a'), put('a'))).toBe(duplicate);
        expect(await refusal(drop('a', 'c'), put('b'))).toBe(duplicate);
        expect(await refusal(put('a'), drop('a'))).toBe(duplicate);
        expect(await refusal(put('a'), { txn: { failure: [put('a')] } })).toBe(duplicate);
        expect(await refusal({ txn: { success: [put('a')], failure: [put('a')] } })).toBe('fine');
        expect(await refusal(drop('a', 'c'), drop('b', 'd'), put('e'))).toBe('fine');
      });

      test('too many operations', async () => {
        const success = Array.from({ length: 129 }, (_, i) => ({ put: { key: b(`k${i}`) } }));
        const tooMany = '3 etcdserver: too many operations in txn request';
        expect(await api.refusal(methods.txn, { success })).toBe(tooMany);
        expect(await api.refusal(methods.txn, { success: success.slice(1) })).toBe('fine');
      });
    });

    describe('Watch', () => {
      test('from now on, with the previous value', async () => {
        await api.put('a', 'before');
        using watch = api.watch();
        expect(await watch.create('a', { prevKv: true })).toMatchObject({ created: true, canceled: false, watchId: 0 });
        await api.put('a', '1');
        await api.del('a');
        const first = await watch.next();
        expect(first.header?.revision).toBeGreaterThanOrEqual(r + 2);
        expect(text(first.events[0]?.prevKv?.value)).toBe('before');
        const { events } = first.events.length > 1 ? { events: first.events.slice(1) } : await watch.next();
        expect(events[0]).toMatchObject({ type: 1, kv: { modRevision: r + 3, createRevision: 0, version: 0 } });
        expect(text(events[0]?.prevKv?.value)).toBe('1');
      });

      test('from a revision in the past, in order, whole transactions', async () => {
        await api.put('a', '1');
        await api.call(methods.txn, { success: [{ put: { key: b('a2') } }, { put: { key: b('a1') } }] });
        await api.del('a', 'b');
        using watch = api.watch();
        await watch.create('a', { rangeEnd: b('b'), startRevision: r + 1 });
        const expected = [`put a=1@${r + 1}`, `put a2=@${r + 2}`, `put a1=@${r + 2}`];
        const deletions = ['a', 'a1', 'a2'].map((key) => `delete ${key}@${r + 3}`);
        expect(await watch.events(6)).toEqual([...expected, ...deletions]);
      });

      test('from a revision yet to come', async () => {
        using watch = api.watch();
        await watch.create('a', { startRevision: r + 3 });
        for (const value of ['1', '2', '3']) await api.put('a', value);
        expect(await watch.events(1)).toEqual([`put a=3@${r + 3}`]);
      });

      test('filters', async () => {
        using watch = api.watch();
        await watch.create('a', { filters: [watchFilter.noPut] });
        await watch.create('a', { filters: [watchFilter.noDelete] });
        await api.put('a', '1');
        await api.del('a');
        const responses = [await watch.next(), await watch.next()].sort((x, y) => x.watchId - y.watchId);
        expect(responses.map(({ watchId, events }) => [watchId, events.map((event) => event.type)])).toEqual([
          [0, [1]],
          [1, [0]],
        ]);
      });

      test('several watches a stream, own ids, cancellation', async () => {
        using watch = api.watch();
        expect((await watch.create('a')).watchId).toBe(0);
        expect((await watch.create('b', { watchId: 77 })).watchId).toBe(77);
        const duplicate = await watch.create('b', { watchId: 77 });
        expect(duplicate).toMatchObject({ created: true, canceled: true });
        watch.send({ cancel: { watchId: 77 } });
        expect(await watch.next()).toMatchObject({ watchId: 77, canceled: true, compactRevision: 0 });
        await api.put('b');
        await api.put('a');
        expect(await watch.next()).toMatchObject({ watchId: 0, events: [{ kv: { modRevision: r + 2 } }] });
      });

      test('a compacted start is cancelled and told where to start', async () => {
        for (const value of ['1', '2', '3']) await api.put('a', value);
        await api.call(methods.compact, { revision: r + 3 });
        using watch = api.watch();
        const answer = await watch.create('a', { startRevision: r + 1 });
        expect(answer).toMatchObject({ created: true });
        expect(await watch.next()).toMatchObject({ canceled: true, compactRevision: r + 3, watchId: answer.watchId });
        await watch.create('a', { startRevision: r + 3 });
        expect(await watch.events(1)).toEqual([`put a=3@${r + 3}`]);
      });

      test('an empty range is refused', async () => {
        using watch = api.watch();
        expect(await watch.create('b', { rangeEnd: b('a') })).toMatchObject({ created: true, canceled: true });
      });

      test('a progress request is answered', async () => {
        using watch = api.watch();
        await watch.create('a');
        await api.put('unwatched');
        watch.send({ progress: {} });
        const answer = await watch.next();
        expect(answer.events).toEqual([]);
        expect(answer.header?.revision).toBe(r + 1);
      });

      test('large revisions come in fragments for those who take them', async () => {
        const value = new Uint8Array(1_000_000).fill(120);
        for (const key of ['f1', 'f2', 'f3', 'f4']) await api.call(methods.put, { key: b(key), value });
        using watch = api.watch();
        await watch.create('f', { rangeEnd: b('g'), fragment: true, prevKv: true });
        await api.del('f', 'g');
        const responses = [await watch.next()];
        while (responses.at(-1)!.fragment) responses.push(await watch.next());
        expect(responses.length).toBeGreaterThan(1);
        const events = responses.flatMap((response) => response.events);
        expect(events.map((event) => text(event.kv?.key))).toEqual(['f1', 'f2', 'f3', 'f4']);
        expect(events.every((event) => event.prevKv?.value.length === value.length)).toBe(true);
      });

      test('10,000 events reach a reader that starts late', async () => {
        const keyOf = (n: number) => b(`m${String(n).padStart(5, '0')}`);
        for (let n = 0; n < 10_000; n += 100) {
          const success = Array.from({ length: 100 }, (_, i) => ({
            put: { key: keyOf(n + i), value: b('x'.repeat(200)) },
          }));
          await api.call(methods.txn, { success });
        }
        using watch = api.watch();
        await watch.create('m', { rangeEnd: b('n'), startRevision: r + 1 });
        const events = await watch.events(10_000);
        expect(events.length).toBe(10_000);
        expect(new Set(events).size).toBe(10_000);
        expect(events).toEqual(events.toSorted((x, y) => Number(x.split('@')[1]) - Number(y.split('@')[1])));
      });
    });

    describe('Lease', () => {
      const grant = (ttl: number, id = '0') => api.call(methods.leaseGrant, { ttl, id });

      test('grant with an id and without, the shortest time, refusals', async () => {
        const { id, ttl } = await grant(60);
        expect([id === '0', ttl]).toEqual([false, 60]);
        expect(await grant(60, '7587848391113506826')).toMatchObject({ id: '7587848391113506826', ttl: 60 });
        expect((await grant(1)).ttl).toBe(2);
        expect(await api.refusal(methods.leaseGrant, { ttl: 60, id: '7587848391113506826' })).toBe(
          '9 etcdserver: lease already exists',
        );
        expect(await api.refusal(methods.leaseGrant, { ttl: 9_000_000_001 })).toBe(
          '11 etcdserver: too large lease TTL',
        );
        await api.call(methods.leaseRevoke, { id: '7587848391113506826' });
        const unknown = '5 etcdserver: requested lease not found';
        expect(await api.refusal(methods.leaseRevoke, { id: '7587848391113506826' })).toBe(unknown);
      });

      test('keys: which hang on it, moving away, revoked as one revision', async () => {
        const { id } = await grant(60);
        for (const key of ['c', 'a', 'b']) await api.put(key, '', id);
        await api.put('b', 'of no lease');
        const answer = await api.call(methods.leaseTimeToLive, { id, keys: true });
        expect(answer.keys.map(text).sort()).toEqual(['a', 'c']);
        expect(answer.grantedTtl).toBe(60);
        expect(answer.ttl).toBeGreaterThan(50);
        using watch = api.watch();
        await watch.create('\0', { rangeEnd: b('\0') });
        await api.call(methods.leaseRevoke, { id });
        expect(await watch.events(2)).toEqual([`delete a@${r + 5}`, `delete c@${r + 5}`]);
        expect((await api.range('\0', '\0')).count).toBe(1);
        expect(await api.call(methods.leaseTimeToLive, { id })).toMatchObject({ ttl: -1, grantedTtl: 0 });
      });

      test('a key that was deleted and made anew hangs on nothing', async () => {
        const { id } = await grant(60);
        await api.put('a', '', id);
        await api.del('a');
        await api.put('a');
        expect((await api.call(methods.leaseTimeToLive, { id, keys: true })).keys).toEqual([]);
        await api.call(methods.leaseRevoke, { id });
        expect((await api.range('a')).count).toBe(1);
      });

      test('runs out and takes its keys along, unless renewed', async () => {
        // a busy machine may pause between two renewals
        const [kept, lost] = [(await grant(5)).id, (await grant(2)).id];
        await api.put('kept', '', kept);
        await api.put('lost', '', lost);
        const call = api.connection.duplex(methods.leaseKeepAlive);
        const answers = call.messages[Symbol.asyncIterator]();
        const end = performance.now() + 7_000;
        await until('one lease to run out', async () => {
          call.send({ id: kept });
          expect((await answers.next()).value).toMatchObject({ id: kept, ttl: 5 });
          return performance.now() > end && (await api.range('lost')).count === 0;
        });
        expect((await api.range('kept')).count).toBe(1);
        call.send({ id: lost });
        expect((await answers.next()).value).toMatchObject({ id: lost, ttl: 0 });
        call.end('done');
      });

      test('the list of leases', async () => {
        const { id } = await grant(60);
        expect((await api.call(methods.leaseLeases, {})).leases.map((lease) => lease.id)).toContain(id);
      });
    });

    test('status, members, alarms, defragmentation', async () => {
      const status = await api.call(methods.status, {});
      expect(status.version).toStartWith('3.');
      expect(status.leader).toBe(status.header!.memberId);
      expect(status.dbSize).toBeGreaterThan(0);
      const { members } = await api.call(methods.memberList, {});
      expect(members.map((member) => member.id)).toEqual([status.header!.memberId]);
      expect((await api.call(methods.alarm, {})).alarms).toEqual([]);
      await api.call(methods.defragment, {});
    });

    test('unknown methods and unreadable requests end the one call', async () => {
      const unknown = { ...methods.range, path: '/etcdserverpb.KV/Nothing' };
      expect(await api.refusal(unknown, { key: b('a') })).toStartWith('12 ');
      const garbage = {
        ...methods.range,
        request: { ...methods.range.request, encode: () => Buffer.from('0aff', 'hex') },
      };
      expect(await api.refusal(garbage, {})).toStartWith('13 ');
      expect((await api.range('a')).kvs).toEqual([]);
    });
  });
}
