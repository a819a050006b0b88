// Numbers and bytes of the DNS message format (RFC 1035 section 4), shared by what reads and what writes messages.

/** Bytes of the header, and therefore the offset of the question's name. */
export const HEADER_BYTES = 12;
/** Of a name on the wire, root byte included (RFC 1035 section 2.3.4). */
export const MAX_NAME_BYTES = 255;
export const MAX_LABEL_BYTES = 63;
/** What a client takes over UDP unless it says more by EDNS (RFC 1035 section 2.3.4). */
export const CLASSIC_UDP_BYTES = 512;
/** 1232 bytes of payload fit IPv6's smallest packet unfragmented (DNS flag day 2020). Ours, and the most we send by UDP. */
export const EDNS_UDP_BYTES = 1232;
/** What the two length bytes of TCP framing can say (RFC 1035 section 4.2.2). */
export const MAX_MESSAGE_BYTES = 65_535;
/** Type, class, TTL and data length of a record, which follow its name. */
export const RECORD_FIXED_BYTES = 10;
/** An OPT record without options: root name and the fixed part (RFC 6891 section 6.1.2). */
export const OPT_BYTES = 1 + RECORD_FIXED_BYTES;
/** A compression pointer to the question's name, which always stands right behind the header. */
export const QUESTION_POINTER = 0xc000 | HEADER_BYTES;

export const TYPE_A = 1;
export const TYPE_NS = 2;
export const TYPE_SOA = 6;
export const TYPE_PTR = 12;
export const TYPE_AAAA = 28;
export const TYPE_SRV = 33;
export const TYPE_OPT = 41;
export const TYPE_IXFR = 251;
export const TYPE_AXFR = 252;
export const TYPE_ANY = 255;
export const CLASS_IN = 1;

/** Of the header's second 16 bits. */
export const FLAG_QR = 0x8000;
export const FLAG_AA = 0x0400;
export const FLAG_TC = 0x0200;
export const FLAG_RD = 0x0100;
export const FLAG_RA = 0x0080;
export const FLAG_AD = 0x0020;
export const FLAG_CD = 0x0010;
export const OPCODE_MASK = 0x7800;
export const RCODE_MASK = 0x000f;
/** Of the OPT record's TTL field (RFC 3225 section 3). */
export const EDNS_FLAG_DO = 0x8000;

export const NOERROR = 0;
export const FORMERR = 1;
export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const NOTIMP = 4;
export const REFUSED = 5;
/** An extended code: its upper bits travel in the OPT record (RFC 6891 section 6.1.3). */
export const BADVERS = 16;

/** ASCII letters to lower case, every other byte to itself: names compare like this (RFC 4343 section 3). */
export const LOWER: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte,
);

/** FNV-1a, 32 bits, over the lower-cased labels with their length bytes: cheap enough to be computed while parsing. */
export const HASH_SEED = 0x811c9dc5 | 0;
export const HASH_PRIME = 0x01000193;

export function readU16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** As an unsigned number. */
export function readU32(bytes: Uint8Array, at: number): number {
  return readU16(bytes, at) * 0x10000 + readU16(bytes, at + 2);
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  writeU16(bytes, at, value >>> 16);
  writeU16(bytes, at + 2, value & 0xffff);
}

/**
 * The offset behind the name at `at`, or -1 when it leaves `end` or is malformed. A compression pointer ends a name; where it
 * points is not looked at.
 */
export function skipName(bytes: Uint8Array, at: number, end: number): number {
  let next = at;
  while (next < end) {
    const length = bytes[next] as number;
    if (length === 0) return next + 1;
    if (length >= 0xc0) return next + 2 <= end ? next + 2 : -1;
    if (length > MAX_LABEL_BYTES || next - at > MAX_NAME_BYTES) return -1;
    next += 1 + length;
  }
  return -1;
}

/**
 * A name as lower-cased labels with their length bytes and without the root byte; undefined when it is no name that the
 * DNS could carry (an empty or too long label, too long in all).
 */
export function encodeLabels(name: string): Uint8Array | undefined {
  const labels = name.toLowerCase().split('.');
  const bytes = new Uint8Array(name.length + 1);
  if (bytes.length + 1 > MAX_NAME_BYTES) return undefined;
  let at = 0;
  for (const label of labels) {
    if (label.length === 0 || label.length > MAX_LABEL_BYTES) return undefined;
    bytes[at++] = label.length;
    for (let i = 0; i < label.length; i++) {
      const code = label.charCodeAt(i);
      if (code > 0x7f) return undefined;
      bytes[at++] = code;
    }
  }
  return bytes;
}

/** Of labels in any case, without the root byte; the same that Query computes while it reads. */
export function hashLabels(bytes: Uint8Array, from = 0, end = bytes.length): number {
  let hash = HASH_SEED;
  for (let at = from; at < end; at++) hash = Math.imul(hash ^ (LOWER[bytes[at] as number] as number), HASH_PRIME);
  return hash;
}

/** What an ASCII letter's two cases differ in. */
export const CASE_BIT = 0x20;

export function isLetter(byte: number): boolean {
  const lower = byte | CASE_BIT;
  return lower >= 0x61 && lower <= 0x7a;
}
