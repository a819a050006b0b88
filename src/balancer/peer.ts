// Who is at the other end of a client's connection, for whoever chooses endpoints by it, and for the endpoints.
import { AF_INET } from '../native/constants.ts';
import { type Fd, getpeername, getsockname } from '../native/libc.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';
import type { ProxyProtocol } from '../model/service.ts';
import type { Introduced } from './proxy-introduction.ts';
import { proxyHeader } from './proxy-protocol.ts';
import { hashAddress } from './selection.ts';

const name = Buffer.alloc(SOCKADDR_BYTES);
const ownName = Buffer.alloc(SOCKADDR_BYTES);
const length = new Uint32Array(1);
/** ::ffff:0:0/96 as its third word, as it lies in memory. */
const MAPPED = -65_536;

/** `introduced`: who the client is, where another speaks for it. IPv4 counts as its mapped form, so that a client is the same by whatever socket it came. 0 when it has gone. */
export function hashPeer(fd: Fd, introduced: Introduced | undefined): number {
  if (introduced !== undefined) return hashSockaddr(introduced.client);
  length[0] = SOCKADDR_BYTES;
  return getpeername(fd, name, length) < 0 ? 0 : hashSockaddr(name);
}

function hashSockaddr(sockaddr: Buffer): number {
  if (sockaddr.readUInt16LE(0) === AF_INET) return hashAddress(0, 0, MAPPED, sockaddr.readInt32LE(4));
  const word = (i: number) => sockaddr.readInt32LE(8 + 4 * i);
  return hashAddress(word(0), word(1), word(2), word(3));
}

/** What a connection to the client's endpoint begins with; undefined when the client has gone. */
export function headerFor(version: ProxyProtocol, client: Fd, introduced: Introduced | undefined): Buffer | undefined {
  if (introduced !== undefined) return proxyHeader(version, introduced.client, introduced.local);
  length[0] = SOCKADDR_BYTES;
  if (getpeername(client, name, length) < 0) return undefined;
  length[0] = SOCKADDR_BYTES;
  if (getsockname(client, ownName, length) < 0) return undefined;
  return proxyHeader(version, name, ownName);
}
