// How long connections take and last, counted for each service by one worker: fixed buckets in shared memory, so that nothing is
// kept per connection and nobody is asked when they are read.
import { CONNECT_BOUNDS_MS, DURATION_BOUNDS_MS, SERVICE } from '../runtime/worker-env.ts';

export class ServiceTimes {
  readonly #counters: Float64Array;

  /** `counters`: a service's numbers are at its slot times SERVICE.stride. */
  constructor(counters: Float64Array) {
    this.#counters = counters;
  }

  /** A client of this service has an endpoint, `ms` after it came. */
  connected(slot: number, ms: number): void {
    const at = slot * SERVICE.stride;
    this.#add(at + SERVICE.open, 1);
    this.#observe(at + SERVICE.connectTimes, CONNECT_BOUNDS_MS, ms);
  }

  /** A connection that was counted as connected has ended, `ms` after its client came. */
  ended(slot: number, ms: number): void {
    const at = slot * SERVICE.stride;
    this.#add(at + SERVICE.open, -1);
    this.#observe(at + SERVICE.durations, DURATION_BOUNDS_MS, ms);
  }

  refused(slot: number): void {
    this.#add(slot * SERVICE.stride + SERVICE.refused, 1);
  }

  #observe(at: number, bounds: readonly number[], ms: number): void {
    this.#add(at, ms);
    let bucket = 0;
    while (bucket < bounds.length && ms > (bounds[bucket] as number)) bucket++;
    this.#add(at + 1 + bucket, 1);
  }

  #add(index: number, by: number): void {
    this.#counters[index] = (this.#counters[index] as number) + by;
  }
}
