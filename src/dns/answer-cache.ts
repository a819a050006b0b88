// Answers of upstreams, for as long as they hold and fit. PURE: the time comes in with each call.
import type { Response } from './response.ts';

export interface AnswerCacheLimits {
  /** Of all that is kept, keys and book-keeping included, roughly. */
  readonly bytes: number;
  /** Positive answers are kept no longer, in seconds, however long their TTL. */
  readonly longestS: number;
  /** Negative ones: RFC 2308 section 5 advises one to three hours at most. */
  readonly longestNegativeS: number;
}

/** 4 MiB hold some 10,000 answers, more than the containers of a node ask for within a TTL. */
export const ANSWER_CACHE_LIMITS: AnswerCacheLimits = {
  bytes: 4 * 1024 * 1024,
  longestS: 86_400,
  longestNegativeS: 3600,
};

/** What an entry costs besides its bytes: map slot, objects, array headers. Measured as heap growth, rounded up. */
const ENTRY_OVERHEAD_BYTES = 300;
const RECORD_OVERHEAD_BYTES = 48;
const MS_PER_S = 1000;

interface Entry {
  readonly response: Response;
  readonly storedAt: number;
  readonly endsAt: number;
  readonly cost: number;
}

export interface CachedAnswer {
  readonly response: Response;
  /** Whole seconds since it came. */
  readonly ageS: number;
}

export class AnswerCache {
  readonly #limits: AnswerCacheLimits;
  // In order of use, the least recent first.
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

  get(key: string, nowMs: number): CachedAnswer | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    if (entry.endsAt <= nowMs) {
      this.#bytes -= entry.cost;
      return undefined;
    }
    this.#entries.set(key, entry);
    return { response: entry.response, ageS: Math.floor((nowMs - entry.storedAt) / MS_PER_S) };
  }

  /** Keeps an answer in place of what was there, unless it may not be kept or is larger than an eighth of the cache. */
  put(key: string, response: Response, nowMs: number): void {
    this.#remove(key);
    const negative = response.rcode !== 0 || response.answers === 0;
    const longest = negative ? this.#limits.longestNegativeS : this.#limits.longestS;
    const lifetimeMs = Math.min(response.lifetimeS, longest) * MS_PER_S;
    const cost =
      response.bytes.length + 2 * key.length + response.records.length * RECORD_OVERHEAD_BYTES + ENTRY_OVERHEAD_BYTES;
    if (lifetimeMs <= 0 || cost > this.#limits.bytes / 8) return;
    this.#entries.set(key, { response, storedAt: nowMs, endsAt: nowMs + lifetimeMs, cost });
    this.#bytes += cost;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limits.bytes) break;
      this.#remove(oldest);
    }
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.cost;
  }
}
