// The store port on a database of ordered rows.
//
// Commits that are asked for in one turn of the event loop are written as one transaction, one after the other, and are
// acknowledged together: they share its flush, for which the thread waits. That thread is the control plane's; the data plane
// runs on in its own.
import { randomBytes } from 'node:crypto';
import { type Clock, type Scheduled, systemClock } from '../runtime/clock.ts';
import { type Log, SILENT_LOG } from '../runtime/log.ts';
import { commitProblem } from './commit-problem.ts';
import type { Database, Writer } from './database.ts';
import { damaged, StoreError } from './errors.ts';
import { LeaseTable } from './leases.ts';
import {
  commitKey,
  commitsBefore,
  decodeRow,
  type EntryRow,
  encodeRow,
  entryKey,
  entryRange,
  isSound,
  keyOfEntry,
  LEASE_RANGE,
  leaseKey,
  leaseOfKey,
  ROW_FORMAT,
  SUMMARY_KEY,
  type Summary,
} from './rows.ts';
import type { CommitEvent, CommitResult, Entry, Expectation, Key, LeaseId, Revision, Store, Write } from './store.ts';

export interface RowStoreOptions {
  /** What errors call the database. */
  readonly path: string;
  readonly log?: Log;
  readonly clock?: Clock;
  /** How many commits a watcher may be behind and still resume. 10,000 of about 1 KB each are 10 MB on the disk. */
  readonly keepCommits?: number;
  onClosed(): void;
}

type Request =
  | { readonly kind: 'commit'; readonly writes: readonly Write[]; readonly expectations: readonly Expectation[] }
  | { readonly kind: 'grant'; readonly lease: LeaseId; readonly ttlMs: number }
  | { readonly kind: 'end'; readonly lease: LeaseId };

interface Pending {
  readonly request: Request;
  resolve(result: CommitResult): void;
  reject(error: unknown): void;
}

/** What a transaction did so far. */
interface Progress {
  summary: Summary;
  readonly events: CommitEvent[];
}

interface Watcher {
  /** The commit that was delivered last. */
  at: number;
  readonly handlers: { onCommit(event: CommitEvent): void; onGap(): void };
}

/** So many commits share one transaction at most, so that the first of them does not wait for an endless queue. */
const GROUP = 256;

/** The longest time that a timer of Node.js can wait. */
const MAX_TTL_MS = 2 ** 31 - 1;

export class RowStore implements Store {
  readonly #database: Database;
  readonly #path: string;
  readonly #onClosed: () => void;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #keepCommits: number;
  readonly #leases = new LeaseTable();
  readonly #watchers = new Set<Watcher>();
  #queue: Pending[] = [];
  #working: Promise<void> | undefined;
  #leaseTimer: Scheduled | undefined;
  #summary: Summary;
  #closed = false;

  /** Throws StoreError `damaged`; the database stays open then. */
  constructor(database: Database, options: RowStoreOptions) {
    this.#database = database;
    this.#path = options.path;
    this.#log = options.log ?? SILENT_LOG;
    this.#clock = options.clock ?? systemClock;
    this.#keepCommits = options.keepCommits ?? 10_000;
    this.#onClosed = options.onClosed;
    this.#summary = this.#verify();
    this.#setLeaseTimer();
  }

  async get(key: Key): Promise<Entry | undefined> {
    this.#usable();
    const row = this.#entry(key);
    return row === undefined ? undefined : { key, value: row.value, revision: row.revision };
  }

  async list(prefix: string): Promise<{ readonly revision: Revision; readonly entries: readonly Entry[] }> {
    this.#usable();
    const entries = [...this.#entries(prefix)].map(({ key, row }) => ({
      key,
      value: row.value,
      revision: row.revision,
    }));
    return { revision: this.#summary.revision, entries };
  }

  async commit(writes: readonly Write[], expectations: readonly Expectation[] = []): Promise<CommitResult> {
    const problem = commitProblem(writes, expectations);
    if (problem !== undefined) throw new StoreError('invalid', problem);
    return this.#enqueue({ kind: 'commit', writes, expectations });
  }

  watch(after: Revision, handlers: Watcher['handlers']): { close(): void } {
    const watcher: Watcher = { at: after, handlers };
    this.#watchers.add(watcher);
    queueMicrotask(() => this.#deliver(watcher, []));
    return { close: () => void this.#watchers.delete(watcher) };
  }

  async grantLease(ttlMs: number): Promise<LeaseId> {
    if (!(ttlMs >= 1 && ttlMs <= MAX_TTL_MS))
      throw new StoreError('invalid', `a lease of ${ttlMs} ms: 1 to ${MAX_TTL_MS} are possible`);
    const lease = randomBytes(8).toString('hex') as LeaseId;
    await this.#enqueue({ kind: 'grant', lease, ttlMs });
    this.#leases.grant(lease, ttlMs, this.#clock.now());
    this.#setLeaseTimer();
    return lease;
  }

  async keepAlive(lease: LeaseId): Promise<boolean> {
    this.#usable();
    const alive = this.#leases.keepAlive(lease, this.#clock.now());
    this.#setLeaseTimer();
    return alive;
  }

  async revokeLease(lease: LeaseId): Promise<void> {
    this.#leases.end(lease);
    await this.#enqueue({ kind: 'end', lease });
    this.#setLeaseTimer();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#leaseTimer?.cancel();
    await this.#working;
    this.#watchers.clear();
    await this.#database.close();
    this.#onClosed();
  }

  #usable(): void {
    if (this.#closed) throw new StoreError('closed', `${this.#path} has been closed`);
  }

  #entry(key: Key): EntryRow | undefined {
    const row = this.#database.get(entryKey(key));
    return row === undefined ? undefined : this.#decode<EntryRow>(entryKey(key), row);
  }

  *#entries(prefix: string): Iterable<{ readonly key: Key; readonly row: EntryRow }> {
    const { start, end } = entryRange(prefix);
    for (const { key, row } of this.#database.range(start, end))
      yield { key: keyOfEntry(key), row: this.#decode<EntryRow>(key, row) };
  }

  #decode<T>(rowKey: string, row: Buffer): T {
    const content = decodeRow(rowKey, row);
    if (content === undefined) throw wrongChecksum(this.#path, rowKey);
    return content as T;
  }

  /** Reads everything, compares it with the summary, takes up the leases and forgets commits that are too old. */
  #verify(): Summary {
    const stored = this.#database.get(SUMMARY_KEY);
    if (stored === undefined) throw damaged(this.#path, 'its summary is missing');
    const summary = this.#decode<Summary>(SUMMARY_KEY, stored);
    if (summary.format > ROW_FORMAT) {
      throw damaged(this.#path, `format ${summary.format} is of a newer version; this one knows ${ROW_FORMAT}`);
    }
    let entries = 0;
    const all = entryRange('');
    for (const { key, row } of this.#database.range(all.start, all.end)) {
      if (!isSound(key, row)) throw wrongChecksum(this.#path, key);
      entries++;
    }
    if (summary.entries !== entries)
      throw damaged(this.#path, `it holds ${entries} entries where ${summary.entries} were written`);
    for (const { key, row } of this.#database.range(LEASE_RANGE.start, LEASE_RANGE.end)) {
      this.#leases.grant(leaseOfKey(key), this.#decode<{ ttlMs: number }>(key, row).ttlMs, this.#clock.now());
    }
    const old = commitsBefore(summary.revision - this.#keepCommits + 1);
    const expired = [...this.#database.range(old.start, old.end)];
    this.#database.transaction((write) => {
      for (const { key } of expired) write.remove(key);
    });
    return summary;
  }

  #enqueue(request: Request): Promise<CommitResult> {
    return new Promise((resolve, reject) => {
      this.#usable();
      this.#queue.push({ request, resolve, reject });
      this.#working ??= this.#work();
    });
  }

  async #work(): Promise<void> {
    // What else is asked for in the same turn shares the transaction.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#queue.splice(0, GROUP);
      try {
        this.#writeGroup(group);
      } catch (error) {
        for (const pending of group) pending.reject(error);
      }
      // Between two flushes the thread does what else there is to do.
      if (this.#queue.length > 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#working = undefined;
  }

  #writeGroup(group: readonly Pending[]): void {
    const progress: Progress = { summary: this.#summary, events: [] };
    const results = this.#database.transaction((write) => {
      const outcomes = group.map(({ request }) => this.#apply(write, request, progress));
      if (progress.events.length > 0) write.put(SUMMARY_KEY, encodeRow(SUMMARY_KEY, progress.summary));
      return outcomes;
    });
    this.#summary = progress.summary;
    group.forEach((pending, index) => {
      const result = results[index];
      if (result instanceof StoreError) pending.reject(result);
      else if (result !== undefined) pending.resolve(result);
    });
    if (progress.events.length > 0) for (const watcher of [...this.#watchers]) this.#deliver(watcher, progress.events);
  }

  /** One request inside a transaction. An error that is its own leaves the others alone. */
  #apply(write: Writer, request: Request, progress: Progress): CommitResult | StoreError {
    switch (request.kind) {
      case 'grant':
        write.put(leaseKey(request.lease), encodeRow(leaseKey(request.lease), { ttlMs: request.ttlMs }));
        return { committed: true, revision: progress.summary.revision };
      case 'end': {
        write.remove(leaseKey(request.lease));
        const owned = [...this.#entries('')].filter(({ row }) => row.lease === request.lease);
        return this.#applyWrites(
          write,
          owned.map(({ key }) => ({ key, value: null })),
          progress,
        );
      }
      case 'commit': {
        const ended = request.writes.find(
          ({ lease }) => lease !== undefined && lease !== 'keep' && !this.#leases.has(lease),
        );
        if (ended !== undefined)
          return new StoreError('lease-ended', `${ended.key}: its lease ${ended.lease} has ended; take a new one`);
        for (const { key, revision } of request.expectations) {
          const standing = this.#entry(key)?.revision ?? 0;
          if (standing !== revision) return { committed: false, key, revision: progress.summary.revision };
        }
        return this.#applyWrites(write, request.writes, progress);
      }
    }
  }

  #applyWrites(write: Writer, writes: readonly Write[], progress: Progress): CommitResult {
    const revision = (progress.summary.revision + 1) as Revision;
    const done: { key: Key; value: string | null }[] = [];
    let { entries } = progress.summary;
    for (const { key, value, lease: asked } of [...writes].sort((a, b) => (a.key < b.key ? -1 : 1))) {
      const rowKey = entryKey(key);
      const standing = this.#entry(key);
      const existed = standing !== undefined;
      if (value === null && !existed) continue;
      entries += (value === null ? 0 : 1) - (existed ? 1 : 0);
      const lease = asked === 'keep' ? standing?.lease : asked;
      if (value === null) write.remove(rowKey);
      else write.put(rowKey, encodeRow(rowKey, { value, revision, ...(lease === undefined ? {} : { lease }) }));
      done.push({ key, value });
    }
    if (done.length === 0) return { committed: true, revision: progress.summary.revision };
    write.put(commitKey(revision), encodeRow(commitKey(revision), done));
    if (revision > this.#keepCommits) write.remove(commitKey(revision - this.#keepCommits));
    progress.summary = { ...progress.summary, revision, entries };
    progress.events.push({ revision, writes: done });
    return { committed: true, revision };
  }

  #deliver(watcher: Watcher, fresh: readonly CommitEvent[]): void {
    try {
      while (watcher.at < this.#summary.revision && this.#watchers.has(watcher)) {
        const revision = (watcher.at + 1) as Revision;
        const event = fresh.find((one) => one.revision === revision) ?? this.#loggedCommit(revision);
        if (event === undefined) {
          this.#watchers.delete(watcher);
          watcher.handlers.onGap();
          return;
        }
        watcher.at = revision;
        watcher.handlers.onCommit(event);
      }
    } catch (error) {
      // A watcher's mistake is not the writer's: the commit stands, and the others hear of it.
      this.#log.error('watcher failed', { path: this.#path, revision: watcher.at, error });
    }
  }

  #loggedCommit(revision: Revision): CommitEvent | undefined {
    const row = this.#database.get(commitKey(revision));
    const writes = row === undefined ? undefined : decodeRow(commitKey(revision), row);
    return writes === undefined ? undefined : { revision, writes: writes as CommitEvent['writes'] };
  }

  #setLeaseTimer(): void {
    this.#leaseTimer?.cancel();
    const next = this.#leases.nextEnd();
    if (next === undefined || this.#closed) return;
    this.#leaseTimer = this.#clock.schedule(next - this.#clock.now(), () => void this.#endDueLeases());
  }

  async #endDueLeases(): Promise<void> {
    for (const lease of this.#leases.due(this.#clock.now()) as readonly LeaseId[]) {
      try {
        await this.revokeLease(lease);
      } catch (error) {
        // Its keys stay until the next start, which grants it once more.
        if (!this.#closed) this.#log.warn('lease not ended', { lease, error });
      }
    }
    this.#setLeaseTimer();
  }
}

function wrongChecksum(path: string, rowKey: string): StoreError {
  return damaged(path, `the checksum of ${rowKey} is wrong`);
}

/** Makes a database that holds nothing an empty store. */
export function initialize(database: Database): void {
  const summary: Summary = { format: ROW_FORMAT, revision: 0 as Revision, entries: 0 };
  database.transaction((write) => write.put(SUMMARY_KEY, encodeRow(SUMMARY_KEY, summary)));
}
