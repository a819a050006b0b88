// Error numbers by name, and the one error that native/ throws.
import { constants } from 'node:os';
import { lastErrno } from './libc.ts';

export const {
  EPERM,
  ENOENT,
  EINTR,
  EIO,
  EAGAIN,
  EACCES,
  EBUSY,
  EEXIST,
  EINVAL,
  ENFILE,
  EMFILE,
  EPIPE,
  EADDRINUSE,
  EADDRNOTAVAIL,
  ENETUNREACH,
  ECONNABORTED,
  ECONNRESET,
  ENOBUFS,
  ENOTCONN,
  ETIMEDOUT,
  ECONNREFUSED,
  EHOSTUNREACH,
  EINPROGRESS,
  EMSGSIZE,
} = constants.errno;
/** Not in Node's table. */
export const ENOMEM = 12;

const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) if (!names.has(number)) names.set(number, name);

/** errno of the last call of this thread into the C library. Read it before calling anything else. */
export function errno(): number {
  return lastErrno();
}

/** `ECONNREFUSED` for 111; `E999` for a number without a name. */
export function errnoName(number: number): string {
  return names.get(number) ?? `E${number}`;
}

/** What usually causes an error and what to do, where that is known whatever the call was. */
const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program, or another service, holds this address and port; `ss -lntup` shows which',
  EADDRNOTAVAIL: 'this address is not configured in that network namespace',
  EACCES:
    'not permitted for this user; ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE',
  EPERM: 'not permitted for this user; run as root or grant the capability',
  EMFILE: 'the process has reached its descriptor limit; raise `ulimit -n`',
  ENFILE: 'the machine has reached its descriptor limit; raise fs.file-max',
  ENOENT: 'it does not exist',
  EAFNOSUPPORT: 'this kernel has the protocol (IPv6?) disabled',
  ENOSYS: 'this kernel is too old for the call',
};

/** A system call failed. `code` is the error's name, as in Node's own errors. */
export class NativeError extends Error {
  override readonly name = 'NativeError';
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  /** `object` names what the call was about, for example `[::]:8080/tcp`. */
  constructor(number: number, syscall: string, object: string, options?: ErrorOptions) {
    const code = errnoName(number);
    const hint = HINTS[code];
    super(`${syscall} ${object}: ${code}${hint === undefined ? '' : ` (${hint})`}`, options);
    this.code = code;
    this.errno = number;
    this.syscall = syscall;
  }
}

/** Passes a result of the C library on; -1 becomes a NativeError. Nothing may be called between the call and this. */
export function check(result: number, syscall: string, object: string): number {
  if (result < 0) throw new NativeError(errno(), syscall, object);
  return result;
}
