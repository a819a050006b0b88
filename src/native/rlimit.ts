// How many descriptors this process may have: the size of every table that is indexed by descriptor.
import { RLIMIT_NOFILE } from './constants.ts';
import { check } from './errno.ts';
import { getrlimit } from './libc.ts';

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
