// One watcher of the store: follows etcd's history from a revision on, over as many streams as that takes.
//
// etcd never splits a revision over two messages unless asked to (`fragment`), so what comes in one message is whole commits.
import { sleep, systemClock } from '../../runtime/clock.ts';
import type { Log } from '../../runtime/log.ts';
import type { Random } from '../../runtime/random.ts';
import { StoreError } from '../errors.ts';
import type { CommitEvent, Key, Revision } from '../store.ts';
import type { Calls } from './calls.ts';
import type { Connection } from './connection.ts';
import { CallFailure, failureOf } from './failure.ts';
import type { KeySpace } from './keys.ts';
import type { Link } from './link.ts';
import { RANGE, WATCH, type WatchRequest, type WatchResponse } from './protocol.ts';
import { revisionOf } from './transaction.ts';

export interface WatchHandlers {
  onCommit(event: CommitEvent): void;
  onGap(): void;
}

export interface WatcherOptions {
  readonly link: Link;
  readonly calls: Calls;
  readonly space: KeySpace;
  readonly log: Log;
  readonly random: Random;
  readonly after: Revision;
  readonly handlers: WatchHandlers;
  /** Called when `covered` has grown, and at the end. */
  onProgress(): void;
}

const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 2000;
const UNKNOWN_COMMAND = 2;

export class Watcher {
  readonly #options: WatcherOptions;
  readonly #ended = new AbortController();
  /** etcd's id of the cluster that was watched last. */
  #cluster: string | undefined;
  #delivered: number;
  #covered: number;

  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#delivered = options.after;
    this.#covered = options.after;
    void this.#run();
  }

  /** The commit that was delivered last, or the revision after which this watcher began. */
  get delivered(): Revision {
    return this.#delivered as Revision;
  }

  /** Every commit up to this revision has been delivered. */
  get covered(): number {
    return this.#covered;
  }

  get ended(): boolean {
    return this.#ended.signal.aborted;
  }

  close(): void {
    if (this.ended) return;
    this.#ended.abort();
    this.#options.onProgress();
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.ended) {
      const before = this.#covered;
      try {
        await this.#checkHistory();
        const connection = await this.#options.link.connection(BACKOFF_MAX_MS);
        if (!this.ended) await this.#follow(connection);
      } catch (error) {
        if (this.ended) return;
        failures = this.#covered > before ? 1 : failures + 1;
        // That the connection is lost is said elsewhere, once for all watchers; that only a watch is refused, only here.
        const refused = isRefusal(error) && failures === 1;
        this.#options.log[refused ? 'warn' : 'debug']('watch interrupted', { covered: this.#covered, error });
        await sleep(systemClock, this.#backoff(failures), this.#ended.signal);
      }
    }
  }

  #backoff(failures: number): number {
    const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(10, failures - 1));
    return Math.max(BACKOFF_MIN_MS, most * (0.5 + this.#options.random.unit() / 2));
  }

  /** An etcd that was emptied, or restored from a copy, would be waited for in silence, or taken for what it was before. */
  async #checkHistory(): Promise<void> {
    const { calls, space } = this.#options;
    const response = await calls.unary(RANGE, { key: space.marker, keysOnly: true }, { repeatable: true });
    const newest = revisionOf(response);
    const cluster = String(response.header.clusterId);
    const same = newest >= this.#covered && (this.#cluster ?? cluster) === cluster;
    this.#cluster = cluster;
    if (same) return;
    this.#options.log.warn('store has another history', { covered: this.#covered, newest, cluster });
    this.#gap();
  }

  /** Resolves or rejects when the stream has ended. */
  #follow(connection: Connection): Promise<void> {
    const { space, link } = this.#options;
    return new Promise((resolve, reject) => {
      if (this.ended) return resolve();
      const stop = () => stream.cancel();
      const stream = connection.stream<WatchRequest, WatchResponse>(WATCH, {
        onMessage: (response) => {
          if (this.ended) return;
          const failure = this.#take(response);
          if (failure === undefined) return;
          if (failure.kind === 'no-leader') link.drop(connection, failure);
          stream.cancel();
          reject(failure);
        },
        onEnd: (failure) => {
          this.#ended.signal.removeEventListener('abort', stop);
          if (failure.kind === 'no-leader') link.drop(connection, failure);
          reject(failure);
        },
      });
      this.#ended.signal.addEventListener('abort', stop);
      // What is covered already is asked for again and passed over: up to etcd 3.4.33 and 3.5.14, a watch that begins right
      // behind a compaction may miss the removal of a key at that very revision (etcd-io/etcd#18089).
      const startRevision = Math.max(1, this.#covered);
      stream.send({ createRequest: { ...space.range(''), startRevision, progressNotify: true } });
    });
  }

  /** Why the watch is over; undefined while it goes on. */
  #take(response: WatchResponse): CallFailure | undefined {
    if (response.canceled) {
      if (Number(response.compactRevision) > 0) {
        this.#gap();
        return undefined;
      }
      return failureOf(UNKNOWN_COMMAND, response.cancelReason, 0);
    }
    if (response.created) return undefined;
    for (const event of this.#commits(response)) {
      this.#covered = event.revision;
      if (event.writes.length > 0) this.#tell(event);
      if (this.ended) return undefined;
    }
    // A message without events tells how far etcd has looked; one with events may end before what its header says.
    if (response.events.length === 0) this.#covered = Math.max(this.#covered, revisionOf(response));
    this.#options.onProgress();
    return undefined;
  }

  /** What has not been delivered yet, by commit. */
  #commits({ events }: WatchResponse): readonly CommitEvent[] {
    const commits = new Map<number, Map<Key, string | null>>();
    for (const { type, kv } of events) {
      const revision = Number(kv.modRevision);
      if (revision <= this.#covered) continue;
      const writes = commits.get(revision) ?? new Map<Key, string | null>();
      commits.set(revision, writes);
      const key = this.#options.space.decode(kv.key);
      if (key !== undefined) writes.set(key, type === 'DELETE' ? null : kv.value.toString('utf8'));
    }
    return [...commits]
      .sort(([a], [b]) => a - b)
      .map(([revision, writes]) => ({
        revision: revision as Revision,
        writes: [...writes].map(([key, value]) => ({ key, value })).sort((a, b) => (a.key < b.key ? -1 : 1)),
      }));
  }

  #tell(event: CommitEvent): void {
    this.#delivered = event.revision;
    try {
      this.#options.handlers.onCommit(event);
    } catch (error) {
      // A watcher's mistake is its own: the next commit comes all the same.
      this.#options.log.error('watcher failed', { revision: event.revision, error });
    }
  }

  #gap(): void {
    if (this.ended) return;
    this.close();
    try {
      this.#options.handlers.onGap();
    } catch (error) {
      this.#options.log.error('watcher failed', { error });
    }
  }
}

function isRefusal(error: unknown): boolean {
  return (
    (error instanceof CallFailure && error.kind === 'refused') ||
    (error instanceof StoreError && error.code === 'refused')
  );
}
