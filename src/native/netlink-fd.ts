// The descriptors of netlink sockets that a library made and does not tell, for what it does not offer. See
// native-notes/netlink.md.
import { readdirSync } from 'node:fs';
import { SO_SNDBUFFORCE, SOL_SOCKET } from './constants.ts';
import { check } from './errno.ts';
import { close, eventfd, type Fd, getsockname, getsockopt, setsockopt } from './libc.ts';

const AF_NETLINK = 16;
const SO_DOMAIN = 39;
/** Linux 4.12. */
const SO_MEMINFO = 55;
const MEMINFO_BYTES = 36;
const MEMINFO_DROPS = 32;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const SOCKADDR_NL_BYTES = 12;

/**
 * Makes a netlink socket and finds out its descriptor: it has the lowest free number, unless another thread was faster. `known`
 * are the descriptors of those that are open, since sockets of several namespaces may have one port number.
 */
export function makeAndFind<T>(
  make: () => T,
  portOf: (made: T) => number,
  known: ReadonlySet<Fd>,
): { readonly made: T; readonly fd: Fd | undefined } {
  const lowest = check(eventfd(0, 0), 'eventfd', 'a descriptor');
  close(lowest);
  const made = make();
  const port = portOf(made);
  const isIt = (fd: Fd): boolean => !known.has(fd) && netlinkPort(fd) === port;
  const fd = isIt(lowest) ? lowest : readdirSync('/proc/self/fd').map(Number).find(isIt);
  return { made, fd };
}

/** A message that is longer than the buffer for what is sent is refused, and a batch is one message. Throws NativeError. */
export function makeRoomToSend(fd: Fd, bytes: number): void {
  const room = Buffer.alloc(4);
  room.writeInt32LE(bytes, 0);
  check(setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, room, room.length), 'setsockopt', `descriptor ${fd}`);
}

/** Messages that find no room are lost without an error; `messagesLost` tells how many. Throws NativeError. */
export function tolerateLoss(fd: Fd): void {
  const on = Buffer.alloc(4);
  on.writeInt32LE(1, 0);
  check(setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, on, on.length), 'setsockopt', `descriptor ${fd}`);
}

/** Since the socket was made. Throws NativeError. */
export function messagesLost(fd: Fd): number {
  const info = Buffer.alloc(MEMINFO_BYTES);
  check(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, lengthOf(info)), 'getsockopt', `descriptor ${fd}`);
  return info.readUInt32LE(MEMINFO_DROPS);
}

/** Undefined when the descriptor is no netlink socket. */
function netlinkPort(fd: Fd): number | undefined {
  const domain = Buffer.alloc(4);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, domain, lengthOf(domain)) < 0) return undefined;
  if (domain.readInt32LE(0) !== AF_NETLINK) return undefined;
  const address = Buffer.alloc(SOCKADDR_NL_BYTES);
  return getsockname(fd, address, lengthOf(address)) < 0 ? undefined : address.readUInt32LE(4);
}

function lengthOf(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length, 0);
  return length;
}
