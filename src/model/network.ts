// Networks: what a user asks for, and what was made of it.
import { type IpAddress, ipVersion, prefixLength, type Subnet, subnetAddress, subnetRange } from './address.ts';

declare const networkIdBrand: unique symbol;
/** 25 lower-case letters and digits, as Docker's object ids. */
export type NetworkId = string & { readonly [networkIdBrand]: true };

/** `local`: addresses of 127.64.0.0/10, no privilege. `overlay`: a namespace of its own, containers, VXLAN; root. */
export type NetworkDriver = 'local' | 'overlay';

export interface NetworkSpec {
  readonly name: string;
  readonly driver: NetworkDriver;
  /** Wanted subnets, at most one of each family; none: allocated. */
  readonly subnets: readonly Subnet[];
  readonly ipv6: boolean;
  /** No way out: no route, no forwarding of DNS. */
  readonly internal: boolean;
  /** A container may be attached by hand, and not only by its service. */
  readonly attachable: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** Docker's `driver_opts`, kept as they were given. */
  readonly options: Readonly<Record<string, string>>;
}

export interface Network {
  readonly id: NetworkId;
  readonly spec: NetworkSpec;
  readonly subnets: readonly Subnet[];
  /** VXLAN network identifier, 24 bit (RFC 7348 section 5); overlay networks only. */
  readonly vni?: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Networks that Docker has on every node, and that are none of ours: a service that asks for one is not on it here. */
const NETWORKS_OF_DOCKER: readonly string[] = ['bridge', 'host', 'none'];

export function isNetworkOfDocker(name: string): boolean {
  return NETWORKS_OF_DOCKER.includes(name);
}

/**
 * This node's own address in a subnet, which its bridge carries and containers see as their neighbour: the first one, as
 * Docker's gateway. (Other nodes of a cluster get others.)
 */
export function gatewayOf(subnet: Subnet): IpAddress {
  return subnetAddress(subnet, 1n);
}

/**
 * Addresses of a subnet that are never handed out: its base, the gateway and, in IPv4, the broadcast address.
 */
export function isReservedOffset(subnet: Subnet, offset: bigint): boolean {
  const { size } = subnetRange(subnet);
  if (offset <= 1n || offset >= size) return true;
  return ipVersion(subnet) === 4 && prefixLength(subnet) < 31 && offset === size - 1n;
}
