// How everything that the overlay makes is called, so that what a killed agent left can be recognised as its own. PURE.
// Interface names have at most 15 characters (IFNAMSIZ less the closing NUL).
import { type IpAddress, ipFromBytes, ipToBytes } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { MacAddress } from '../netlink/kernel.ts';

/** Six lower-case letters and digits that tell one agent of a machine from another. */
export type Instance = string;

/** The bridge of an overlay network, within its namespace. */
export const BRIDGE = 'br0';
/** The VXLAN device of an overlay network, a port of its bridge. */
export const TUNNEL = 'vx0';
/** The nftables table of an overlay network, within its namespace, of the family `bridge`. */
export const PORT_TABLE = 'vipmesh';
/** A container's link to the node-local bridge, through which it reaches the outside. */
export const EGRESS_LINK = 'egress';

export function isInstance(text: string): boolean {
  return /^[a-z0-9]{6}$/.test(text);
}

/** What the names of all namespaces of an agent begin with. */
export function namespacePrefix(instance: Instance): string {
  return `vipmesh-${instance}-`;
}

export function networkNamespace(instance: Instance, id: NetworkId): string {
  return `${namespacePrefix(instance)}${id.slice(0, 8)}`;
}

/** `-t-`: an id has no hyphen, so this is never a network's. */
export function containerNamespace(instance: Instance, id: TaskId): string {
  return `${namespacePrefix(instance)}t-${id.slice(0, 8)}`;
}

/** A container's links to its networks, in their order. */
export function containerLink(position: number): string {
  return `eth${position}`;
}

/** The same in a container that something else made: `eth0` may be there, so these only need a free number. */
export function guestLink(number: number): string {
  return `vm${number}`;
}

export function isGuestLink(name: string): boolean {
  return /^vm\d+$/.test(name);
}

/** The bridge's end of a container's link, in the network's namespace. */
export function portLink(id: TaskId): string {
  return `t-${id.slice(0, 8)}`;
}

export function egressBridge(instance: Instance): string {
  return `vmeg-${instance}`;
}

/** The node's end of a container's egress link; `number` is the address's place in the egress subnet, below 2^24. */
export function egressPort(instance: Instance, number: number): string {
  return `vm${instance}-${number.toString(16)}`;
}

/** It is the bridge that leads outside, or a port of it. */
export function isEgressLink(instance: Instance, name: string): boolean {
  return name === egressBridge(instance) || name.startsWith(`vm${instance}-`);
}

/** The agent's nftables table, of the family `inet`. */
export function tableName(instance: Instance): string {
  return `vipmesh_${instance}`;
}

/** The table that keeps strangers from the tunnels, likewise. */
export function guardTable(instance: Instance): string {
  return `${tableName(instance)}_tunnels`;
}

/**
 * The MAC address of the link that carries an address: locally administered (IEEE 802, 02 in the first byte), and made of the
 * address alone, so that every node knows it without being told and a reused address needs no new neighbour entry.
 * Unique in a network as long as IPv6 addresses of one subnet differ in their last 32 bits.
 */
export function macOf(address: IpAddress): MacAddress {
  const bytes = ipToBytes(address);
  const family = bytes.length === 4 ? 0x42 : 0x43;
  const hex = [0x02, family, ...bytes.subarray(-4)].map((byte) => byte.toString(16).padStart(2, '0'));
  return hex.join(':') as MacAddress;
}

/** The address that a link with IPv6 gives itself besides (RFC 4291 section 2.5.6 and appendix A, modified EUI-64). */
export function linkLocalOf(mac: MacAddress): IpAddress {
  const [first = 0, ...rest] = mac.split(':').map((part) => Number.parseInt(part, 16));
  const id = [first ^ 0x02, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  return ipFromBytes(Uint8Array.from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...id]));
}
