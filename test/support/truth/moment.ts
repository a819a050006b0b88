/** Milliseconds of the machine's monotonic clock: the same in every thread, which `performance.now` is not. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
