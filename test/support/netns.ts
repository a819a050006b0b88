// Programs in containers, played by blocking sockets of this one thread: the kernel completes a connection to a listening
// socket by itself, so a client can connect before its server accepts. A call to which nobody answers gives up after a second.
import { IPPROTO_IPV6, IPV6_V6ONLY, SO_REUSEADDR, SOL_SOCKET } from '../../src/native/constants.ts';
import {
  AF_INET,
  AF_INET6,
  MSG_DONTWAIT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from '../../src/native/constants.ts';
import { check, errno, errnoName } from '../../src/native/errno.ts';
import {
  accept4,
  bindSocket,
  close,
  connect,
  type Fd,
  listen,
  recv,
  send,
  setsockopt,
  socket,
} from '../../src/native/libc.ts';
import { inNetns } from '../../src/native/netns.ts';
import { formatHostPort } from '../../src/model/address.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../../src/native/sockaddr.ts';
import { localAddress, remoteAddress, setOption } from '../../src/native/stream-socket.ts';
import { ip } from './builders.ts';

const SO_BROADCAST = 6;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const GIVE_UP_S = 1;
/** How many times in a row nothing may come of a transfer on a busy machine. */
const PATIENCE = 20;
/** What giving up, and the kernel's own giving up when nobody has the address, look like. */
const NOBODY: ReadonlySet<string> = new Set(['EAGAIN', 'EINPROGRESS', 'EHOSTUNREACH']);
const SOCK_RAW = 3;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
const ECHO_REPLY = { 4: 0, 6: 129 } as const;

/** A TCP server on one port of all addresses of a namespace. */
export function serveTcp(netns: Fd, port: number): Fd {
  return opened(netns, AF_INET6, SOCK_STREAM, 0, (fd) => {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    bindAny(fd, port);
    check(listen(fd, 64), 'listen', `port ${port}`);
  });
}

/** Whether somebody has connected to a TCP server that was not let in yet; lets one in, and closes that connection. */
export function hasWaiting(server: Fd): boolean {
  const [soon, usual] = [Buffer.alloc(16), Buffer.alloc(16)];
  soon.writeBigInt64LE(1n, 8);
  usual.writeBigInt64LE(BigInt(GIVE_UP_S), 0);
  check(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, soon, soon.length), 'setsockopt', 'timeout');
  const accepted = accept4(server, null, null, SOCK_CLOEXEC);
  check(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, usual, usual.length), 'setsockopt', 'timeout');
  if (accepted >= 0) close(accepted);
  return accepted >= 0;
}

/** A UDP server, likewise. */
export function serveUdp(netns: Fd, port: number): Fd {
  return opened(netns, AF_INET6, SOCK_DGRAM, 0, (fd) => bindAny(fd, port));
}

/**
 * What a client in a namespace meets at an address: `ADDRESS met at ADDRESS:PORT` as the server sees the two ends, once
 * bytes have gone both ways, `nobody`, or the name of another error. Without a server, `connected` when somebody accepts.
 */
export function tryTcp(netns: Fd, address: string, port: number, server?: Fd): string {
  const client = open(netns, familyOf(address), SOCK_STREAM, 0);
  try {
    const refusal = dial(client, address, port);
    if (refusal !== undefined) return refusal;
    return server === undefined ? 'connected' : conversation(client, server);
  } finally {
    close(client);
  }
}

/** A connected socket, which the caller closes, or what the client met instead. */
export function dialTcp(netns: Fd, address: string, port: number): Fd | string {
  const fd = open(netns, familyOf(address), SOCK_STREAM, 0);
  const refusal = dial(fd, address, port);
  if (refusal === undefined) return fd;
  close(fd);
  return refusal;
}

/** A socket that has begun to connect, and which the caller closes. */
export function knock(netns: Fd, address: string, port: number): Fd {
  const fd = open(netns, familyOf(address), SOCK_STREAM | SOCK_NONBLOCK, 0);
  dial(fd, address, port);
  return fd;
}

/** Somebody has let it in, and has not thrown it out again. */
export function isConnected(fd: Fd): boolean {
  try {
    remoteAddress(fd);
    return true;
  } catch {
    return false;
  }
}

/** `received` when the server got the datagram, else `nobody` or the name of the error that came back. */
export function tryUdp(netns: Fd, address: string, port: number, server?: Fd): string {
  const client = open(netns, familyOf(address), SOCK_DGRAM, 0);
  try {
    const refusal = dial(client, address, port);
    if (refusal !== undefined) return refusal;
    check(send(client, Buffer.from('ping'), 4, 0), 'send', address);
    if (server === undefined) return recv(client, Buffer.alloc(4), 4, 0) < 0 ? lastError() : 'answered';
    return recv(server, Buffer.alloc(4), 4, 0) === 4 ? 'received' : lastError();
  } finally {
    close(client);
  }
}

/** Sends one datagram, to all where the address is of all. `from`: one of the addresses there. */
export function sendUdp(netns: Fd, address: string, port: number, bytes: Uint8Array, from?: string): void {
  const fd = open(netns, familyOf(address), SOCK_DGRAM, 0);
  try {
    setOption(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (from !== undefined) bindTo(fd, from, 0);
    const refusal = dial(fd, address, port);
    if (refusal !== undefined) throw new Error(`cannot send to ${address}: ${refusal}`);
    check(send(fd, Buffer.from(bytes), bytes.length, 0), 'send', address);
  } finally {
    close(fd);
  }
}

/** The next datagram that came to a UDP server, or `nobody`. */
export function receiveUdp(server: Fd): string {
  const bytes = Buffer.alloc(2048);
  const length = recv(server, bytes, bytes.length, 0);
  return length < 0 ? lastError() : bytes.toString('latin1', 0, length);
}

/** How many bytes of so many that a client sends arrive in order, or what it met instead. */
export function transfer(netns: Fd, address: string, port: number, server: Fd, total: number): number | string {
  const client = dialTcp(netns, address, port);
  if (typeof client === 'string') return client;
  const accepted = check(accept4(server, null, null, SOCK_CLOEXEC), 'accept', 'connection');
  try {
    return carry(client, accepted, total);
  } finally {
    close(client);
    close(accepted);
  }
}

/** Both ends are here, so each takes what it can in turn; when neither can, it waits for the receiver. */
function carry(from: Fd, to: Fd, total: number): number | string {
  // No power of two, so that pieces that are mixed up show.
  const pattern = Buffer.from(Array.from({ length: 65_521 }, (_, i) => i % 251));
  const received = Buffer.alloc(pattern.length);
  let [sent, arrived, misses] = [0, 0, 0];
  while (arrived < total) {
    const at = sent % pattern.length;
    const sending =
      sent < total ? send(from, pattern.subarray(at), Math.min(pattern.length - at, total - sent), MSG_DONTWAIT) : 0;
    if (sending > 0) sent += sending;
    const length = recv(to, received, received.length, sending > 0 ? MSG_DONTWAIT : 0);
    misses = length < 0 && sending <= 0 ? misses + 1 : 0;
    if (misses > PATIENCE) return `${arrived} bytes, then ${lastError()}`;
    for (let i = 0; i < length; i++)
      if (received[i] !== ((arrived + i) % pattern.length) % 251) return `garbled at ${arrived + i}`;
    arrived += Math.max(0, length);
  }
  return arrived;
}

/** `answered`, `nobody`, or the name of another error. */
export function ping(netns: Fd, address: string): string {
  const version = address.includes(':') ? 6 : 4;
  const fd = open(netns, familyOf(address), SOCK_RAW, version === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
  try {
    const refusal = dial(fd, address, 0);
    if (refusal !== undefined) return refusal;
    const request = Buffer.from([ECHO_REQUEST[version], 0, 0, 0, 0x12, 0x34, 0, 1]);
    // The kernel fills in ICMPv6's checksum only (RFC 3542 section 3.1); this is RFC 1071's over four words.
    if (version === 4) request.writeUInt16BE(~(0x0800 + 0x1234 + 1) & 0xffff, 2);
    check(send(fd, request, request.length, 0), 'send', address);
    const reply = Buffer.alloc(128);
    for (;;) {
      if (recv(fd, reply, reply.length, 0) < 0) return lastError();
      // IPv4 raw sockets see the IP header too.
      if (reply[version === 4 ? ((reply[0] ?? 0) & 0x0f) * 4 : 0] === ECHO_REPLY[version]) return 'answered';
    }
  } finally {
    close(fd);
  }
}

function conversation(client: Fd, server: Fd): string {
  const accepted = check(accept4(server, null, null, SOCK_CLOEXEC), 'accept', 'connection');
  try {
    const bytes = Buffer.alloc(4);
    for (const [from, to] of [
      [client, accepted],
      [accepted, client],
    ] as const) {
      check(send(from, Buffer.from('ping'), 4, 0), 'send', 'connection');
      check(recv(to, bytes, 4, 0), 'recv', 'connection');
      if (bytes.toString() !== 'ping') return `garbled: ${bytes.toString('hex')}`;
    }
    const { address, port } = localAddress(accepted);
    return `${remoteAddress(accepted).address} met at ${formatHostPort(ip(address), port)}`;
  } finally {
    close(accepted);
  }
}

function dial(fd: Fd, address: string, port: number): string | undefined {
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  const length = writeSockaddr(sockaddr, 0, address, port);
  return connect(fd, sockaddr, length) < 0 ? lastError() : undefined;
}

function lastError(): string {
  const name = errnoName(errno());
  return NOBODY.has(name) ? 'nobody' : name;
}

function bindAny(fd: Fd, port: number): void {
  setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  bindTo(fd, '::', port);
}

function bindTo(fd: Fd, address: string, port: number): void {
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  check(bindSocket(fd, sockaddr, writeSockaddr(sockaddr, 0, address, port)), 'bind', formatHostPort(ip(address), port));
}

function opened(netns: Fd, family: number, type: number, protocol: number, setUp: (fd: Fd) => void): Fd {
  const fd = open(netns, family, type, protocol);
  try {
    setUp(fd);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

function open(netns: Fd, family: number, type: number, protocol: number): Fd {
  const fd = inNetns(netns, () => check(socket(family, type | SOCK_CLOEXEC, protocol), 'socket', 'test socket'));
  const timeout = Buffer.alloc(16);
  timeout.writeBigInt64LE(BigInt(GIVE_UP_S), 0);
  for (const option of [SO_RCVTIMEO, SO_SNDTIMEO]) {
    check(setsockopt(fd, SOL_SOCKET, option, timeout, timeout.length), 'setsockopt', 'timeout');
  }
  return fd;
}

function familyOf(address: string): number {
  return address.includes(':') ? AF_INET6 : AF_INET;
}
