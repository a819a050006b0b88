// The catalog follows the store: it lists everything once, then applies each commit, and tells its listeners what changed.
import type { NodeId } from '../model/node.ts';
import type { Task } from '../model/task.ts';
import { type Clock, type Scheduled, systemClock } from '../runtime/clock.ts';
import { type Log, SILENT_LOG } from '../runtime/log.ts';
import { decodeRecord, HEAD_KEY, recordKey, type StoredRecord } from '../store/record.ts';
import type { Key, Revision, Store } from '../store/store.ts';
import type { Change } from './change.ts';
import { ExcusedNodes } from './excused.ts';
import { applyChanges, EMPTY_SNAPSHOT, objectOf, type Snapshot } from './snapshot.ts';

/** `changes` leads from `previous` to `snapshot`; it is never empty. */
export type CatalogListener = (snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]) => void;

export interface CatalogOptions {
  readonly log?: Log;
  readonly clock?: Clock;
}

interface Waiter {
  readonly revision: number;
  resolve(): void;
  reject(error: Error): void;
}

/** Between attempts to list anew when the store does not answer; what is known stays in effect meanwhile. */
const RETRY_MS = 1000;
const PRESENCE = 'presence/';

export class Catalog {
  readonly #store: Store;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #listeners = new Set<CatalogListener>();
  readonly #revisions = new Map<Key, Revision>();
  /** Records that could not be read, and why. */
  readonly #problems = new Map<Key, string>();
  #waiters: Waiter[] = [];
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  #watch: { close(): void } | undefined;
  #retry: Scheduled | undefined;
  #closed = false;
  #own: { readonly nodeId: NodeId; onLeaseLost(): void } | undefined;
  readonly #excused: ExcusedNodes;

  /** Resolves when the snapshot holds all that is in the store. Rejects as the store does. */
  static async open(store: Store, options: CatalogOptions = {}): Promise<Catalog> {
    const catalog = new Catalog(store, options);
    await catalog.#list();
    return catalog;
  }

  private constructor(store: Store, options: CatalogOptions) {
    this.#store = store;
    this.#log = options.log ?? SILENT_LOG;
    this.#clock = options.clock ?? systemClock;
    this.#excused = new ExcusedNodes(this.#clock, (id) => this.#dropUnrecorded(id));
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** The commit that last wrote an object (Docker's Version.Index) or another key; 0 when there is none. */
  revisionOf(kind: StoredRecord['kind'], id: string): Revision {
    return this.keyRevision(recordKey(kind, id));
  }

  keyRevision(key: Key): Revision {
    return this.#revisions.get(key) ?? (0 as Revision);
  }

  /** Of the newest commit that was decided on the whole state. */
  get headRevision(): Revision {
    return this.keyRevision(HEAD_KEY);
  }

  /** Records that are passed over, as whole sentences. */
  get problems(): readonly string[] {
    return [...this.#problems.values()];
  }

  /** Called after every commit that changed something, in order; a listener that throws is logged. Returns how to stop. */
  subscribe(listener: CatalogListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Resolves once the snapshot is of that revision or a later one; rejects when the catalog is closed before. */
  at(revision: number): Promise<void> {
    if (this.#snapshot.revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      if (this.#closed) reject(closedError());
      else this.#waiters.push({ revision, resolve, reject });
    });
  }

  /**
   * What lies under this node's lease is this agent's own to say: when it vanishes because the lease has ended (the node was cut
   * off for a while), the snapshot keeps it, without a revision, and `onLeaseLost` is called, so that it is put back. From here on
   * the snapshot also keeps what lay under the lease of another node that is not suspected, until that has put it back or for 30 s:
   * leases end when the store was away, and then everybody's do.
   */
  keepOwn(nodeId: NodeId, onLeaseLost: () => void): void {
    this.#own = { nodeId, onLeaseLost };
  }

  /** Changes something of this node's own in the snapshot alone, while the store cannot be told. */
  applyOwn(change: Change): void {
    this.#applyHere([change]);
  }

  /** What this agent alone knows of a node: it has not been heard of for a while, or again. */
  suspect(id: NodeId, isSuspected: boolean): void {
    const before = this.#snapshot.suspicions.get(id);
    if (isSuspected === (before !== undefined)) return;
    const change: Change = isSuspected
      ? { kind: 'suspicion', after: { id, since: this.#clock.wallTime() } }
      : { kind: 'suspicion', ...(before === undefined ? {} : { before }) };
    this.#applyHere([change]);
    if (isSuspected) this.#excused.end(id);
  }

  /** The snapshot stays as it is. The store is its opener's to close. */
  close(): void {
    this.#closed = true;
    this.#watch?.close();
    this.#retry?.cancel();
    this.#excused.close();
    for (const waiter of this.#waiters) waiter.reject(closedError());
    this.#waiters = [];
  }

  /** Takes what is there and follows it from then on. What an earlier list or commit had said may have changed in between. */
  async #list(): Promise<void> {
    const { revision, entries } = await this.#store.list('');
    if (this.#closed) return;
    const gone = new Set(this.#revisions.keys());
    const changed: { key: Key; value: string | null; revision: Revision }[] = [];
    for (const entry of entries) {
      gone.delete(entry.key);
      if (this.#revisions.get(entry.key) !== entry.revision) changed.push(entry);
    }
    for (const key of gone) changed.push({ key, value: null, revision });
    this.#apply(revision, changed);
    this.#watch = this.#store.watch(revision, {
      onCommit: (event) =>
        this.#apply(
          event.revision,
          event.writes.map((write) => ({ ...write, revision: event.revision })),
        ),
      onGap: () => void this.#listAgain(),
    });
  }

  async #listAgain(): Promise<void> {
    this.#log.warn('catalog too far behind the store', { revision: this.#snapshot.revision });
    try {
      await this.#list();
    } catch (error) {
      if (this.#closed) return;
      this.#log.error('store not readable', { error });
      this.#retry = this.#clock.schedule(RETRY_MS, () => void this.#listAgain());
    }
  }

  #apply(revision: Revision, writes: readonly { key: Key; value: string | null; revision: Revision }[]): void {
    const changes: Change[] = [];
    const ended = this.#endedLeases(writes);
    for (const write of writes) {
      if (write.value === null) this.#revisions.delete(write.key);
      else this.#revisions.set(write.key, write.revision);
      const holder = this.#holderOf(write.key);
      if (write.value === null && holder !== undefined && ended.has(holder)) continue;
      const change = this.#changeOf(write.key, write.value);
      if (change === undefined) continue;
      changes.push(change);
      if (isUnderLease(change.kind, change.after)) this.#excused.announced(ownerOf(change.after));
    }
    const previous = this.#snapshot;
    this.#snapshot = applyChanges(previous, revision, changes);
    if (changes.length > 0) for (const listener of [...this.#listeners]) this.#tell(listener, previous, changes);
    const ready = this.#waiters.filter((waiter) => waiter.revision <= revision);
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > revision);
    for (const waiter of ready) waiter.resolve();
    for (const id of ended) {
      if (id === this.#own?.nodeId) this.#own.onLeaseLost();
      else this.#excused.begin(id);
    }
  }

  /**
   * The nodes whose leases have ended and that are there all the same: this one, and those that answer. A node's presence goes only
   * with its lease, and all that lay under it goes in the same commit.
   */
  #endedLeases(writes: readonly { key: Key; value: string | null }[]): ReadonlySet<NodeId> {
    const ended = new Set<NodeId>();
    const { presences, suspicions } = this.#snapshot;
    for (const { key, value } of writes) {
      if (value !== null || this.#own === undefined || !key.startsWith(PRESENCE)) continue;
      const id = key.slice(PRESENCE.length) as NodeId;
      if (presences.has(id) && !suspicions.has(id)) ended.add(id);
    }
    return ended;
  }

  /** The node under whose lease a record lies. */
  #holderOf(key: Key): NodeId | undefined {
    const [kind = '', id = ''] = key.split('/');
    const value = objectOf(this.#snapshot, kind, id);
    return isUnderLease(kind, value) ? ownerOf(value) : undefined;
  }

  /** What a node that had lost its lease has not put on record again is gone. */
  #dropUnrecorded(id: NodeId): void {
    const { bridges, presences, tasksByPlace } = this.#snapshot;
    const presence = presences.get(id);
    const all: Change[] = [
      ...(presence === undefined ? [] : [{ kind: 'presence', before: presence } as const]),
      ...[...bridges.values()].flatMap((bridge) =>
        bridge.nodeId === id ? [{ kind: 'bridge', before: bridge } as const] : [],
      ),
      ...[...(tasksByPlace.get(id)?.values() ?? [])].flatMap((task) =>
        isUnderLease('task', task) ? [{ kind: 'task', before: task } as const] : [],
      ),
    ];
    const gone = all.filter(({ kind, before }) => !this.#revisions.has(recordKey(kind as never, before?.id ?? '')));
    if (gone.length > 0) this.#applyHere(gone);
  }

  /** What no commit has said. */
  #applyHere(changes: readonly Change[]): void {
    const previous = this.#snapshot;
    this.#snapshot = applyChanges(previous, previous.revision, changes);
    for (const listener of [...this.#listeners]) this.#tell(listener, previous, changes);
  }

  #tell(listener: CatalogListener, previous: Snapshot, changes: readonly Change[]): void {
    try {
      listener(this.#snapshot, previous, changes);
    } catch (error) {
      this.#log.error('catalog listener failed', { revision: this.#snapshot.revision, error });
    }
  }

  /** A record that cannot be read changes nothing: what it was before stays in effect. */
  #changeOf(key: Key, value: string | null): Change | undefined {
    let record: StoredRecord | undefined;
    try {
      record = value === null ? undefined : decodeRecord(key, value);
    } catch (error) {
      this.#problems.set(key, (error as Error).message);
      this.#log.error('record passed over', { key, error });
      return undefined;
    }
    this.#problems.delete(key);
    const slash = key.indexOf('/');
    return difference(this.#snapshot, key.slice(0, slash), key.slice(slash + 1), record);
  }
}

/** Whether a record goes with its node's lease. A static task stays: what serves it is not the agent's. */
export function isUnderLease(kind: string, value: unknown): boolean {
  if (kind === 'presence' || kind === 'bridge') return value !== undefined;
  return kind === 'task' && value !== undefined && (value as Task).source !== 'static';
}

function ownerOf(value: unknown): NodeId {
  const { nodeId, id } = value as { readonly nodeId?: NodeId; readonly id: NodeId };
  return nodeId ?? id;
}

function difference(
  snapshot: Snapshot,
  kind: string,
  id: string,
  record: StoredRecord | undefined,
): Change | undefined {
  const before = objectOf(snapshot, kind, id);
  if (record === undefined) return before === undefined ? undefined : ({ kind, before } as Change);
  if (record.kind === 'stack') return undefined;
  return { kind: record.kind, ...(before === undefined ? {} : { before }), after: record.value } as Change;
}

function closedError(): Error {
  return new Error('the catalog has been closed');
}
