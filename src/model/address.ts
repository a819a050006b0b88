// IP addresses and subnets. Text is canonical everywhere (RFC 5952 for IPv6), so equal addresses are equal strings; the
// data path uses the byte and integer forms. The only importer of `ip-address`.
import { Address4, Address6 } from 'ip-address';

declare const ipBrand: unique symbol;
declare const subnetBrand: unique symbol;
/** A canonical IPv4 or IPv6 address, such as `10.64.0.2` or `fd00::2`. Never an IPv4-mapped one. */
export type IpAddress = string & { readonly [ipBrand]: true };
/** A canonical network in CIDR form, host bits zero: `10.64.0.0/24`. */
export type Subnet = string & { readonly [subnetBrand]: true };

/** Reads an address in any usual spelling (`::ffff:1.2.3.4` becomes `1.2.3.4`); undefined when it is none. */
export function parseIp(text: string): IpAddress | undefined {
  if (text.includes('/') || text.includes('%')) return undefined;
  if (!text.includes(':')) {
    if (canonicalIpv4(text) !== undefined) return text as IpAddress;
    if (!Address4.isValid(text) || !/^\d+\.\d+\.\d+\.\d+$/.test(text)) return undefined;
    return new Address4(text).correctForm() as IpAddress;
  }
  if (!Address6.isValid(text)) return undefined;
  const address = new Address6(text);
  if (address.isMapped4()) return address.to4().correctForm() as IpAddress;
  return address.correctForm() as IpAddress;
}

/** Reads `ADDRESS/LENGTH`; host bits are cleared. Undefined when it is none. */
export function parseSubnet(text: string): Subnet | undefined {
  const slash = text.indexOf('/');
  const address = slash < 0 ? undefined : parseIp(text.slice(0, slash));
  if (address === undefined || !/^(?:0|[1-9]\d{0,2})$/.test(text.slice(slash + 1))) return undefined;
  // The length of a network of IPv4-mapped addresses counts 128 bits, and nobody means one.
  if (ipVersion(address) === 4 && text.includes(':')) return undefined;
  const length = Number(text.slice(slash + 1));
  const bits = ipVersion(address) === 4 ? 32 : 128;
  if (length > bits) return undefined;
  const hostBits = BigInt(bits - length);
  return `${ipFromBigInt((ipToBigInt(address) >> hostBits) << hostBits, ipVersion(address))}/${length}` as Subnet;
}

export function ipVersion(address: IpAddress | Subnet): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

/** 4 or 16 bytes, network order. */
export function ipToBytes(address: IpAddress): Uint8Array {
  return (
    canonicalIpv4(address) ??
    Uint8Array.from(ipVersion(address) === 4 ? new Address4(address).toArray() : new Address6(address).toByteArray())
  );
}

/**
 * The bytes of an IPv4 address in canonical form; undefined when it is not, or in another. A start reads tens of thousands, and
 * the library takes 20 times as long.
 */
function canonicalIpv4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let [part, digits, value] = [0, 0, 0];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === DOT) {
      if (digits === 0 || part === 3) return undefined;
      bytes[part++] = value;
      [digits, value] = [0, 0];
      continue;
    }
    if (code < DIGIT_0 || code > DIGIT_0 + 9 || (digits > 0 && value === 0)) return undefined;
    value = 10 * value + code - DIGIT_0;
    digits++;
    if (value > 255) return undefined;
  }
  if (part !== 3 || digits === 0) return undefined;
  bytes[3] = value;
  return bytes;
}

const DOT = 0x2e;
const DIGIT_0 = 0x30;

/** 16 bytes; an IPv4 address as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2). */
export function ipToMappedBytes(address: IpAddress): Uint8Array {
  const bytes = ipToBytes(address);
  if (bytes.length === 16) return bytes;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(bytes, 12);
  return mapped;
}

/** The inverse of ipToBytes and of ipToMappedBytes. Throws RangeError unless given 4 or 16 bytes. */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return bytes.join('.') as IpAddress;
  if (bytes.length !== 16) throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  const mapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (mapped) return bytes.subarray(12).join('.') as IpAddress;
  return Address6.fromByteArray([...bytes]).correctForm() as IpAddress;
}

export function ipToBigInt(address: IpAddress): bigint {
  const bytes = ipToBytes(address);
  const view = new DataView(bytes.buffer);
  if (bytes.length === 4) return BigInt(view.getUint32(0));
  return (view.getBigUint64(0) << 64n) | view.getBigUint64(8);
}

export function ipFromBigInt(value: bigint, version: 4 | 6): IpAddress {
  const bytes = new Uint8Array(version === 4 ? 4 : 16);
  const view = new DataView(bytes.buffer);
  if (version === 4) {
    view.setUint32(0, Number(value));
  } else {
    view.setBigUint64(0, value >> 64n);
    view.setBigUint64(8, value);
  }
  return ipFromBytes(bytes);
}

/** The address that stands `offset` after the subnet's first one (0 is the network's own). */
export function subnetAddress(subnet: Subnet, offset: bigint): IpAddress {
  const { base, size } = subnetRange(subnet);
  if (offset < 0n || offset >= size) throw new RangeError(`${subnet} has no address number ${offset}`);
  return ipFromBigInt(base + offset, ipVersion(subnet));
}

/** First address as a number, and how many addresses there are. */
export function subnetRange(subnet: Subnet): { readonly base: bigint; readonly size: bigint } {
  const bits = ipVersion(subnet) === 4 ? 32 : 128;
  return { base: ipToBigInt(subnetBase(subnet)), size: 1n << BigInt(bits - prefixLength(subnet)) };
}

export function subnetBase(subnet: Subnet): IpAddress {
  return subnet.slice(0, subnet.indexOf('/')) as IpAddress;
}

export function prefixLength(subnet: Subnet): number {
  return Number(subnet.slice(subnet.indexOf('/') + 1));
}

export function subnetContains(subnet: Subnet, address: IpAddress): boolean {
  if (ipVersion(subnet) !== ipVersion(address)) return false;
  const { base, size } = subnetRange(subnet);
  const value = ipToBigInt(address);
  return value >= base && value < base + size;
}

export function subnetsOverlap(a: Subnet, b: Subnet): boolean {
  if (ipVersion(a) !== ipVersion(b)) return false;
  const [x, y] = [subnetRange(a), subnetRange(b)];
  return x.base < y.base + y.size && y.base < x.base + x.size;
}

/** An address that is reachable on its own node only (127.0.0.0/8, RFC 1122 section 3.2.1.3; ::1). */
export function isLoopback(address: IpAddress): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function formatHostPort(address: IpAddress, port: number): string {
  return ipVersion(address) === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}
