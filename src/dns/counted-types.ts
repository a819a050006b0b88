// The types of questions that are counted each by itself. PURE.
import { TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV } from './wire.ts';

/** What stub resolvers and applications ask for (IANA "DNS parameters"); all others are counted together. */
export const COUNTED_TYPES = {
  A: TYPE_A,
  AAAA: TYPE_AAAA,
  PTR: TYPE_PTR,
  SRV: TYPE_SRV,
  NS: TYPE_NS,
  SOA: TYPE_SOA,
  CNAME: 5,
  MX: 15,
  TXT: 16,
  SVCB: 64,
  HTTPS: 65,
  ANY: TYPE_ANY,
} as const;

/** Where each is counted, from 1 on; 0: among the others. All of them are below 256. */
const PLACES = new Uint8Array(256);
for (const [i, type] of Object.values(COUNTED_TYPES).entries()) PLACES[type] = i + 1;

/** Behind TOTAL.dnsTypes: where a type is counted, 0 for those that are counted together. */
export function placeOfType(type: number): number {
  return PLACES[type] ?? 0;
}
