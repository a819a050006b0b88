// Whether full-sized packets find their way to other nodes' tunnel port, as far as that can be told from here: the kernel there
// drops a frame of a network that nobody has without a word, so silence is what a good path sounds like.
import { setTimeout as pause } from 'node:timers/promises';
import { type IpAddress, ipVersion } from '../model/address.ts';
import {
  AF_INET,
  AF_INET6,
  IPPROTO_IP,
  IPPROTO_IPV6,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from '../native/constants.ts';
import { check, EAGAIN, errno, errnoName, NativeError } from '../native/errno.ts';
import { close, connect, type Fd, getsockopt, recv, send, setsockopt, socket } from '../native/libc.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../native/sockaddr.ts';

export interface PathResult {
  readonly address: IpAddress;
  /** Of the whole path, as far as the kernel has learnt it; bytes. */
  readonly mtu: number | undefined;
  /** `ECONNREFUSED`: the node is reached, and has no tunnel yet. Absent: no error has come back. */
  readonly error?: string;
}

/** ip(7), ipv6(7): never to be split on the way, and what is known of the path. */
const OPTION = {
  4: { level: IPPROTO_IP, discover: 10, mtu: 14 },
  6: { level: IPPROTO_IPV6, discover: 23, mtu: 24 },
} as const;
const DISCOVER_DO = 2;
/** IP and UDP headers. */
const HEADERS = { 4: 28, 6: 48 } as const;
/** Errors of the network come within a round trip; this covers the farthest ones. */
const PATIENCE_MS = 700;
/** A VXLAN header (RFC 7348 section 5) of the last network there can be, which is no one's: VNIs are given from 4096 up. */
const HEADER = Buffer.from([0x08, 0, 0, 0, 0xff, 0xff, 0xff, 0]);
/** One may get lost, and an error that it caused, too. */
const DATAGRAMS = 2;

/** Sends to each address datagrams that fill packets of `size` bytes. Never rejects. */
export async function checkPaths(
  addresses: readonly IpAddress[],
  port: number,
  size: number,
): Promise<readonly PathResult[]> {
  const opened = addresses.map((address) => ({ address, ...begin(address, port, size) }));
  if (opened.some(({ fd }) => fd !== undefined)) await pause(PATIENCE_MS);
  return opened.map(({ address, fd, error }) => {
    if (fd === undefined) return { address, mtu: undefined, ...(error === undefined ? {} : { error }) };
    const late = error ?? pendingError(fd);
    const mtu = pathMtu(fd, ipVersion(address));
    close(fd);
    return { address, mtu, ...(late === undefined ? {} : { error: late }) };
  });
}

function begin(
  address: IpAddress,
  port: number,
  size: number,
): { readonly fd: Fd | undefined; readonly error?: string } {
  const version = ipVersion(address);
  let fd: Fd | undefined;
  try {
    const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    fd = check(socket(version === 4 ? AF_INET : AF_INET6, type, 0), 'socket', address);
    const value = Buffer.alloc(4);
    value.writeInt32LE(DISCOVER_DO);
    const { level, discover } = OPTION[version];
    check(setsockopt(fd, level, discover, value, value.length), 'setsockopt', address);
    const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
    check(connect(fd, sockaddr, writeSockaddr(sockaddr, 0, address, port)), 'connect', address);
    const datagram = Buffer.alloc(Math.max(HEADER.length, size - HEADERS[version]));
    HEADER.copy(datagram);
    for (let i = 0; i < DATAGRAMS; i++) check(send(fd, datagram, datagram.length, 0), 'send', address);
    return { fd };
  } catch (error) {
    const code = error instanceof NativeError ? error.code : String(error);
    return { fd, error: code };
  }
}

/** What came back since; undefined when nothing did. */
function pendingError(fd: Fd): string | undefined {
  const bytes = Buffer.alloc(1);
  if (recv(fd, bytes, bytes.length, MSG_DONTWAIT) >= 0) return undefined;
  const number = errno();
  return number === EAGAIN ? undefined : errnoName(number);
}

function pathMtu(fd: Fd, version: 4 | 6): number | undefined {
  const value = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  const { level, mtu } = OPTION[version];
  return getsockopt(fd, level, mtu, value, length) < 0 ? undefined : value.readInt32LE();
}
