/**
 * What the store keeps on disk: one SQLite file with every version, lease and a few numbers. A write is durable when
 * `save` returns (write-ahead log, fsync at each commit), so a kill -9 or a power cut loses nothing that was answered.
 * The file is held exclusively: a second server on the same directory is refused.
 */
import { Database, SQLiteError } from 'bun:sqlite';
import type { Statement } from 'bun:sqlite';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { GodwitError, messageOf } from '../../base/mod.ts';
import type { Revision } from '../datastore.ts';
import type { Version } from './mvcc.ts';
import type { Effects } from './state.ts';
import { fromKey, toKey } from './values.ts';

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS versions (
    revision INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    key BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL, -- 0: the key was deleted
    value BLOB NOT NULL,
    lease TEXT NOT NULL, -- decimal, '0' for none
    PRIMARY KEY (revision, sub)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS leases (id TEXT PRIMARY KEY, ttl INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
`;

interface VersionRow {
  readonly revision: number;
  readonly sub: number;
  readonly key: Uint8Array;
  readonly create_revision: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: string;
}

/** Thrown when the disk is full; nothing of the batch was kept. */
export class DiskFull extends Error {
  override readonly name = 'DiskFull';
}

export class Disk implements Disposable {
  private readonly database: Database;
  private readonly insertVersion: Statement;
  private readonly deleteVersion: Statement;
  private readonly insertLease: Statement;
  private readonly deleteLease: Statement;
  private readonly setNumber: Statement;

  /** Throws GodwitError when the directory cannot be used or another server holds it. */
  constructor(directory: string) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const path = join(directory, 'store.db');
      this.database = new Database(path, { create: true, strict: true });
      chmodSync(path, 0o600);
      // exclusive before WAL: no shared-memory file, and the lock is kept for as long as the process lives
      for (const pragma of ['locking_mode = EXCLUSIVE', 'journal_mode = WAL', 'synchronous = FULL']) {
        this.database.run(`PRAGMA ${pragma}`);
      }
      const { user_version: version } = this.database.query('PRAGMA user_version').get() as { user_version: number };
      if (version > SCHEMA_VERSION) {
        throw new GodwitError('data-directory', `${path} was written by a newer Godwit (format ${version})`);
      }
      // nothing is written to a store that is there: it must start, and be read, on a full disk too
      if (version < SCHEMA_VERSION) {
        this.database.transaction(() => {
          this.database.run(SCHEMA);
          this.database.run(`PRAGMA user_version = ${SCHEMA_VERSION}`);
        })();
      }
    } catch (error) {
      throw openError(directory, error);
    }
    this.insertVersion = this.database.query('INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.deleteVersion = this.database.query('DELETE FROM versions WHERE revision = ? AND sub = ?');
    this.insertLease = this.database.query('INSERT INTO leases VALUES (?, ?)');
    this.deleteLease = this.database.query('DELETE FROM leases WHERE id = ?');
    this.setNumber = this.database.query('INSERT OR REPLACE INTO numbers VALUES (?, ?)');
  }

  *versions(): Generator<Version> {
    const query = this.database.query('SELECT * FROM versions ORDER BY revision, sub');
    for (const row of query.iterate() as IterableIterator<VersionRow>) {
      const { revision, sub, version, value, lease } = row;
      yield { key: toKey(row.key), revision, sub, createRevision: row.create_revision, version, value, lease };
    }
  }

  leases(): { id: string; ttl: number }[] {
    return this.database.query('SELECT id, ttl FROM leases').all() as { id: string; ttl: number }[];
  }

  number(name: string): string | undefined {
    const row = this.database.query('SELECT value FROM numbers WHERE name = ?').get(name) as { value: string } | null;
    return row?.value;
  }

  /** Makes a batch of writes durable, all or none; throws DiskFull, and what else SQLite says. */
  save(batch: readonly Effects[]): void {
    this.transaction(() => {
      for (const { versions, leaseGranted, leaseRemoved } of batch) {
        if (leaseGranted) this.insertLease.run(leaseGranted.id, leaseGranted.ttl);
        for (const v of versions) {
          const { revision, sub, createRevision, version, value, lease } = v;
          this.insertVersion.run(revision, sub, fromKey(v.key), createRevision, version, value, lease);
        }
        if (leaseRemoved) this.deleteLease.run(leaseRemoved.id);
      }
    });
  }

  saveNumbers(numbers: Readonly<Record<string, string | Revision>>): void {
    this.transaction(() => {
      for (const [name, value] of Object.entries(numbers)) this.setNumber.run(name, String(value));
    });
  }

  /** Removes what a compaction made superfluous. May be done late or twice. */
  forget(versions: readonly Version[]): void {
    this.transaction(() => {
      for (const { revision, sub } of versions) this.deleteVersion.run(revision, sub);
    });
  }

  /** Gives free space back to the file system. */
  defragment(): void {
    this.guarded(() => {
      this.database.run('VACUUM');
      this.database.run('PRAGMA wal_checkpoint(TRUNCATE)');
    });
  }

  /** Bytes of the file, and of what is in use in it. */
  size(): { total: number; used: number } {
    const value = (pragma: string): number =>
      Number(Object.values(this.database.query(`PRAGMA ${pragma}`).get() as Record<string, number>)[0]);
    const page = value('page_size');
    const pages = value('page_count');
    return { total: pages * page, used: (pages - value('freelist_count')) * page };
  }

  [Symbol.dispose](): void {
    this.database.close();
  }

  private transaction(run: () => void): void {
    this.guarded(() => {
      this.database.run('BEGIN IMMEDIATE');
      try {
        run();
        this.database.run('COMMIT');
      } catch (error) {
        // SQLite may have rolled back by itself already
        if (this.database.inTransaction) this.database.run('ROLLBACK');
        throw error;
      }
    });
  }

  private guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      const code = error instanceof SQLiteError ? (error.code ?? '') : '';
      // a full disk shows as SQLITE_FULL, or as a failed write where the file system reserves late
      if (code.startsWith('SQLITE_FULL') || code === 'SQLITE_IOERR_WRITE') {
        throw new DiskFull(messageOf(error), { cause: error });
      }
      throw error;
    }
  }
}

function openError(directory: string, error: unknown): GodwitError {
  if (error instanceof GodwitError) return error;
  const busy = error instanceof SQLiteError && (error.code ?? '').startsWith('SQLITE_BUSY');
  if (busy) {
    return new GodwitError('data-directory', `data directory ${directory} is in use by another store`, {
      hint: 'stop the other `godwit store serve`, or give this one a directory of its own',
      cause: error,
    });
  }
  return new GodwitError('data-directory', `cannot use data directory ${directory}: ${messageOf(error)}`, {
    cause: error,
  });
}
