// Transport ports: numbers, protocols and how a service publishes them.

declare const portBrand: unique symbol;
/** A transport port, 1-65535 (RFC 6335 section 6; 0 is reserved and never a PortNumber). */
export type PortNumber = number & { readonly [portBrand]: true };

/** The transports that are balanced. SCTP, which Docker also knows, is refused where specs are read. */
export type Protocol = 'tcp' | 'udp';

/** `ingress`: every node listens. `host`: only nodes with a task of the service, straight to that task. */
export type PublishMode = 'ingress' | 'host';

/** A port that tasks of a service listen on. */
export interface TargetPort {
  readonly protocol: Protocol;
  readonly port: PortNumber;
  /** A name for SRV records (`_NAME._tcp.service`), where the user gave one. */
  readonly name?: string;
}

/** A port that nodes listen on for a service. */
export interface PublishSpec {
  readonly protocol: Protocol;
  readonly targetPort: PortNumber;
  /** Absent: one of PUBLISHED_PORT_RANGE is allocated. */
  readonly publishedPort?: PortNumber;
  readonly mode: PublishMode;
  /** The one local address, or the interface (`%eth1`), to listen on. Absent: all addresses, IPv6 and IPv4. */
  readonly hostAddress?: string;
  /** A name of the target port, as TargetPort's. */
  readonly name?: string;
}

/** A PublishSpec whose published port has been allocated. */
export interface PublishedPort extends PublishSpec {
  readonly publishedPort: PortNumber;
}

/** Ports given to `-p TARGET` without a published port: the range that Swarm uses, so firewalls keep fitting. */
export const PUBLISHED_PORT_RANGE = { first: 30000, last: 32767 } as const;

export function isPortNumber(value: number): value is PortNumber {
  return Number.isInteger(value) && value >= 1 && value <= 65535;
}

/**
 * Why a port cannot be called that, as the end of a sentence that began with the name; undefined when it can. With the
 * underscore before it, it is a DNS label (RFC 2782, RFC 1035 section 2.3.4).
 */
export function portNameProblem(name: string): string | undefined {
  if (/^[a-zA-Z0-9_-]{1,62}$/.test(name)) return undefined;
  return 'should be 1 to 62 letters, digits, "-" and "_"';
}

/** Reads a decimal port number. Undefined when the text is anything else, "080" and "1e3" included. */
export function parsePort(text: string): PortNumber | undefined {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) return undefined;
  const value = Number(text);
  return isPortNumber(value) ? value : undefined;
}

/** `8080/tcp`, as logs, tables and keys show a port. */
export function formatPort(protocol: Protocol, port: number): string {
  return `${port}/${protocol}`;
}
