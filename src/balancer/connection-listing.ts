// What one worker has open, for whoever wants to look: a page at a time, so that nobody's bytes wait for it. Addresses are asked of
// the kernel only for what is shown.
import { type Fd, getpeername, getsockname } from '../native/libc.ts';
import { readIpv6, readSockaddr, SOCKADDR_BYTES, type SocketAddress } from '../native/sockaddr.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';
import type { TcpTargets } from './tcp-targets.ts';
import type { UdpFlows } from './udp-flows.ts';

export interface PageWanted {
  /** Slot of a service's turns: only its own; absent: all. */
  readonly service?: number;
  /** 0, or `next` of the page before. */
  readonly from: number;
  /** The page ends with this row at the latest. 0: what there is is only counted. */
  readonly rows: number;
}

export interface ConnectionPage {
  readonly rows: readonly ConnectionRow[];
  /** How many there were on this page, shown or not. */
  readonly matched: number;
  /** Where the next page begins; -1 after the last one. */
  readonly next: number;
}

/**
 * `connecting`: no endpoint has taken it yet. `stalled`: one side does not read, and the other waits for it. `client-ended`,
 * `endpoint-ended`: that side sends no more, the other one still may. `waiting`: a flow without an answer yet.
 */
export type ConnectionState = 'connecting' | 'open' | 'stalled' | 'client-ended' | 'endpoint-ended' | 'waiting';

export interface ConnectionRow {
  readonly protocol: 'tcp' | 'udp';
  /** Slot of the service's turns; -1: not known yet. */
  readonly service: number;
  /** The endpoint's; -1: none yet. */
  readonly slot: number;
  readonly client: SocketAddress;
  /** What the client connected to. */
  readonly frontend: SocketAddress;
  /** Port 0: not connected yet. */
  readonly endpoint?: SocketAddress;
  readonly ageMs: number;
  readonly bytesToEndpoint: number;
  readonly bytesToClient: number;
  readonly state: ConnectionState;
}

/** Numbers looked at for one page: a fraction of a millisecond. */
const PAGE_NUMBERS = 32_768;
const name = Buffer.alloc(SOCKADDR_BYTES);
const length = new Uint32Array(1);

export function listTcp(
  connections: TcpConnections,
  targets: TcpTargets,
  now: number,
  wanted: PageWanted,
): ConnectionPage {
  const { flags, service } = connections;
  const end = Math.min(wanted.from + PAGE_NUMBERS, connections.highest + 1);
  const rows: ConnectionRow[] = [];
  let matched = 0;
  let fd = wanted.from;
  for (; fd < end && !isFull(rows, wanted); fd++) {
    if (((flags[fd] as number) & FLAG.client) === 0) continue;
    if (wanted.service !== undefined && service[fd] !== wanted.service + 1) continue;
    matched++;
    if (wanted.rows > 0) rows.push(tcpRow(connections, targets, now, fd));
  }
  return { rows, matched, next: fd > connections.highest ? -1 : fd };
}

function tcpRow(connections: TcpConnections, targets: TcpTargets, now: number, client: Fd): ConnectionRow {
  const fd = (connections.peer[client] as number) - 1;
  const slot = (connections.slot[client] as number) - 1;
  const backend = targets.backend(connections.backend[client] as number);
  const introduced = connections.introduced.get(client);
  const address = backend?.endpoints.find((one) => one.slot === slot)?.address;
  const endpoint = (fd < 0 ? undefined : peerOf(fd)) ?? (address === undefined ? undefined : { address, port: 0 });
  return {
    protocol: 'tcp',
    service: (connections.service[client] as number) - 1,
    slot,
    client: introduced === undefined ? (peerOf(client) ?? GONE) : readSockaddr(introduced.client, 0),
    frontend: ownOf(client) ?? GONE,
    ...(endpoint && { endpoint }),
    ageMs: now - (connections.acceptedAt[client] as number),
    bytesToEndpoint: connections.received[client] as number,
    bytesToClient: fd < 0 ? 0 : (connections.received[fd] as number),
    state: tcpState(connections.flags[client] as number, fd < 0 ? FLAG.connecting : (connections.flags[fd] as number)),
  };
}

function tcpState(client: number, endpoint: number): ConnectionState {
  if ((endpoint & FLAG.connecting) !== 0) return 'connecting';
  if (((client | endpoint) & FLAG.full) !== 0) return 'stalled';
  if ((client & FLAG.ended) !== 0) return 'client-ended';
  return (endpoint & FLAG.ended) === 0 ? 'open' : 'endpoint-ended';
}

export function listUdp(flows: UdpFlows, now: number, wanted: PageWanted): ConnectionPage {
  const end = Math.min(wanted.from + PAGE_NUMBERS, flows.table.used);
  const rows: ConnectionRow[] = [];
  let matched = 0;
  let flow = wanted.from;
  for (; flow < end && !isFull(rows, wanted); flow++) {
    const endpoint = flows.endpoints[flow];
    if (endpoint === undefined) continue;
    if (wanted.service !== undefined && flows.services[flow] !== wanted.service) continue;
    matched++;
    if (wanted.rows === 0) continue;
    rows.push({
      protocol: 'udp',
      service: flows.services[flow] as number,
      slot: endpoint.slot,
      client: { address: addressIn(flows, flow, 0), port: clientPort(flows.table.keyWord(flow, 5)) },
      frontend: frontendOf(flows, flow),
      endpoint: { address: endpoint.address, port: flows.ports[flow] as number },
      ageMs: now - (flows.begunAt[flow] as number),
      bytesToEndpoint: flows.bytesToEndpoint[flow] as number,
      bytesToClient: flows.bytesToClient[flow] as number,
      state: flows.table.isAnswered(flow) ? 'open' : 'waiting',
    });
  }
  return { rows, matched, next: flow >= flows.table.used ? -1 : flow };
}

function isFull(rows: readonly ConnectionRow[], wanted: PageWanted): boolean {
  return wanted.rows > 0 && rows.length >= wanted.rows;
}

/** The client may have gone just now. */
const GONE: SocketAddress = { address: '-', port: 0 };

/** Who is at the other end; undefined when nobody is, or not yet. */
export function peerOf(fd: Fd): SocketAddress | undefined {
  length[0] = SOCKADDR_BYTES;
  return getpeername(fd, name, length) < 0 ? undefined : readSockaddr(name, 0);
}

/** What a socket is bound to. */
export function ownOf(fd: Fd): SocketAddress | undefined {
  length[0] = SOCKADDR_BYTES;
  return getsockname(fd, name, length) < 0 ? undefined : readSockaddr(name, 0);
}

/** The key holds what the listening socket is not bound to: an address, and for a VIP a port. */
function frontendOf(flows: UdpFlows, flow: number): SocketAddress {
  const bound = ownOf(flows.listenerFds[flow] as Fd) ?? GONE;
  const address = addressIn(flows, flow, 7);
  return {
    address: address === '::' ? bound.address : address,
    port: flows.table.keyWord(flow, 5) & 0xffff || bound.port,
  };
}

/** Four words of a flow's key, as they lie in memory. */
function addressIn({ table }: UdpFlows, flow: number, word: number): string {
  for (let i = 0; i < 4; i++) name.writeInt32LE(table.keyWord(flow, word + i), 4 * i);
  return readIpv6(name, 0);
}

/** The upper half of the word, whose bytes lie in network order behind the family. */
function clientPort(word: number): number {
  const upper = word >>> 16;
  return ((upper & 0xff) << 8) | (upper >>> 8);
}
