// Requests and answers of rtnetlink as bytes: links, addresses, routes, neighbours and forwarding-database entries. PURE.
// Layouts and numbers: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h; rtnetlink(7).
import { type IpAddress, ipFromBytes, ipToBytes, ipVersion } from '../model/address.ts';
import type { Address, Link, LinkKind, MacAddress, Neighbour, Route } from './kernel.ts';
import {
  type Attributes,
  attribute,
  FLAG,
  nested,
  type Request,
  readAttributes,
  readText,
  readU32,
  text,
  u8,
  u32,
} from './message.ts';

export const RTM = {
  newLink: 16,
  deleteLink: 17,
  getLink: 18,
  newAddress: 20,
  deleteAddress: 21,
  getAddress: 22,
  newRoute: 24,
  deleteRoute: 25,
  getRoute: 26,
  newNeighbour: 28,
  deleteNeighbour: 29,
  getNeighbour: 30,
} as const;

const AF_UNSPEC = 0;
const AF_INET = 2;
const AF_BRIDGE = 7;
const AF_INET6 = 10;
const IFF_UP = 0x1;
const IFLA = { address: 1, name: 3, mtu: 4, master: 10, operState: 16, linkInfo: 18, group: 27, netnsFd: 28 } as const;
/** Operational state (RFC 2863): `unknown` is what links without a carrier, such as the loopback, have while they work. */
const OPER_STATE = { unknown: 0, up: 6 } as const;
const IFLA_INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const IFLA_BR_MCAST_SNOOPING = 23;
const IFLA_BRPORT_ISOLATED = 33;
const IFA = { address: 1, local: 2, cacheInfo: 6, flags: 8 } as const;
const IFA_F_NODAD = 0x02;
const FOREVER_S = 0xffffffff;
const RTA = { destination: 1, outLink: 4, gateway: 5, table: 15 } as const;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RT_TABLE = { main: 254, local: 255 } as const;
const RT_SCOPE = { universe: 0, link: 253, host: 254 } as const;
/**
 * Marks the routes that the agent made, so that it never touches another's: `ip route` shows `proto 118`. 118 is 'v', and
 * free: the kernel's header reserves 0-4, known routing daemons use 8-18, 42, and 186-193.
 */
export const ROUTE_PROTOCOL = 118;
/** The group of links that are far ends of pairs, so that those of one namespace can be removed together. */
const FAR_END_GROUP = 118;
const NDA = { destination: 1, mac: 2 } as const;
const NUD = { noarp: 0x40, permanent: 0x80 } as const;
const NTF = { self: 0x02, master: 0x04 } as const;

const LINK_HEADER_BYTES = 16;
const ADDRESS_HEADER_BYTES = 8;
const ROUTE_HEADER_BYTES = 12;
const NEIGHBOUR_HEADER_BYTES = 12;

export type Dumpable = 'link' | 'address' | 'route' | 'neighbour' | 'fdb';

/** Asks for all objects of a kind. */
export function dumpRequest(what: Dumpable): Request {
  switch (what) {
    case 'link':
      return { type: RTM.getLink, flags: FLAG.dump, body: linkHeader(0, 0, 0) };
    case 'address':
      return { type: RTM.getAddress, flags: FLAG.dump, body: Buffer.alloc(ADDRESS_HEADER_BYTES) };
    case 'route':
      return { type: RTM.getRoute, flags: FLAG.dump, body: Buffer.alloc(ROUTE_HEADER_BYTES) };
    case 'neighbour':
      return { type: RTM.getNeighbour, flags: FLAG.dump, body: Buffer.alloc(NEIGHBOUR_HEADER_BYTES) };
    case 'fdb': {
      // The forwarding database is asked for with a link header; older kernels tell it by the message's length.
      const body = linkHeader(0, 0, 0);
      body[0] = AF_BRIDGE;
      return { type: RTM.getNeighbour, flags: FLAG.dump, body };
    }
  }
}

/** Asks for one link by its name. */
export function getLinkRequest(name: string): Request {
  return { type: RTM.getLink, flags: 0, body: Buffer.concat([linkHeader(0, 0, 0), text(IFLA.name, name)]) };
}

/** Makes a bridge. Multicast snooping is off: it would hold back multicast until a querier shows up, and there is none. */
export function addBridgeRequest(name: string, mac: MacAddress | undefined): Request {
  const data = nested(IFLA_INFO.data, [u8(IFLA_BR_MCAST_SNOOPING, 0)]);
  const info = nested(IFLA.linkInfo, [text(IFLA_INFO.kind, 'bridge'), data]);
  return {
    type: RTM.newLink,
    flags: FLAG.create | FLAG.exclusive,
    body: Buffer.concat([linkHeader(0, 0, 0), ...vethEnd({ name, ...(mac === undefined ? {} : { mac }) }), info]),
  };
}

export interface VethEnd {
  readonly name: string;
  readonly mac?: MacAddress;
  /** Where the end is put; absent: where the request is made. */
  readonly netnsFd?: number;
}

/** Makes a pair of virtual Ethernet links, each end in its namespace at once, so that no name clashes in between. */
export function addVethRequest(end: VethEnd, peer: VethEnd): Request {
  const peerData = attribute(
    VETH_INFO_PEER | 0x8000,
    Buffer.concat([linkHeader(0, 0, 0), ...vethEnd(peer), u32(IFLA.group, FAR_END_GROUP)]),
  );
  const info = nested(IFLA.linkInfo, [text(IFLA_INFO.kind, 'veth'), nested(IFLA_INFO.data, [peerData])]);
  return {
    type: RTM.newLink,
    flags: FLAG.create | FLAG.exclusive,
    body: Buffer.concat([linkHeader(0, 0, 0), ...vethEnd(end), info]),
  };
}

export interface LinkChange {
  readonly up?: boolean;
  readonly mac?: MacAddress;
  readonly mtu?: number;
  /** Index of the bridge; 0 takes the link out of its bridge. */
  readonly master?: number;
  /** Of a bridge port: it exchanges frames with the bridge itself and unisolated ports only. */
  readonly isolated?: boolean;
}

export function setLinkRequest(index: number, change: LinkChange): Request {
  const parts = [linkHeader(index, change.up === true ? IFF_UP : 0, change.up === undefined ? 0 : IFF_UP)];
  if (change.mac !== undefined) parts.push(attribute(IFLA.address, macToBytes(change.mac)));
  if (change.mtu !== undefined) parts.push(u32(IFLA.mtu, change.mtu));
  if (change.master !== undefined) parts.push(u32(IFLA.master, change.master));
  if (change.isolated !== undefined) {
    const data = nested(IFLA_INFO.slaveData, [u8(IFLA_BRPORT_ISOLATED, change.isolated ? 1 : 0)]);
    parts.push(nested(IFLA.linkInfo, [text(IFLA_INFO.slaveKind, 'bridge'), data]));
  }
  return { type: RTM.newLink, flags: 0, body: Buffer.concat(parts) };
}

export function deleteLinkRequest(index: number): Request {
  return { type: RTM.deleteLink, flags: 0, body: linkHeader(index, 0, 0) };
}

/** Removes all far ends in a namespace, and so both ends of their pairs, for the kernel's price of one. */
export function deleteFarEndsRequest(): Request {
  return {
    type: RTM.deleteLink,
    flags: 0,
    body: Buffer.concat([linkHeader(0, 0, 0), u32(IFLA.group, FAR_END_GROUP)]),
  };
}

export function addAddressRequest(index: number, address: Address): Request {
  return { type: RTM.newAddress, flags: FLAG.create | FLAG.replace, body: addressBody(index, address) };
}

export function deleteAddressRequest(index: number, address: Address): Request {
  return { type: RTM.deleteAddress, flags: 0, body: addressBody(index, address) };
}

export function addRouteRequest(index: number, route: Route): Request {
  return { type: RTM.newRoute, flags: FLAG.create | FLAG.replace, body: routeBody(index, route) };
}

export function deleteRouteRequest(index: number, route: Route): Request {
  return { type: RTM.deleteRoute, flags: 0, body: routeBody(index, route) };
}

export function setNeighbourRequest(index: number, neighbour: Neighbour): Request {
  return { type: RTM.newNeighbour, flags: FLAG.create | FLAG.replace, body: neighbourBody(index, neighbour) };
}

export function deleteNeighbourRequest(index: number, neighbour: Neighbour): Request {
  return { type: RTM.deleteNeighbour, flags: 0, body: neighbourBody(index, neighbour) };
}

export type FdbEntry =
  /** The bridge sends frames for `mac` out of this port. */
  | { readonly kind: 'port'; readonly mac: MacAddress }
  /** The VXLAN device sends frames for `mac` to the node with this tunnel address. */
  | { readonly kind: 'tunnel'; readonly mac: MacAddress; readonly vtep: IpAddress };

export function setFdbRequest(index: number, entry: FdbEntry): Request {
  return { type: RTM.newNeighbour, flags: FLAG.create | FLAG.replace, body: fdbBody(index, entry) };
}

export function deleteFdbRequest(index: number, entry: FdbEntry): Request {
  return { type: RTM.deleteNeighbour, flags: 0, body: fdbBody(index, entry) };
}

/** A link as the kernel shows it; undefined when the bytes are not one. */
export function readLink(body: Buffer): (Link & { readonly index: number; readonly masterIndex: number }) | undefined {
  if (body.length < LINK_HEADER_BYTES) return undefined;
  const attributes = readAttributes(body, LINK_HEADER_BYTES);
  const name = readText(attributes.get(IFLA.name));
  if (name === undefined) return undefined;
  const info = readAttributes(attributes.get(IFLA.linkInfo) ?? Buffer.alloc(0));
  const slave = readAttributes(info.get(IFLA_INFO.slaveData) ?? Buffer.alloc(0));
  const mac = attributes.get(IFLA.address);
  const operState = attributes.get(IFLA.operState)?.[0];
  return {
    index: body.readInt32LE(4),
    name,
    kind: linkKind(readText(info.get(IFLA_INFO.kind))),
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    ready: operState === OPER_STATE.up || operState === OPER_STATE.unknown,
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    mtu: readU32(attributes.get(IFLA.mtu)) ?? 0,
    masterIndex: readU32(attributes.get(IFLA.master)) ?? 0,
    master: undefined,
    isolated: slave.get(IFLA_BRPORT_ISOLATED)?.[0] === 1,
  };
}

export function readAddress(body: Buffer): (Address & { readonly linkIndex: number }) | undefined {
  if (body.length < ADDRESS_HEADER_BYTES) return undefined;
  const attributes = readAttributes(body, ADDRESS_HEADER_BYTES);
  const address = readIp(attributes.get(IFA.local) ?? attributes.get(IFA.address));
  if (address === undefined) return undefined;
  const cacheInfo = attributes.get(IFA.cacheInfo);
  return {
    linkIndex: body.readUInt32LE(4),
    address,
    prefixLength: body.readUInt8(1),
    // IPv4 addresses keep their preferred lifetime too, and it is always for ever.
    deprecated: cacheInfo !== undefined && cacheInfo.readUInt32LE(0) === 0,
  };
}

/** Only routes that say where they lead: unicast and local ones, with one way. */
export function readRoute(
  body: Buffer,
): (Route & { readonly linkIndex: number; readonly protocol: number }) | undefined {
  if (body.length < ROUTE_HEADER_BYTES) return undefined;
  const family = body.readUInt8(0);
  const type = body.readUInt8(7);
  if ((family !== AF_INET && family !== AF_INET6) || (type !== RTN_UNICAST && type !== RTN_LOCAL)) return undefined;
  const attributes = readAttributes(body, ROUTE_HEADER_BYTES);
  const linkIndex = readU32(attributes.get(RTA.outLink));
  if (linkIndex === undefined) return undefined;
  const via = readIp(attributes.get(RTA.gateway));
  return {
    linkIndex,
    kind: type === RTN_LOCAL ? 'local' : 'unicast',
    protocol: body.readUInt8(5),
    destination: readIp(attributes.get(RTA.destination)) ?? anyAddress(family),
    prefixLength: body.readUInt8(1),
    ...(via === undefined ? {} : { via }),
  };
}

/** Only neighbours that were set for good. */
export function readNeighbour(body: Buffer): (Neighbour & { readonly linkIndex: number }) | undefined {
  if (body.length < NEIGHBOUR_HEADER_BYTES || (body.readUInt16LE(8) & NUD.permanent) === 0) return undefined;
  const family = body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = readAttributes(body, NEIGHBOUR_HEADER_BYTES);
  const address = readIp(attributes.get(NDA.destination));
  const mac = attributes.get(NDA.mac);
  if (address === undefined || mac?.length !== 6) return undefined;
  return { linkIndex: body.readInt32LE(4), address, mac: macFromBytes(mac) };
}

export function readFdbEntry(body: Buffer): (FdbEntry & { readonly linkIndex: number }) | undefined {
  if (body.length < NEIGHBOUR_HEADER_BYTES || body.readUInt8(0) !== AF_BRIDGE) return undefined;
  const attributes: Attributes = readAttributes(body, NEIGHBOUR_HEADER_BYTES);
  const mac = attributes.get(NDA.mac);
  if (mac?.length !== 6) return undefined;
  const linkIndex = body.readInt32LE(4);
  const vtep = readIp(attributes.get(NDA.destination));
  return vtep === undefined
    ? { kind: 'port', linkIndex, mac: macFromBytes(mac) }
    : { kind: 'tunnel', linkIndex, mac: macFromBytes(mac), vtep };
}

export function macToBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16));
}

export function macFromBytes(bytes: Uint8Array): MacAddress {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':') as MacAddress;
}

function linkHeader(index: number, flags: number, change: number): Buffer {
  const header = Buffer.alloc(LINK_HEADER_BYTES);
  header.writeUInt8(AF_UNSPEC, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

function vethEnd({ name, mac, netnsFd }: VethEnd): Buffer[] {
  return [
    text(IFLA.name, name),
    ...(mac === undefined ? [] : [attribute(IFLA.address, macToBytes(mac))]),
    ...(netnsFd === undefined ? [] : [u32(IFLA.netnsFd, netnsFd)]),
  ];
}

function addressBody(index: number, { address, prefixLength, deprecated }: Address): Buffer {
  const header = Buffer.alloc(ADDRESS_HEADER_BYTES);
  header.writeUInt8(familyOf(address), 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt32LE(index, 4);
  const bytes = ipToBytes(address);
  const parts = [header, attribute(IFA.local, bytes), attribute(IFA.address, bytes)];
  // Duplicate address detection would keep the address unusable for a second, and addresses here are handed out once.
  if (ipVersion(address) === 6) parts.push(u32(IFA.flags, IFA_F_NODAD));
  if (deprecated) {
    const cacheInfo = Buffer.alloc(16);
    cacheInfo.writeUInt32LE(0, 0);
    cacheInfo.writeUInt32LE(FOREVER_S, 4);
    parts.push(attribute(IFA.cacheInfo, cacheInfo));
  }
  return Buffer.concat(parts);
}

function routeBody(index: number, { kind, destination, prefixLength, via }: Route): Buffer {
  const header = Buffer.alloc(ROUTE_HEADER_BYTES);
  header.writeUInt8(familyOf(destination), 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt8(kind === 'local' ? RT_TABLE.local : RT_TABLE.main, 4);
  header.writeUInt8(ROUTE_PROTOCOL, 5);
  header.writeUInt8(kind === 'local' ? RT_SCOPE.host : via === undefined ? RT_SCOPE.link : RT_SCOPE.universe, 6);
  header.writeUInt8(kind === 'local' ? RTN_LOCAL : RTN_UNICAST, 7);
  const parts = [header, u32(RTA.outLink, index)];
  if (prefixLength > 0) parts.push(attribute(RTA.destination, ipToBytes(destination)));
  if (via !== undefined) parts.push(attribute(RTA.gateway, ipToBytes(via)));
  return Buffer.concat(parts);
}

function neighbourBody(index: number, { address, mac }: Neighbour): Buffer {
  return Buffer.concat([
    neighbourHeader(familyOf(address), index, NUD.permanent, 0),
    attribute(NDA.destination, ipToBytes(address)),
    attribute(NDA.mac, macToBytes(mac)),
  ]);
}

function fdbBody(index: number, entry: FdbEntry): Buffer {
  const [state, flags] = entry.kind === 'port' ? [NUD.noarp, NTF.master] : [NUD.permanent, NTF.self];
  return Buffer.concat([
    neighbourHeader(AF_BRIDGE, index, state, flags),
    attribute(NDA.mac, macToBytes(entry.mac)),
    ...(entry.kind === 'tunnel' ? [attribute(NDA.destination, ipToBytes(entry.vtep))] : []),
  ]);
}

function neighbourHeader(family: number, index: number, state: number, flags: number): Buffer {
  const header = Buffer.alloc(NEIGHBOUR_HEADER_BYTES);
  header.writeUInt8(family, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt16LE(state, 8);
  header.writeUInt8(flags, 10);
  return header;
}

function linkKind(kind: string | undefined): LinkKind {
  return kind === 'bridge' || kind === 'veth' ? kind : 'other';
}

function readIp(data: Buffer | undefined): IpAddress | undefined {
  return data === undefined || (data.length !== 4 && data.length !== 16) ? undefined : ipFromBytes(data);
}

function anyAddress(family: number): IpAddress {
  return (family === AF_INET ? '0.0.0.0' : '::') as IpAddress;
}

function familyOf(address: IpAddress): number {
  return ipVersion(address) === 4 ? AF_INET : AF_INET6;
}
