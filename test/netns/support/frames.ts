// What passes on a link, as raw frames: the kernel queues them for a packet socket, and they are read when the test asks; and frames
// that say what the test likes.
import { readFileSync } from 'node:fs';
import { SO_RCVBUFFORCE, SOCK_CLOEXEC, SOL_SOCKET, MSG_DONTWAIT } from '../../../src/native/constants.ts';
import { check } from '../../../src/native/errno.ts';
import { bindSocket, close, recv, send, socket } from '../../../src/native/libc.ts';
import { inNetns } from '../../../src/native/netns.ts';
import { ipFromBytes, ipToBytes } from '../../../src/model/address.ts';
import { setOption } from '../../../src/native/stream-socket.ts';
import { macFromBytes } from '../../../src/netlink/wire-address.ts';
import { ip } from '../../support/builders.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const ETH_P_ALL = 3;
const ETHERTYPE = { ipv4: 0x0800, arp: 0x0806, ipv6: 0x86dd } as const;
const IPPROTO_UDP = 17;
const IPPROTO_ICMPV6 = 58;
const VXLAN_PORT = 4789;
const ETHERNET_BYTES = 14;

/** A frame that was on its way through a tunnel. */
export interface TunnelFrame {
  readonly from: string;
  readonly vni: number;
  /** Of the outer IP packet. */
  readonly bytes: number;
  /** `ARP`, `ND`, `broadcast`, `multicast`, or `unicast`. */
  readonly inner: string;
}

/** A frame that was in no tunnel. */
export interface PlainFrame {
  readonly kind: 'ARP' | 'IPv4' | 'IPv6' | 'other';
  /** Who sent it and to whom, or who asked for whom; empty for `other`. */
  readonly addresses: readonly string[];
}

export interface Captured {
  readonly frames: readonly TunnelFrame[];
  readonly plain: readonly PlainFrame[];
  /** Pieces of IPv4 packets that did not fit. */
  readonly fragments: number;
}

/** All that passes in a namespace from now on. */
export class Capture {
  readonly #fd: number;

  constructor(netns: number) {
    const protocol = ((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8);
    this.#fd = inNetns(netns, () => check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, protocol), 'socket', 'capture'));
    setOption(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20);
  }

  /** What was captured since this was last asked. */
  read(): Captured {
    const frames: TunnelFrame[] = [];
    const plain: PlainFrame[] = [];
    let fragments = 0;
    const bytes = Buffer.alloc(70_000);
    for (;;) {
      const length = recv(this.#fd, bytes, bytes.length, MSG_DONTWAIT);
      if (length < 0) return { frames, plain, fragments };
      const frame = bytes.subarray(0, length);
      if (isFragment(frame)) fragments++;
      const tunnel = readTunnelFrame(frame);
      if (tunnel !== undefined) frames.push(tunnel);
      else plain.push(readPlainFrame(frame));
    }
  }

  close(): void {
    close(this.#fd);
  }
}

/** A VXLAN packet (RFC 7348 section 5) with a frame in it. */
export function vxlanPacket(vni: number, frame: InnerDatagram | Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x08;
  header.writeUInt32BE(vni << 8, 4);
  return Buffer.concat([header, Buffer.isBuffer(frame) ? frame : udpFrame(frame)]);
}

export interface InnerDatagram {
  readonly from: string;
  readonly fromMac: string;
  readonly to: string;
  readonly toMac: string;
  readonly port: number;
  readonly text: string;
}

/** A UDP datagram from one container to another. */
export function udpFrame({ from, fromMac, to, toMac, port, text }: InnerDatagram): Buffer {
  const data = Buffer.from(text);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(4000, 0);
  udp.writeUInt16BE(port, 2);
  udp.writeUInt16BE(8 + data.length, 4);
  const carried = Buffer.concat([udp, data]);
  if (from.includes(':')) {
    const packet = ipv6Packet(from, to, IPPROTO_UDP, carried, 6);
    return Buffer.concat([ethernet(toMac, fromMac, ETHERTYPE.ipv6), packet]);
  }
  // A checksum of zero: none (RFC 768).
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + carried.length, 2);
  header[8] = 64;
  header[9] = IPPROTO_UDP;
  header.set(ipToBytes(ip(from)), 12);
  header.set(ipToBytes(ip(to)), 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([ethernet(toMac, fromMac, ETHERTYPE.ipv4), header, carried]);
}

/** Says that an address is somebody's: an ARP reply (RFC 826), or a neighbour advertisement (RFC 4861 section 4.4). */
export function claimFrame(claim: {
  readonly address: string;
  readonly mac: string;
  /** Who sends it, who is `mac` and `address` when absent. */
  readonly fromMac?: string;
  readonly from?: string;
  readonly to: string;
  readonly toMac: string;
}): Buffer {
  const { address, mac, fromMac = mac, from = address, to, toMac } = claim;
  const [macs, said] = [macBytes(mac), ipToBytes(ip(address))];
  if (!address.includes(':')) {
    const arp = Buffer.from([0, 1, 8, 0, 6, 4, 0, 2, ...macs, ...said, ...macBytes(toMac), ...ipToBytes(ip(to))]);
    return Buffer.concat([ethernet(toMac, fromMac, ETHERTYPE.arp), arp]);
  }
  // Solicited and override, then the target's link-layer address as the only option.
  const message = Buffer.from([136, 0, 0, 0, 0x60, 0, 0, 0, ...said, 2, 1, ...macs]);
  const packet = ipv6Packet(from, to, IPPROTO_ICMPV6, message, 2);
  return Buffer.concat([ethernet(toMac, fromMac, ETHERTYPE.ipv6), packet]);
}

/** Sends a frame out of a link as it is, whoever it says that it is from. */
export function sendFrame(netns: number, link: string, frame: Buffer): void {
  const fd = inNetns(netns, () => {
    const raw = check(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), 'socket', link);
    const place = Buffer.alloc(20);
    place.writeUInt16LE(AF_PACKET, 0);
    place.writeInt32LE(indexOf(link), 4);
    check(bindSocket(raw, place, place.length), 'bind', link);
    return raw;
  });
  check(send(fd, frame, frame.length, 0), 'send', link);
  close(fd);
}

/** Of a link of the thread's namespace that is up. /proc lists what each listens to: `2 eth0 1 0 01005e000001`. */
function indexOf(link: string): number {
  const lines = readFileSync('/proc/thread-self/net/dev_mcast', 'latin1').split('\n');
  const [index] = lines.map((line) => line.trim().split(/\s+/)).find(([, name]) => name === link) ?? [];
  if (index === undefined) throw new RangeError(`there is no link ${link} that is up`);
  return Number(index);
}

function ethernet(toMac: string, fromMac: string, type: number): Buffer {
  return Buffer.from([...macBytes(toMac), ...macBytes(fromMac), type >> 8, type & 0xff]);
}

/** `sum`: where what is carried has its checksum, over itself and the pseudo header (RFC 8200 section 8.1). */
function ipv6Packet(from: string, to: string, protocol: number, carried: Buffer, sum: number): Buffer {
  const addresses = Buffer.concat([ipToBytes(ip(from)), ipToBytes(ip(to))]);
  const pseudo = Buffer.concat([addresses, Buffer.from([0, 0, 0, carried.length, 0, 0, 0, protocol]), carried]);
  carried.writeUInt16BE(checksum(Buffer.concat([pseudo, Buffer.alloc(pseudo.length % 2)])), sum);
  const header = Buffer.from([0x60, 0, 0, 0, 0, carried.length, protocol, 255]);
  return Buffer.concat([header, addresses, carried]);
}

function readTunnelFrame(frame: Buffer): TunnelFrame | undefined {
  const type = frame.readUInt16BE(12);
  if (type !== ETHERTYPE.ipv4 && type !== ETHERTYPE.ipv6) return undefined;
  const ip = frame.subarray(ETHERNET_BYTES);
  const v4 = type === ETHERTYPE.ipv4;
  const udp = ip.subarray(v4 ? ((ip[0] ?? 0) & 0x0f) * 4 : 40);
  if ((v4 ? ip[9] : ip[6]) !== IPPROTO_UDP || udp.length < 30 || udp.readUInt16BE(2) !== VXLAN_PORT) return undefined;
  return {
    from: ipFromBytes(v4 ? ip.subarray(12, 16) : ip.subarray(8, 24)),
    vni: udp.readUInt32BE(12) >>> 8,
    bytes: ip.length,
    inner: kindOf(udp.subarray(16)),
  };
}

function readPlainFrame(frame: Buffer): PlainFrame {
  const body = frame.subarray(ETHERNET_BYTES);
  const pair = (one: number, other: number, bytes: number) =>
    [one, other].map((at) => ipFromBytes(body.subarray(at, at + bytes)));
  switch (frame.readUInt16BE(12)) {
    case ETHERTYPE.arp:
      return { kind: 'ARP', addresses: pair(14, 24, 4) };
    case ETHERTYPE.ipv4:
      return { kind: 'IPv4', addresses: pair(12, 16, 4) };
    case ETHERTYPE.ipv6:
      return { kind: 'IPv6', addresses: pair(8, 24, 16) };
    default:
      return { kind: 'other', addresses: [] };
  }
}

function kindOf(frame: Buffer): string {
  const type = frame.readUInt16BE(12);
  if (type === ETHERTYPE.arp) return 'ARP';
  const icmp = frame[ETHERNET_BYTES + 40] ?? 0;
  // Router solicitation to redirect (RFC 4861 section 4).
  if (type === ETHERTYPE.ipv6 && frame[ETHERNET_BYTES + 6] === IPPROTO_ICMPV6 && icmp >= 133 && icmp <= 137)
    return 'ND';
  const mac = macFromBytes(frame.subarray(0, 6));
  if (mac === 'ff:ff:ff:ff:ff:ff') return 'broadcast';
  return ((frame[0] ?? 0) & 1) === 1 ? 'multicast' : 'unicast';
}

function isFragment(frame: Buffer): boolean {
  return frame.readUInt16BE(12) === ETHERTYPE.ipv4 && (frame.readUInt16BE(ETHERNET_BYTES + 6) & 0x3fff) !== 0;
}

function macBytes(mac: string): number[] {
  return mac.split(':').map((part) => Number.parseInt(part, 16));
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
