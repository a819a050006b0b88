// (space, name) → row number: open addressing over the bytes of lower-cased names, looked up with the bytes of a query as
// they came. A space keeps names apart that may be equal: those of each network. PURE.
import { ByteArena } from './byte-arena.ts';
import { LOWER } from './wire.ts';

/** Rows are dense, from 0, and reused after `remove`; whoever owns the index keeps columns of its own by row. */
export class NameIndex {
  readonly arena = new ByteArena();
  /** Slot → row + 1; 0 is empty. Its length is a power of two, at least twice the rows. */
  #slots = new Int32Array(64);
  #hash = new Int32Array(32);
  #space = new Int32Array(32);
  #nameAt = new Int32Array(32);
  #nameLength = new Uint8Array(32);
  /** Rows ever handed out: how long the owner's columns must be. */
  #rows = 0;
  readonly #freeRows: number[] = [];

  get rows(): number {
    return this.#rows;
  }

  /** Names in the index. */
  get size(): number {
    return this.#rows - this.#freeRows.length;
  }

  spaceOf(row: number): number {
    return this.#space[row] as number;
  }

  /** True unless the row was removed. */
  inUse(row: number): boolean {
    return row < this.#rows && this.#nameLength[row] !== 0;
  }

  /** The labels of a row's name, copied. */
  labelsOf(row: number): Uint8Array {
    const at = this.#nameAt[row] as number;
    return this.arena.bytes.slice(at, at + (this.#nameLength[row] as number));
  }

  /** The row of the name whose labels are `bytes[from, from + length)` in any case, hashed to `hash`; -1 if there is none. */
  find(space: number, hash: number, bytes: Uint8Array, from: number, length: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let slot = spread(hash, space) & mask; ; slot = (slot + 1) & mask) {
      const row = (slots[slot] as number) - 1;
      if (row < 0) return -1;
      if (
        this.#hash[row] === hash &&
        this.#space[row] === space &&
        this.#nameLength[row] === length &&
        this.#equals(row, bytes, from, length)
      ) {
        return row;
      }
    }
  }

  /** Adds a name that is not there, in lower case, at least one byte long; its row. */
  add(space: number, hash: number, labels: Uint8Array): number {
    const row = this.#freeRows.pop() ?? this.#rows++;
    if (row >= this.#hash.length) this.#growRows();
    if (2 * this.size > this.#slots.length) this.#growSlots();
    this.#hash[row] = hash;
    this.#space[row] = space;
    this.#nameAt[row] = this.arena.put(labels);
    this.#nameLength[row] = labels.length;
    this.#place(row);
    return row;
  }

  remove(row: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#home(row);
    while (slots[hole] !== row + 1) hole = (hole + 1) & mask;
    // Backward shift instead of tombstones: lookups stay as short as if the name had never been there.
    for (let next = (hole + 1) & mask; slots[next] !== 0; next = (next + 1) & mask) {
      const home = this.#home((slots[next] as number) - 1);
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      slots[hole] = slots[next] as number;
      hole = next;
    }
    slots[hole] = 0;
    this.arena.release(this.#nameAt[row] as number, this.#nameLength[row] as number);
    this.#nameLength[row] = 0;
    this.#freeRows.push(row);
  }

  #equals(row: number, bytes: Uint8Array, from: number, length: number): boolean {
    const names = this.arena.bytes;
    const at = this.#nameAt[row] as number;
    for (let i = 0; i < length; i++) {
      if (names[at + i] !== LOWER[bytes[from + i] as number]) return false;
    }
    return true;
  }

  #home(row: number): number {
    return spread(this.#hash[row] as number, this.#space[row] as number) & (this.#slots.length - 1);
  }

  #place(row: number): void {
    const mask = this.#slots.length - 1;
    let slot = this.#home(row);
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = row + 1;
  }

  #growSlots(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(2 * old.length);
    for (const entry of old) if (entry !== 0) this.#place(entry - 1);
  }

  #growRows(): void {
    this.#hash = doubled(this.#hash);
    this.#space = doubled(this.#space);
    this.#nameAt = doubled(this.#nameAt);
    const lengths = new Uint8Array(2 * this.#nameLength.length);
    lengths.set(this.#nameLength);
    this.#nameLength = lengths;
  }
}

export function doubled(column: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * column.length);
  larger.set(column);
  return larger;
}

/** FNV's low bits depend on the last bytes only a little; this brings the high ones down, and tells the spaces apart. */
function spread(hash: number, space: number): number {
  const mixed = Math.imul(hash ^ Math.imul(space, 0x9e3779b1), 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}
