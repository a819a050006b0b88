// PURE: which flow a datagram belongs to. A flow is one UDP client (address, scope, port) talking to one local address and
// port of one frontend; it is a small number, an index of whatever arrays the caller keeps. Time is passed in.
//
// Everything is O(1) and lives in typed arrays whose untouched pages cost nothing: an open-addressing hash (linear
// probing, at most half full, deletion by shifting back, so that there are no tombstones), and two lists in order of
// last use, of which the heads are the next to expire.

/**
 * A key, as 32-bit words. Addresses are IPv6 or IPv4-mapped in network order, as they lie in memory:
 * client address (4), client scope id, client port << 16 | local port, frontend id, local address (4).
 */
export const FLOW_KEY_WORDS = 11;

export const NO_FLOW = -1;

/**
 * A flow is brief until its client comes back after an answer. Until then it may come from a forged source address, or be a
 * single exchange that is over (a DNS query), so it is kept only as long as Linux' connection tracking keeps it
 * (nf_conntrack_udp_timeout), which is what users of Docker have today.
 */
export const BRIEF_IDLE_MS = 30_000;

/** RFC 4787 REQ-5: a UDP mapping must live for two minutes at least; nf_conntrack_udp_timeout_stream is the same. */
export const LASTING_IDLE_MS = 120_000;

export interface FlowTableOptions {
  /** How many flows there may be, 1 to 2^24. */
  readonly capacity: number;
  /** 64 random bits: without them nobody can make keys that collide. */
  readonly seed: readonly [number, number];
  readonly briefIdleMs?: number;
  readonly lastingIdleMs?: number;
}

// The two lists, and how far a flow has come: WAITING and ANSWERED ones are in the first, LASTING ones in the second.
const BRIEF_LIST = 0;
const LASTING_LIST = 1;
const WAITING = 0;
const ANSWERED = 1;
const LASTING = 2;

export class FlowTable {
  readonly capacity: number;
  #size = 0;
  readonly #seed: readonly [number, number];
  readonly #idleMs: readonly [number, number];
  /** Bucket → flow + 1; 0 is empty. */
  readonly #buckets: Int32Array;
  readonly #mask: number;
  readonly #keys: Int32Array;
  readonly #hashes: Int32Array;
  /** Milliseconds on the caller's clock. */
  readonly #lastSeen: Float64Array;
  readonly #stage: Uint8Array;
  /** Flow → its neighbours in its list; the lists' own ends are at `capacity + list`. Free flows are chained by `next`. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  #firstFree = NO_FLOW;
  /** Flows from here on were never used. */
  #unused = 0;

  constructor(options: FlowTableOptions) {
    const { capacity } = options;
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 1 << 24) {
      throw new RangeError(`a flow table holds 1 to ${1 << 24} flows, not ${capacity}`);
    }
    this.capacity = capacity;
    this.#seed = options.seed;
    this.#idleMs = [options.briefIdleMs ?? BRIEF_IDLE_MS, options.lastingIdleMs ?? LASTING_IDLE_MS];
    const buckets = 1 << (33 - Math.clz32(capacity));
    this.#buckets = new Int32Array(buckets);
    this.#mask = buckets - 1;
    this.#keys = new Int32Array(capacity * FLOW_KEY_WORDS);
    this.#hashes = new Int32Array(capacity);
    this.#lastSeen = new Float64Array(capacity);
    this.#stage = new Uint8Array(capacity);
    this.#next = new Int32Array(capacity + 2);
    this.#previous = new Int32Array(capacity + 2);
    for (const end of [capacity + BRIEF_LIST, capacity + LASTING_LIST]) {
      this.#next[end] = end;
      this.#previous[end] = end;
    }
  }

  get size(): number {
    return this.#size;
  }

  /** The flow of this key, or NO_FLOW. Does not count as use. */
  find(key: Int32Array): number {
    const hash = hashKey(key, this.#seed);
    for (let bucket = hash & this.#mask; ; bucket = (bucket + 1) & this.#mask) {
      const flow = (this.#buckets[bucket] as number) - 1;
      if (flow === NO_FLOW) return NO_FLOW;
      if (this.#hashes[flow] === hash && this.#matches(flow, key)) return flow;
    }
  }

  /** Adds a key that is not in the table; NO_FLOW when the table is full. */
  insert(key: Int32Array, now: number): number {
    const flow = this.#takeFree();
    if (flow === NO_FLOW) return NO_FLOW;
    const hash = hashKey(key, this.#seed);
    let bucket = hash & this.#mask;
    while (this.#buckets[bucket] !== 0) bucket = (bucket + 1) & this.#mask;
    this.#buckets[bucket] = flow + 1;
    this.#hashes[flow] = hash;
    for (let i = 0, at = flow * FLOW_KEY_WORDS; i < FLOW_KEY_WORDS; i++) this.#keys[at + i] = key[i] as number;
    this.#stage[flow] = WAITING;
    this.#append(flow, BRIEF_LIST, now);
    this.#size += 1;
    return flow;
  }

  /** One word of a flow's key (see FLOW_KEY_WORDS). */
  keyWord(flow: number, word: number): number {
    return this.#keys[flow * FLOW_KEY_WORDS + word] as number;
  }

  /** No flow from here on was ever in use. */
  get used(): number {
    return this.#unused;
  }

  /** The endpoint has sent something. */
  isAnswered(flow: number): boolean {
    return this.#stage[flow] !== WAITING;
  }

  /** The client sent something: the flow's idle time begins anew. */
  touch(flow: number, now: number): void {
    const stage = this.#stage[flow] as number;
    if (stage === ANSWERED) {
      this.#stage[flow] = LASTING;
      this.#unlink(flow);
      this.#append(flow, LASTING_LIST, now);
    } else this.#renew(flow, stage === LASTING ? LASTING_LIST : BRIEF_LIST, now);
  }

  /** The endpoint sent something: the flow's idle time begins anew. */
  answered(flow: number, now: number): void {
    if (this.#stage[flow] === WAITING) this.#stage[flow] = ANSWERED;
    this.#renew(flow, this.#stage[flow] === LASTING ? LASTING_LIST : BRIEF_LIST, now);
  }

  /** A flow that has been idle for its time, the longest idle one first; NO_FLOW when there is none. It is not removed. */
  expired(now: number): number {
    for (let list = BRIEF_LIST; list <= LASTING_LIST; list++) {
      const flow = this.#oldest(list);
      if (flow !== NO_FLOW && now - (this.#lastSeen[flow] as number) >= (this.#idleMs[list] as number)) return flow;
    }
    return NO_FLOW;
  }

  /**
   * The flow to end when there is no room for a new one: of the brief ones the longest idle; when there is none, a lasting
   * one that has been idle for as long as a brief one may be. NO_FLOW when every flow is in use: a flood, from forged
   * addresses or not, must never end a conversation that is under way.
   */
  evictable(now: number): number {
    const brief = this.#oldest(BRIEF_LIST);
    if (brief !== NO_FLOW) return brief;
    const lasting = this.#oldest(LASTING_LIST);
    return lasting !== NO_FLOW && now - (this.#lastSeen[lasting] as number) >= this.#idleMs[BRIEF_LIST]
      ? lasting
      : NO_FLOW;
  }

  /** Frees the flow's number for another key. */
  remove(flow: number): void {
    this.#removeBucket(flow);
    this.#unlink(flow);
    this.#next[flow] = this.#firstFree;
    this.#firstFree = flow;
    this.#size -= 1;
  }

  /** Every flow, the longest idle ones first within each list. Removing the flow just given is allowed. */
  *flows(): Generator<number> {
    for (let list = BRIEF_LIST; list <= LASTING_LIST; list++) {
      const end = this.capacity + list;
      for (let flow = this.#next[end] as number; flow !== end; ) {
        const next = this.#next[flow] as number;
        yield flow;
        flow = next;
      }
    }
  }

  #takeFree(): number {
    const flow = this.#firstFree;
    if (flow !== NO_FLOW) {
      this.#firstFree = this.#next[flow] as number;
      return flow;
    }
    return this.#unused < this.capacity ? this.#unused++ : NO_FLOW;
  }

  #matches(flow: number, key: Int32Array): boolean {
    const at = flow * FLOW_KEY_WORDS;
    for (let i = 0; i < FLOW_KEY_WORDS; i++) if (this.#keys[at + i] !== key[i]) return false;
    return true;
  }

  /** Empties the flow's bucket and moves later members of the run back, wherever that keeps them reachable. */
  #removeBucket(flow: number): void {
    const mask = this.#mask;
    let hole = (this.#hashes[flow] as number) & mask;
    while (this.#buckets[hole] !== flow + 1) hole = (hole + 1) & mask;
    for (let bucket = (hole + 1) & mask; this.#buckets[bucket] !== 0; bucket = (bucket + 1) & mask) {
      const home = (this.#hashes[(this.#buckets[bucket] as number) - 1] as number) & mask;
      if (((bucket - home) & mask) < ((bucket - hole) & mask)) continue;
      this.#buckets[hole] = this.#buckets[bucket] as number;
      hole = bucket;
    }
    this.#buckets[hole] = 0;
  }

  #oldest(list: number): number {
    const flow = this.#next[this.capacity + list] as number;
    return flow < this.capacity ? flow : NO_FLOW;
  }

  /** Makes a flow the last of the list that it is in. */
  #renew(flow: number, list: number, now: number): void {
    if (this.#previous[this.capacity + list] !== flow) {
      this.#unlink(flow);
      this.#append(flow, list, now);
    } else this.#lastSeen[flow] = now;
  }

  #append(flow: number, list: number, now: number): void {
    const end = this.capacity + list;
    const last = this.#previous[end] as number;
    this.#next[last] = flow;
    this.#previous[flow] = last;
    this.#next[flow] = end;
    this.#previous[end] = flow;
    this.#lastSeen[flow] = now;
  }

  #unlink(flow: number): void {
    const next = this.#next[flow] as number;
    const previous = this.#previous[flow] as number;
    this.#next[previous] = next;
    this.#previous[next] = previous;
  }
}

/**
 * HalfSipHash-1-3, the hash that Linux keys its own tables with (include/linux/siphash.h): who cannot see the seed cannot
 * choose source addresses that fall into one bucket, and it costs about 60 ns.
 */
function hashKey(key: Int32Array, seed: readonly [number, number]): number {
  let v0 = seed[0] | 0;
  let v1 = seed[1] | 0;
  let v2 = 0x6c796765 ^ v0;
  let v3 = 0x74656462 ^ v1;
  // Words of the key, then the word that closes the message (its length in bytes), then three rounds without input.
  for (let i = 0; i < FLOW_KEY_WORDS + 4; i++) {
    const word = i < FLOW_KEY_WORDS ? (key[i] as number) : i === FLOW_KEY_WORDS ? FLOW_KEY_WORDS << 26 : 0;
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
    if (i === FLOW_KEY_WORDS) v2 ^= 0xff;
  }
  return v1 ^ v3;
}

const MOST_FLOWS = 65_536;
const LEAST_FLOWS = 16;

/**
 * How many flows one of so many workers may have at once. A flow has a descriptor, or two on a VIP: of what the process may have,
 * all flows together leave half to connections, however many addresses somebody invents.
 */
export function flowCapacity(descriptors: number, workers: number): number {
  return Math.max(LEAST_FLOWS, Math.min(MOST_FLOWS, Math.floor(descriptors / 4 / Math.max(1, workers))));
}
