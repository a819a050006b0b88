// Many small pieces of bytes in one growing array, so that a hundred thousand names cost no objects. PURE.

/** Pieces are rounded up to this, so that what one returns usually fits the next. */
const GRAIN = 16;
const FIRST_BYTES = 16 * 1024;

export class ByteArena {
  /** Replaced by a larger array when it is full: read it anew after every `put`. */
  bytes = new Uint8Array(FIRST_BYTES);
  #end = 0;
  // Pieces given back, by their size in grains.
  readonly #free = new Map<number, number[]>();

  /** Copies the piece in; its offset. An empty piece takes no room. */
  put(piece: Uint8Array): number {
    if (piece.length === 0) return 0;
    const at = this.#take(Math.ceil(piece.length / GRAIN));
    this.bytes.set(piece, at);
    return at;
  }

  /** Gives back what `put` of a piece of this length returned. */
  release(at: number, length: number): void {
    if (length === 0) return;
    const grains = Math.ceil(length / GRAIN);
    const free = this.#free.get(grains);
    if (free === undefined) this.#free.set(grains, [at]);
    else free.push(at);
  }

  #take(grains: number): number {
    const reused = this.#free.get(grains)?.pop();
    if (reused !== undefined) return reused;
    const at = this.#end;
    this.#end = at + grains * GRAIN;
    if (this.#end > this.bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.#end));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    return at;
  }
}
