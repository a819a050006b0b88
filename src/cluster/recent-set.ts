// What was seen lately, in bounded memory. PURE: time is given by the caller.

/** Remembers each value for at least `forMs`, unless more than `limit` come in that time: then the oldest are forgotten. */
export class RecentSet<Value> {
  readonly #forMs: number;
  readonly #limit: number;
  #newer = new Set<Value>();
  #older = new Set<Value>();
  #turnedAt = Number.NEGATIVE_INFINITY;

  constructor(forMs: number, limit: number) {
    this.#forMs = forMs;
    this.#limit = limit;
  }

  /** False when it was seen lately. */
  add(value: Value, now: number): boolean {
    if (now - this.#turnedAt >= this.#forMs || this.#newer.size >= this.#limit) {
      this.#older = this.#newer;
      this.#newer = new Set();
      this.#turnedAt = now;
    }
    if (this.#newer.has(value) || this.#older.has(value)) return false;
    this.#newer.add(value);
    return true;
  }
}
