// What is known of each upstream from what it did so far: silent or not, and what it does not understand. PURE: the time comes
// in with each call.

/** A silent upstream is asked last; each time this long has passed it is sent one question more, for which nobody waits. */
export const RETRY_MS = 2000;
/** What a server does not understand it may understand after its next update. */
export const QUIRK_MS = 3_600_000;

export class UpstreamHealth {
  /** When the next question is due that nobody waits for; 0: it is not silent. */
  readonly #retryAt: number[];
  readonly #plainUntil: number[];
  readonly #caselessUntil: number[];

  constructor(count: number) {
    this.#retryAt = new Array<number>(count).fill(0);
    this.#plainUntil = new Array<number>(count).fill(0);
    this.#caselessUntil = new Array<number>(count).fill(0);
  }

  /** The silent ones last, otherwise as given. */
  order(upstreams: readonly number[]): readonly number[] {
    return [...upstreams.filter((one) => !this.isSilent(one)), ...upstreams.filter((one) => this.isSilent(one))];
  }

  isSilent(upstream: number): boolean {
    return (this.#retryAt[upstream] ?? 0) > 0;
  }

  /** It did not answer in time, or cannot be reached. */
  silent(upstream: number, nowMs: number): void {
    this.#retryAt[upstream] = nowMs + RETRY_MS;
  }

  answered(upstream: number): void {
    this.#retryAt[upstream] = 0;
  }

  /** The silent ones among these that are to be tried now; they are due again only after RETRY_MS. */
  takeDue(upstreams: readonly number[], nowMs: number): readonly number[] {
    const due = upstreams.filter((one) => this.isSilent(one) && (this.#retryAt[one] ?? 0) <= nowMs);
    for (const one of due) this.#retryAt[one] = nowMs + RETRY_MS;
    return due;
  }

  /** It answers questions with an OPT record as if they were malformed (RFC 6891 section 7). */
  lacksEdns(upstream: number, nowMs: number): void {
    this.#plainUntil[upstream] = nowMs + QUIRK_MS;
  }

  knowsEdns(upstream: number, nowMs: number): boolean {
    return (this.#plainUntil[upstream] ?? 0) <= nowMs;
  }

  /** It does not repeat the spelling of a question, so that its spelling proves nothing. */
  changesCase(upstream: number, nowMs: number): void {
    this.#caselessUntil[upstream] = nowMs + QUIRK_MS;
  }

  keepsCase(upstream: number, nowMs: number): boolean {
    return (this.#caselessUntil[upstream] ?? 0) <= nowMs;
  }
}
