// Links as rtnetlink has them: bridges and their ports, virtual Ethernet pairs, VXLAN devices. PURE.
// Layouts and numbers: linux/if_link.h; rtnetlink(7).
import { ipToBytes, ipVersion } from '../model/address.ts';
import type { Link, LinkKind, MacAddress, Notice, PortSettings, Tunnel } from './kernel.ts';
import {
  attribute,
  be16,
  FLAG,
  type Message,
  nested,
  type Request,
  readAttributes,
  readText,
  readU32,
  text,
  u8,
  u32,
} from './message.ts';
import { AF, macFromBytes, macToBytes, readIp } from './wire-address.ts';

const RTM = { newLink: 16, deleteLink: 17, getLink: 18 } as const;
const IFF_UP = 0x1;
const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  operState: 16,
  linkInfo: 18,
  afSpec: 26,
  group: 27,
  netnsFd: 28,
} as const;
const NAME: ReadonlySet<number> = new Set([IFLA.name]);
const READ: ReadonlySet<number> = new Set(Object.values(IFLA));
/** Operational state (RFC 2863): `unknown` is what links without a carrier, such as the loopback, have while they work. */
const OPER_STATE = { unknown: 0, up: 6 } as const;
const IFLA_INFO = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const;
const VETH_INFO_PEER = 1;
const IFLA_BR_MCAST_SNOOPING = 23;
const IFLA_BRPORT: Readonly<Record<keyof PortSettings, number>> = {
  learning: 8,
  unicastFlood: 9,
  multicastFlood: 27,
  broadcastFlood: 30,
  suppressNeighbours: 32,
  isolated: 33,
};
const PORT_SETTINGS = Object.keys(IFLA_BRPORT) as readonly (keyof PortSettings)[];
const READ_OF_PORT: ReadonlySet<number> = new Set(Object.values(IFLA_BRPORT));
const IFLA_VXLAN = {
  id: 1,
  local4: 4,
  learning: 7,
  port: 15,
  local6: 17,
  checksum: 18,
  noChecksum6Sent: 19,
  noChecksum6Received: 20,
} as const;
const AF_INET6_SPEC = 10;
const IFLA_INET6_CONF = 2;
/** Places in the array that IFLA_INET6_CONF is (linux/ipv6.h, DEVCONF_*). */
const DEVCONF = { acceptRa: 3, disableIpv6: 26 } as const;
/** The group of links that are far ends of pairs, so that those of one namespace can be removed together. */
const FAR_END_GROUP = 118;
export const LINK_HEADER_BYTES = 16;

/** Asks for all links. */
export function dumpLinksRequest(): Request {
  return { type: RTM.getLink, flags: FLAG.dump, body: linkHeader(0, 0, 0) };
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
    body: Buffer.concat([linkHeader(0, 0, 0), ...linkEnd({ name, ...(mac === undefined ? {} : { mac }) }), info]),
  };
}

export interface LinkEnd {
  readonly name: string;
  readonly mac?: MacAddress;
  /** Where the end is put; absent: where the request is made. */
  readonly netnsFd?: number;
}

/** Makes a pair of virtual Ethernet links, each end in its namespace at once, so that no name clashes in between. */
export function addVethRequest(end: LinkEnd, peer: LinkEnd): Request {
  const peerData = attribute(
    VETH_INFO_PEER | 0x8000,
    Buffer.concat([linkHeader(0, 0, 0), ...linkEnd(peer), u32(IFLA.group, FAR_END_GROUP)]),
  );
  const info = nested(IFLA.linkInfo, [text(IFLA_INFO.kind, 'veth'), nested(IFLA_INFO.data, [peerData])]);
  return {
    type: RTM.newLink,
    flags: FLAG.create | FLAG.exclusive,
    body: Buffer.concat([linkHeader(0, 0, 0), ...linkEnd(end), info]),
  };
}

/**
 * Makes a VXLAN device that asks and learns nothing: where frames go is only what is set. It is put into a namespace, while
 * its UDP socket stays where the request is made. Checksums are on: without one, a receiver has to sum up each inner packet by
 * itself, and over IPv6 UDP wants one (RFC 8200 section 8.1).
 */
export function addVxlanRequest(name: string, { vni, port, local }: Tunnel, netnsFd: number): Request {
  const data = nested(IFLA_INFO.data, [
    u32(IFLA_VXLAN.id, vni),
    attribute(ipVersion(local) === 4 ? IFLA_VXLAN.local4 : IFLA_VXLAN.local6, ipToBytes(local)),
    be16(IFLA_VXLAN.port, port),
    u8(IFLA_VXLAN.learning, 0),
    u8(IFLA_VXLAN.checksum, 1),
    u8(IFLA_VXLAN.noChecksum6Sent, 0),
    u8(IFLA_VXLAN.noChecksum6Received, 0),
  ]);
  return {
    type: RTM.newLink,
    flags: FLAG.create | FLAG.exclusive,
    body: Buffer.concat([
      linkHeader(0, 0, 0),
      ...linkEnd({ name, netnsFd }),
      nested(IFLA.linkInfo, [text(IFLA_INFO.kind, 'vxlan'), data]),
    ]),
  };
}

export interface LinkChange {
  readonly up?: boolean;
  readonly mac?: MacAddress;
  readonly mtu?: number;
  /** Index of the bridge; 0 takes the link out of its bridge. */
  readonly master?: number;
  /** Of a bridge port. */
  readonly port?: Partial<PortSettings>;
}

export function setLinkRequest(index: number, change: LinkChange): Request {
  const parts = [linkHeader(index, change.up === true ? IFF_UP : 0, change.up === undefined ? 0 : IFF_UP)];
  if (change.mac !== undefined) parts.push(attribute(IFLA.address, macToBytes(change.mac)));
  if (change.mtu !== undefined) parts.push(u32(IFLA.mtu, change.mtu));
  if (change.master !== undefined) parts.push(u32(IFLA.master, change.master));
  if (change.port !== undefined) parts.push(portSettings(change.port));
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

/** What a notice tells of; undefined when it is not of a link, but of an address. */
export function readLinkNotice({ type, body }: Message): Notice | undefined {
  const isLink = (type === RTM.newLink || type === RTM.deleteLink) && body.length >= LINK_HEADER_BYTES;
  const name = isLink ? readText(readAttributes(body, LINK_HEADER_BYTES, NAME).get(IFLA.name)) : undefined;
  return name === undefined ? undefined : { kind: 'link', name };
}

/** A link as the kernel shows it; undefined when the bytes are not one. */
export function readLink(body: Buffer): (Link & { readonly index: number; readonly masterIndex: number }) | undefined {
  if (body.length < LINK_HEADER_BYTES) return undefined;
  const attributes = readAttributes(body, LINK_HEADER_BYTES, READ);
  const name = readText(attributes.get(IFLA.name));
  if (name === undefined) return undefined;
  const info = readAttributes(attributes.get(IFLA.linkInfo) ?? Buffer.alloc(0));
  const kind = linkKind(readText(info.get(IFLA_INFO.kind)));
  const mac = attributes.get(IFLA.address);
  const operState = attributes.get(IFLA.operState)?.[0];
  return {
    index: body.readInt32LE(4),
    name,
    kind,
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    ready: operState === OPER_STATE.up || operState === OPER_STATE.unknown,
    mac: mac?.length === 6 ? macFromBytes(mac) : undefined,
    mtu: readU32(attributes.get(IFLA.mtu)) ?? 0,
    masterIndex: readU32(attributes.get(IFLA.master)) ?? 0,
    master: undefined,
    port: readText(info.get(IFLA_INFO.slaveKind)) === 'bridge' ? readPort(info.get(IFLA_INFO.slaveData)) : undefined,
    tunnel: kind === 'vxlan' ? readTunnel(info.get(IFLA_INFO.data)) : undefined,
    ...readSysctls(name, attributes.get(IFLA.afSpec)),
  };
}

export function linkHeader(index: number, flags: number, change: number): Buffer {
  const header = Buffer.alloc(LINK_HEADER_BYTES);
  header.writeUInt8(AF.unspec, 0);
  header.writeInt32LE(index, 4);
  header.writeUInt32LE(flags, 8);
  header.writeUInt32LE(change, 12);
  return header;
}

function portSettings(port: Partial<PortSettings>): Buffer {
  const set = PORT_SETTINGS.flatMap((name) => {
    const value = port[name];
    return value === undefined ? [] : [u8(IFLA_BRPORT[name], value ? 1 : 0)];
  });
  return nested(IFLA.linkInfo, [text(IFLA_INFO.slaveKind, 'bridge'), nested(IFLA_INFO.slaveData, set)]);
}

/** What an older kernel does not tell is off. */
function readPort(data: Buffer | undefined): PortSettings {
  const attributes = readAttributes(data ?? Buffer.alloc(0), 0, READ_OF_PORT);
  return Object.fromEntries(
    PORT_SETTINGS.map((name) => [name, attributes.get(IFLA_BRPORT[name])?.[0] === 1]),
  ) as unknown as PortSettings;
}

/** A link too narrow for IPv6 has none of these. */
function readSysctls(name: string, spec: Buffer | undefined): Pick<Link, 'sysctls'> {
  const ipv6 = spec === undefined ? undefined : readAttributes(spec).get(AF_INET6_SPEC);
  const values = ipv6 === undefined ? undefined : readAttributes(ipv6).get(IFLA_INET6_CONF);
  if (values === undefined || values.length < 4 * (DEVCONF.disableIpv6 + 1)) return {};
  const valueAt = (place: number): string => String(values.readInt32LE(4 * place));
  return {
    sysctls: {
      [`ipv6/conf/${name}/accept_ra`]: valueAt(DEVCONF.acceptRa),
      [`ipv6/conf/${name}/disable_ipv6`]: valueAt(DEVCONF.disableIpv6),
    },
  };
}

function readTunnel(data: Buffer | undefined): Tunnel | undefined {
  const attributes = readAttributes(data ?? Buffer.alloc(0));
  const vni = readU32(attributes.get(IFLA_VXLAN.id));
  const port = attributes.get(IFLA_VXLAN.port);
  const local = readIp(attributes.get(IFLA_VXLAN.local4) ?? attributes.get(IFLA_VXLAN.local6));
  if (vni === undefined || port?.length !== 2 || local === undefined) return undefined;
  return { vni, port: port.readUInt16BE(0), local };
}

function linkEnd({ name, mac, netnsFd }: LinkEnd): Buffer[] {
  return [
    text(IFLA.name, name),
    ...(mac === undefined ? [] : [attribute(IFLA.address, macToBytes(mac))]),
    ...(netnsFd === undefined ? [] : [u32(IFLA.netnsFd, netnsFd)]),
  ];
}

function linkKind(kind: string | undefined): LinkKind {
  return kind === 'bridge' || kind === 'veth' || kind === 'vxlan' ? kind : 'other';
}
