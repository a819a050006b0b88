// Many datagrams per system call: recvmmsg(2) into one arena, sendmmsg(2) out of it. All memory is set up once; a datagram
// costs a few writes into typed arrays and no allocation.
//
// struct mmsghdr, 64 bytes: name* 0, namelen u32 8, iov* 16, iovlen u64 24, control* 32, controllen u64 40, flags i32 48,
// len u32 56. struct iovec, 16 bytes: base* 0, len u64 8. struct cmsghdr: len u64 0, level i32 8, type i32 12, data 16.
import { IPPROTO_UDP, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, UDP_GRO } from './constants.ts';
import { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, errno } from './errno.ts';
import { addressOf, type Fd, type Pointer, recvmmsg, sendmmsg } from './libc.ts';
import { MESSAGE_WORDS, SegmentedMessages } from './segmented-messages.ts';
import { readSockaddr, type SocketAddress } from './sockaddr.ts';

const HEADER_WORDS = MESSAGE_WORDS;
const NAME = 0;
const NAME_LENGTH = 2;
const IOV = 4;
const IOV_COUNT = 6;
const CONTROL = 8;
const CONTROL_LENGTH = 10;
const FLAGS = 12;
const LENGTH = 14;
const IOV_WORDS = 4;
const CMSG_HEADER_BYTES = 16;
/** Bytes between two source addresses. */
const NAME_STRIDE = 32;
const HIGH = 2 ** 32;
/** What a device, a path or a socket says that cannot have datagrams cut for it. */
const NO_SEGMENTS: ReadonlySet<number> = new Set([EIO, EINVAL, EMSGSIZE]);
/** Calls that send singly after such an answer, so that asking again costs nothing. */
const SINGLY_AFTER_REFUSAL = 1024;
/** Datagrams in one message, at most: the kernel's UDP_MAX_SEGMENTS (64 before Linux 6.9). */
const MOST_COALESCED = 128;

/** `messageBytes` longer than any message (65,535), and no multiple of a page, so that the beginnings do not share the same cache sets. */
export const WHOLE_MESSAGE_BYTES = 65_536 + 1_088;

export interface DatagramBatchOptions {
  /** Messages per call, default 64: as many datagrams, or more of a socket that coalesces. */
  readonly messages?: number;
  /** Longest datagram received whole, default 2048; longer ones are cut and `truncated`. */
  readonly messageBytes?: number;
  /** Bytes of control data per datagram; default 0: none is asked for. ORIGDSTADDR and PKTINFO of both families fit in 160. */
  readonly controlBytes?: number;
  /** Datagrams of one size in a row to one address are handed to the kernel as one message, which it cuts (UDP_SEGMENT). */
  readonly segments?: boolean;
  /** Sockets may coalesce (datagram-socket.ts): a message is taken apart again. Takes 24 of the `controlBytes`. */
  readonly coalesced?: boolean;
}

/** One receive batch and one send queue. What was received stays valid until the next `receive`. */
export class DatagramBatch {
  readonly messages: number;
  /** The most datagrams that one `receive` brings. */
  readonly capacity: number;
  /** Received bytes: datagram i starts at `offset(i)`. */
  readonly arena: Buffer;
  readonly arenaAddress: Pointer;
  /** Source addresses: that of datagram i starts at `sourceOffset(i)`. */
  readonly sources: Buffer;
  readonly sourcesAddress: Pointer;
  /** Control data, for what `findControl` finds. */
  readonly controls: Buffer;
  readonly #messageBytes: number;
  readonly #controlBytes: number;
  readonly #in: Int32Array;
  readonly #inAddress: Pointer;
  readonly #inVectors: Int32Array;
  readonly #out: Int32Array;
  readonly #outAddress: Pointer;
  readonly #outVectors: Int32Array;
  readonly #segments: SegmentedMessages | undefined;
  readonly #coalesced: boolean;
  /** Of received datagrams: the message that each came in, and where in the arena it is. */
  readonly #messageOf: Int32Array;
  readonly #offsets: Int32Array;
  readonly #lengths: Int32Array;
  /** Messages of the last `receive`. */
  #received = 0;
  #queued = 0;
  /** Of the queue, this many are sent or given up. */
  #done = 0;
  #singly = 0;

  constructor(options: DatagramBatchOptions = {}) {
    this.messages = options.messages ?? 64;
    this.#messageBytes = options.messageBytes ?? 2048;
    this.#controlBytes = options.controlBytes ?? 0;
    this.#coalesced = options.coalesced === true;
    this.capacity = this.messages * (this.#coalesced ? MOST_COALESCED : 1);
    this.#messageOf = new Int32Array(this.capacity);
    this.#offsets = new Int32Array(this.capacity);
    this.#lengths = new Int32Array(this.capacity);
    this.arena = Buffer.alloc(this.messages * this.#messageBytes);
    this.sources = Buffer.alloc(this.messages * NAME_STRIDE);
    this.controls = Buffer.alloc(Math.max(1, this.messages * this.#controlBytes));
    this.arenaAddress = addressOf(this.arena);
    this.sourcesAddress = addressOf(this.sources);
    this.#in = new Int32Array(this.messages * HEADER_WORDS);
    this.#inVectors = new Int32Array(this.messages * IOV_WORDS);
    this.#out = new Int32Array(this.messages * HEADER_WORDS);
    this.#outVectors = new Int32Array(this.messages * IOV_WORDS);
    this.#inAddress = addressOf(this.#in);
    this.#outAddress = addressOf(this.#out);
    this.#segments = options.segments === true ? new SegmentedMessages(this.#out, this.#outVectors) : undefined;
    this.#setUp();
  }

  /**
   * Takes what has come, at most `messages`. Returns how many datagrams that are; 0 when there is nothing; -errno when the socket
   * reports an error (on a connected one, an ICMP answer such as ECONNREFUSED).
   */
  receive(fd: Fd): number {
    const header = this.#in;
    for (let i = 0, word = 0; i < this.#received; i++, word += HEADER_WORDS) {
      header[word + NAME_LENGTH] = NAME_STRIDE;
      header[word + CONTROL_LENGTH] = this.#controlBytes;
    }
    this.#received = 0;
    const count = recvmmsg(fd, this.#inAddress, this.messages, MSG_DONTWAIT);
    if (count < 0) {
      const error = errno();
      return error === EAGAIN || error === EINTR ? 0 : -error;
    }
    this.#received = count;
    return this.#takeApart(count);
  }

  /** Where message `k` of a `receive` would begin, for whoever reads a datagram into the arena without one. */
  roomFor(k: number): Pointer {
    return this.arenaAddress + k * this.#messageBytes;
  }

  offset(i: number): number {
    return this.#offsets[i] as number;
  }

  length(i: number): number {
    return this.#lengths[i] as number;
  }

  /** Datagram i came in one message with the one before it: from the same sender, to the same address and port. */
  continues(i: number): boolean {
    return i > 0 && this.#messageOf[i] === this.#messageOf[i - 1];
  }

  /** The datagram was longer than what is here. */
  truncated(i: number): boolean {
    return ((this.#in[this.#message(i) * HEADER_WORDS + FLAGS] as number) & MSG_TRUNC) !== 0;
  }

  sourceOffset(i: number): number {
    return this.#message(i) * NAME_STRIDE;
  }

  sourceLength(i: number): number {
    return this.#in[this.#message(i) * HEADER_WORDS + NAME_LENGTH] as number;
  }

  source(i: number): SocketAddress {
    return readSockaddr(this.sources, this.sourceOffset(i));
  }

  /** Offset in `controls` of the data of datagram i's control message of this kind; -1 when it has none. */
  findControl(i: number, level: number, type: number): number {
    return this.#findControl(this.#message(i), level, type);
  }

  /** Datagrams waiting for `flush`. */
  get queued(): number {
    return this.#queued;
  }

  /** No room for one more. */
  get full(): boolean {
    return this.#queued === this.messages;
  }

  /**
   * Queues bytes at an address (of this arena or of any memory that stays referenced until `flush`). `name`: where to send
   * them, 0 on a connected socket. The queue must not be full.
   */
  queue(
    data: Pointer,
    length: number,
    name: Pointer,
    nameLength: number,
    control: Pointer = 0,
    controlLength = 0,
  ): void {
    const k = this.#queued++;
    const header = k * HEADER_WORDS;
    const vector = k * IOV_WORDS;
    const out = this.#out;
    setPointer(this.#outVectors, vector, data);
    this.#outVectors[vector + 2] = length;
    setPointer(out, header + NAME, name);
    out[header + NAME_LENGTH] = nameLength;
    setPointer(out, header + CONTROL, control);
    out[header + CONTROL_LENGTH] = controlLength;
  }

  /** Queues bytes for the sender of received datagram i. */
  queueReply(i: number, data: Pointer, length: number): void {
    this.queue(data, length, this.sourcesAddress + this.sourceOffset(i), this.sourceLength(i));
  }

  /**
   * Sends the queue and empties it. Returns how many were lost: those that the kernel refused (no route, no buffer, an ICMP
   * error of an earlier one); UDP promises no more than that.
   */
  flush(fd: Fd): number {
    let lost = 0;
    // When one fails, the others may have other destinations.
    for (; this.send(fd) !== 0; this.skip()) lost++;
    return lost;
  }

  /** Sends the queue and empties it; 0, or the errno of the first datagram that the kernel refused, which stays the first. */
  send(fd: Fd): number {
    if (this.#segments !== undefined && this.#queued - this.#done > 1) {
      if (this.#singly > 0) this.#singly--;
      else return this.#sendSegmented(fd, this.#segments);
    }
    return this.#sendSingly(fd);
  }

  /** Gives up the first of the queue. */
  skip(): void {
    if (++this.#done >= this.#queued) this.clear();
  }

  /** Gives up the queue; returns how many were in it. */
  clear(): number {
    const left = this.#queued - this.#done;
    this.#queued = 0;
    this.#done = 0;
    return left;
  }

  /** Notes where each datagram of the received messages is. Returns how many they are. */
  #takeApart(messages: number): number {
    let count = 0;
    for (let message = 0; message < messages; message++) {
      const bytes = this.#in[message * HEADER_WORDS + LENGTH] as number;
      const start = message * this.#messageBytes;
      const size = this.#coalesced ? this.#sizeIn(message, bytes) : bytes;
      for (let at = 0; count < this.capacity; ) {
        this.#messageOf[count] = message;
        this.#offsets[count] = start + at;
        this.#lengths[count] = Math.min(size, bytes - at);
        count++;
        at += size;
        if (at >= bytes) break;
      }
    }
    return count;
  }

  /** How long each datagram of a message is, but the last, which may be shorter. */
  #sizeIn(message: number, bytes: number): number {
    const at = this.#findControl(message, IPPROTO_UDP, UDP_GRO);
    const size = at < 0 ? 0 : this.controls.readInt32LE(at);
    return size > 0 ? size : bytes;
  }

  #message(i: number): number {
    return this.#messageOf[i] as number;
  }

  #findControl(message: number, level: number, type: number): number {
    const { controls } = this;
    const start = message * this.#controlBytes;
    const end = start + (this.#in[message * HEADER_WORDS + CONTROL_LENGTH] as number);
    for (let at = start; at + CMSG_HEADER_BYTES <= end; ) {
      if (controls.readInt32LE(at + 8) === level && controls.readInt32LE(at + 12) === type)
        return at + CMSG_HEADER_BYTES;
      const length = controls.readUInt32LE(at);
      if (length < CMSG_HEADER_BYTES) return -1;
      at += (length + 7) & ~7;
    }
    return -1;
  }

  #sendSegmented(fd: Fd, segments: SegmentedMessages): number {
    const messages = segments.build(this.#done, this.#queued);
    if (messages === this.#queued - this.#done) return this.#sendSingly(fd);
    for (let sent = 0; sent < messages; ) {
      const result = sendmmsg(fd, segments.addressOf(sent), messages - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result > 0) {
        sent += result;
        continue;
      }
      const error = errno();
      if (error === EINTR) continue;
      this.#done = segments.first(sent);
      if (segments.first(sent + 1) - this.#done === 1 || !NO_SEGMENTS.has(error)) return error;
      this.#singly = SINGLY_AFTER_REFUSAL;
      return this.#sendSingly(fd);
    }
    this.clear();
    return 0;
  }

  #sendSingly(fd: Fd): number {
    while (this.#done < this.#queued) {
      const from = this.#outAddress + this.#done * HEADER_WORDS * 4;
      const result = sendmmsg(fd, from, this.#queued - this.#done, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (result > 0) this.#done += result;
      else if (errno() !== EINTR) return errno();
    }
    this.clear();
    return 0;
  }

  #setUp(): void {
    const inVectors = addressOf(this.#inVectors);
    const outVectors = addressOf(this.#outVectors);
    const controls = addressOf(this.controls);
    for (let i = 0; i < this.messages; i++) {
      const header = i * HEADER_WORDS;
      const vector = i * IOV_WORDS;
      setPointer(this.#inVectors, vector, this.arenaAddress + i * this.#messageBytes);
      this.#inVectors[vector + 2] = this.#messageBytes;
      setPointer(this.#in, header + NAME, this.sourcesAddress + i * NAME_STRIDE);
      this.#in[header + NAME_LENGTH] = NAME_STRIDE;
      setPointer(this.#in, header + IOV, inVectors + vector * 4);
      this.#in[header + IOV_COUNT] = 1;
      if (this.#controlBytes > 0) setPointer(this.#in, header + CONTROL, controls + i * this.#controlBytes);
      this.#in[header + CONTROL_LENGTH] = this.#controlBytes;
      setPointer(this.#out, header + IOV, outVectors + vector * 4);
      this.#out[header + IOV_COUNT] = 1;
    }
  }
}

/** A 64-bit pointer as two words, the lower first. */
function setPointer(words: Int32Array, index: number, pointer: Pointer): void {
  words[index] = pointer | 0;
  words[index + 1] = (pointer / HIGH) | 0;
}
