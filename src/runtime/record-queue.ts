// A queue of records of one size in shared memory, through which a worker tells the main thread what happened: the worker never
// waits, and nothing is told when the reader is behind. One writer, one reader.

// Words at the beginning: records ever written, ever read, and ever left out for want of room.
const WRITTEN = 0;
const READ = 1;
const DROPPED = 2;
const HEADER_BYTES = 16;

/** What a queue for so many records takes. */
export function queueBytes(records: number, recordBytes: number): number {
  return HEADER_BYTES + records * recordBytes;
}

export class RecordQueue {
  /** Where the records are. */
  readonly bytes: Buffer;
  readonly #header: Int32Array;
  readonly #recordBytes: number;
  readonly #records: number;

  /** `memory`: of `queueBytes`, all zero at first. */
  constructor(memory: SharedArrayBuffer, recordBytes: number) {
    this.#header = new Int32Array(memory, 0, HEADER_BYTES / 4);
    this.bytes = Buffer.from(memory, HEADER_BYTES);
    this.#recordBytes = recordBytes;
    this.#records = Math.floor(this.bytes.length / recordBytes);
  }

  /** Records that found no room since the start. */
  get dropped(): number {
    return Atomics.load(this.#header, DROPPED) >>> 0;
  }

  /** Has one more record written at the offset that `encode` is given; false when there is no room. */
  write(encode: (at: number) => void): boolean {
    const written = Atomics.load(this.#header, WRITTEN);
    if (((written - Atomics.load(this.#header, READ)) | 0) >= this.#records) {
      Atomics.add(this.#header, DROPPED, 1);
      return false;
    }
    encode(((written >>> 0) % this.#records) * this.#recordBytes);
    Atomics.store(this.#header, WRITTEN, (written + 1) | 0);
    return true;
  }

  /** What `decode` makes of the oldest record, which is then gone; undefined when there is none. */
  read<T>(decode: (at: number) => T): T | undefined {
    const read = Atomics.load(this.#header, READ);
    if (read === Atomics.load(this.#header, WRITTEN)) return undefined;
    const record = decode(((read >>> 0) % this.#records) * this.#recordBytes);
    Atomics.store(this.#header, READ, (read + 1) | 0);
    return record;
  }
}
