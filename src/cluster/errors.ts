// Everything that can go wrong between this node and the others, by a code that stays the same.
import { formatHostPort, type IpAddress } from '../model/address.ts';

export type ClusterErrorCode =
  /** Another program, or another agent, has the UDP port. */
  | 'port-in-use'
  /** The address to be known by is not this machine's. */
  | 'no-address'
  /** The kernel does not let this user have the port. */
  | 'no-access'
  /** The socket could not be opened for another reason. */
  | 'io';

export class ClusterError extends Error {
  readonly code: ClusterErrorCode;

  constructor(code: ClusterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ClusterError';
    this.code = code;
  }
}

/** Why the probes' socket cannot be had. */
export function bindError(address: IpAddress, port: number, cause: NodeJS.ErrnoException): ClusterError {
  const where = `UDP ${formatHostPort(address, port)}`;
  switch (cause.code) {
    case 'EADDRINUSE': {
      const message = `${where}, where other nodes probe this one, is in use: another agent runs on this machine, or another program has the port. Stop it, or choose another port`;
      return new ClusterError('port-in-use', message, { cause });
    }
    case 'EADDRNOTAVAIL': {
      const message = `${where}, where other nodes probe this one, is not an address of this machine. Choose one that "ip address" shows`;
      return new ClusterError('no-address', message, { cause });
    }
    case 'EACCES': {
      const message = `${where}, where other nodes probe this one, is not allowed to this user. Choose a port above 1023, or run as root`;
      return new ClusterError('no-access', message, { cause });
    }
    default: {
      const message = `${where}, where other nodes probe this one, cannot be opened: ${cause.message}`;
      return new ClusterError('io', message, { cause });
    }
  }
}
