// The errors of this room.
import { getSystemErrorName } from 'node:util';

export type KernelErrorCode =
  /** The kernel refused a request. */
  | 'refused'
  /** The object is not there. */
  | 'absent'
  /** The object is there already. */
  | 'exists'
  /** Not allowed to this process. */
  | 'privilege'
  /** The kernel lacks what is needed. */
  | 'unsupported'
  /** The socket to the kernel failed or was closed. */
  | 'socket';

/** A request to the kernel that failed: which, on what, why, and what to do. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly code: KernelErrorCode;
  /** What was attempted, such as `add link`. */
  readonly operation: string;
  /** On what, such as `br0 in vipmesh-ab12cd-netidnet`. */
  readonly object: string;
  /** `EPERM`; absent when the kernel said nothing. */
  readonly errno: string | undefined;

  constructor(
    code: KernelErrorCode,
    operation: string,
    object: string,
    why: string,
    options?: { readonly errno?: string | undefined; readonly cause?: unknown },
  ) {
    super(`cannot ${operation} ${object}: ${why}`, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.operation = operation;
    this.object = object;
    this.errno = options?.errno;
  }
}

/** The error for a refusal by the kernel. `errno` is positive. */
export function refusal(operation: string, object: string, errno: number): KernelError {
  const name = errnoName(errno);
  const [code, cause] = CAUSES[name] ?? (['refused', 'the kernel refused it'] as const);
  return new KernelError(code, operation, object, `${name}, ${cause}`, { errno: name });
}

const CAUSES: Readonly<Record<string, readonly [KernelErrorCode, string]>> = {
  EPERM: ['privilege', 'it needs CAP_NET_ADMIN in the namespace; run the agent as root'],
  EACCES: ['privilege', 'it needs CAP_NET_ADMIN in the namespace; run the agent as root'],
  EEXIST: ['exists', 'it exists already; another program may have made it'],
  ENODEV: ['absent', 'there is no such link; something else may have removed it'],
  ENOENT: ['absent', 'it does not exist; something else may have removed it'],
  ESRCH: ['absent', 'it does not exist; something else may have removed it'],
  EADDRNOTAVAIL: ['absent', 'there is no such address on this link'],
  ENETUNREACH: ['refused', 'the next hop is not on a connected network; is its link up and addressed?'],
  ENETDOWN: ['refused', 'the link is down'],
  // What Node calls EOPNOTSUPP.
  ENOTSUP: ['unsupported', 'the kernel lacks this; is its module (bridge, veth, nf_tables, nft_masq) there?'],
  EAFNOSUPPORT: ['unsupported', 'the kernel lacks this address family; is IPv6 disabled?'],
  EPROTONOSUPPORT: ['unsupported', 'the kernel lacks this netlink protocol; is nf_tables built in?'],
  EINVAL: ['refused', 'the kernel does not accept these attributes; it may be too old'],
  EBUSY: ['refused', 'it is in use'],
  ENOBUFS: ['refused', 'the kernel ran out of buffers'],
  ENOMEM: ['refused', 'the kernel ran out of memory'],
};

function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}
