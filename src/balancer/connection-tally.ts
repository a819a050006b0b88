// How many connections are open to a service, and to it from each client address: counts in memory that all workers of a node share.
// PURE apart from that memory.
//
// It is a count-min sketch (Cormode and Muthukrishnan, An Improved Data Stream Summary, 2005): each key counts in one cell of every
// row, and the least of its cells is its number. That is never too low; too high is it only where others share all of its cells: of
// 10,000 clients with open connections, for two in a million. It is bounded, whoever connects, and needs no lock.
import { mix } from './selection.ts';

const ROWS = 4;
/** A power of two. */
const ROW_CELLS = 2 ** 18;

/** 4 MiB, of which what is counted in becomes memory. */
export const TALLY_BYTES = ROWS * ROW_CELLS * 4;

/** Any words, one for each row. */
const ROW_SEEDS = [0x1b873593, 0x7f4a7c15, 0x2545f491, 0x632be5ab] as const;

/** In place of a client: the service as a whole. Clients are hashes from 0. */
export const EVERYBODY = -1;

export class ConnectionTally {
  readonly #all: Int32Array;
  readonly #own: Int32Array;

  /** `all`: the counts over all workers. `own`: what this one has added to them, so that it can be taken back when it dies. */
  constructor(all: SharedArrayBuffer, own: SharedArrayBuffer) {
    this.#all = new Int32Array(all);
    this.#own = new Int32Array(own);
  }

  /**
   * Counts one more, unless there would then be more than `most`. Two workers that do so at the same moment may both be told no
   * where there was room for one; never both yes.
   */
  take(service: number, client: number, most: number): boolean {
    this.#add(service, client, 1);
    if (this.count(service, client) <= most) return true;
    this.#add(service, client, -1);
    return false;
  }

  give(service: number, client: number): void {
    this.#add(service, client, -1);
  }

  count(service: number, client: number): number {
    let least = Number.POSITIVE_INFINITY;
    for (let row = 0; row < ROWS; row++) least = Math.min(least, Atomics.load(this.#all, cellOf(service, client, row)));
    return least;
  }

  #add(service: number, client: number, by: 1 | -1): void {
    for (let row = 0; row < ROWS; row++) {
      const cell = cellOf(service, client, row);
      this.#own[cell] = (this.#own[cell] as number) + by;
      Atomics.add(this.#all, cell, by);
    }
  }
}

/** A worker has died: what it had open is open no more. */
export function takeBack(all: SharedArrayBuffer, own: SharedArrayBuffer): void {
  const [counts, mine] = [new Int32Array(all), new Int32Array(own)];
  for (let cell = 0; cell < mine.length; cell++) {
    const count = mine[cell] as number;
    if (count === 0) continue;
    Atomics.sub(counts, cell, count);
    mine[cell] = 0;
  }
}

function cellOf(service: number, client: number, row: number): number {
  const seed = ROW_SEEDS[row] as number;
  return row * ROW_CELLS + (mix(mix(service, seed), mix(client, seed)) & (ROW_CELLS - 1));
}
