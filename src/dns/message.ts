// Records in wire form, by the dns-packet codec: for what is written once and sent many times. The only importer of
// dns-packet.
import { type Answer, encode } from 'dns-packet';
import { HEADER_BYTES } from './wire.ts';

/** What our own negative answers say about the zone, in seconds (RFC 2308 section 5: `minimum` is how long they hold). */
export interface NegativeTimes {
  readonly ttl: number;
  readonly minimum: number;
}

/** A (IPv4) or AAAA (IPv6) by the kind of address. Every record below lacks its owner's name, which differs by question. */
export function addressRecord(address: string, ttl: number): Uint8Array {
  return recordWithoutName({ type: address.includes(':') ? 'AAAA' : 'A', name: '.', ttl, data: address });
}

/** `target` without its final dot. */
export function pointerRecord(target: string, ttl: number): Uint8Array {
  return recordWithoutName({ type: 'PTR', name: '.', ttl, data: target });
}

/**
 * The SOA of negative answers. Its server and mailbox are the root: there is no host to ask for a transfer nor anybody to
 * write to, and short answers make poor amplifiers.
 */
export function authorityRecord({ ttl, minimum }: NegativeTimes): Uint8Array {
  const data = { mname: '.', rname: '.', serial: 1, refresh: 3600, retry: 600, expire: 86_400, minimum };
  return recordWithoutName({ type: 'SOA', name: '.', ttl, data });
}

function recordWithoutName(answer: Answer): Uint8Array {
  // The root's name is one byte, behind a header without questions.
  return Uint8Array.from(encode({ type: 'response', answers: [answer] }).subarray(HEADER_BYTES + 1));
}
