// Addresses as names: in-addr.arpa (RFC 1035 section 3.5) and ip6.arpa (RFC 3596 section 2.5). PURE.
import { ipToBytes, prefixLength, type Subnet, subnetBase } from '../model/address.ts';
import type { Query } from './query.ts';
import { LOWER } from './wire.ts';

/** All addresses that begin with the first `bits` bits of `bytes` (4 or 16 of them). */
export interface AddressRange {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

const V4_BYTES = 4;
const V6_BYTES = 16;

export function rangeOf(subnet: Subnet): AddressRange {
  return { bytes: ipToBytes(subnetBase(subnet)), bits: prefixLength(subnet) };
}

/** `2.0.64.10.in-addr.arpa` for 10.64.0.2; 4 or 16 bytes. */
export function reverseName(address: Uint8Array): string {
  if (address.length === V4_BYTES) return `${[...address].reverse().join('.')}.in-addr.arpa`;
  const nibbles = [...address].flatMap((byte) => [byte >> 4, byte & 15]);
  return `${nibbles
    .reverse()
    .map((nibble) => nibble.toString(16))
    .join('.')}.ip6.arpa`;
}

/** True when the last two labels are those of the reverse trees. */
export function isReverse(query: Query): boolean {
  return endsIn(query, IN_ADDR) || endsIn(query, IP6);
}

/** True when they are those of IPv4's tree. */
export function isReverse4(query: Query): boolean {
  return endsIn(query, IN_ADDR);
}

/** The addresses that a reverse name stands for: one, or all below a shorter name. Undefined when it stands for none. */
export function reverseRange(query: Query): AddressRange | undefined {
  const v4 = endsIn(query, IN_ADDR);
  if (!v4 && !endsIn(query, IP6)) return undefined;
  const digits = query.labelCount - 2;
  const width = v4 ? 8 : 4;
  const bytes = new Uint8Array(v4 ? V4_BYTES : V6_BYTES);
  if (digits * width > bytes.length * 8) return undefined;
  for (let i = 0; i < digits; i++) {
    const value = v4 ? octet(query, digits - 1 - i) : nibble(query, digits - 1 - i);
    if (value < 0) return undefined;
    if (v4) bytes[i] = value;
    else bytes[i >> 1] = (bytes[i >> 1] as number) | (value << (i % 2 === 0 ? 4 : 0));
  }
  return { bytes, bits: digits * width };
}

/** Every address of `inner` is one of `outer`. */
export function rangeContains(outer: AddressRange, inner: AddressRange): boolean {
  if (outer.bytes.length !== inner.bytes.length || inner.bits < outer.bits) return false;
  return startsWith(inner.bytes, 0, outer);
}

/** True when the address that begins at `at` (as long as the range's) is in the range. */
export function startsWith(bytes: Uint8Array, at: number, range: AddressRange): boolean {
  const whole = range.bits >> 3;
  for (let i = 0; i < whole; i++) if (bytes[at + i] !== range.bytes[i]) return false;
  const rest = range.bits & 7;
  if (rest === 0) return true;
  return ((bytes[at + whole] as number) ^ (range.bytes[whole] as number)) >> (8 - rest) === 0;
}

const IN_ADDR = Uint8Array.from(Buffer.from('\x07in-addr\x04arpa', 'latin1'));
const IP6 = Uint8Array.from(Buffer.from('\x03ip6\x04arpa', 'latin1'));

function endsIn(query: Query, labels: Uint8Array): boolean {
  const end = query.labelAt[query.labelCount] as number;
  // The root byte's predecessor is the last letter of "arpa" in all but a few questions.
  if (query.labelCount < 2 || LOWER[query.bytes[query.start + end - 1] as number] !== 0x61) return false;
  const from = query.labelAt[query.labelCount - 2] as number;
  if (end - from !== labels.length) return false;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] !== LOWER[query.bytes[query.start + from + i] as number]) return false;
  }
  return true;
}

/** A decimal label, 0-255 without leading zeros; -1 when it is something else. */
function octet(query: Query, label: number): number {
  const at = query.start + (query.labelAt[label] as number);
  const length = query.bytes[at] as number;
  if (length > 3 || (length > 1 && query.bytes[at + 1] === 0x30)) return -1;
  let value = 0;
  for (let i = 1; i <= length; i++) {
    const digit = (query.bytes[at + i] as number) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > 255 ? -1 : value;
}

/** A label of one hexadecimal digit; -1 when it is something else. */
function nibble(query: Query, label: number): number {
  const at = query.start + (query.labelAt[label] as number);
  if (query.bytes[at] !== 1) return -1;
  const code = LOWER[query.bytes[at + 1] as number] as number;
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x66 ? code - 0x61 + 10 : -1;
}
