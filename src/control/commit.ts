// How a decision becomes a commit: decide on what the catalog shows, commit under the expectation that nothing relevant has
// changed since, and otherwise decide anew.
import type { Catalog } from '../catalog/catalog.ts';
import type { Task, TaskId } from '../model/task.ts';
import { StoreError } from '../store/errors.ts';
import { encodeRecord, HEAD_KEY, recordKey } from '../store/record.ts';
import type { CommitResult, Expectation, Store, Write } from '../store/store.ts';
import type { Draft } from './draft.ts';
import { causedBy, ControlError } from './errors.ts';

/** So often a decision is made anew; with agents that commit all the time, each of 20 has had its turn by then. */
const ATTEMPTS = 20;

export class Committer {
  readonly #store: Store;
  readonly #catalog: Catalog;
  readonly #newDraft: () => Draft;
  /** Commands of this agent go one after the other: all of them expect the same head. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #lastOfTask = new Map<TaskId, Promise<void>>();

  constructor(store: Store, catalog: Catalog, newDraft: () => Draft) {
    this.#store = store;
    this.#catalog = catalog;
    this.#newDraft = newDraft;
  }

  /** `prepare` reads what is not in the catalog. Resolves when the catalog shows what was decided. */
  command<P, T>(decide: (draft: Draft, prepared: P) => T, prepare: () => Promise<P>): Promise<T> {
    const turn = this.#last.then(() => this.#attempt(decide, prepare));
    this.#last = turn.catch(() => {});
    return turn;
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
      const write = after === undefined ? { key, value: null } : encodeRecord({ kind: 'task', value: after });
      const result = await this.#commit([write], [{ key, revision: this.#catalog.keyRevision(key) }]);
      await this.#catalog.at(result.revision);
      if (result.committed) return;
    }
    throw contended(`task ${id}`);
  }

  async #attempt<P, T>(decide: (draft: Draft, prepared: P) => T, prepare: () => Promise<P>): Promise<T> {
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

  async #commit(writes: readonly Write[], expectations: readonly Expectation[]): Promise<CommitResult> {
    try {
      return await this.#store.commit(writes, expectations);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      throw causedBy(error, 'unavailable', `nothing was changed: ${error.message}`);
    }
  }
}

function contended(what: string): ControlError {
  return new ControlError(
    'conflict',
    `${what} was changed by others ${ATTEMPTS} times while this was decided; try again`,
  );
}
