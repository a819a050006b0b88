// How many descriptors this process may have: the size of every table that is indexed by descriptor.
import { AF_INET, RLIMIT_NOFILE, SOCK_CLOEXEC, SOCK_STREAM } from './constants.ts';
import { check } from './errno.ts';
import { close, type Fd, getrlimit, socket } from './libc.ts';

/** Tables stay below this however high the limit is (fs.nr_open's usual value; `unlimited` would not fit a table). */
const MOST = 1 << 20;

let known: number | undefined;

/** The soft limit as it was when first asked for; Node raises it to the hard limit when it starts. */
export function descriptorLimit(): number {
  if (known === undefined) {
    const limits = Buffer.alloc(16);
    check(getrlimit(RLIMIT_NOFILE, limits), 'getrlimit', 'RLIMIT_NOFILE');
    const soft = limits.readBigUInt64LE(0);
    known = soft > BigInt(MOST) ? MOST : Number(soft);
  }
  return known;
}

/** The number that the next descriptor of this process would have, which tells how few are left; -1: there is none. */
export function nextDescriptor(): number {
  const fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd >= 0) close(fd as Fd);
  return fd;
}
