// Socket addresses (struct sockaddr_in and sockaddr_in6, ip(7) and ipv6(7)) to and from canonical text.
import { AF_INET, AF_INET6 } from './constants.ts';

/** Bytes that hold either kind. */
export const SOCKADDR_BYTES = 28;

export interface SocketAddress {
  /** Canonical text; an IPv4-mapped address as IPv4. */
  readonly address: string;
  readonly port: number;
}

/**
 * Writes an address at `offset` and returns how many bytes it took (16 or 28). `mapped`: an IPv4 address is written as
 * ::ffff:a.b.c.d, which is what a dual-stack socket takes. Throws RangeError when the text is no address.
 */
export function writeSockaddr(target: Buffer, offset: number, address: string, port: number, mapped = false): number {
  if (!address.includes(':')) {
    const start = mapped ? offset + 20 : offset + 4;
    target.fill(0, offset, offset + (mapped ? 28 : 16));
    target.writeUInt16LE(mapped ? AF_INET6 : AF_INET, offset);
    target.writeUInt16BE(port, offset + 2);
    if (mapped) target.writeUInt16BE(0xffff, offset + 18);
    writeIpv4(target, start, address);
    return mapped ? 28 : 16;
  }
  target.fill(0, offset, offset + 28);
  target.writeUInt16LE(AF_INET6, offset);
  target.writeUInt16BE(port, offset + 2);
  writeIpv6(target, offset + 8, address);
  return 28;
}

/** Reads the address at `offset`. Throws RangeError when it is of another family. */
export function readSockaddr(source: Buffer, offset: number): SocketAddress {
  const family = source.readUInt16LE(offset);
  const port = source.readUInt16BE(offset + 2);
  if (family === AF_INET) return { address: readIpv4(source, offset + 4), port };
  if (family === AF_INET6) return { address: readIpv6(source, offset + 8), port };
  throw new RangeError(`a socket address of family ${family} is neither IPv4 nor IPv6`);
}

/** True when the 16 bytes are ::ffff:0:0/96 (RFC 4291 section 2.5.5.2). */
export function isMapped(source: Buffer, offset: number): boolean {
  return (
    source.readInt32LE(offset) === 0 &&
    source.readInt32LE(offset + 4) === 0 &&
    source.readInt32LE(offset + 8) === -65536
  );
}

/** Four bytes as text. */
export function readIpv4(source: Buffer, offset: number): string {
  return `${source[offset]}.${source[offset + 1]}.${source[offset + 2]}.${source[offset + 3]}`;
}

/** Sixteen bytes as canonical text (RFC 5952); a mapped address as IPv4. */
export function readIpv6(source: Buffer, offset: number): string {
  if (isMapped(source, offset)) return readIpv4(source, offset + 12);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(source.readUInt16BE(offset + i));
  const { start, length } = longestZeroRun(groups);
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

/** RFC 5952 section 4.2: the longest run of zero groups, the first of equals. */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (groups[end] === 0) end++;
    if (end - i > best.length) best = { start: i, length: end - i };
    if (end > i) i = end;
  }
  return best;
}

function writeIpv4(target: Buffer, offset: number, text: string): void {
  const parts = text.split('.');
  if (parts.length !== 4) throw new RangeError(`"${text}" is no IP address`);
  for (const [i, part] of parts.entries()) {
    const value = /^\d{1,3}$/.test(part) ? Number(part) : 256;
    if (value > 255) throw new RangeError(`"${text}" is no IP address`);
    target[offset + i] = value;
  }
}

function writeIpv6(target: Buffer, offset: number, text: string): void {
  const [head = '', tail, ...rest] = text.split('::');
  const left = groupsOf(head);
  const right = tail === undefined ? [] : groupsOf(tail);
  const missing = 8 - left.length - right.length;
  if (rest.length > 0 || (tail === undefined ? missing !== 0 : missing < 1)) {
    throw new RangeError(`"${text}" is no IP address`);
  }
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right];
  for (const [i, group] of groups.entries()) target.writeUInt16BE(group, offset + 2 * i);
}

function groupsOf(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) {
      const bytes = Buffer.alloc(4);
      writeIpv4(bytes, 0, group);
      return [bytes.readUInt16BE(0), bytes.readUInt16BE(2)];
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) throw new RangeError(`"${text}" is no part of an IPv6 address`);
    return [Number.parseInt(group, 16)];
  });
}
