// Records in wire form: for what is written once and sent many times. A start writes tens of thousands of addresses and
// pointers, so they are written here; the rest by the dns-packet codec. The only importer of dns-packet.
import { type Answer, encode } from 'dns-packet';
import { type IpAddress, ipToBytes } from '../model/address.ts';
import {
  CLASS_IN,
  HEADER_BYTES,
  QUESTION_POINTER,
  RECORD_FIXED_BYTES,
  TYPE_A,
  TYPE_AAAA,
  TYPE_NS,
  TYPE_PTR,
  writeU16,
  writeU32,
} from './wire.ts';

/** What our own negative answers say about the zone, in seconds (RFC 2308 section 5: `minimum` is how long they hold). */
export interface NegativeTimes {
  readonly ttl: number;
  readonly minimum: number;
}

/** A (IPv4) or AAAA (IPv6) by the kind of address. Every record below lacks its owner's name, which differs by question. */
export function addressRecord(address: string, ttl: number): Uint8Array {
  const data = ipToBytes(address as IpAddress);
  return record(data.length === 4 ? TYPE_A : TYPE_AAAA, ttl, data);
}

/** `target` is a name that encodeLabels takes, without its final dot. */
export function pointerRecord(target: string, ttl: number): Uint8Array {
  // Every dot becomes the length of the label behind it.
  const data = new Uint8Array(target.length + 2);
  let lengthAt = 0;
  for (let i = 0; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code === DOT) lengthAt = i + 1;
    else {
      data[i + 1] = code;
      data[lengthAt] = (data[lengthAt] as number) + 1;
    }
  }
  return record(TYPE_PTR, ttl, data);
}

const DOT = 0x2e;

function record(type: number, ttl: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(RECORD_FIXED_BYTES + data.length);
  writeU16(bytes, 0, type);
  writeU16(bytes, 2, CLASS_IN);
  writeU32(bytes, 4, ttl);
  writeU16(bytes, 8, data.length);
  bytes.set(data, RECORD_FIXED_BYTES);
  return bytes;
}

/**
 * The SOA of negative answers. Its server and mailbox are the root: there is no host to ask for a transfer nor anybody to
 * write to, and short answers make poor amplifiers.
 */
export function authorityRecord({ ttl, minimum }: NegativeTimes): Uint8Array {
  const data = { mname: '.', rname: '.', serial: 1, refresh: 3600, retry: 600, expire: 86_400, minimum };
  return recordWithoutName({ type: 'SOA', name: '.', ttl, data });
}

/** An NS record whose target is the name that was asked for. */
export function nameServerRecord(ttl: number): Uint8Array {
  const data = new Uint8Array(2);
  writeU16(data, 0, QUESTION_POINTER);
  return record(TYPE_NS, ttl, data);
}

function recordWithoutName(answer: Answer): Uint8Array {
  // The root's name is one byte, behind a header without questions.
  return Uint8Array.from(encode({ type: 'response', answers: [answer] }).subarray(HEADER_BYTES + 1));
}
