// What agents say to each other: one request, one answer, a datagram each, both of the same size, so that nobody can use an agent
// to multiply traffic. Both are authenticated with the cluster's key; an answer repeats the request's nonce. PURE.
//
//   byte   0        version
//   byte   1        1 request, 2 answer
//   bytes  2-26     node id of the sender, filled up with zeros
//   bytes 27-51     node id of the receiver; all zeros in a request: whoever is there
//   bytes 52-67     nonce
//   bytes 68-99     answer: instance (8), revision (8), p50 ms (4), p99 ms (4), changes (4), store age ms (4); request: zeros
//   bytes 100-115   the first 16 bytes of HMAC-SHA256 over all before (RFC 2104 section 5 on truncation)
//
// Numbers are unsigned, the most significant byte first.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { NodeId } from '../model/node.ts';
import type { Random } from '../runtime/random.ts';

/** Of every message, in either direction: within what any path carries whole. */
export const MESSAGE_BYTES = 116;
export const KEY_BYTES = 32;

declare const nonceBrand: unique symbol;
/** 32 hexadecimal digits; never used twice. */
export type Nonce = string & { readonly [nonceBrand]: true };

/** How far a node has got with what is in the store. */
export interface AppliedState {
  /** The store's revision that is in effect on the node. */
  readonly revision: number;
  /** Milliseconds from a commit to its effect on the node, of its newest changes; 0 when there were none. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** How many changes these two are of. */
  readonly changes: number;
  /** Milliseconds since the store last answered the node, when it should have; 0 while it answers. */
  readonly storeAgeMs: number;
}

export interface ProbeRequest {
  readonly kind: 'request';
  readonly from: NodeId;
  /** Absent: whoever is there. */
  readonly to?: NodeId;
  readonly nonce: Nonce;
}

export interface ProbeAnswer {
  readonly kind: 'answer';
  readonly from: NodeId;
  readonly to: NodeId;
  /** The request's. */
  readonly nonce: Nonce;
  /** 16 hexadecimal digits, others at every start of the agent. */
  readonly instance: string;
  readonly applied: AppliedState;
}

/** `wrong-key`: changed on the way, made up, or from another cluster. */
export type Unreadable = 'malformed' | 'other-version' | 'wrong-key';

/** Throws RangeError for a node id that is longer than 25 characters or an instance that is none. */
export function encodeMessage(message: ProbeRequest | ProbeAnswer, key: Buffer): Buffer {
  const bytes = Buffer.alloc(MESSAGE_BYTES);
  bytes[0] = VERSION;
  bytes[1] = message.kind === 'request' ? REQUEST : ANSWER;
  writeId(bytes, FROM_AT, message.from);
  if (message.to !== undefined) writeId(bytes, TO_AT, message.to);
  bytes.write(message.nonce, NONCE_AT, NONCE_BYTES, 'hex');
  if (message.kind === 'answer') writeBody(bytes, message);
  signature(bytes, key).copy(bytes, MAC_AT, 0, MAC_BYTES);
  return bytes;
}

/** Whatever bytes it is given: the message, or why they are none. Nothing is believed before the signature is found right. */
export function decodeMessage(bytes: Buffer, key: Buffer): ProbeRequest | ProbeAnswer | Unreadable {
  if (bytes.length === 0) return 'malformed';
  if (bytes[0] !== VERSION) return 'other-version';
  if (bytes.length !== MESSAGE_BYTES) return 'malformed';
  if (!timingSafeEqual(signature(bytes, key).subarray(0, MAC_BYTES), bytes.subarray(MAC_AT))) return 'wrong-key';
  const [from, to] = [readId(bytes, FROM_AT), readId(bytes, TO_AT)];
  if (from === undefined || from === '' || to === undefined) return 'malformed';
  const nonce = bytes.toString('hex', NONCE_AT, BODY_AT) as Nonce;
  if (bytes[1] === REQUEST) return { kind: 'request', from, ...(to === '' ? {} : { to }), nonce };
  if (bytes[1] !== ANSWER || to === '') return 'malformed';
  const revision = Number(bytes.readBigUInt64BE(REVISION_AT));
  if (!Number.isSafeInteger(revision)) return 'malformed';
  const applied = {
    revision,
    p50Ms: bytes.readUInt32BE(P50_AT),
    p99Ms: bytes.readUInt32BE(P99_AT),
    changes: bytes.readUInt32BE(CHANGES_AT),
    storeAgeMs: bytes.readUInt32BE(STORE_AGE_AT),
  };
  return { kind: 'answer', from, to, nonce, instance: bytes.toString('hex', BODY_AT, REVISION_AT), applied };
}

export function newNonce(random: Random): Nonce {
  const bytes = Buffer.allocUnsafe(NONCE_BYTES);
  for (let at = 0; at < NONCE_BYTES; at += 4) bytes.writeUInt32BE(Math.floor(random.unit() * 2 ** 32), at);
  return bytes.toString('hex') as Nonce;
}

/** Whether the node can be asked: an id that somebody wrote into the store by hand may be too long for a message. */
export function isProbeId(id: NodeId): boolean {
  return ID.test(id);
}

const VERSION = 1;
const REQUEST = 1;
const ANSWER = 2;
const ID_BYTES = 25;
const NONCE_BYTES = 16;
const MAC_BYTES = 16;
const FROM_AT = 2;
const TO_AT = FROM_AT + ID_BYTES;
const NONCE_AT = TO_AT + ID_BYTES;
const BODY_AT = NONCE_AT + NONCE_BYTES;
const REVISION_AT = BODY_AT + 8;
const P50_AT = REVISION_AT + 8;
const P99_AT = P50_AT + 4;
const CHANGES_AT = P99_AT + 4;
const STORE_AGE_AT = CHANGES_AT + 4;
const MAC_AT = STORE_AGE_AT + 4;
const ID = /^[a-z0-9]{1,25}$/;
const INSTANCE = /^[0-9a-f]{16}$/;
const U32_MAX = 2 ** 32 - 1;

function signature(bytes: Buffer, key: Buffer): Buffer {
  return createHmac('sha256', key).update(bytes.subarray(0, MAC_AT)).digest();
}

function writeBody(bytes: Buffer, { instance, applied }: ProbeAnswer): void {
  if (!INSTANCE.test(instance)) throw new RangeError(`instance "${instance}" is not of 16 hexadecimal digits`);
  bytes.write(instance, BODY_AT, 'hex');
  bytes.writeBigUInt64BE(BigInt(applied.revision), REVISION_AT);
  bytes.writeUInt32BE(clampU32(applied.p50Ms), P50_AT);
  bytes.writeUInt32BE(clampU32(applied.p99Ms), P99_AT);
  bytes.writeUInt32BE(clampU32(applied.changes), CHANGES_AT);
  bytes.writeUInt32BE(clampU32(applied.storeAgeMs), STORE_AGE_AT);
}

/** Rounded up, so that half a millisecond is not shown as none. */
function clampU32(value: number): number {
  return Math.min(U32_MAX, Math.max(0, Math.ceil(value)));
}

function writeId(bytes: Buffer, at: number, id: NodeId): void {
  if (!isProbeId(id)) throw new RangeError(`node id "${id}" is not of 1 to ${ID_BYTES} lower-case letters and digits`);
  bytes.write(id, at, 'latin1');
}

/** Empty when there is none, undefined when these bytes cannot be an id. */
function readId(bytes: Buffer, at: number): NodeId | '' | undefined {
  const field = bytes.toString('latin1', at, at + ID_BYTES);
  const end = field.indexOf('\0');
  const id = end < 0 ? field : field.slice(0, end);
  if (/[^\0]/.test(field.slice(id.length))) return undefined;
  return id === '' ? '' : ID.test(id) ? (id as NodeId) : undefined;
}
