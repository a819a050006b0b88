// Reads a client's message in place, without allocating: one Query serves every message of a worker. PURE.
import {
  BADVERS,
  CLASS_IN,
  CLASSIC_UDP_BYTES,
  EDNS_FLAG_DO,
  EDNS_UDP_BYTES,
  FLAG_QR,
  FORMERR,
  HASH_PRIME,
  HASH_SEED,
  HEADER_BYTES,
  LOWER,
  MAX_LABEL_BYTES,
  MAX_NAME_BYTES,
  NOERROR,
  NOTIMP,
  OPCODE_MASK,
  RECORD_FIXED_BYTES,
  REFUSED,
  readU16,
  skipName,
  TYPE_OPT,
} from './wire.ts';

/** Not to be answered at all: too short to have an id, or itself an answer (answering those makes loops). */
export const DROP = -1;

/** More labels than this do not fit MAX_NAME_BYTES. */
const MAX_LABELS = 127;
const TYPE_AND_CLASS_BYTES = 4;

/** What of a query its answer is made of. */
export interface Asked {
  /** Header and question begin at `start`. */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly id: number;
  /** The header's second 16 bits, as the client sent them. */
  readonly flags: number;
  /** Behind the question; HEADER_BYTES when there is none that could be sent back. */
  readonly questionEnd: number;
  readonly hasEdns: boolean;
  /** Set when the client asked for DNSSEC records (RFC 3225). */
  readonly dnssecOk: boolean;
}

/** Bytes of the question's name on the wire, the root byte included; 0 when there is no question. */
export function nameLength({ questionEnd }: Asked): number {
  return questionEnd === HEADER_BYTES ? 0 : questionEnd - HEADER_BYTES - TYPE_AND_CLASS_BYTES;
}

/**
 * The message that was read last. Fields are valid after `read` returned something else than DROP; those of the question only
 * when `questionEnd` is above HEADER_BYTES. Offsets are relative to `start`.
 */
export class Query implements Asked {
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  id = 0;
  flags = 0;
  questionEnd = HEADER_BYTES;
  hasEdns = false;
  dnssecOk = false;
  type = 0;
  labelCount = 0;
  /** The most that the client takes over UDP, at least 512 and at most what we send. */
  udpLimit = CLASSIC_UDP_BYTES;
  /** Offset of each label's length byte; at `labelCount` that of the root byte. */
  readonly labelAt = new Int32Array(MAX_LABELS + 1);
  /** Hash of all labels before this one; at `labelCount` that of the whole name. */
  readonly labelHash = new Int32Array(MAX_LABELS + 1);

  /**
   * Reads the message of `length` bytes at `start`. Returns NOERROR when its question can be answered, an rcode (FORMERR,
   * NOTIMP, REFUSED, BADVERS) to answer with, or DROP. Never throws, never looks outside the message.
   */
  read(bytes: Uint8Array, start: number, length: number): number {
    this.bytes = bytes;
    this.start = start;
    this.questionEnd = HEADER_BYTES;
    this.hasEdns = false;
    this.dnssecOk = false;
    this.udpLimit = CLASSIC_UDP_BYTES;
    this.labelCount = 0;
    this.type = 0;
    if (length < HEADER_BYTES) return DROP;
    this.id = readU16(bytes, start);
    this.flags = readU16(bytes, start + 2);
    if ((this.flags & FLAG_QR) !== 0) return DROP;
    // Other opcodes give the sections another meaning (RFC 2136, RFC 1996), so nothing behind the header is read.
    if ((this.flags & OPCODE_MASK) !== 0) return NOTIMP;
    // RFC 9619: a query has exactly one question.
    if (readU16(bytes, start + 4) !== 1) return FORMERR;
    const questionEnd = this.#readQuestion(length);
    if (questionEnd < 0) return FORMERR;
    const records = readU16(bytes, start + 6) + readU16(bytes, start + 8);
    const additional = readU16(bytes, start + 10);
    let version = 0;
    if (records + additional === 0) {
      if (questionEnd !== length) return FORMERR;
    } else {
      version = this.#readRecords(questionEnd, length, records, additional);
      if (version < 0) return FORMERR;
    }
    this.questionEnd = questionEnd;
    if (version > 0) return BADVERS;
    return readU16(bytes, start + questionEnd - 2) === CLASS_IN ? NOERROR : REFUSED;
  }

  /** A copy that outlives the buffer of the message. */
  keep(): Asked {
    const { start, id, flags, questionEnd, hasEdns, dnssecOk } = this;
    const bytes = Buffer.from(this.bytes.subarray(start, start + questionEnd));
    return { bytes, start: 0, id, flags, questionEnd, hasEdns, dnssecOk };
  }

  /** Fills in name and type; the offset behind the question, or -1. */
  #readQuestion(length: number): number {
    const { bytes, start, labelAt, labelHash } = this;
    let at = HEADER_BYTES;
    let hash = HASH_SEED;
    let labels = 0;
    for (;;) {
      if (at >= length) return -1;
      const size = bytes[start + at] as number;
      labelAt[labels] = at;
      labelHash[labels] = hash;
      if (size === 0) break;
      // A pointer has nothing to point to before the first name, and the other two kinds of label are not in use.
      const end = at + 1 + size;
      if (size > MAX_LABEL_BYTES || end >= length || end - HEADER_BYTES >= MAX_NAME_BYTES) return -1;
      hash = Math.imul(hash ^ size, HASH_PRIME);
      for (at++; at < end; at++) {
        hash = Math.imul(hash ^ (LOWER[bytes[start + at] as number] as number), HASH_PRIME);
      }
      labels++;
    }
    at++;
    if (at + 4 > length) return -1;
    this.labelCount = labels;
    this.type = readU16(bytes, start + at);
    return at + 4;
  }

  /** Walks the records behind the question for an OPT; its EDNS version (0 when there is none), or -1 when malformed. */
  #readRecords(from: number, length: number, others: number, additional: number): number {
    const { bytes, start } = this;
    const end = start + length;
    let version = 0;
    let at = start + from;
    for (let i = 0; i < others + additional; i++) {
      const name = at;
      at = skipName(bytes, at, end);
      if (at < 0 || at + RECORD_FIXED_BYTES > end) return -1;
      const dataLength = readU16(bytes, at + 8);
      const data = at + RECORD_FIXED_BYTES;
      if (data + dataLength > end) return -1;
      if (readU16(bytes, at) === TYPE_OPT) {
        // RFC 6891 section 6.1.1: one OPT, in the additional section, owned by the root.
        if (i < others || this.hasEdns || bytes[name] !== 0) return -1;
        if (!optionsFit(bytes, data, data + dataLength)) return -1;
        this.hasEdns = true;
        this.udpLimit = Math.min(Math.max(readU16(bytes, at + 2), CLASSIC_UDP_BYTES), EDNS_UDP_BYTES);
        version = bytes[at + 5] as number;
        this.dnssecOk = (readU16(bytes, at + 6) & EDNS_FLAG_DO) !== 0;
      }
      at = data + dataLength;
    }
    return at === end ? version : -1;
  }
}

/** Options are code, length, data (RFC 6891 section 6.1.2); which ones they are is of no interest here. */
function optionsFit(bytes: Uint8Array, from: number, end: number): boolean {
  let at = from;
  while (at < end) {
    if (at + 4 > end) return false;
    at += 4 + readU16(bytes, at + 2);
  }
  return at === end;
}
