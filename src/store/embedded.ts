// The store of a single node: one LMDB file that one process has open. The only importer of lmdb.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  ftruncateSync,
  openSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import type { Clock } from '../runtime/clock.ts';
import { makeDirectory } from '../runtime/directory.ts';
import type { Log } from '../runtime/log.ts';
import type { Database, Writer } from './database.ts';
import { damaged, StoreError } from './errors.ts';
import { acquireLock } from './lock-file.ts';
import { initialize, RowStore } from './row-store.ts';
import type { Store } from './store.ts';

/** LMDB's own names. */
const DATA = 'data.mdb';
const LOCKS = 'lock.mdb';

export interface EmbeddedOptions {
  /** Made, 0700, when it is not there. */
  readonly directory: string;
  readonly log?: Log;
  readonly clock?: Clock;
  /** See RowStoreOptions. */
  readonly keepCommits?: number;
}

/** Throws StoreError: locked, damaged, full, no-access. Reads every row once, to find damage now rather than later. */
export function openEmbeddedStore(options: EmbeddedOptions): Store {
  const { directory } = options;
  const lockPath = join(directory, 'lock');
  guard(directory, () => {
    makeDirectory(directory, 0o700);
    chmodSync(directory, 0o700);
  });
  const lock = guard(lockPath, () => acquireLock(lockPath));
  let database: Database | undefined;
  const marker = join(directory, 'opening');
  try {
    if (existsSync(marker)) tryInChild(directory);
    writeFileSync(marker, '', { mode: 0o600 });
    const isNew = guard(directory, () => prepareFiles(directory));
    database = openDatabase(directory);
    if (isNew) initialize(database);
    const store = new RowStore(database, { ...options, path: join(directory, DATA), onClosed: () => lock.release() });
    rmSync(marker);
    return store;
  } catch (error) {
    database?.close().catch(() => {});
    rmSync(marker, { force: true });
    lock.release();
    throw explain(marker, error);
  }
}

/**
 * LMDB follows what it reads: a few kinds of damage end the process by a signal. A start that did not come to its end left a
 * marker; the next one lets another process do the same with a copy first, and so can say what is wrong instead of ending too.
 */
function tryInChild(directory: string): void {
  const trial = join(directory, 'trial');
  const script = `import { tryCopy } from ${JSON.stringify(import.meta.url)}; await tryCopy(process.argv[1]);`;
  try {
    guard(directory, () => {
      rmSync(trial, { recursive: true, force: true });
      makeDirectory(trial, 0o700);
      if (existsSync(join(directory, DATA))) copyFileSync(join(directory, DATA), join(trial, DATA));
    });
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script, trial], { stdio: 'ignore' });
    if (child.signal !== null) throw damaged(join(directory, DATA), `reading it ends in ${child.signal}`);
  } finally {
    rmSync(trial, { recursive: true, force: true });
  }
}

/**
 * Only for tryInChild: an ordinary error is the caller's to find again.
 * @public
 */
export async function tryCopy(directory: string): Promise<void> {
  const store = openEmbeddedStore({ directory });
  await store.list('');
  await store.close();
}

function openDatabase(directory: string): Database {
  const path = join(directory, DATA);
  const root = guard(path, () => {
    return open<Buffer, string>({
      path: directory,
      noSubdir: false,
      encoding: 'binary',
      overlappingSync: true,
    });
  });
  return {
    get: (key) => guard(path, () => root.get(key)),
    range: (start, end) =>
      guard(path, () => Array.from(root.getRange({ start, end }), ({ key, value }) => ({ key, row: value }))),
    transaction: (action) => guard(path, () => transact(root, action)),
    close: () => root.close(),
  };
}

function transact<T>(root: RootDatabase<Buffer, string>, action: (write: Writer) => T): T {
  const write: Writer = { put: (key, row) => root.putSync(key, row), remove: (key) => void root.removeSync(key) };
  return root.transactionSync(() => action(write));
}

/** True when nothing was ever written to the database. */
function prepareFiles(directory: string): boolean {
  let isNew = true;
  for (const name of [DATA, LOCKS]) {
    const path = join(directory, name);
    const file = openSync(path, 'a+', 0o600);
    try {
      chmodSync(path, 0o600);
      if (name === LOCKS) reserveLockFile(file);
      else isNew = checkMetaPages(path, file);
    } finally {
      closeSync(file);
    }
  }
  return isNew;
}

/**
 * LMDB writes its lock file through a memory map; on a full disk that would end the process by SIGBUS, so its room is taken
 * beforehand by writing, which fails with an error instead. 16 KiB hold more readers than LMDB's default of 126.
 */
function reserveLockFile(file: number): void {
  const missing = 16_384 - lengthOf(file);
  if (missing > 0) writeSync(file, Buffer.alloc(missing));
}

/**
 * What LMDB or the library would answer with a signal: a file that is none of LMDB's, and one that was cut short, which is
 * padded to what its own meta pages claim, so that the zeros are then found as damage. True when nothing was ever committed.
 */
function checkMetaPages(path: string, file: number): boolean {
  const length = lengthOf(file);
  if (length === 0) return true;
  const head = Buffer.alloc(META_OFFSET + META_BYTES);
  const pageSize =
    readSync(file, head, 0, head.length, 0) < head.length ? 0 : head.readUInt32LE(META_OFFSET + META_PAGE_SIZE);
  let wanted = 0;
  const transactions: bigint[] = [];
  for (const at of [0, pageSize]) {
    const whole = readSync(file, head, 0, head.length, at) === head.length;
    const isMeta =
      whole && head.compare(META_START, 0, META_START.length, META_OFFSET, META_OFFSET + META_START.length) === 0;
    if (!isMeta || pageSize < 512 || pageSize > 65_536)
      throw damaged(path, 'it does not begin with the two meta pages of LMDB');
    wanted = Math.max(wanted, pageSize * (Number(head.readBigUInt64LE(META_OFFSET + META_LAST_PAGE)) + 1));
    transactions.push(head.readBigUInt64LE(META_OFFSET + META_TRANSACTION));
  }
  // They are written by turns; with any other numbers, the newest commits would quietly be forgotten.
  const [even = 0n, odd = 0n] = transactions;
  if (even - odd > 1n || odd - even > 1n)
    throw damaged(path, `its meta pages are of the transactions ${even} and ${odd}`);
  if (wanted > length + 2 ** 30) throw damaged(path, `it has ${length} bytes where ${wanted} were written`);
  if (wanted > length) ftruncateSync(file, wanted);
  return even === 0n && odd === 0n;
}

/** LMDB's MDB_meta (mdb.c) behind a page header: magic, version, map address and size, two databases of 48 bytes, last page, transaction. */
const META_OFFSET = 24;
const META_START = Buffer.from([0xde, 0xc0, 0xef, 0xbe, 2, 0]);
const META_PAGE_SIZE = 24;
const META_LAST_PAGE = 24 + 2 * 48;
const META_TRANSACTION = META_LAST_PAGE + 8;
const META_BYTES = META_TRANSACTION + 8;

function lengthOf(file: number): number {
  return statSync(`/proc/self/fd/${file}`).size;
}

/** Runs `action`; whatever the disk says comes out as a StoreError that names the path. */
function guard<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw explain(path, error);
  }
}

/** LMDB's error codes (lmdb.h) and errno numbers, which the library passes on as they are; node's own come as names. */
function explain(path: string, error: unknown): Error {
  if (error instanceof StoreError) return error;
  const { code, message } = error as { code?: string | number; message?: string };
  const detail = message ?? String(error);
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 1:
    case 13:
    case 30:
      return new StoreError(
        'no-access',
        `${path} may not be opened (${detail}): choose another state directory, or its owner`,
        { cause: error },
      );
    case 'ENOSPC':
    case 'EDQUOT':
    case 28:
    case 122:
    case -30792:
      return full(path, error);
    case 'EIO':
    case 5:
      // A write that was cut short comes as "input/output error" too.
      return hasRoom(path)
        ? new StoreError('io', `${path}: the disk failed (${detail}); look at the kernel's log (dmesg)`, {
            cause: error,
          })
        : full(path, error);
    default:
      // LMDB's own codes lie below -30600; but for a full map, they mean that the file does not hold what it should.
      if (typeof code === 'number' && code < -30_600) return damaged(path, detail, error);
      if (typeof code === 'number' || typeof code === 'string')
        return new StoreError('io', `${path}: ${detail}`, { cause: error });
      return error instanceof Error ? error : new Error(detail);
  }
}

function full(path: string, cause: unknown): StoreError {
  return new StoreError(
    'full',
    `${path}: the file system is full; nothing of the change was kept. Make room and try again`,
    { cause },
  );
}

function hasRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize > 65_536;
  } catch {
    return true;
  }
}
