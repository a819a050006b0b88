// Judges what an upstream sent: whether it is the answer to our question at all, whether it can be read, and which of its
// records have to do with the question. PURE.
import { type Response, readResponse } from './response.ts';
import { expandName, isAtOrBelow, lowerKey, type ReplyRecord, readReplyRecords, rebuild } from './reply-records.ts';
import {
  FLAG_QR,
  FLAG_RA,
  FLAG_TC,
  FORMERR,
  HEADER_BYTES,
  LOWER,
  NOERROR,
  NOTIMP,
  OPCODE_MASK,
  RCODE_MASK,
  RECORD_FIXED_BYTES,
  readU16,
  REFUSED,
  SERVFAIL,
  TYPE_A,
  TYPE_AAAA,
  TYPE_ANY,
  TYPE_OPT,
  TYPE_SOA,
} from './wire.ts';

/** What a message from the right address and port may be, when it has to do with our question. */
export type Reply =
  /** `sameCase`: it spells the question as we did. */
  | { readonly kind: 'answer'; readonly response: Response; readonly sameCase: boolean }
  /** It is the answer to our question, and cannot be used: malformed, or it sends us elsewhere. */
  | { readonly kind: 'useless' }
  /** As if it were the answer, but the question's spelling is not ours: forged, or from a server that changes case. */
  | { readonly kind: 'miscased' };

/** Unrelated: something else; whoever waits goes on waiting. */
export type Verdict = Reply | { readonly kind: 'unrelated' };

const UNRELATED: Verdict = { kind: 'unrelated' };
const USELESS: Verdict = { kind: 'useless' };
const MISCASED: Verdict = { kind: 'miscased' };

const TYPE_NS = 2;
const TYPE_CNAME = 5;
const TYPE_DNAME = 39;
const TYPE_DS = 43;
const TYPE_RRSIG = 46;
const TYPE_NSEC = 47;
const TYPE_NSEC3 = 50;

/** Aliases that are followed; resolvers give up on longer chains. */
const MOST_ALIASES = 32;

/**
 * `asked` is our own message up to the end of its question, as we spelled it; `exact`: the reply must spell the question the
 * same (the 0x20 bits are as good as a longer id). RFC 5452 section 9.1: address and port are the socket's business.
 */
export function judgeReply(message: Uint8Array, asked: Uint8Array, exact: boolean): Verdict {
  if (message.length < HEADER_BYTES || readU16(message, 0) !== readU16(asked, 0)) return UNRELATED;
  const flags = readU16(message, 2);
  if ((flags & FLAG_QR) === 0 || (flags & OPCODE_MASK) !== 0) return UNRELATED;
  if (readU16(message, 4) === 0 && mayLackQuestion(flags & RCODE_MASK))
    return withoutRecords(message, HEADER_BYTES, true);
  const spelling = compareQuestion(message, asked);
  if (spelling === 'other') return UNRELATED;
  if (spelling === 'case' && exact) return MISCASED;
  // What is cut may be cut anywhere, and none of it is used.
  if ((flags & FLAG_TC) !== 0) return withoutRecords(message, asked.length, spelling === 'same');
  const records = readReplyRecords(message, asked.length);
  if (records === undefined) return USELESS;
  const kept = inBailiwick(message, records, asked.length);
  if (isReferral(flags, kept)) return USELESS;
  const clean = kept.length === records.length ? Uint8Array.from(message) : rebuild(message, asked.length, kept);
  if (clean === undefined) return USELESS;
  hideSpelling(clean, asked.length);
  const response = readResponse(clean);
  return response === undefined ? USELESS : { kind: 'answer', response, sameCase: spelling === 'same' };
}

/** Some servers that cannot answer do not repeat what they could not read. */
function mayLackQuestion(rcode: number): boolean {
  return rcode === FORMERR || rcode === SERVFAIL || rcode === NOTIMP || rcode === REFUSED;
}

function withoutRecords(message: Uint8Array, end: number, sameCase: boolean): Verdict {
  const bare = Uint8Array.from(message.subarray(0, end));
  for (let at = 6; at < HEADER_BYTES; at++) bare[at] = 0;
  const response = readResponse(bare);
  return response === undefined ? USELESS : { kind: 'answer', response, sameCase };
}

function compareQuestion(message: Uint8Array, asked: Uint8Array): 'same' | 'case' | 'other' {
  if (readU16(message, 4) !== 1 || message.length < asked.length) return 'other';
  let same = true;
  for (let i = HEADER_BYTES; i < asked.length; i++) {
    if (message[i] === asked[i]) continue;
    // Type and class are no letters, and do not compare like letters.
    if (i >= asked.length - 4 || LOWER[message[i] as number] !== LOWER[asked[i] as number]) return 'other';
    same = false;
  }
  return same ? 'same' : 'case';
}

/**
 * The records that the question brought about (RFC 2181 section 5.4.1, RFC 5452 section 6): in the answer those of its name and
 * of what that is an alias of; in the authority section those of zones above these names; in the additional one addresses
 * of names that the others mention. What else a server adds could only serve to plant it somewhere.
 */
function inBailiwick(
  message: Uint8Array,
  records: readonly ReplyRecord[],
  questionEnd: number,
): readonly ReplyRecord[] {
  const type = readU16(message, questionEnd - 4);
  const asked = lowerKey(expandName(message, HEADER_BYTES, questionEnd)?.name ?? new Uint8Array(1));
  const chain = aliases(asked, type, records);
  const isAbove = (zone: string): boolean => chain.some((name) => isAtOrBelow(name, zone));
  const zones = records
    .filter(
      ({ section, type, owner }) =>
        section === 'authority' && (type === TYPE_SOA || type === TYPE_NS) && isAbove(owner),
    )
    .map(({ owner }) => owner);
  // A signature says which zone it is of.
  for (const record of records) if (record.type === TYPE_RRSIG) zones.push(...record.names.filter(isAbove));
  const mentioned = new Set<string>(chain);
  return records.filter((record) => {
    const { section, owner } = record;
    if (record.type === TYPE_OPT) return true;
    if (!record.isInternet) return false;
    const keep =
      section === 'answer'
        ? answers(record, type, chain)
        : section === 'authority'
          ? isOfZone(record, zones, isAbove)
          : mentioned.has(owner) && (record.type === TYPE_A || record.type === TYPE_AAAA || record.type === TYPE_RRSIG);
    if (keep) for (const name of record.names) mentioned.add(name);
    return keep;
  });
}

/** The name asked for and, in order, the names that it is an alias of. */
function aliases(asked: string, type: number, records: readonly ReplyRecord[]): readonly string[] {
  const chain = [asked];
  if (type === TYPE_CNAME || type === TYPE_ANY) return chain;
  const targets = new Map<string, string>();
  for (const { section, type, owner, names } of records) {
    const [target] = names;
    if (section === 'answer' && type === TYPE_CNAME && target !== undefined) targets.set(owner, target);
  }
  for (let name = targets.get(asked); name !== undefined && !chain.includes(name); name = targets.get(name)) {
    if (chain.push(name) > MOST_ALIASES) break;
  }
  return chain;
}

function answers(record: ReplyRecord, type: number, chain: readonly string[]): boolean {
  const { owner } = record;
  if (record.type === TYPE_DNAME || record.type === TYPE_RRSIG) return chain.some((name) => isAtOrBelow(name, owner));
  return chain.includes(owner) && (record.type === type || record.type === TYPE_CNAME || type === TYPE_ANY);
}

function isOfZone(record: ReplyRecord, zones: readonly string[], isAbove: (zone: string) => boolean): boolean {
  switch (record.type) {
    case TYPE_SOA:
    case TYPE_NS:
    case TYPE_DS:
      return isAbove(record.owner);
    case TYPE_RRSIG:
    case TYPE_NSEC:
    case TYPE_NSEC3:
      return zones.some((zone) => isAtOrBelow(record.owner, zone));
    default:
      return false;
  }
}

/** A server that does not look further says who could: no answer to somebody who cannot look further either. */
function isReferral(flags: number, records: readonly ReplyRecord[]): boolean {
  if ((flags & RCODE_MASK) !== NOERROR || (flags & FLAG_RA) !== 0) return false;
  if (records.some(({ section, type }) => section === 'answer' || type === TYPE_SOA)) return false;
  return records.some(({ section, type }) => section === 'authority' && type === TYPE_NS);
}

/** Our random spelling of the question is nobody else's business, wherever the server repeated it. */
function hideSpelling(message: Uint8Array, questionEnd: number): void {
  for (let i = HEADER_BYTES; i < questionEnd - 4; i++) message[i] = LOWER[message[i] as number] as number;
  const asked = Uint8Array.from(message.subarray(HEADER_BYTES, questionEnd - 4));
  const total = readU16(message, 6) + readU16(message, 8) + readU16(message, 10);
  let at = questionEnd;
  for (let i = 0; i < total; i++) {
    const owner = expandName(message, at, message.length);
    if (owner === undefined) return;
    if (owner.name.length === asked.length && owner.name.every((byte, i) => LOWER[byte] === asked[i])) {
      // The length bytes among them are below the letters.
      for (let j = at; j < owner.inlineEnd; j++) message[j] = LOWER[message[j] as number] as number;
    }
    at = owner.end + RECORD_FIXED_BYTES + readU16(message, owner.end + 8);
  }
}
