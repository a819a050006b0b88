// Which questions have the same answer: what the cache and the questions under way go by. PURE.
import type { Query } from './query.ts';
import { FLAG_CD, HEADER_BYTES, LOWER, MAX_NAME_BYTES } from './wire.ts';

const lowered = Buffer.alloc(MAX_NAME_BYTES);
const DNSSEC_OK = 1;
const CHECKING_DISABLED = 2;
const PREFIX_LENGTH = 2;

/** The type, the two flags that change what comes back, and the name in lower case as it is on the wire. */
export function cacheKey(query: Query): string {
  const { bytes, start, questionEnd } = query;
  const length = questionEnd - 4 - HEADER_BYTES;
  for (let i = 0; i < length; i++) lowered[i] = LOWER[bytes[start + HEADER_BYTES + i] as number] as number;
  const flags = (query.dnssecOk ? DNSSEC_OK : 0) | ((query.flags & FLAG_CD) === 0 ? 0 : CHECKING_DISABLED);
  return String.fromCharCode(query.type, flags) + lowered.toString('latin1', 0, length);
}

export function typeOfKey(key: string): number {
  return key.charCodeAt(0);
}

/** On the wire, lower case, a character a byte, root byte included. */
export function wireNameOfKey(key: string): string {
  return key.slice(PREFIX_LENGTH);
}

/** As people write it (RFC 1035 section 5.1), without the final dot; the root is `.`. */
export function nameOfKey(key: string): string {
  const labels: string[] = [];
  for (let at = PREFIX_LENGTH; key.charCodeAt(at) > 0; at += 1 + key.charCodeAt(at)) {
    const label = key.slice(at + 1, at + 1 + key.charCodeAt(at));
    labels.push(
      label.replace(/[^!-~]|[."\\;@$()]/g, (char) =>
        char > ' ' && char < '\x7f' ? `\\${char}` : `\\${String(char.charCodeAt(0)).padStart(3, '0')}`,
      ),
    );
  }
  return labels.length === 0 ? '.' : labels.join('.');
}
