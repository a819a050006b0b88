// How a decision becomes a commit: decide on what the catalog shows, commit under the expectation that nothing relevant has
// changed since, and otherwise decide anew.
import type { Catalog } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import type { NodeId, Presence } from '../model/node.ts';
import type { Task, TaskId } from '../model/task.ts';
import { StoreError } from '../store/errors.ts';
import { encodeRecord, HEAD_KEY, recordKey } from '../store/record.ts';
import type { CommitResult, Expectation, Key, LeaseId, Revision, Store, Write } from '../store/store.ts';
import type { AddressUse } from './address-use.ts';
import { type Draft, leaseFor } from './draft.ts';
import { causedBy, ControlError } from './errors.ts';
import { type OwnRecords, ownRecords, WRITES_PER_COMMIT } from './own-records.ts';

/** So often a decision is made anew; with agents that commit all the time, each of 20 has had its turn by then. */
const ATTEMPTS = 20;

/** All nodes announce themselves at once when the store has lost their leases; there may be a hundred. */
const ANNOUNCE_ATTEMPTS = 200;

/** The lease under which this node's own records lie. On a node that is alone there is none. */
export interface OwnLease {
  readonly current: LeaseId | undefined;
  /** It has ended: resolves when there is another and everything lies under that. Rejects when the store does not answer. */
  renew(): Promise<void>;
}

export interface CommitterOptions {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly nodeId: NodeId;
  readonly lease?: OwnLease;
  newDraft(): Draft;
}

export class Committer {
  readonly #store: Store;
  readonly #catalog: Catalog;
  readonly #nodeId: NodeId;
  readonly #lease: OwnLease | undefined;
  readonly #newDraft: () => Draft;
  /** Tasks of this node that changed or went while the store could not be told; the number tells one such change from the next. */
  readonly #unsaid = new Map<Key, number>();
  #changes = 0;
  /** Commands of this agent go one after the other: all of them expect the same head. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #lastOfTask = new Map<TaskId, Promise<void>>();

  constructor(options: CommitterOptions) {
    this.#store = options.store;
    this.#catalog = options.catalog;
    this.#nodeId = options.nodeId;
    this.#lease = options.lease;
    this.#newDraft = options.newDraft;
  }

  /** `prepare` reads what is not in the catalog. Resolves when the catalog shows what was decided. */
  command<P, T>(decide: (draft: Draft, prepared: P) => T, prepare: () => Promise<P>): Promise<T> {
    const turn = this.#last.then(() => this.#attempt(decide, prepare));
    this.#last = turn.catch(() => {});
    return turn;
  }

  /** A command that does not wait for its turn: one before it may be waiting for what this one is part of. */
  urgent<T>(decide: (draft: Draft) => T): Promise<T> {
    return this.#decide(decide, async () => undefined);
  }

  /**
   * Changes one task, whatever else happens meanwhile: neither waits for commands nor makes them decide anew, unless they
   * write the same task. What this agent says of one task takes effect in the order in which it said it.
   */
  task(id: TaskId, change: (task: Task) => Task | undefined): Promise<void> {
    const turn = (this.#lastOfTask.get(id) ?? Promise.resolve()).then(() => this.#changeTask(id, change));
    const settled = turn
      .catch(() => {})
      .then(() => {
        if (this.#lastOfTask.get(id) === settled) this.#lastOfTask.delete(id);
      });
    this.#lastOfTask.set(id, settled);
    return turn;
  }

  async #changeTask(id: TaskId, change: (task: Task) => Task | undefined): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const task = this.#catalog.snapshot.tasks.get(id);
      if (task === undefined) throw new ControlError('not-found', `there is no task ${id}; it has been removed`);
      const after = change(task);
      if (after === task) return;
      const key = recordKey('task', id);
      const record = after && ({ kind: 'task', value: after } as const);
      const write =
        record === undefined
          ? { key, value: null }
          : { ...encodeRecord(record), ...leaseFor(record, this.#nodeId, this.#lease?.current) };
      const revision = this.#catalog.keyRevision(key);
      const isOwn = this.#lease !== undefined && task.nodeId === this.#nodeId && task.source !== 'static';
      // What has gone with the lease is put back by announcing it: its addresses may be somebody else's by now.
      if (isOwn && revision === 0) return this.#leaveUnsaid(id, change);
      try {
        const result = await this.#commit([write], [{ key, revision }]);
        await this.#catalog.at(result.revision);
        if (result.committed) return;
      } catch (error) {
        if (!isOwn || !(error instanceof ControlError) || error.code !== 'unavailable') throw error;
        this.#leaveUnsaid(id, change);
        return;
      }
    }
    throw contended(`task ${id}`);
  }

  /** What happens on this node is true without the store, which is told as soon as possible. */
  #leaveUnsaid(id: TaskId, change: (task: Task) => Task | undefined): void {
    // Others may have changed it while the store was waited for.
    const before = this.#catalog.snapshot.tasks.get(id);
    if (before === undefined) return;
    const after = change(before);
    this.#unsaid.set(recordKey('task', id), ++this.#changes);
    this.#catalog.applyOwn({ kind: 'task', before, ...(after === undefined ? {} : { after }) });
  }

  /**
   * Puts everything of this node under a new lease, and says what could not be said before. Resolves with what cannot come
   * back, which the catalog then does not show any more.
   */
  async announce(presence: Presence, lease: LeaseId, use: Pick<AddressUse, 'on'>): Promise<readonly string[]> {
    const said = new Map(this.#unsaid);
    const lost: OwnRecords['lost'][number][] = [];
    const done = new Set<Key>();
    for (let attempt = 0; ; ) {
      const own = ownRecords(this.#catalog.snapshot, this.#nodeId, presence, lease, use);
      for (const { change } of own.lost) this.#catalog.applyOwn(change);
      lost.push(...own.lost);
      const written = new Set(own.writes.map(({ key }) => key));
      // What is lost may be on record all the same: by an announcement that the store took before it fell silent.
      const leaving = [...said.keys(), ...lost.flatMap(({ change }) => keyOf(change) ?? [])];
      const gone = leaving.filter((key) => !written.has(key)).map((key) => ({ key, value: null }));
      const writes = [...own.writes, ...gone].filter(({ key }) => !done.has(key)).slice(0, WRITES_PER_COMMIT);
      if (writes.length === 0) break;
      // What is put back takes addresses and slots, as a command does: nobody may decide on the same state meanwhile.
      const head = { key: HEAD_KEY, value: JSON.stringify({ node: this.#nodeId }) };
      const result = await this.#commit([...writes, head], this.#expectations(writes), true);
      await this.#catalog.at(result.revision);
      if (result.committed) for (const { key } of writes) done.add(key);
      else if (++attempt === ANNOUNCE_ATTEMPTS) throw contended('the state');
    }
    // What changed once more while it was being said is yet to be said.
    for (const [key, change] of said) if (this.#unsaid.get(key) === change) this.#unsaid.delete(key);
    return lost.map(({ change, reason }) => {
      const name = change.kind === 'task' ? change.before?.name : change.before?.id;
      return `${change.kind} ${name ?? ''}: ${reason}`;
    });
  }

  /** Whether something of this node was changed while the store could not be told. */
  get hasUnsaid(): boolean {
    return this.#unsaid.size > 0;
  }

  async #attempt<P, T>(decide: (draft: Draft, prepared: P) => T, prepare: () => Promise<P>): Promise<T> {
    // What is gone here but not in the store keeps its address and slot there: it must go before they are given out again.
    if (this.hasUnsaid) await this.#renew();
    return this.#decide(decide, prepare);
  }

  async #decide<P, T>(decide: (draft: Draft, prepared: P) => T, prepare: () => Promise<P>): Promise<T> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const prepared = await prepare();
      const draft = this.#newDraft();
      const decided = decide(draft, prepared);
      const writes = draft.writes();
      if (writes.length === 0) return decided;
      const head = { key: HEAD_KEY, value: JSON.stringify({ node: draft.surroundings.nodeId, at: draft.wallTime }) };
      const result = await this.#commit([...writes, head], this.#expectations(writes));
      await this.#catalog.at(result.revision);
      if (result.committed) return decided;
    }
    throw contended('the state');
  }

  /** What is removed goes whatever became of it; what is written anew must be what was read. */
  #expectations(writes: readonly Write[]): readonly Expectation[] {
    const rewritten = writes.filter(({ value }) => value !== null).map(({ key }) => key);
    return [HEAD_KEY, ...rewritten].map((key) => ({ key, revision: this.#catalog.keyRevision(key) }));
  }

  async #commit(
    writes: readonly Write[],
    expectations: readonly Expectation[],
    isAnnouncement = false,
  ): Promise<CommitResult> {
    try {
      return await this.#store.commit(writes, expectations);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.code === 'lease-ended' && this.#lease !== undefined && !isAnnouncement) {
        await this.#renew();
        // To be decided anew, under the new lease.
        return { committed: false, key: HEAD_KEY, revision: this.#catalog.snapshot.revision as Revision };
      }
      throw refused(error);
    }
  }

  async #renew(): Promise<void> {
    try {
      await this.#lease?.renew();
    } catch (error) {
      throw error instanceof StoreError ? refused(error) : error;
    }
  }
}

function keyOf({ kind, before }: Change): Key | undefined {
  return before === undefined || kind === 'suspicion' ? undefined : recordKey(kind, before.id);
}

function refused(error: StoreError): ControlError {
  // A store that goes away may have done it before it fell silent.
  const known =
    error.code === 'unavailable' && !error.nothingDone ? 'it is not known to be done' : 'nothing was changed';
  return causedBy(error, 'unavailable', `${known}: ${error.message}`);
}

function contended(what: string): ControlError {
  return new ControlError(
    'conflict',
    `${what} was changed by others ${ATTEMPTS} times while this was decided; try again`,
  );
}
