// From received datagrams to the keys of flows, and to what is needed to answer them.
import {
  AF_INET,
  IP_PKTINFO,
  IP_RECVORIGDSTADDR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  IPV6_RECVORIGDSTADDR,
} from '../native/constants.ts';
import type { DatagramBatch } from '../native/datagram-batch.ts';
import { readIpv6 } from '../native/sockaddr.ts';
import { FLOW_KEY_WORDS } from './flow-table.ts';

// struct in_pktinfo: ifindex 0, spec_dst 4, addr 8. struct in6_pktinfo: addr 0, ifindex 16. struct sockaddr_in: port 2,
// addr 4. struct sockaddr_in6: port 2, addr 8, scope id 24. struct cmsghdr: len u64 0, level 8, type 12, data 16.
const IN_PKTINFO_BYTES = 12;
const IN6_PKTINFO_BYTES = 20;
const CMSG_HEADER_BYTES = 16;
/** Room for one flow's PKTINFO of either family. */
export const REPLY_CONTROL_BYTES = 40;
/** ::ffff:0:0/96 as its third word. */
const MAPPED = -65_536;
/** fe80::/10 in the first two bytes, as they lie in memory. */
const LINK_LOCAL_MASK = 0xc0ff;
const LINK_LOCAL = 0x80fe;

export class UdpKeyReader {
  /** What `read` found, laid out as FLOW_KEY_WORDS says. */
  readonly key = new Int32Array(FLOW_KEY_WORDS);
  readonly #batch: DatagramBatch;
  readonly #sources: Int32Array;
  readonly #localBytes = Buffer.from(this.key.buffer, 7 * 4, 16);

  constructor(batch: DatagramBatch) {
    this.#batch = batch;
    this.#sources = wordsOf(batch.sources);
  }

  /** The key of received datagram i of a published port: its local address comes from PKTINFO. */
  readPublished(i: number, frontend: number): void {
    this.#readClient(i, frontend);
    const controls = this.#batch.controls;
    // The IPv4 message first: a dual-stack socket has both for an IPv4 datagram, and only spec_dst is the address to answer
    // from when the datagram was sent to a broadcast address.
    const ipv4 = this.#batch.findControl(i, IPPROTO_IP, IP_PKTINFO);
    if (ipv4 >= 0) {
      this.#setLocalIpv4(controls.readInt32LE(ipv4 + 4));
      return;
    }
    const ipv6 = this.#batch.findControl(i, IPPROTO_IPV6, IPV6_PKTINFO);
    for (let word = 0; word < 4; word++) this.key[7 + word] = ipv6 < 0 ? 0 : controls.readInt32LE(ipv6 + 4 * word);
  }

  /** The key of received datagram i for any VIP: address and port come from ORIGDSTADDR. False when it is not there. */
  readVip(i: number, frontend: number): boolean {
    this.#readClient(i, frontend);
    const controls = this.#batch.controls;
    const ipv4 = this.#batch.findControl(i, IPPROTO_IP, IP_RECVORIGDSTADDR);
    const at = ipv4 >= 0 ? ipv4 : this.#batch.findControl(i, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR);
    if (at < 0) return false;
    this.key[5] = (this.key[5] as number) | controls.readUInt16BE(at + 2);
    if (ipv4 >= 0) this.#setLocalIpv4(controls.readInt32LE(at + 4));
    else for (let word = 0; word < 4; word++) this.key[7 + word] = controls.readInt32LE(at + 8 + 4 * word);
    return true;
  }

  /** Canonical text of the local address just read. */
  localAddress(): string {
    return readIpv6(this.#localBytes, 0);
  }

  /** The same of a key that was read before. */
  localAddressOf(word: (index: number) => number): string {
    for (let index = 7; index < 11; index++) this.key[index] = word(index);
    return this.localAddress();
  }

  /** The local port just read; 0 for a published port. */
  localPort(): number {
    return (this.key[5] as number) & 0xffff;
  }

  /**
   * Writes the control message that makes an answer to received datagram i, whose key was just read, come from the address
   * that it was sent to. Returns its length; 0 when the listening socket did not say (it is bound to one address).
   */
  writeReplyControl(i: number, target: Buffer, offset: number): number {
    const { key } = this;
    if (key[9] === 0 && key[10] === 0 && key[7] === 0 && key[8] === 0) return 0;
    target.fill(0, offset, offset + REPLY_CONTROL_BYTES);
    if (this.#isIpv4Socket(i)) {
      writeHeader(target, offset, IN_PKTINFO_BYTES, IPPROTO_IP, IP_PKTINFO);
      target.writeInt32LE(key[10] as number, offset + CMSG_HEADER_BYTES + 4);
      return CMSG_HEADER_BYTES + ((IN_PKTINFO_BYTES + 7) & ~7);
    }
    // A dual-stack socket takes the IPv6 form for both families (ip_cmsg_send with allow_ipv6).
    writeHeader(target, offset, IN6_PKTINFO_BYTES, IPPROTO_IPV6, IPV6_PKTINFO);
    this.#localBytes.copy(target, offset + CMSG_HEADER_BYTES);
    // The interface is left to the routes, except where an address means nothing without one.
    const ipv6 = this.#batch.findControl(i, IPPROTO_IPV6, IPV6_PKTINFO);
    if (ipv6 >= 0 && ((key[7] as number) & LINK_LOCAL_MASK) === LINK_LOCAL) {
      target.writeInt32LE(this.#batch.controls.readInt32LE(ipv6 + 16), offset + CMSG_HEADER_BYTES + 16);
    }
    return REPLY_CONTROL_BYTES;
  }

  #readClient(i: number, frontend: number): void {
    const { key } = this;
    const sources = this.#sources;
    const at = this.#batch.sourceOffset(i) >> 2;
    const first = sources[at] as number;
    if ((first & 0xffff) === AF_INET) {
      key[0] = 0;
      key[1] = 0;
      key[2] = MAPPED;
      key[3] = sources[at + 1] as number;
      key[4] = 0;
    } else {
      for (let word = 0; word < 5; word++) key[word] = sources[at + 2 + word] as number;
    }
    key[5] = first & ~0xffff;
    key[6] = frontend;
  }

  #setLocalIpv4(address: number): void {
    this.key[7] = 0;
    this.key[8] = 0;
    this.key[9] = MAPPED;
    this.key[10] = address;
  }

  #isIpv4Socket(i: number): boolean {
    return ((this.#sources[this.#batch.sourceOffset(i) >> 2] as number) & 0xffff) === AF_INET;
  }
}

function writeHeader(target: Buffer, offset: number, dataBytes: number, level: number, type: number): void {
  target.writeUInt32LE(CMSG_HEADER_BYTES + dataBytes, offset);
  target.writeInt32LE(level, offset + 8);
  target.writeInt32LE(type, offset + 12);
}

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
}
