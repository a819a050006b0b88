// A store that is somewhere else, together with a copy of what it held last. An agent that starts while the store does not
// answer begins with the copy; everything else goes to the store itself. Its watches resume by themselves, so that the catalog
// catches up from the copy's revision on.
import { type Clock, type Scheduled, systemClock } from '../runtime/clock.ts';
import { type Log, SILENT_LOG } from '../runtime/log.ts';
import { Copy } from './copy.ts';
import type { CopyDisk } from './copy-disk.ts';
import type { CopyContent, Listing } from './copy-format.ts';
import { StoreError } from './errors.ts';
import { HEAD_KEY } from './record.ts';
import type { CommitEvent, CommitResult, Entry, Expectation, Key, LeaseId, Revision, Store, Write } from './store.ts';

export interface LastKnownOptions {
  readonly disk: CopyDisk;
  /** Which cluster the store is: its address and prefix. A copy of another one is never served. */
  readonly identity: string;
  /**
   * So long the first listing waits for the store before the copy is served. With the start of Node.js and the reading of the
   * copy it must stay below the 2 s in which an agent serves.
   */
  readonly patienceMs?: number;
  /** Resolves with the reason once it is known that the store is nowhere; then the first listing does not wait for it. */
  readonly absence?: Promise<string>;
  readonly log?: Log;
  readonly clock?: Clock;
}

/** How current what the agent knows is. */
export interface LastKnownState {
  /** What the catalog began with is the copy, and the store has not answered since. */
  readonly servingCopy: boolean;
  /** The store does not answer. */
  readonly away: boolean;
  /** What it said, or did not say, last. */
  readonly reason?: string;
  /** While the copy is served: how long ago the store was last known to be in that state. */
  readonly copyAgeMs?: number;
  /** Milliseconds since the epoch: when the store last answered or told a commit; of an earlier process while the copy is served. */
  readonly lastContactAt?: number;
}

interface Watcher {
  /** The commit that was told last. */
  at: Revision;
  inner: { close(): void } | undefined;
  readonly handlers: { onCommit(event: CommitEvent): void; onGap(): void };
}

type Answer = { readonly listing: Listing } | { readonly error: unknown };

const PATIENCE_MS = 700;

/** While the store is away, it is asked for one record so often. */
const KNOCK_EVERY_MS = 1000;

export class LastKnownStore implements Store {
  readonly #store: Store;
  readonly #path: string;
  readonly #copy: Copy;
  readonly #patienceMs: number;
  readonly #absence: Promise<string> | undefined;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #watchers = new Set<Watcher>();
  #isFirst = true;
  /** What is served, until the store has answered. */
  #served: CopyContent | undefined;
  /** When the store was found away, by the steady clock; undefined: it is not. */
  #awaySince: number | undefined;
  #reason: string | undefined;
  #lastContactAt: number | undefined;
  #knock: Scheduled | undefined;
  #endPatience: (() => void) | undefined;
  #closed = false;

  /** The store is closed together with this one. */
  constructor(store: Store, options: LastKnownOptions) {
    const { disk, identity, patienceMs = PATIENCE_MS, log = SILENT_LOG, clock = systemClock } = options;
    this.#store = store;
    this.#path = disk.path;
    this.#patienceMs = patienceMs;
    this.#absence = options.absence;
    this.#log = log;
    this.#clock = clock;
    this.#copy = new Copy({ disk, identity, log, clock, list: () => store.list('') });
  }

  get state(): LastKnownState {
    const served = this.#served;
    const lastContactAt = this.#lastContactAt ?? served?.at;
    return {
      servingCopy: served !== undefined,
      away: this.#awaySince !== undefined,
      ...(this.#awaySince === undefined || this.#reason === undefined ? {} : { reason: this.#reason }),
      ...(served === undefined ? {} : { copyAgeMs: this.#ageOf(served) }),
      ...(lastContactAt === undefined ? {} : { lastContactAt }),
    };
  }

  /** What is wrong with the copy, as whole sentences. */
  get problems(): readonly string[] {
    return this.#copy.problems;
  }

  get(key: Key): Promise<Entry | undefined> {
    return this.#asking(this.#store.get(key));
  }

  /** The first listing of everything is the copy, if the store does not answer; every other one is the store's. */
  async list(prefix: string): Promise<Listing> {
    if (prefix !== '') return this.#asking(this.#store.list(prefix));
    if (this.#isFirst) {
      this.#isFirst = false;
      return this.#firstListing();
    }
    return this.#heard(await this.#asking(this.#store.list('')));
  }

  commit(writes: readonly Write[], expectations?: readonly Expectation[]): Promise<CommitResult> {
    return this.#asking(this.#store.commit(writes, expectations));
  }

  watch(after: Revision, handlers: Watcher['handlers']): { close(): void } {
    const watcher: Watcher = { at: after, inner: undefined, handlers };
    this.#watchers.add(watcher);
    watcher.inner = this.#store.watch(after, {
      onCommit: (event) => {
        if (!this.#watchers.has(watcher)) return;
        this.#contact();
        this.#copy.append(watcher.at, event);
        watcher.at = event.revision;
        handlers.onCommit(event);
      },
      onGap: () => {
        if (!this.#watchers.delete(watcher)) return;
        this.#contact();
        handlers.onGap();
      },
    });
    return { close: () => this.#endWatch(watcher) };
  }

  grantLease(ttlMs: number): Promise<LeaseId> {
    return this.#asking(this.#store.grantLease(ttlMs));
  }

  keepAlive(lease: LeaseId): Promise<boolean> {
    return this.#asking(this.#store.keepAlive(lease));
  }

  revokeLease(lease: LeaseId): Promise<void> {
    return this.#asking(this.#store.revokeLease(lease));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#knock?.cancel();
    this.#endPatience?.();
    for (const watcher of [...this.#watchers]) this.#endWatch(watcher);
    await this.#copy.close();
    await this.#store.close();
  }

  async #firstListing(): Promise<Listing> {
    let answer: Answer | undefined;
    const asked = this.#store.list('').then(
      (listing): Answer => ({ listing }),
      (error: unknown): Answer => ({ error }),
    );
    // Read meanwhile: most of it is waiting for the disk.
    const reading = this.#copy.read();
    const noted = asked.then((one) => {
      if (!isAway(one)) this.#copy.stopReading();
      answer = one;
    });
    let reason = `the store did not answer within ${this.#patienceMs} ms`;
    void this.#absence?.then((why) => {
      reason = why;
      this.#endPatience?.();
    });
    await Promise.race([noted, this.#patience()]);
    this.#endPatience?.();
    const content = answer === undefined || isAway(answer) ? await reading : undefined;
    if (this.#closed) throw new StoreError('closed', 'the store has been closed');
    if (content === undefined || (answer !== undefined && !isAway(answer))) return this.#take(await asked);
    this.#serve(content, answer !== undefined && 'error' in answer ? (answer.error as Error).message : reason);
    // It comes too late to be the first listing, but says that the store is there.
    void asked.then((late) => {
      if (!isAway(late)) this.#knockAfter(0);
    });
    return { revision: content.revision, entries: content.entries };
  }

  /** What the store says itself, when there is no copy or no need of one. */
  #take(answer: Answer): Listing {
    if ('listing' in answer) return this.#heard(answer.listing);
    if (!isAway(answer)) throw answer.error;
    const { message } = answer.error as StoreError;
    const why = this.#copy.problems[0] ?? `there is no copy of its last known state, ${this.#path}, either`;
    throw new StoreError('unavailable', `${message}; and ${why}`, { cause: answer.error });
  }

  #serve(content: CopyContent, reason: string): void {
    this.#copy.resume(content);
    this.#served = content;
    this.#awaySince = this.#clock.now();
    this.#reason = reason;
    this.#log.warn('store does not answer: serving the last known state', {
      path: this.#path,
      ageMs: this.#ageOf(content),
      revision: content.revision,
      entries: content.entries.length,
      reason: this.#reason,
    });
    this.#knockAfter(KNOCK_EVERY_MS);
  }

  /** A listing of everything that the store has given. */
  #heard(listing: Listing): Listing {
    this.#copy.replace(listing);
    this.#contact();
    this.#back();
    return listing;
  }

  async #asking<T>(asked: Promise<T>): Promise<T> {
    try {
      const answer = await asked;
      this.#contact();
      return answer;
    } catch (error) {
      if (error instanceof StoreError && error.code === 'unavailable') this.#lost(error);
      throw error;
    }
  }

  #contact(): void {
    this.#lastContactAt = this.#clock.wallTime();
    // Whether the store still holds what the copy says is found out by knocking.
    if (this.#served !== undefined) return;
    this.#copy.contact();
    this.#back();
  }

  #lost(error: StoreError): void {
    this.#reason = error.message;
    if (this.#awaySince !== undefined || this.#closed) return;
    this.#awaySince = this.#clock.now();
    this.#log.warn('store does not answer: going on with what is known', { reason: error.message });
    this.#knockAfter(KNOCK_EVERY_MS);
  }

  #back(): void {
    const since = this.#awaySince;
    if (since === undefined) return;
    this.#awaySince = undefined;
    this.#served = undefined;
    this.#knock?.cancel();
    this.#knock = undefined;
    this.#log.info('store is back', { awayMs: Math.round(this.#clock.now() - since) });
  }

  #knockAfter(delayMs: number): void {
    this.#knock?.cancel();
    if (this.#closed || this.#awaySince === undefined) return;
    this.#knock = this.#clock.schedule(delayMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    try {
      const { revision, entries } = await this.#store.list(HEAD_KEY);
      const head = entries.find(({ key }) => key === HEAD_KEY)?.revision ?? 0;
      const served = this.#served;
      this.#lastContactAt = this.#clock.wallTime();
      this.#back();
      if (served !== undefined && (revision < served.revision || head < headOf(served))) this.#startOver();
    } catch (error) {
      this.#reason = (error as Error).message;
      this.#knockAfter(KNOCK_EVERY_MS);
    }
  }

  /**
   * Neither number ever falls, so the store is not what the copy was made of: it was put back to an older state, or made anew.
   * Its commits would not lead from one to the other.
   */
  #startOver(): void {
    this.#log.warn('store is older than the last known state: everything is read anew', { path: this.#path });
    this.#copy.forget();
    for (const watcher of [...this.#watchers]) {
      this.#endWatch(watcher);
      watcher.handlers.onGap();
    }
  }

  #endWatch(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    watcher.inner?.close();
  }

  #patience(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.schedule(this.#patienceMs, resolve);
      this.#endPatience = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #ageOf({ at }: CopyContent): number {
    return Math.max(0, this.#clock.wallTime() - at);
  }
}

function isAway(answer: Answer): boolean {
  return 'error' in answer && answer.error instanceof StoreError && answer.error.code === 'unavailable';
}

function headOf({ entries }: CopyContent): number {
  return entries.find(({ key }) => key === HEAD_KEY)?.revision ?? 0;
}
