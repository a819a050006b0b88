// Queued datagrams as fewer messages: those in a row that have one address and one size (the last may be shorter) become one,
// which the kernel takes through its stack once and cuts at the end (UDP_SEGMENT, udp(7), Linux 4.18).
//
// Layouts: see datagram-batch.ts, whose queue this reads.
import { IPPROTO_UDP, UDP_SEGMENT } from './constants.ts';
import { addressOf, memcpy, type Pointer } from './libc.ts';

/** Of a struct mmsghdr. */
export const MESSAGE_WORDS = 16;
const VECTOR_WORDS = 4;
const NAME = 0;
const NAME_LENGTH = 2;
const IOV = 4;
const IOV_COUNT = 6;
const CONTROL = 8;
const CONTROL_LENGTH = 10;
/** What UDP takes from one message on every kernel that knows segments (UDP_MAX_SEGMENTS). */
const MOST_SEGMENTS = 64;
/** With its headers a segment must fit the path: this fits VXLAN over Ethernet, in IPv6. Larger ones go singly. */
const LARGEST_SEGMENT = 1_402;
/** The largest UDP payload, 65,507 bytes, holds this many of the largest. */
const MOST_BYTES = 65_507;
/** Of a queued datagram's own control data; more is not looked for. */
const OWN_CONTROL_BYTES = 64;
/** struct cmsghdr (length u64, level i32, type i32), a u16, and padding to 8 bytes. */
const SEGMENT_CONTROL_BYTES = 24;
const SEGMENT_CONTROL_LENGTH = 18;
const CONTROL_STRIDE = OWN_CONTROL_BYTES + SEGMENT_CONTROL_BYTES;
const HIGH = 2 ** 32;

export class SegmentedMessages {
  readonly #queue: Int32Array;
  readonly #vectors: Int32Array;
  /** Of messages: what lies in a row in memory is one piece. */
  readonly #pieces: Int32Array;
  readonly #piecesAddress: Pointer;
  readonly #messages: Int32Array;
  readonly #messagesAddress: Pointer;
  readonly #controls: Buffer;
  readonly #controlsAddress: Pointer;
  /** The first datagram of each message, and after the last one the end. */
  readonly #firsts: Int32Array;

  /** `queue` and `vectors` hold a header and an iovec for each datagram. */
  constructor(queue: Int32Array, vectors: Int32Array) {
    const most = queue.length / MESSAGE_WORDS;
    this.#queue = queue;
    this.#vectors = vectors;
    this.#pieces = new Int32Array(vectors.length);
    this.#piecesAddress = addressOf(this.#pieces);
    this.#messages = new Int32Array(queue.length);
    this.#messagesAddress = addressOf(this.#messages);
    this.#controls = Buffer.alloc(most * CONTROL_STRIDE);
    this.#controlsAddress = addressOf(this.#controls);
    this.#firsts = new Int32Array(most + 1);
  }

  /** Puts datagrams `from` to `end` (exclusive) of the queue together, and returns how many messages that makes. */
  build(from: number, end: number): number {
    let messages = 0;
    for (let first = from; first < end; messages++) {
      const next = this.#runEnd(first, end);
      this.#firsts[messages] = first;
      this.#write(messages, first, next - first);
      first = next;
    }
    this.#firsts[messages] = end;
    return messages;
  }

  addressOf(message: number): Pointer {
    return this.#messagesAddress + message * MESSAGE_WORDS * 4;
  }

  /** The first datagram of a message; of the one after the last, where the queue ended. */
  first(message: number): number {
    return this.#firsts[message] as number;
  }

  #runEnd(first: number, end: number): number {
    const size = this.#lengthOf(first);
    if (size === 0 || size > LARGEST_SEGMENT || this.#word(first, CONTROL_LENGTH) > OWN_CONTROL_BYTES) return first + 1;
    const most = Math.min(end, first + Math.min(MOST_SEGMENTS, Math.floor(MOST_BYTES / size)));
    let next = first + 1;
    for (; next < most && this.#isToSame(first, next); next++) {
      const length = this.#lengthOf(next);
      if (length === size) continue;
      return length > 0 && length < size ? next + 1 : next;
    }
    return next;
  }

  #isToSame(one: number, other: number): boolean {
    for (const word of [NAME, NAME + 1, NAME_LENGTH, CONTROL, CONTROL + 1, CONTROL_LENGTH])
      if (this.#word(one, word) !== this.#word(other, word)) return false;
    return true;
  }

  #write(message: number, first: number, count: number): void {
    const at = message * MESSAGE_WORDS;
    const messages = this.#messages;
    for (let word = 0; word < MESSAGE_WORDS; word++) messages[at + word] = this.#word(first, word);
    this.#setPointer(at + IOV, this.#piecesAddress + first * VECTOR_WORDS * 4);
    messages[at + IOV_COUNT] = this.#join(first, count);
    if (count === 1) return;
    const own = this.#word(first, CONTROL_LENGTH);
    const control = message * CONTROL_STRIDE;
    // CMSG_ALIGN, which the lengths that are queued need not have.
    const segment = control + ((own + 7) & ~7);
    if (own > 0) memcpy(this.#controlsAddress + control, this.#pointer(first, CONTROL), own);
    this.#controls.writeUInt32LE(SEGMENT_CONTROL_LENGTH, segment);
    this.#controls.writeUInt32LE(0, segment + 4);
    this.#controls.writeInt32LE(IPPROTO_UDP, segment + 8);
    this.#controls.writeInt32LE(UDP_SEGMENT, segment + 12);
    this.#controls.writeUInt16LE(this.#lengthOf(first), segment + 16);
    this.#setPointer(at + CONTROL, this.#controlsAddress + control);
    messages[at + CONTROL_LENGTH] = segment - control + SEGMENT_CONTROL_BYTES;
  }

  /** Writes the pieces of memory that datagrams are in, from piece `first` on, and returns how many they are. */
  #join(first: number, count: number): number {
    const pieces = this.#pieces;
    const vectors = this.#vectors;
    let piece = first * VECTOR_WORDS;
    let end = 0;
    for (let at = first * VECTOR_WORDS, k = 0; k < count; k++, at += VECTOR_WORDS) {
      const [low, high, length] = [vectors[at] as number, vectors[at + 1] as number, vectors[at + 2] as number];
      // Across a multiple of 4 GiB another piece begins.
      if (k > 0 && low === end && high === pieces[piece + 1]) {
        pieces[piece + 2] = (pieces[piece + 2] as number) + length;
      } else {
        if (k > 0) piece += VECTOR_WORDS;
        pieces[piece] = low;
        pieces[piece + 1] = high;
        pieces[piece + 2] = length;
      }
      end = (low + length) | 0;
    }
    return piece / VECTOR_WORDS - first + 1;
  }

  #lengthOf(datagram: number): number {
    return this.#vectors[datagram * VECTOR_WORDS + 2] as number;
  }

  #word(datagram: number, word: number): number {
    return this.#queue[datagram * MESSAGE_WORDS + word] as number;
  }

  #pointer(datagram: number, word: number): Pointer {
    return (this.#word(datagram, word) >>> 0) + (this.#word(datagram, word + 1) >>> 0) * HIGH;
  }

  #setPointer(index: number, pointer: Pointer): void {
    this.#messages[index] = pointer | 0;
    this.#messages[index + 1] = (pointer / HIGH) | 0;
  }
}
