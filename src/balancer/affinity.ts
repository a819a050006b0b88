// Which client came to which endpoint last: a table in memory that all workers of a node share, so that a client meets the same
// endpoint whichever worker takes its connection. Bounded: where it is full, whoever was away longest is forgotten. PURE apart from
// that memory: the time comes in with each call.
import { mix } from './selection.ts';

// One entry: who (0: empty), the endpoint's slot, the second at which it ends. The fourth word makes entries a power of two.
const WORDS = 4;
const WHO = 0;
const SLOT = 1;
const ENDS = 2;
/** Places in which an entry may be. */
const WAYS = 4;

/** 64 Ki clients at once: 1 MiB. */
export const AFFINITY_BYTES = 65_536 * WORDS * 4;

export class AffinityTable {
  readonly #words: Int32Array;
  readonly #sets: number;

  /** `memory`: AFFINITY_BYTES, or another power of two of at least 64; all zero at first. */
  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#sets = this.#words.length / (WORDS * WAYS);
  }

  /** The slot of the endpoint that this client of a service came to; -1 when it is new or its time is over. `nowS`: whole seconds. */
  find(service: number, client: number, nowS: number): number {
    const at = this.#locate(service, client);
    if (at < 0 || nowS >= Atomics.load(this.#words, at + ENDS)) return -1;
    return Atomics.load(this.#words, at + SLOT);
  }

  /** From now on, for so many seconds. Another worker may set the same client at the same moment; the later one counts. */
  set(service: number, client: number, slot: number, endsAtS: number): void {
    const known = this.#locate(service, client);
    const at = known >= 0 ? known : this.#oldest(service, client);
    Atomics.store(this.#words, at + SLOT, slot);
    Atomics.store(this.#words, at + ENDS, endsAtS);
    Atomics.store(this.#words, at + WHO, whoOf(service, client));
  }

  #locate(service: number, client: number): number {
    const who = whoOf(service, client);
    const first = this.#setOf(service, client);
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * WORDS;
      if (Atomics.load(this.#words, at + WHO) === who) return at;
    }
    return -1;
  }

  #oldest(service: number, client: number): number {
    const first = this.#setOf(service, client);
    let oldest = first;
    for (let way = 1; way < WAYS; way++) {
      const at = first + way * WORDS;
      if (Atomics.load(this.#words, at + ENDS) < Atomics.load(this.#words, oldest + ENDS)) oldest = at;
    }
    return oldest;
  }

  #setOf(service: number, client: number): number {
    return (mix(service, client) % this.#sets) * WORDS * WAYS;
  }
}

/** 31 bits that have nothing to do with where the entry is; never 0. */
function whoOf(service: number, client: number): number {
  return (mix(client, ~service) | 1) >> 0;
}
