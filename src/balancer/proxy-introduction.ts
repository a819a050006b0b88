// PURE: the PROXY protocol from those who stand before us (HAProxy's proxy-protocol.txt, versions 1 and 2): what a connection
// begins with, read strictly, for a header that is not exactly one is never the client's own data.
import { ipVersion, parseIp } from '../model/address.ts';
import { SIGNATURE } from './proxy-protocol.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../native/sockaddr.ts';

/** Socket addresses of the client and of what it connected to. */
export interface Introduced {
  readonly client: Buffer;
  readonly local: Buffer;
}

export type Introduction =
  /** What there is may be the beginning of a header. */
  | { readonly kind: 'part' }
  | { readonly kind: 'bad'; readonly why: string }
  /** `bytes` long. Without addresses it says nothing of a client: the connection speaks for itself (LOCAL, UNKNOWN). */
  | { readonly kind: 'whole'; readonly bytes: number; readonly introduced?: Introduced };

/** Section 2.1: the longest line of version 1, its end included. */
const LINE_BYTES = 107;
const TEXT = Buffer.from('PROXY ');
/** Section 2.2: signature, version and command, family, length. */
const FIXED_BYTES = 16;
const LOCAL = 0x20;
const PROXY = 0x21;
const ADDRESS_BYTES = { 17: 4, 33: 16 } as const;
/** Families and transports that the protocol knows and that say nothing of a TCP client. */
const OTHER_KINDS: ReadonlySet<number> = new Set([0x00, 0x12, 0x22, 0x31, 0x32]);

/** No header is longer: version 2 with addresses and as many TLVs as senders are known to add. */
export const LONGEST_HEADER = 4096;

/** `data`: what a connection has sent so far, at least LONGEST_HEADER bytes of it when there is more. */
export function readIntroduction(data: Buffer): Introduction {
  if (startsAlike(data, TEXT)) return data.length < TEXT.length ? { kind: 'part' } : readLine(data);
  if (!startsAlike(data, SIGNATURE)) return bad('it begins with no PROXY header');
  return data.length < FIXED_BYTES ? { kind: 'part' } : readBinary(data);
}

function startsAlike(data: Buffer, beginning: Buffer): boolean {
  const length = Math.min(data.length, beginning.length);
  return data.subarray(0, length).equals(beginning.subarray(0, length));
}

function readLine(data: Buffer): Introduction {
  const head = data.subarray(0, LINE_BYTES);
  const end = head.indexOf('\r');
  if (end < 0) return head.length < LINE_BYTES ? { kind: 'part' } : bad('the line is longer than 107 bytes');
  if (end + 1 === head.length)
    return end + 1 < LINE_BYTES ? { kind: 'part' } : bad('the line is longer than 107 bytes');
  if (head[end + 1] !== 0x0a) return bad('the line does not end with CR LF');
  const bytes = end + 2;
  const words = head.toString('latin1', TEXT.length, end).split(' ');
  const [family, ...rest] = words;
  if (family === 'UNKNOWN') return { kind: 'whole', bytes };
  const [from, to, fromPort, toPort, ...more] = rest;
  const version = family === 'TCP4' ? 4 : family === 'TCP6' ? 6 : undefined;
  if (version === undefined || more.length > 0)
    return bad('the line is not PROXY TCP4|TCP6|UNKNOWN and what belongs to it');
  const client = textAddress(from, fromPort, version);
  const local = textAddress(to, toPort, version);
  if (client === undefined || local === undefined)
    return bad('the line names no two addresses and ports of its family');
  return { kind: 'whole', bytes, introduced: { client, local } };
}

function textAddress(text = '', portText = '', version: 4 | 6): Buffer | undefined {
  const address = parseIp(text);
  const port = /^(0|[1-9]\d{0,4})$/.test(portText) ? Number(portText) : 65_536;
  // An IPv4-mapped address is written with colons, and is IPv4 all the same.
  if (address === undefined || port > 65_535 || text.includes(':') !== (version === 6)) return undefined;
  return ipVersion(address) <= version ? sockaddr(address, port) : undefined;
}

function readBinary(data: Buffer): Introduction {
  const [command, kind] = [data[12] as number, data[13] as number];
  if (command !== LOCAL && command !== PROXY) return bad('its version or command is none that there is');
  const bytes = FIXED_BYTES + data.readUInt16BE(14);
  if (bytes > LONGEST_HEADER) return bad(`it is longer than ${LONGEST_HEADER} bytes`);
  const size = kind === 0x11 || kind === 0x21 ? ADDRESS_BYTES[kind] : undefined;
  if (size === undefined && !OTHER_KINDS.has(kind)) return bad('its address family or transport is none that there is');
  if (command === PROXY && size !== undefined && bytes < FIXED_BYTES + 2 * size + 4)
    return bad('it is too short for its addresses');
  if (data.length < bytes) return { kind: 'part' };
  if (command === LOCAL || size === undefined) return { kind: 'whole', bytes };
  const address = (i: number) => {
    const at = FIXED_BYTES + i * size;
    const port = data.readUInt16BE(FIXED_BYTES + 2 * size + 2 * i);
    return sockaddr(binaryAddress(data.subarray(at, at + size)), port);
  };
  return { kind: 'whole', bytes, introduced: { client: address(0), local: address(1) } };
}

function binaryAddress(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':');
}

function sockaddr(address: string, port: number): Buffer {
  const buffer = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(buffer, 0, address, port);
  return buffer;
}

function bad(why: string): Introduction {
  return { kind: 'bad', why };
}
