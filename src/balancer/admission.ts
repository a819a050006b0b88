// PURE: which clients are let in at a frontend, by where they come from. Compiled once, so that a new connection costs a few
// comparisons of numbers.
import { type IpAddress, ipToMappedBytes, ipVersion, prefixLength, type Subnet, subnetBase } from '../model/address.ts';
import type { Access } from '../model/access.ts';
import { AF_INET } from '../native/constants.ts';

/** `introduced`: it must first say, by a PROXY header, who its client is. */
export type Verdict = 'admitted' | 'denied' | 'introduced';

/** An address or a mask as four words, IPv4 in its mapped form. */
type Words = readonly [number, number, number, number];

interface Range {
  readonly base: Words;
  readonly mask: Words;
}

/** ::ffff:0:0/96 */
const MAPPED = 0xffff;
const MAPPED_BITS = 96;

export class Admission {
  readonly #allow: readonly Range[] | undefined;
  readonly #deny: readonly Range[];
  readonly #acceptProxy: readonly Range[];

  constructor({ allow, deny = [], acceptProxy = [] }: Access) {
    this.#allow = allow?.map(rangeOf);
    this.#deny = deny.map(rangeOf);
    this.#acceptProxy = acceptProxy.map(rangeOf);
  }

  /** Of whoever is at the other end. */
  ofPeer(sockaddr: Buffer): Verdict {
    const words = wordsOfSockaddr(sockaddr);
    if (isIn(this.#acceptProxy, words)) return 'introduced';
    return this.#isDenied(words) ? 'denied' : 'admitted';
  }

  /** Of a client, whether it came itself or is vouched for. */
  ofClient(sockaddr: Buffer): 'admitted' | 'denied' {
    return this.#isDenied(wordsOfSockaddr(sockaddr)) ? 'denied' : 'admitted';
  }

  /** The same for the four words of an address as they lie in memory, lowest byte first. */
  isDeniedAt(first: number, second: number, third: number, fourth: number): boolean {
    return this.#isDenied([swapped(first), swapped(second), swapped(third), swapped(fourth)]);
  }

  #isDenied(words: Words): boolean {
    return isIn(this.#deny, words) || (this.#allow !== undefined && !isIn(this.#allow, words));
  }
}

function isIn(ranges: readonly Range[], words: Words): boolean {
  for (const { base, mask } of ranges) {
    if (
      (words[3] & mask[3]) >>> 0 === base[3] &&
      (words[2] & mask[2]) >>> 0 === base[2] &&
      (words[1] & mask[1]) >>> 0 === base[1] &&
      (words[0] & mask[0]) >>> 0 === base[0]
    )
      return true;
  }
  return false;
}

function rangeOf(subnet: Subnet): Range {
  const base: IpAddress = subnetBase(subnet);
  const bits = prefixLength(subnet) + (ipVersion(subnet) === 4 ? MAPPED_BITS : 0);
  const bytes = Buffer.from(ipToMappedBytes(base));
  const word = (i: number) => bytes.readUInt32BE(4 * i);
  const mask = (i: number) => maskOf(Math.min(32, Math.max(0, bits - 32 * i)));
  return { base: [word(0), word(1), word(2), word(3)], mask: [mask(0), mask(1), mask(2), mask(3)] };
}

function maskOf(bits: number): number {
  return bits === 0 ? 0 : (0xffff_ffff << (32 - bits)) >>> 0;
}

function wordsOfSockaddr(sockaddr: Buffer): Words {
  if (sockaddr.readUInt16LE(0) === AF_INET) return [0, 0, MAPPED, sockaddr.readUInt32BE(4)];
  return [sockaddr.readUInt32BE(8), sockaddr.readUInt32BE(12), sockaddr.readUInt32BE(16), sockaddr.readUInt32BE(20)];
}

function swapped(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}
