// The address of whoever is at the other end of a connection, as the balancer's choices go by it.
import { AF_INET } from '../native/constants.ts';
import { type Fd, getpeername } from '../native/libc.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';
import { hashAddress } from './selection.ts';

const name = Buffer.alloc(SOCKADDR_BYTES);
const length = new Uint32Array(1);
/** ::ffff:0:0/96 as its third word, as it lies in memory. */
const MAPPED = -65_536;

/** IPv4 counts as its mapped form, so that a client is the same by whatever socket it came. 0 when it has gone. */
export function hashPeer(fd: Fd): number {
  length[0] = SOCKADDR_BYTES;
  if (getpeername(fd, name, length) < 0) return 0;
  if (name.readUInt16LE(0) === AF_INET) return hashAddress(0, 0, MAPPED, name.readInt32LE(4));
  return hashAddress(name.readInt32LE(8), name.readInt32LE(12), name.readInt32LE(16), name.readInt32LE(20));
}
