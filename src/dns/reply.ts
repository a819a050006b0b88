// Writes our own answers over a query that was just read. Every function returns the message's length. PURE, except that an
// answer of several addresses turns their order.
import { ANSWER_TTL_S, type AnswerTable } from './answer-table.ts';
import { authorityRecord, nameServerRecord } from './message.ts';
import type { Asked } from './query.ts';
import {
  EDNS_FLAG_DO,
  EDNS_UDP_BYTES,
  FLAG_AA,
  FLAG_CD,
  FLAG_QR,
  FLAG_RA,
  FLAG_RD,
  FLAG_TC,
  HEADER_BYTES,
  NOERROR,
  OPCODE_MASK,
  OPT_BYTES,
  readU16,
  QUESTION_POINTER,
  TYPE_NS,
  TYPE_OPT,
  writeU16,
} from './wire.ts';

const AUTHORITY = authorityRecord({ ttl: ANSWER_TTL_S, minimum: ANSWER_TTL_S });
const NAME_SERVER = nameServerRecord(ANSWER_TTL_S);

/**
 * The records of a row that the question asks for, as many as fit into `limit` bytes. When not all fit, TC is set and the
 * client asks again over TCP; those that did fit are kept, for clients that never do. `limit` is at least 512.
 */
export function writeAnswer(
  query: Asked,
  table: AnswerTable,
  row: number,
  set: number,
  out: Uint8Array,
  at: number,
  limit: number,
): number {
  const size = table.recordBytes(row, set);
  const room = limit - query.questionEnd - (query.hasEdns ? OPT_BYTES : 0);
  const wanted = table.recordCount(row, set);
  const records = wanted * size <= room ? wanted : Math.floor(room / size);
  let end = writeStart(query, FLAG_AA | (records < wanted ? FLAG_TC : 0), NOERROR, out, at);
  writeU16(out, at + 6, records);
  end = table.copyRecords(row, set, records, out, end);
  return writeOpt(query, NOERROR, out, at, end) - at;
}

/** NOERROR without answers, or NXDOMAIN, with the SOA of the name at offset `authority` of the message (0: the root). */
export function writeNegative(query: Asked, rcode: number, authority: number, out: Uint8Array, at: number): number {
  let end = writeStart(query, FLAG_AA, rcode, out, at);
  if (authority === 0) {
    out[end++] = 0;
  } else {
    writeU16(out, end, 0xc000 | authority);
    end += 2;
  }
  for (let i = 0; i < AUTHORITY.length; i++) out[end + i] = AUTHORITY[i] as number;
  writeU16(out, at + 8, 1);
  return writeOpt(query, rcode, out, at, end + AUTHORITY.length) - at;
}

/**
 * What a zone says of itself at its own name: NS, or SOA for every other type. The zone is its own name server, as in zones
 * that are served locally (RFC 6303 section 3): who asks has reached it already.
 */
export function writeApex(query: Asked, type: number, out: Uint8Array, at: number): number {
  let end = writeStart(query, FLAG_AA, NOERROR, out, at);
  const record = type === TYPE_NS ? NAME_SERVER : AUTHORITY;
  writeU16(out, end, QUESTION_POINTER);
  end += 2;
  for (let i = 0; i < record.length; i++) out[end + i] = record[i] as number;
  writeU16(out, at + 6, 1);
  return writeOpt(query, NOERROR, out, at, end + record.length) - at;
}

/** An rcode and nothing else: never longer than the question, so that forged sources gain nothing. */
export function writeError(query: Asked, rcode: number, out: Uint8Array, at: number): number {
  return writeOpt(query, rcode, out, at, writeStart(query, 0, rcode, out, at)) - at;
}

/** Header with empty sections and the question, in the client's own spelling. Returns the offset behind. */
export function writeStart(query: Asked, flags: number, rcode: number, out: Uint8Array, at: number): number {
  const { bytes, start, questionEnd } = query;
  writeU16(out, at, query.id);
  writeU16(out, at + 2, FLAG_QR | (query.flags & (OPCODE_MASK | FLAG_RD | FLAG_CD)) | FLAG_RA | flags | (rcode & 0xf));
  writeU16(out, at + 4, questionEnd > HEADER_BYTES ? 1 : 0);
  for (let i = 6; i < HEADER_BYTES; i++) out[at + i] = 0;
  for (let i = HEADER_BYTES; i < questionEnd; i++) out[at + i] = bytes[start + i] as number;
  return at + questionEnd;
}

/** RFC 6891: a client that sent an OPT gets one, with our size, its DO bit and the rcode's upper bits; others get none. */
export function writeOpt(query: Asked, rcode: number, out: Uint8Array, at: number, end: number): number {
  if (!query.hasEdns || query.questionEnd === HEADER_BYTES) return end;
  out[end] = 0;
  writeU16(out, end + 1, TYPE_OPT);
  writeU16(out, end + 3, EDNS_UDP_BYTES);
  out[end + 5] = rcode >>> 4;
  out[end + 6] = 0;
  writeU16(out, end + 7, query.dnssecOk ? EDNS_FLAG_DO : 0);
  writeU16(out, end + 9, 0);
  writeU16(out, at + 10, readU16(out, at + 10) + 1);
  return end + OPT_BYTES;
}
