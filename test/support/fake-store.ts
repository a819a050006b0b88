// A store that is somewhere else, in memory: what it holds, and links to it that are slow, cut and healed as a test says. Time
// is the test's, and so is chance: the same calls with the same seeds give the same run.
import type { Clock, Scheduled } from '../../src/runtime/clock.ts';
import { StoreError } from '../../src/store/errors.ts';
import { LeaseTable } from '../../src/store/leases.ts';
import { isKey } from '../../src/store/rows.ts';
import type {
  CommitEvent,
  CommitResult,
  Entry,
  Expectation,
  Key,
  LeaseId,
  Revision,
  Store,
  Write,
} from '../../src/store/store.ts';

interface Stored extends Entry {
  readonly lease?: LeaseId;
}

/** What the store is at one time. */
export interface StoreImage {
  readonly entries: ReadonlyMap<Key, Stored>;
  readonly log: readonly CommitEvent[];
  readonly revision: number;
  readonly forgotten: number;
}

/** The store itself. What is asked of it happens at once; links to it take their time. */
export class FakeCluster {
  readonly clock: Clock;
  readonly #leases = new LeaseTable();
  readonly #listeners = new Set<() => void>();
  readonly #keepCommits: number;
  readonly #stride: () => number;
  #entries = new Map<Key, Stored>();
  #log: CommitEvent[] = [];
  #revision = 0;
  /** Up to this commit watchers cannot resume. */
  #forgotten = 0;
  #leaseTimer: Scheduled | undefined;
  readonly #ttls = new Map<LeaseId, number>();

  /** `stride`: by how much a commit raises the revision; others may write to the same store. */
  constructor(options: { readonly clock: Clock; readonly keepCommits?: number; readonly stride?: () => number }) {
    this.clock = options.clock;
    this.#keepCommits = options.keepCommits ?? Number.POSITIVE_INFINITY;
    this.#stride = options.stride ?? (() => 1);
  }

  get revision(): Revision {
    return this.#revision as Revision;
  }

  get(key: Key): Entry | undefined {
    const found = this.#entries.get(key);
    return found && { key, value: found.value, revision: found.revision };
  }

  list(prefix: string): { readonly revision: Revision; readonly entries: readonly Entry[] } {
    const entries = [...this.#entries.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .map(({ key, value, revision }) => ({ key, value, revision }));
    return { revision: this.revision, entries };
  }

  /** Throws StoreError. */
  commit(writes: readonly Write[], expectations: readonly Expectation[] = []): CommitResult {
    this.#refuse(writes, expectations);
    for (const { key, revision } of expectations) {
      if ((this.#entries.get(key)?.revision ?? 0) !== revision)
        return { committed: false, key, revision: this.revision };
    }
    const effective = writes
      .filter(({ key, value }) => value !== null || this.#entries.has(key))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    if (effective.length === 0) return { committed: true, revision: this.revision };
    this.#revision += this.#stride();
    const { revision } = this;
    for (const { key, value, lease: asked } of effective) {
      const lease = asked === 'keep' ? this.#entries.get(key)?.lease : asked;
      if (value === null) this.#entries.delete(key);
      else this.#entries.set(key, { key, value, revision, ...(lease === undefined ? {} : { lease }) });
    }
    this.#log.push({ revision, writes: effective.map(({ key, value }) => ({ key, value })) });
    this.compact(this.#keepCommits);
    for (const listener of [...this.#listeners]) listener();
    return { committed: true, revision };
  }

  /** The first commit after a revision; undefined: there is none yet. */
  next(after: Revision): CommitEvent | 'forgotten' | undefined {
    if (after < this.#forgotten) return 'forgotten';
    let low = 0;
    let high = this.#log.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#log[middle] as CommitEvent).revision <= after) low = middle + 1;
      else high = middle;
    }
    return this.#log[low];
  }

  /** Forgets, for watchers, all but the newest commits. */
  compact(keep: number): void {
    while (this.#log.length > keep) this.#forgotten = this.#log.shift()?.revision ?? this.#forgotten;
  }

  /** Told after every commit. */
  onCommit(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  grantLease(ttlMs: number): LeaseId {
    if (!(ttlMs >= 1 && ttlMs < 2 ** 31)) throw new StoreError('invalid', `a lease of ${ttlMs} ms`);
    const lease = `lease${this.#ttls.size + 1}` as LeaseId;
    this.#ttls.set(lease, ttlMs);
    this.#leases.grant(lease, ttlMs, this.clock.now());
    this.#setLeaseTimer();
    return lease;
  }

  keepAlive(lease: LeaseId): boolean {
    const alive = this.#leases.keepAlive(lease, this.clock.now());
    this.#setLeaseTimer();
    return alive;
  }

  endLease(lease: LeaseId): void {
    this.#leases.end(lease);
    const own = [...this.#entries.values()].filter((entry) => entry.lease === lease);
    this.commit(own.map(({ key }) => ({ key, value: null })));
    this.#setLeaseTimer();
  }

  /** As after a restart of the store: every lease has its whole time again. */
  restart(): void {
    for (const [lease, ttlMs] of this.#ttls)
      if (this.#leases.has(lease)) this.#leases.grant(lease, ttlMs, this.clock.now());
    this.#setLeaseTimer();
  }

  image(): StoreImage {
    const [entries, log] = [new Map(this.#entries), [...this.#log]];
    return { entries, log, revision: this.#revision, forgotten: this.#forgotten };
  }

  /** As when an operator puts a backup back. */
  restore(image: StoreImage): void {
    this.#entries = new Map(image.entries);
    this.#log = [...image.log];
    this.#revision = image.revision;
    this.#forgotten = image.forgotten;
  }

  #refuse(writes: readonly Write[], expectations: readonly Expectation[]): void {
    for (const { key } of [...writes, ...expectations])
      if (!isKey(key)) throw new StoreError('invalid', `${JSON.stringify(key)} is no key`);
    const seen = new Set<Key>();
    for (const { key } of writes) {
      if (seen.has(key)) throw new StoreError('invalid', `the key ${key} is written twice in one commit`);
      seen.add(key);
    }
    const ended = writes.find(({ lease }) => lease !== undefined && lease !== 'keep' && !this.#leases.has(lease));
    if (ended !== undefined) throw new StoreError('lease-ended', `${ended.key}: its lease has ended`);
  }

  #setLeaseTimer(): void {
    this.#leaseTimer?.cancel();
    const next = this.#leases.nextEnd();
    if (next === undefined) return;
    this.#leaseTimer = this.clock.schedule(next - this.clock.now(), () => {
      for (const lease of this.#leases.due(this.clock.now())) this.endLease(lease as LeaseId);
      this.#setLeaseTimer();
    });
  }
}

interface Watcher {
  at: Revision;
  /** Something is on its way to it. */
  isBusy: boolean;
  readonly handlers: { onCommit(event: CommitEvent): void; onGap(): void };
}

/** Milliseconds that the next message takes, of a call (either way) or of what a watch tells; 0: none at all. */
export type Latency = (of: 'call' | 'commit') => number;

/** So long a caller waits for an answer. */
const CALL_TIMEOUT_MS = 3000;

/** One agent's way to the store. */
export class FakeLink implements Store {
  readonly #cluster: FakeCluster;
  readonly #latency: Latency;
  readonly #watchers = new Set<Watcher>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #stopListening: () => void;
  #state: 'open' | 'silent' | 'refused' = 'open';
  #closed = false;
  /** How often it was asked for everything. */
  listings = 0;

  constructor(cluster: FakeCluster, latency: Latency = () => 0) {
    this.#cluster = cluster;
    this.#latency = latency;
    this.#stopListening = cluster.onCommit(() => this.#pumpAll());
  }

  /** `silent`: what is under way is lost, and nothing is answered. `refused`: the same, but whoever asks hears so at once. */
  cut(how: 'silent' | 'refused' = 'silent'): void {
    this.#state = how;
  }

  heal(): void {
    if (this.#state === 'open') return;
    this.#state = 'open';
    this.#pumpAll();
  }

  get isOpen(): boolean {
    return this.#state === 'open' && !this.#closed;
  }

  get(key: Key): Promise<Entry | undefined> {
    return this.#call(() => this.#cluster.get(key));
  }

  list(prefix: string): Promise<{ readonly revision: Revision; readonly entries: readonly Entry[] }> {
    if (prefix === '') this.listings++;
    return this.#call(() => this.#cluster.list(prefix));
  }

  commit(writes: readonly Write[], expectations: readonly Expectation[] = []): Promise<CommitResult> {
    return this.#call(() => this.#cluster.commit(writes, expectations));
  }

  watch(after: Revision, handlers: Watcher['handlers']): { close(): void } {
    const watcher: Watcher = { at: after, isBusy: false, handlers };
    this.#watchers.add(watcher);
    this.#pump(watcher);
    return { close: () => void this.#watchers.delete(watcher) };
  }

  grantLease(ttlMs: number): Promise<LeaseId> {
    return this.#call(() => this.#cluster.grantLease(ttlMs));
  }

  keepAlive(lease: LeaseId): Promise<boolean> {
    return this.#call(() => this.#cluster.keepAlive(lease));
  }

  revokeLease(lease: LeaseId): Promise<void> {
    return this.#call(() => this.#cluster.endLease(lease));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopListening();
    this.#watchers.clear();
    await Promise.allSettled([...this.#pending]);
  }

  /** As when the agent's process ends: nothing is answered any more. */
  abandon(): void {
    this.#closed = true;
    this.#state = 'silent';
    this.#stopListening();
    this.#watchers.clear();
  }

  #call<T>(perform: () => T): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreError('closed', 'the link to the store has been closed'));
    if (this.#state === 'refused') return Promise.reject(unavailable('it refuses connections'));
    const call = new Promise<T>((resolve, reject) => {
      const deadline = this.#cluster.clock.schedule(CALL_TIMEOUT_MS, () => reject(unavailable('it does not answer')));
      this.#send(() => {
        const answer = attempt(perform);
        this.#send(() => {
          deadline.cancel();
          if ('error' in answer) reject(answer.error as Error);
          else resolve(answer.value);
        });
      });
    });
    this.#pending.add(call);
    const forget = () => void this.#pending.delete(call);
    call.then(forget, forget);
    return call;
  }

  /** One message, which arrives if the link is open when it would. */
  #send(arrive: () => void): void {
    const delay = this.#latency('call');
    const run = () => {
      if (this.#state === 'open') arrive();
    };
    if (delay === 0) queueMicrotask(run);
    else this.#cluster.clock.schedule(delay, run);
  }

  #pumpAll(): void {
    if (this.#state !== 'open') return;
    for (const watcher of [...this.#watchers]) this.#pump(watcher);
  }

  #pump(watcher: Watcher): void {
    if (watcher.isBusy || !this.#watchers.has(watcher)) return;
    const next = this.#cluster.next(watcher.at);
    if (next === undefined) return;
    watcher.isBusy = true;
    const delay = this.#latency('commit');
    const arrive = () => {
      watcher.isBusy = false;
      if (this.#state !== 'open' || !this.#watchers.has(watcher)) return;
      this.#deliver(watcher, next);
      this.#pump(watcher);
    };
    if (delay === 0) queueMicrotask(arrive);
    else this.#cluster.clock.schedule(delay, arrive);
  }

  #deliver(watcher: Watcher, next: CommitEvent | 'forgotten'): void {
    if (next === 'forgotten') {
      this.#watchers.delete(watcher);
      watcher.handlers.onGap();
      return;
    }
    watcher.at = next.revision;
    watcher.handlers.onCommit(next);
  }
}

function attempt<T>(perform: () => T): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: perform() };
  } catch (error) {
    return { error };
  }
}

function unavailable(what: string): StoreError {
  return new StoreError('unavailable', `store fake: ${what}`);
}
