// Which questions have the same answer: what the cache and the questions under way go by. PURE.
import { writtenName } from './code-names.ts';
import type { Query } from './query.ts';
import { FLAG_CD, HEADER_BYTES, LOWER, MAX_NAME_BYTES } from './wire.ts';

const DNSSEC_OK = 1;
const CHECKING_DISABLED = 2;
/** Two bytes of type and one of flags. */
const PREFIX_LENGTH = 3;
const key = Buffer.alloc(PREFIX_LENGTH + MAX_NAME_BYTES);

/** The type, the two flags that change what comes back, and the name in lower case as it is on the wire. */
export function cacheKey(query: Query): string {
  const { bytes, start, questionEnd } = query;
  const end = start + questionEnd - 4;
  key[0] = query.type >>> 8;
  key[1] = query.type;
  key[2] = (query.dnssecOk ? DNSSEC_OK : 0) | ((query.flags & FLAG_CD) === 0 ? 0 : CHECKING_DISABLED);
  let at = PREFIX_LENGTH;
  for (let i = start + HEADER_BYTES; i < end; i++) key[at++] = LOWER[bytes[i] as number] as number;
  return key.toString('latin1', 0, at);
}

export function typeOfKey(key: string): number {
  return (key.charCodeAt(0) << 8) | key.charCodeAt(1);
}

/** On the wire, lower case, a character a byte, root byte included. */
export function wireNameOfKey(key: string): string {
  return key.slice(PREFIX_LENGTH);
}

/** As people write it. */
export function nameOfKey(key: string): string {
  return writtenName(key, PREFIX_LENGTH);
}
