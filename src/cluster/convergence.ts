// How long commits take until they are in effect on this node: counts in buckets that grow by a fifth, for the last ten
// minutes and since the start. PURE: time is given by the caller.

/** The newest changes, in milliseconds; both 0 when there were none. */
export interface ConvergenceQuantiles {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly changes: number;
}

/** Since the start, as Prometheus wants a histogram: each bucket counts everything up to its bound, the last one has none. */
export interface ConvergenceTotals {
  readonly buckets: readonly { readonly upToMs: number; readonly count: number }[];
  readonly count: number;
  readonly sumMs: number;
}

/** What `quantiles` looks back on. */
export const WINDOW_MS = 600_000;

export class Convergence {
  readonly #slices = Array.from({ length: SLICES }, () => new Uint32Array(BUCKETS));
  /** Which stretch of time each slice counts. */
  readonly #stretches = new Float64Array(SLICES).fill(-1);
  readonly #totals = new Float64Array(BUCKETS);
  #count = 0;
  #sumMs = 0;

  /**
   * A change that was committed `tookMs` ago is in effect. Less than nothing counts as nothing: the clock of the node that
   * committed it is ahead. `now`: Clock.now().
   */
  record(now: number, tookMs: number): void {
    if (Number.isNaN(tookMs)) return;
    const took = Math.min(LONGEST_MS, Math.max(0, tookMs));
    const bucket = bucketOf(took);
    const slice = this.#slices[this.#turn(now)];
    if (slice !== undefined) slice[bucket] = (slice[bucket] ?? 0) + 1;
    this.#totals[bucket] = (this.#totals[bucket] ?? 0) + 1;
    this.#count++;
    this.#sumMs += took;
  }

  /** Of the last ten minutes, give or take one slice of 30 s; each at most a fifth above what was measured, never below. */
  quantiles(now: number): ConvergenceQuantiles {
    const newest = Math.floor(now / SLICE_MS);
    const sums = new Float64Array(BUCKETS);
    let changes = 0;
    for (const [at, slice] of this.#slices.entries()) {
      const stretch = this.#stretches[at] ?? -1;
      if (stretch < 0 || stretch <= newest - SLICES) continue;
      for (const [bucket, count] of slice.entries()) {
        sums[bucket] = (sums[bucket] ?? 0) + count;
        changes += count;
      }
    }
    return { p50Ms: quantile(sums, changes, 0.5), p99Ms: quantile(sums, changes, 0.99), changes };
  }

  totals(): ConvergenceTotals {
    const buckets: { upToMs: number; count: number }[] = [];
    let count = 0;
    for (const [bucket, more] of this.#totals.entries()) {
      count += more;
      if (bucket % STEPS_PER_OCTAVE === 0) buckets.push({ upToMs: boundOf(bucket), count });
    }
    return { buckets, count: this.#count, sumMs: this.#sumMs };
  }

  /** The slice for now, emptied of what it counted ten minutes ago. */
  #turn(now: number): number {
    const stretch = Math.floor(now / SLICE_MS);
    const at = stretch % SLICES;
    if (this.#stretches[at] !== stretch) {
      this.#slices[at]?.fill(0);
      this.#stretches[at] = stretch;
    }
    return at;
  }
}

const SLICES = 20;
const SLICE_MS = WINDOW_MS / SLICES;
/** 2^(1/4) = 1.19 from one bound to the next. */
const STEPS_PER_OCTAVE = 4;
/** 1 ms to 2^20 ms, 17 minutes: whoever was cut off for longer is that much behind at least. */
const OCTAVES = 20;
const BUCKETS = STEPS_PER_OCTAVE * OCTAVES + 1;
const LONGEST_MS = 2 ** OCTAVES;

/** The first whose bound is not below. */
function bucketOf(tookMs: number): number {
  if (tookMs <= 1) return 0;
  const bucket = Math.ceil(Math.log2(tookMs) * STEPS_PER_OCTAVE);
  // The logarithm of a bound may come out a little above it.
  return bucket > 0 && boundOf(bucket - 1) >= tookMs ? bucket - 1 : bucket;
}

function boundOf(bucket: number): number {
  return 2 ** (bucket / STEPS_PER_OCTAVE);
}

/** The bound of the bucket in which that share of all is reached. */
function quantile(counts: Float64Array, all: number, share: number): number {
  let seen = 0;
  for (const [bucket, count] of counts.entries()) {
    seen += count;
    if (count > 0 && seen >= share * all) return boundOf(bucket);
  }
  return 0;
}
