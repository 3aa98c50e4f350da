import { DatastoreError } from '../../src/datastore/mod.ts';
import type {
  Datastore,
  KeyValue,
  LeaseId,
  Operation,
  Transaction,
  TransactionResult,
} from '../../src/datastore/mod.ts';

/** What a scheduler makes of one operation: `lost` fails before it, `unknown` after it, `late` now and runs it later. */
export type Fate = 'runs' | 'lost' | 'unknown' | 'late';

/**
 * A datastore in memory whose every operation waits for `schedule`, so that a test decides in which order concurrent
 * clients get through, and what becomes of each operation. Only what IPAM and resources use is here.
 */
export class MemoryStore {
  readonly data = new Map<string, KeyValue>();
  revision = 1;
  operations = 0;
  /** Called after each change. */
  onChange: () => void = () => {};

  /** A client's view; without a schedule everything runs at once. */
  client(schedule?: (describe: string, run: () => void) => Promise<Fate>): Datastore {
    const call = async <T>(describe: string, body: () => T): Promise<T> => {
      this.operations++;
      let result: { value: T } | undefined;
      const run = () => void (result = { value: body() });
      const fate = schedule ? await schedule(describe, run) : 'runs';
      if (fate === 'lost' || fate === 'unknown' || fate === 'late') {
        if (fate === 'unknown') run();
        throw new DatastoreError('unavailable', `${describe}: ${fate}`);
      }
      if (!result) run();
      return result!.value;
    };
    const never = () => Promise.reject(new Error('not in this store'));
    return {
      name: 'memory',
      get: (key) => call(`get ${key}`, () => ({ kv: this.data.get(key), revision: this.revision })),
      list: (prefix) =>
        call(`list ${prefix}`, () => ({
          kvs: [...this.data.values()]
            .filter((kv) => kv.key.startsWith(prefix))
            .sort((a, b) => (a.key < b.key ? -1 : 1)),
          revision: this.revision,
        })),
      transaction: (t) =>
        call(`transaction ${t.do.map((o) => ('key' in o ? o.key : '')).join(' ')}`, () => this.run(t)),
      put: (key, value) => call(`put ${key}`, () => this.run({ if: [], do: [{ op: 'put', key, value }] }).revision),
      delete: (key) => call(`delete ${key}`, () => this.run({ if: [], do: [{ op: 'delete', key }] }).succeeded),
      watch: () => {
        throw new Error('not in this store');
      },
      follow: () => {
        throw new Error('not in this store');
      },
      grantLease: never,
      keepAliveLease: never,
      revokeLease: never,
      leaseTimeToLive: never,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  }

  run(transaction: Transaction): TransactionResult {
    const succeeded = transaction.if.every((condition) => {
      const kv = this.data.get(condition.key);
      if ('modRevision' in condition) return (kv?.modRevision ?? 0) === condition.modRevision;
      if ('version' in condition) return (kv?.version ?? 0) === condition.version;
      return kv?.value === condition.value;
    });
    const operations = (succeeded ? transaction.do : transaction.else) ?? [];
    const writes = operations.some((operation) => operation.op !== 'get');
    if (writes) this.revision++;
    const gets = operations.map((operation) => this.operate(operation));
    if (writes) this.onChange();
    return { succeeded, revision: this.revision, gets };
  }

  private operate(operation: Operation): KeyValue[] {
    if (operation.op === 'get') {
      const kv = this.data.get(operation.key);
      return kv ? [kv] : [];
    }
    if (operation.op === 'deletePrefix') throw new Error('not in this store');
    const { key } = operation;
    if (operation.op === 'delete') this.data.delete(key);
    else {
      const before = this.data.get(key);
      this.data.set(key, {
        key,
        value: operation.value,
        createRevision: before?.createRevision ?? this.revision,
        modRevision: this.revision,
        version: (before?.version ?? 0) + 1,
        lease: '0' as LeaseId,
      });
    }
    return [];
  }
}
