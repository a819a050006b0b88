// The store port on etcd v3: the store of a cluster. A revision is etcd's own, so it also counts what others write there.
import { randomBytes } from 'node:crypto';
import type { Log } from '../../runtime/log.ts';
import { type Random, systemRandom } from '../../runtime/random.ts';
import { commitProblem } from '../commit-problem.ts';
import { StoreError } from '../errors.ts';
import type { CommitResult, Entry, Expectation, Key, LeaseId, Revision, Store, Write } from '../store.ts';
import { CALL_MS, Calls } from './calls.ts';
import { CredentialFiles, type CredentialOptions } from './credentials.ts';
import { CallFailure } from './failure.ts';
import { KeySpace } from './keys.ts';
import { type EtcdState, Link } from './link.ts';
import {
  LEASE_GRANT,
  LEASE_KEEP_ALIVE,
  LEASE_REVOKE,
  RANGE,
  type RangeRequest,
  type RangeResponse,
  TXN,
} from './protocol.ts';
import { changedSomething, commitRequest, firstBroken, readRequest, revisionOf } from './transaction.ts';
import { type WatchHandlers, Watcher } from './watcher.ts';

export interface EtcdStoreOptions extends CredentialOptions {
  readonly log: Log;
  readonly random?: Random;
}

export interface EtcdStore extends Store {
  readonly state: EtcdState;
  /** Called after each change of `connected`, endpoint, leader or error. Returns how to stop. */
  onState(listener: (state: EtcdState) => void): () => void;
}

/** The largest time to live that the port allows, in milliseconds. */
const MAX_TTL_MS = 2 ** 31 - 1;
/** Entries in one answer to a listing: about 1 MB of them. */
const PAGE = 1000;
/** A listing whose revision is compacted away before its last page begins again. */
const LIST_ATTEMPTS = 5;
/** In an etcd that only agents use, a watch comes this far by itself within milliseconds. */
const SETTLE_MS = 50;

/** Does not wait for etcd. Throws StoreError `refused` when a file cannot be read or is not what it should be. */
export function openEtcdStore(options: EtcdStoreOptions): EtcdStore {
  return new Etcd(options, new CredentialFiles(options));
}

class Etcd implements EtcdStore {
  readonly #link: Link;
  readonly #calls: Calls;
  readonly #space: KeySpace;
  readonly #log: Log;
  readonly #random: Random;
  readonly #watchers = new Set<Watcher>();
  readonly #progress = new Set<() => void>();
  readonly #inFlight = new Set<Promise<unknown>>();
  /** The newest commit that this store has seen. */
  #newest = 0;
  #closed = false;

  constructor({ address, log, random = systemRandom }: EtcdStoreOptions, files: CredentialFiles) {
    this.#log = log;
    this.#random = random;
    this.#space = new KeySpace(address.prefix);
    this.#link = new Link({ address, log, random, tls: () => files.tls(), password: () => files.password() });
    this.#calls = new Calls(this.#link, address);
  }

  get state(): EtcdState {
    return this.#link.state;
  }

  onState(listener: (state: EtcdState) => void): () => void {
    return this.#link.onState(listener);
  }

  get(key: Key): Promise<Entry | undefined> {
    return this.#accept(async () => {
      const { kvs } = await this.#range({ key: this.#space.encode(key) });
      return kvs.map((kv) => this.#entry(key, kv))[0];
    });
  }

  list(prefix: string): Promise<{ readonly revision: Revision; readonly entries: readonly Entry[] }> {
    return this.#accept(async () => {
      for (let attempt = 1; ; attempt++) {
        try {
          return await this.#pages(prefix);
        } catch (error) {
          if (!(error instanceof CallFailure) || error.kind !== 'compacted' || attempt === LIST_ATTEMPTS) throw error;
        }
      }
    });
  }

  commit(writes: readonly Write[], expectations: readonly Expectation[] = []): Promise<CommitResult> {
    return this.#accept(async () => {
      const problem = commitProblem(writes, expectations);
      if (problem !== undefined) throw new StoreError('invalid', problem);
      const leased = writes.filter(({ lease }) => lease !== undefined && lease !== 'keep');
      const unknown = leased.find(({ lease }) => !isLeaseId(lease as LeaseId));
      if (unknown !== undefined) throw leaseEnded(unknown);
      try {
        return await this.#transact(writes, expectations);
      } catch (error) {
        const [first] = leased;
        if (!(error instanceof CallFailure) || error.kind !== 'lease-gone' || first === undefined) throw error;
        throw leaseEnded(first, error);
      }
    });
  }

  watch(after: Revision, handlers: WatchHandlers): { close(): void } {
    const watcher: Watcher = new Watcher({
      link: this.#link,
      calls: this.#calls,
      space: this.#space,
      log: this.#log,
      random: this.#random,
      after,
      handlers,
      onProgress: () => {
        if (watcher.ended) this.#watchers.delete(watcher);
        for (const wake of [...this.#progress]) wake();
      },
    });
    if (!this.#closed) this.#watchers.add(watcher);
    else watcher.close();
    return { close: () => watcher.close() };
  }

  /** etcd counts whole seconds, and none below its own minimum (2 s with its default election timeout). */
  grantLease(ttlMs: number): Promise<LeaseId> {
    return this.#accept(async () => {
      if (!(ttlMs >= 1 && ttlMs <= MAX_TTL_MS))
        throw new StoreError('invalid', `a lease of ${ttlMs} ms: 1 to ${MAX_TTL_MS} are possible`);
      // Chosen here, so that asking twice grants once.
      const id = (BigInt(`0x${randomBytes(8).toString('hex')}`) >> 1n) | 1n;
      try {
        await this.#calls.unary(LEASE_GRANT, { ttl: Math.ceil(ttlMs / 1000), id: String(id) }, { repeatable: true });
      } catch (error) {
        if (!(error instanceof CallFailure) || error.kind !== 'lease-exists') throw error;
      }
      return String(id) as LeaseId;
    });
  }

  keepAlive(lease: LeaseId): Promise<boolean> {
    return this.#accept(async () => {
      if (!isLeaseId(lease)) return false;
      const { ttl } = await this.#calls.exchange(LEASE_KEEP_ALIVE, { id: lease }, { repeatable: true });
      return Number(ttl) > 0;
    });
  }

  revokeLease(lease: LeaseId): Promise<void> {
    return this.#accept(async () => {
      if (!isLeaseId(lease)) return;
      try {
        await this.#calls.unary(LEASE_REVOKE, { id: lease }, { repeatable: true });
      } catch (error) {
        if (!(error instanceof CallFailure) || error.kind !== 'lease-gone') throw error;
      }
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#inFlight);
    for (const watcher of [...this.#watchers]) watcher.close();
    await this.#link.close();
  }

  /** Runs what was asked for, and lets `close` wait for it; whatever comes out is a StoreError. */
  #accept<T>(action: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new StoreError('closed', 'the store has been closed'));
    const work = action().catch((error: unknown) => {
      throw error instanceof CallFailure ? storeError(error) : error;
    });
    this.#inFlight.add(work);
    const done = () => void this.#inFlight.delete(work);
    work.then(done, done);
    return work;
  }

  async #pages(prefix: string): Promise<{ readonly revision: Revision; readonly entries: readonly Entry[] }> {
    const { rangeEnd, ...range } = this.#space.range(prefix);
    const entries: Entry[] = [];
    let { key } = range;
    let revision = 0;
    for (;;) {
      const page = await this.#range({ key, rangeEnd, limit: PAGE, revision });
      if (revision === 0) revision = revisionOf(page);
      for (const kv of page.kvs) {
        const ours = this.#space.decode(kv.key);
        if (ours !== undefined) entries.push(this.#entry(ours, kv));
      }
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return { revision: revision as Revision, entries };
      key = Buffer.concat([last.key, Buffer.alloc(1)]);
    }
  }

  #range(request: RangeRequest): Promise<RangeResponse> {
    return this.#calls.unary(RANGE, request, { repeatable: true });
  }

  #entry(key: Key, { value, modRevision }: RangeResponse['kvs'][number]): Entry {
    const revision = Number(modRevision) as Revision;
    this.#newest = Math.max(this.#newest, revision);
    return { key, value: value.toString('utf8'), revision };
  }

  async #transact(writes: readonly Write[], expectations: readonly Expectation[]): Promise<CommitResult> {
    const request = commitRequest(this.#space, writes, expectations);
    let broken: Key | undefined;
    let revision: Revision;
    try {
      const response = await this.#calls.unary(TXN, request, { repeatable: false });
      revision = revisionOf(response);
      if (response.succeeded && changedSomething(response)) {
        this.#newest = Math.max(this.#newest, revision);
        return { committed: true, revision };
      }
      if (!response.succeeded) broken = firstBroken(this.#space, expectations, response) ?? expectations[0]?.key;
    } catch (error) {
      if (!(error instanceof CallFailure) || error.kind !== 'key-missing') throw error;
      const response = await this.#calls.unary(TXN, readRequest(this.#space, expectations), { repeatable: true });
      revision = revisionOf(response);
      broken = firstBroken(this.#space, expectations, response) ?? expectations[0]?.key;
    }
    const settled = await this.#settle(revision);
    return broken === undefined
      ? { committed: true, revision: settled }
      : { committed: false, key: broken, revision: settled };
  }

  /**
   * The answer of a commit that wrote nothing carries etcd's newest revision, which may be of other users' commits, of which
   * no watcher hears. So this waits until every watcher has come past it, and answers with what they were told last.
   */
  async #settle(revision: number): Promise<Revision> {
    const deadline = performance.now() + CALL_MS;
    if (await this.#coveredUntil(revision, performance.now() + SETTLE_MS)) return this.#told();
    const put = { requestPut: { key: this.#space.marker } };
    await this.#calls.unary(TXN, { compare: [], success: [put], failure: [] }, { repeatable: true });
    if (await this.#coveredUntil(revision, deadline)) return this.#told();
    throw new StoreError(
      'unavailable',
      `etcd did nothing and said so, but its watch is behind (${this.#link.state.lastError ?? 'it is slow'}); try again`,
    );
  }

  #told(): Revision {
    const delivered = [...this.#watchers].map((watcher) => watcher.delivered);
    return (delivered.length === 0 ? this.#newest : Math.min(...delivered)) as Revision;
  }

  /** True as soon as every watcher has covered the revision, false when that is not so in time. */
  #coveredUntil(revision: number, deadline: number): Promise<boolean> {
    const covered = () => [...this.#watchers].every((watcher) => watcher.covered >= revision);
    if (covered()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (result: boolean) => {
        clearTimeout(timer);
        this.#progress.delete(check);
        resolve(result);
      };
      const check = () => {
        if (covered()) finish(true);
      };
      const timer = setTimeout(() => finish(false), Math.max(0, deadline - performance.now()));
      this.#progress.add(check);
    });
  }
}

/** Ours are positive 64-bit numbers in decimal. */
function isLeaseId(lease: LeaseId): boolean {
  return /^[1-9]\d{0,18}$/.test(lease);
}

function leaseEnded({ key, lease }: Write, cause?: unknown): StoreError {
  return new StoreError('lease-ended', `${key}: its lease ${lease} has ended; take a new one`, { cause });
}

/** What is left when nobody had better words. */
function storeError(failure: CallFailure): StoreError {
  const { kind, message } = failure;
  const options = { cause: failure };
  switch (kind) {
    case 'full':
      return new StoreError(
        'full',
        `etcd's database has reached its quota (${message}); nothing of the change was kept. Compact and defragment it, raise --quota-backend-bytes, then: etcdctl alarm disarm`,
        options,
      );
    case 'too-many-operations':
      return new StoreError(
        'invalid',
        `the commit is too large for this etcd; start it with --max-txn-ops=10000`,
        options,
      );
    case 'too-large':
      return new StoreError(
        'invalid',
        `the commit has more bytes than this etcd takes; start it with a larger --max-request-bytes`,
        options,
      );
    default:
      return new StoreError('unavailable', `etcd answered: ${message}`, options);
  }
}
