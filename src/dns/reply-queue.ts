// Answers to one batch of datagrams, packed so that those of equal size to one client leave as one: the kernel then walks
// its stack once and cuts the bytes into datagrams at the end (UDP_SEGMENT, udp(7), Linux 4.18).
import { IPPROTO_UDP, UDP_SEGMENT } from '../native/constants.ts';
import type { DatagramBatch } from '../native/datagram-batch.ts';
import { addressOf } from '../native/libc.ts';

/** struct cmsghdr (length u64, level i32, type i32), a u16, and padding to 8 bytes. */
const CONTROL_BYTES = 24;
const CONTROL_LENGTH = 18;
const CONTROL_DATA = 16;
/** The kernel takes up to 64 segments, and up to 65,507 bytes, which 64 answers of 1,232 could exceed. */
const MOST_SEGMENTS = 48;

export class ReplyQueue {
  readonly #batch: DatagramBatch;
  readonly #outAddress: number;
  readonly #controls: Buffer;
  readonly #controlsAddress: number;
  /** The run that is being put together: where it begins, its datagrams and the size of all but the last. */
  #from = 0;
  #count = 0;
  #size = 0;
  #end = 0;
  #to = 0;
  #mostSegments = MOST_SEGMENTS;

  /** `out` is where the answers stand, one behind the other. */
  constructor(batch: DatagramBatch, out: Uint8Array) {
    this.#batch = batch;
    this.#outAddress = addressOf(out);
    this.#controls = Buffer.alloc(batch.messages * CONTROL_BYTES);
    this.#controlsAddress = addressOf(this.#controls);
    for (let at = 0; at < this.#controls.length; at += CONTROL_BYTES) {
      this.#controls.writeUInt32LE(CONTROL_LENGTH, at);
      this.#controls.writeInt32LE(IPPROTO_UDP, at + 8);
      this.#controls.writeInt32LE(UDP_SEGMENT, at + 12);
    }
  }

  /** Where the next answer is to be written. */
  get end(): number {
    return this.#end;
  }

  /** The answer that was written at `end` goes to the sender of datagram i, as the one before if `same`. */
  add(i: number, length: number, same: boolean): void {
    if (!same || this.#count === this.#mostSegments || (this.#count > 0 && length > this.#size)) this.#close();
    if (this.#count === 0) {
      this.#from = this.#end;
      this.#size = length;
      this.#to = i;
    }
    this.#count++;
    this.#end += length;
    // Only the last datagram of a run may be shorter.
    if (length < this.#size) this.#close();
  }

  /** Sends all of them. */
  flush(fd: number): void {
    this.#close();
    // What a device refuses to cut is lost whole, so then each answer goes alone, which costs time and nothing else.
    if (this.#batch.flush(fd) > 0) this.#mostSegments = 1;
    this.#end = 0;
  }

  #close(): void {
    if (this.#count === 0) return;
    const batch = this.#batch;
    const at = batch.queued * CONTROL_BYTES;
    const control = this.#count > 1 ? this.#controlsAddress + at : 0;
    if (control !== 0) this.#controls.writeUInt16LE(this.#size, at + CONTROL_DATA);
    const name = batch.sourcesAddress + batch.sourceOffset(this.#to);
    const length = this.#end - this.#from;
    batch.queue(
      this.#outAddress + this.#from,
      length,
      name,
      batch.sourceLength(this.#to),
      control,
      control === 0 ? 0 : CONTROL_BYTES,
    );
    this.#count = 0;
  }
}
