// Who waits for upstreams, by client, so that one that asks too much fails alone. PURE.
//
// A client may have as many waiting as there is room left for everybody: alone it gets half of all there is, two that ask without end a
// third each, n of them 1/(n + 1) each, and as much is always left for those that come next (the dynamic thresholds by which switches
// share their buffers: Choudhury and Hahne, 1998). No number need be chosen that is too small for one and too large for many.

export class ClientShares {
  readonly #waiting = new Map<number, number>();
  #total = 0;

  /** Over all clients. */
  get total(): number {
    return this.#total;
  }

  /** One more of this client's may wait where there is room for `free` more of anybody's. */
  mayWait(client: number, free: number): boolean {
    return (this.#waiting.get(client) ?? 0) < free;
  }

  enter(client: number): void {
    this.#waiting.set(client, (this.#waiting.get(client) ?? 0) + 1);
    this.#total++;
  }

  leave(client: number): void {
    const rest = (this.#waiting.get(client) ?? 0) - 1;
    if (rest > 0) this.#waiting.set(client, rest);
    else this.#waiting.delete(client);
    this.#total--;
  }
}
