// Reads what an upstream answers, and writes it again for a client of ours. PURE.
import type { Asked } from './query.ts';
import { writeOpt } from './reply.ts';
import {
  FLAG_AD,
  FLAG_CD,
  FLAG_QR,
  FLAG_RA,
  FLAG_RD,
  FLAG_TC,
  HEADER_BYTES,
  NOERROR,
  NXDOMAIN,
  OPCODE_MASK,
  OPT_BYTES,
  RCODE_MASK,
  RECORD_FIXED_BYTES,
  readU16,
  readU32,
  skipName,
  TYPE_ANY,
  TYPE_OPT,
  TYPE_SOA,
  writeU16,
  writeU32,
} from './wire.ts';

/** RFC 2181 section 8: a TTL with the top bit set means 0. */
const MAX_TTL_S = 0x7fffffff;

interface RecordSpan {
  /** Offset of its TTL. */
  readonly ttlAt: number;
  readonly ttl: number;
  readonly end: number;
}

/** A well-formed message of an upstream. */
export interface Response {
  /** Without the OPT record and whatever stood behind that. */
  readonly bytes: Uint8Array;
  readonly flags: number;
  /** With the OPT record's upper bits. */
  readonly rcode: number;
  /** HEADER_BYTES when the message repeats no question. */
  readonly questionEnd: number;
  /** Of the answer section, then the authority, then the additional section. */
  readonly records: readonly RecordSpan[];
  readonly answers: number;
  readonly authorities: number;
  /** How long it may be kept, in seconds: the least TTL; of negative answers what RFC 2308 section 5 says; else 0. */
  readonly lifetimeS: number;
}

/** Undefined when the message is malformed or no response. */
export function readResponse(message: Uint8Array): Response | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const flags = readU16(message, 2);
  if ((flags & FLAG_QR) === 0 || (flags & OPCODE_MASK) !== 0) return undefined;
  const questionEnd = endOfQuestion(message);
  if (questionEnd < 0) return undefined;
  const [answers, authorities] = [readU16(message, 6), readU16(message, 8)];
  const total = answers + authorities + readU16(message, 10);
  const type = readU16(message, questionEnd - 4);
  const records: RecordSpan[] = [];
  let [at, rcode, found, soa] = [questionEnd, flags & RCODE_MASK, false, -1];
  for (let i = 0; i < total; i++) {
    const fixed = skipName(message, at, message.length);
    if (fixed < 0 || fixed + RECORD_FIXED_BYTES > message.length) return undefined;
    const end = fixed + RECORD_FIXED_BYTES + readU16(message, fixed + 8);
    if (end > message.length) return undefined;
    const recordType = readU16(message, fixed);
    if (recordType === TYPE_OPT) {
      if (i < answers + authorities) return undefined;
      rcode |= (message[fixed + 4] as number) << 4;
      break;
    }
    if (i < answers && (recordType === type || type === TYPE_ANY)) found = true;
    if (i >= answers && i < answers + authorities && recordType === TYPE_SOA) soa = end;
    const ttl = readU32(message, fixed + 4);
    records.push({ ttlAt: fixed + 4, ttl: ttl > MAX_TTL_S ? 0 : ttl, end });
    at = end;
  }
  const lifetimeS = lifetime(message, flags, rcode, found, soa, records);
  // A Buffer's slice would be a view of what is overwritten by the next message.
  const bytes = Uint8Array.from(message.subarray(0, at));
  return { bytes, flags, rcode, questionEnd, records, answers, authorities, lifetimeS };
}

/**
 * Writes the response for a client, `ageS` seconds after it came, within `limit` bytes; its length. Id, RD, CD and the
 * question's spelling are the client's. What does not fit is left out from the end, and TC says so unless only additional
 * records are missing (RFC 2181 section 9).
 */
export function writeResponse(
  response: Response,
  ageS: number,
  asked: Asked,
  out: Uint8Array,
  at: number,
  limit: number,
): number {
  const room = limit - (asked.hasEdns ? OPT_BYTES : 0);
  const { answers, authorities, records } = response;
  let kept = records.length;
  while (kept > 0 && (records[kept - 1] as RecordSpan).end > room) kept--;
  const end = kept === 0 ? response.questionEnd : (records[kept - 1] as RecordSpan).end;
  out.set(end === response.bytes.length ? response.bytes : response.bytes.subarray(0, end), at);
  for (let i = HEADER_BYTES; i < asked.questionEnd; i++) out[at + i] = asked.bytes[asked.start + i] as number;
  const truncated = kept < answers + authorities ? FLAG_TC : 0;
  // AA is the upstream's word about itself, and we are not it; RA is true of us whatever it says. Only who asks for AD knows
  // what it says (RFC 6840 section 5.8).
  const authentic = asked.dnssecOk || (asked.flags & FLAG_AD) !== 0 ? FLAG_AD : 0;
  const theirs = response.flags & (FLAG_QR | authentic);
  writeU16(out, at, asked.id);
  writeU16(
    out,
    at + 2,
    theirs | FLAG_RA | truncated | (asked.flags & (FLAG_RD | FLAG_CD)) | (response.rcode & RCODE_MASK),
  );
  writeU16(out, at + 6, Math.min(kept, answers));
  writeU16(out, at + 8, Math.min(Math.max(kept - answers, 0), authorities));
  writeU16(out, at + 10, Math.max(kept - answers - authorities, 0));
  for (let i = 0; i < kept; i++) {
    const { ttlAt, ttl } = records[i] as RecordSpan;
    writeU32(out, at + ttlAt, Math.max(ttl - ageS, 0));
  }
  return writeOpt(asked, response.rcode, out, at, at + end) - at;
}

/** Behind the one question, or behind the header when there is none; -1 when there are more or it is malformed. */
function endOfQuestion(message: Uint8Array): number {
  const questions = readU16(message, 4);
  if (questions === 0) return HEADER_BYTES;
  if (questions > 1) return -1;
  const nameEnd = skipName(message, HEADER_BYTES, message.length);
  // A compression pointer in a question would make its bytes differ from what was asked in any case.
  return nameEnd < 0 || nameEnd + 4 > message.length ? -1 : nameEnd + 4;
}

function lifetime(
  message: Uint8Array,
  flags: number,
  rcode: number,
  found: boolean,
  soaEnd: number,
  records: readonly RecordSpan[],
): number {
  if ((flags & FLAG_TC) !== 0 || (rcode !== NOERROR && rcode !== NXDOMAIN)) return 0;
  let least = records.length === 0 ? 0 : MAX_TTL_S;
  for (const { ttl } of records) least = Math.min(least, ttl);
  if (rcode === NOERROR && found) return least;
  // A negative answer without an SOA (a referral, for one) says nothing about how long it holds.
  return soaEnd < 0 ? 0 : Math.min(least, readU32(message, soaEnd - 4));
}
