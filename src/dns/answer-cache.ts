// Answers of upstreams, for as long as they hold and fit, and for a while after that in case nobody answers any more. PURE: the
// time comes in with each call.
import type { Response } from './response.ts';
import { SERVFAIL } from './wire.ts';

export interface AnswerCacheLimits {
  /** Of all that is kept, keys and book-keeping included, roughly. 0: nothing is kept. */
  readonly bytes: number;
  /** Positive answers are kept no longer, in seconds, however long their TTL. */
  readonly longestS: number;
  /** Negative ones: RFC 2308 section 5 advises one to three hours at most. */
  readonly longestNegativeS: number;
  /** How long after its end an answer may stand in for one that cannot be had; RFC 8767 section 5 advises one to three days. */
  readonly staleS: number;
}

/** 4 MiB hold some 10,000 answers, more than the containers of a node ask for within a TTL. */
export const ANSWER_CACHE_LIMITS: AnswerCacheLimits = {
  bytes: 4 * 1024 * 1024,
  longestS: 86_400,
  longestNegativeS: 3600,
  staleS: 86_400,
};

/** RFC 8767 section 4: what is stale is given with a TTL of 30 seconds. */
export const STALE_TTL_S = 30;
/** RFC 9520 section 3.2: failures are kept for 1 s at least, longer when they repeat, and never above 5 minutes. */
const FIRST_FAILURE_MS = 1000;
const LONGEST_FAILURE_MS = 30_000;

/** What an entry costs besides its bytes: map slot, objects, array headers. Measured as heap growth, rounded up. */
const ENTRY_OVERHEAD_BYTES = 300;
const RECORD_OVERHEAD_BYTES = 48;
const MS_PER_S = 1000;

interface Entry {
  /** Undefined: no answer was ever had, and only the failure is known. */
  readonly response: Response | undefined;
  readonly storedAt: number;
  readonly endsAt: number;
  readonly cost: number;
  /** Asked for since it came in, or since it was last spared. */
  used: boolean;
  /** Asking again is of no use before this; 0 when the last attempt did not fail. */
  failedUntil: number;
  /** Attempts that failed in a row. */
  failures: number;
}

export type Cached =
  | { readonly kind: 'fresh'; readonly response: Response /** Whole seconds since it came. */; readonly ageS: number }
  /** Its time is over, but asking failed just now. */
  | { readonly kind: 'stale'; readonly response: Response }
  /** Asking failed just now, and there is nothing to stand in. */
  | { readonly kind: 'failed' };

export interface CacheListing {
  readonly key: string;
  readonly state: 'fresh' | 'stale' | 'failed';
  /** Seconds until it ends or, of a failure, until it is asked again; negative when stale. */
  readonly leftS: number;
  readonly rcode: number;
  readonly answers: number;
  readonly bytes: number;
}

export class AnswerCache {
  #limits: AnswerCacheLimits;
  // In the order in which they came or were last spared: who must make room is looked for from the front, and whoever was used
  // since then is spared once (CLOCK). So a hit costs a look and a mark, and no change of the map.
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(limits: AnswerCacheLimits = ANSWER_CACHE_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** As counted against the limit. */
  get bytes(): number {
    return this.#bytes;
  }

  /** From now on no more than this is kept. */
  resize(bytes: number): void {
    this.#limits = { ...this.#limits, bytes };
    this.#evict();
  }

  /** What is to be answered without asking anybody; undefined: ask. */
  get(key: string, nowMs: number): Cached | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const { response, storedAt, endsAt, failedUntil } = entry;
    if (response !== undefined && nowMs < endsAt) {
      entry.used = true;
      return { kind: 'fresh', response, ageS: Math.floor((nowMs - storedAt) / MS_PER_S) };
    }
    if (nowMs >= failedUntil) return undefined;
    const stale = this.stale(key, nowMs);
    return stale === undefined ? { kind: 'failed' } : { kind: 'stale', response: stale };
  }

  /** What may stand in for the answer when it cannot be had, its TTLs as RFC 8767 wants them. */
  stale(key: string, nowMs: number): Response | undefined {
    const entry = this.#entries.get(key);
    if (entry?.response === undefined || nowMs >= entry.endsAt + this.#limits.staleS * MS_PER_S) return undefined;
    const { response } = entry;
    return { ...response, records: response.records.map((record) => ({ ...record, ttl: STALE_TTL_S })) };
  }

  /** Keeps an answer in place of what was there, unless it may not be kept or is larger than an eighth of the cache. */
  put(key: string, response: Response, nowMs: number): void {
    this.#remove(key);
    const negative = response.rcode !== 0 || response.answers === 0;
    const longest = negative ? this.#limits.longestNegativeS : this.#limits.longestS;
    const lifetimeMs = Math.min(response.lifetimeS, longest) * MS_PER_S;
    const cost = costOf(key, response);
    if (lifetimeMs <= 0) return;
    this.#add(key, {
      response,
      storedAt: nowMs,
      endsAt: nowMs + lifetimeMs,
      cost,
      used: false,
      failedUntil: 0,
      failures: 0,
    });
  }

  /** Asking failed: for a while, longer with each time, `get` says so, or gives what is stale. */
  fail(key: string, nowMs: number): void {
    const known = this.#entries.get(key);
    const inARow = known !== undefined && nowMs - known.failedUntil < LONGEST_FAILURE_MS;
    const failures = inARow ? known.failures + 1 : 1;
    const failedUntil = nowMs + Math.min(FIRST_FAILURE_MS * 2 ** (failures - 1), LONGEST_FAILURE_MS);
    if (known === undefined) {
      const cost = costOf(key, undefined);
      this.#add(key, { response: undefined, storedAt: nowMs, endsAt: 0, cost, used: false, failedUntil, failures });
    } else {
      known.failures = failures;
      known.failedUntil = failedUntil;
    }
  }

  /** Forgets the entries whose keys it takes. */
  forget(takes: (key: string) => boolean): void {
    for (const key of [...this.#entries.keys()].filter(takes)) this.#remove(key);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  /** What is there, the newest first. */
  *list(nowMs: number): Generator<CacheListing> {
    for (const key of [...this.#entries.keys()].reverse()) {
      const { response, endsAt, failedUntil, cost } = this.#entries.get(key) as Entry;
      const failed = nowMs < failedUntil && nowMs >= endsAt;
      if (response === undefined && !failed) continue;
      const state = response === undefined ? 'failed' : nowMs < endsAt ? 'fresh' : 'stale';
      yield {
        key,
        state,
        leftS: Math.ceil(((response === undefined ? failedUntil : endsAt) - nowMs) / MS_PER_S),
        rcode: response?.rcode ?? SERVFAIL,
        answers: response?.answers ?? 0,
        bytes: cost,
      };
    }
  }

  #add(key: string, entry: Entry): void {
    if (entry.cost > this.#limits.bytes / 8) return;
    this.#entries.set(key, entry);
    this.#bytes += entry.cost;
    this.#evict();
  }

  #evict(): void {
    // Who is spared comes up again at the end, and is not spared twice.
    for (const [key, entry] of this.#entries) {
      if (this.#bytes <= this.#limits.bytes) break;
      if (!entry.used) {
        this.#remove(key);
        continue;
      }
      entry.used = false;
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.cost;
  }
}

function costOf(key: string, response: Response | undefined): number {
  const answer = response === undefined ? 0 : response.bytes.length + response.records.length * RECORD_OVERHEAD_BYTES;
  return 2 * key.length + answer + ENTRY_OVERHEAD_BYTES;
}
