// How long changes settle before the driver looks at them. PURE.

/** A change made by hand comes as several notices, and so does each of the driver's own. */
const SHORTEST_MS = 50;
/** As much time is for others: looking after each of many changes would keep the next one waiting. */
const LOOKS = 4;
const LONGEST_MS = 1000;

/** In milliseconds, as is how long the last look took: 50 to 1000. */
export function settleMs(lastLookMs: number): number {
  return Math.max(SHORTEST_MS, Math.min(LOOKS * lastLookMs, LONGEST_MS));
}
