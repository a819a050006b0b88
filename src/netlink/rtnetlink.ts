// Requests and answers of rtnetlink as bytes: addresses, routes, neighbours and forwarding-database entries. PURE.
// Links are in rtnetlink-link.ts. Layouts and numbers: linux/rtnetlink.h, if_addr.h, neighbour.h; rtnetlink(7).
import { type IpAddress, ipToBytes, ipVersion } from '../model/address.ts';
import type { Address, FdbEntry, Neighbour, Notice, Route } from './kernel.ts';
import {
  type Attributes,
  attribute,
  FLAG,
  type Message,
  type Request,
  readAttributes,
  readU32,
  u32,
} from './message.ts';
import { dumpLinksRequest, linkHeader } from './rtnetlink-link.ts';
import { AF, familyOf, macFromBytes, macToBytes, readIp } from './wire-address.ts';

const RTM = {
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
const NDA = { destination: 1, mac: 2, master: 9 } as const;
const NUD = { noarp: 0x40, permanent: 0x80 } as const;
const NTF = { self: 0x02, master: 0x04 } as const;

const ADDRESS_HEADER_BYTES = 8;
const ROUTE_HEADER_BYTES = 12;
const NEIGHBOUR_HEADER_BYTES = 12;

export type Dumpable = 'link' | 'address' | 'route' | 'neighbour' | 'fdb';

/** Asks for all objects of a kind. */
export function dumpRequest(what: Dumpable): Request {
  switch (what) {
    case 'link':
      return dumpLinksRequest();
    case 'address':
      return { type: RTM.getAddress, flags: FLAG.dump, body: Buffer.alloc(ADDRESS_HEADER_BYTES) };
    case 'route':
      return { type: RTM.getRoute, flags: FLAG.dump, body: Buffer.alloc(ROUTE_HEADER_BYTES) };
    case 'neighbour':
      return { type: RTM.getNeighbour, flags: FLAG.dump, body: Buffer.alloc(NEIGHBOUR_HEADER_BYTES) };
    case 'fdb': {
      // The forwarding database is asked for with a link header; older kernels tell it by the message's length.
      const body = linkHeader(0, 0, 0);
      body[0] = AF.bridge;
      return { type: RTM.getNeighbour, flags: FLAG.dump, body };
    }
  }
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

export function setFdbRequest(index: number, entry: FdbEntry): Request {
  return { type: RTM.newNeighbour, flags: FLAG.create | FLAG.replace, body: fdbBody(index, entry) };
}

export function deleteFdbRequest(index: number, entry: FdbEntry): Request {
  return { type: RTM.deleteNeighbour, flags: 0, body: fdbBody(index, entry) };
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
  if ((family !== AF.inet && family !== AF.inet6) || (type !== RTN_UNICAST && type !== RTN_LOCAL)) return undefined;
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
  if (family !== AF.inet && family !== AF.inet6) return undefined;
  const attributes = readAttributes(body, NEIGHBOUR_HEADER_BYTES);
  const address = readIp(attributes.get(NDA.destination));
  const mac = attributes.get(NDA.mac);
  if (address === undefined || mac?.length !== 6) return undefined;
  return { linkIndex: body.readInt32LE(4), address, mac: macFromBytes(mac) };
}

/** Only entries that were set for good; entries of links that are neither a bridge's ports nor VXLAN devices are none. */
export function readFdbEntry(body: Buffer): (FdbEntry & { readonly linkIndex: number }) | undefined {
  if (body.length < NEIGHBOUR_HEADER_BYTES || body.readUInt8(0) !== AF.bridge) return undefined;
  const attributes: Attributes = readAttributes(body, NEIGHBOUR_HEADER_BYTES);
  const bytes = attributes.get(NDA.mac);
  if (bytes?.length !== 6) return undefined;
  const [linkIndex, state, mac] = [body.readInt32LE(4), body.readUInt16LE(8), macFromBytes(bytes)];
  const vtep = readIp(attributes.get(NDA.destination));
  if (vtep !== undefined) return { kind: 'tunnel', linkIndex, mac, vtep };
  // A bridge calls its own addresses permanent, what it has learned reachable, and only what was set static.
  return attributes.has(NDA.master) && (state & NUD.noarp) !== 0 ? { kind: 'port', linkIndex, mac } : undefined;
}

/** What a notice tells of; undefined when it is of nothing that is set for good, or was. */
export function readNeighbourNotice(
  { type, body }: Message,
  nameOf: (linkIndex: number) => string | undefined,
): Notice | undefined {
  if (body.length < NEIGHBOUR_HEADER_BYTES) return undefined;
  const link = nameOf(body.readInt32LE(4));
  const isThere = type === RTM.newNeighbour;
  if (body.readUInt8(0) === AF.bridge) {
    const found = readFdbEntry(body);
    if (found === undefined) return undefined;
    const { linkIndex: _index, ...entry } = found;
    return { kind: 'forwarding', link, entry, isThere };
  }
  const address = readIp(readAttributes(body, NEIGHBOUR_HEADER_BYTES).get(NDA.destination));
  if (address === undefined) return undefined;
  return { kind: 'neighbour', link, address, mac: isThere ? readNeighbour(body)?.mac : undefined };
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
    neighbourHeader(AF.bridge, index, state, flags),
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

function anyAddress(family: number): IpAddress {
  return (family === AF.inet ? '0.0.0.0' : '::') as IpAddress;
}
