// Durations as Docker writes them: `1m30s`, `500ms`, `1.5h`. PURE.

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** The longest duration that a timer can hold (2^31 - 1 ms, 24.8 days). */
export const MAX_DURATION_MS = 2 ** 31 - 1;

/**
 * Reads a duration of Go's `time.ParseDuration` into whole milliseconds, rounded up so that nothing positive becomes 0.
 * Undefined when it is none, is negative or is longer than MAX_DURATION_MS.
 */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  if (text.length > 64 || !/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/([\d.]+)([a-zµμ]+)/g))
    total += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
  // A sum of binary fractions may end a hair above the whole number that was meant.
  const whole = Math.ceil(total - 1e-7);
  return whole <= MAX_DURATION_MS ? Math.max(whole, total > 0 ? 1 : 0) : undefined;
}
