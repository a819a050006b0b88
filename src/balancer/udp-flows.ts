// The sockets of a worker's UDP flows, and what is known of each flow, in arrays indexed by flow. Opens and closes; when, is
// decided in udp-proxy.
import { EPOLLIN, SO_ERROR, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET } from '../native/constants.ts';
import type { DatagramBatch } from '../native/datagram-batch.ts';
import { coalesce } from '../native/datagram-socket.ts';
import { errno, NativeError } from '../native/errno.ts';
import type { EventLoop, Handler } from '../native/event-loop.ts';
import { addressOf, close, connect, type Fd, getsockopt, type Pointer, socket } from '../native/libc.ts';
import { enterNetns, leaveNetns, OWN_NETNS } from '../native/netns.ts';
import { descriptorLimit } from '../native/rlimit.ts';
import { ENDPOINT, FRONTEND, TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import type { Frontend } from './command.ts';
import { FlowTable, type FlowTableOptions } from './flow-table.ts';
import { REPLY_CONTROL_BYTES, type UdpKeyReader } from './udp-key.ts';
import type { UdpEndpoint } from './udp-routes.ts';

/** Bytes between two clients' socket addresses. */
const NAME_STRIDE = 32;
const TYPE = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

export interface UdpFlowHandlers {
  /** An endpoint's socket has something to read. */
  readonly endpoint: Handler;
  /** A VIP flow's socket towards its client has something to read. */
  readonly client: Handler;
}

export class UdpFlows {
  readonly table: FlowTable;
  /** The flow's endpoint; undefined while it has none. */
  readonly endpoints: (UdpEndpoint | undefined)[] = [];
  /** The port that the endpoint is asked at. */
  readonly ports: Uint16Array;
  /** The flow's socket towards its endpoint; 0: none. */
  readonly endpointFds: Int32Array;
  /** A VIP flow's socket towards its client; 0: the flow answers by the listening socket. */
  readonly clientFds: Int32Array;
  readonly frontends: Int32Array;
  /** The socket of the frontend. */
  readonly listenerFds: Int32Array;
  /** The slot of the service's turns. */
  readonly services: Int32Array;
  /** When it began, in the loop's time. */
  readonly begunAt: Float64Array;
  readonly bytesToEndpoint: Float64Array;
  readonly bytesToClient: Float64Array;
  /** Of the routes, when the flow's endpoint was last known to be among them. */
  readonly generations: Int32Array;
  /** Nothing was sent through the endpoint's socket yet. */
  readonly unproven: Uint8Array;
  /** The loop's batch in which the endpoint last sent something. */
  readonly lastBatches: Int32Array;
  /** The endpoint had several answers waiting when it was last looked at. */
  readonly hasMany: Uint8Array;
  /** What comes from the endpoint may be coalesced: its socket must be read by a batch. */
  readonly coalesces: Uint8Array;
  readonly names: Buffer;
  readonly namesAddress: Pointer;
  readonly nameLengths: Uint8Array;
  readonly controls: Buffer;
  readonly controlsAddress: Pointer;
  readonly controlLengths: Uint8Array;
  readonly #loop: EventLoop;
  readonly #env: WorkerEnv;
  readonly #handlers: UdpFlowHandlers;
  /** Descriptor → flow + 1. */
  readonly #flowOf = new Int32Array(descriptorLimit());
  readonly #socketError = new Int32Array(2);
  readonly #socketErrorAddress = addressOf(this.#socketError);
  readonly #four = new Uint32Array([4]);
  readonly #fourAddress = addressOf(this.#four);

  constructor(loop: EventLoop, env: WorkerEnv, handlers: UdpFlowHandlers, options: FlowTableOptions) {
    const { capacity } = options;
    this.#loop = loop;
    this.#env = env;
    this.#handlers = handlers;
    this.table = new FlowTable(options);
    this.ports = new Uint16Array(capacity);
    this.endpointFds = new Int32Array(capacity);
    this.clientFds = new Int32Array(capacity);
    this.frontends = new Int32Array(capacity);
    this.listenerFds = new Int32Array(capacity);
    this.generations = new Int32Array(capacity);
    this.services = new Int32Array(capacity);
    this.begunAt = new Float64Array(capacity);
    this.bytesToEndpoint = new Float64Array(capacity);
    this.bytesToClient = new Float64Array(capacity);
    this.unproven = new Uint8Array(capacity);
    this.lastBatches = new Int32Array(capacity);
    this.hasMany = new Uint8Array(capacity);
    this.coalesces = new Uint8Array(capacity);
    this.names = Buffer.alloc(capacity * NAME_STRIDE);
    this.namesAddress = addressOf(this.names);
    this.nameLengths = new Uint8Array(capacity);
    this.controls = Buffer.alloc(capacity * REPLY_CONTROL_BYTES);
    this.controlsAddress = addressOf(this.controls);
    this.controlLengths = new Uint8Array(capacity);
  }

  /** The flow whose socket this is, or NO_FLOW. */
  flowOf(fd: Fd): number {
    return (this.#flowOf[fd] as number) - 1;
  }

  nameOffset(flow: number): number {
    return flow * NAME_STRIDE;
  }

  controlOffset(flow: number): number {
    return flow * REPLY_CONTROL_BYTES;
  }

  /** Counts a flow that was just inserted in the table. It has no sockets yet. */
  begin(flow: number, { id, fd }: Frontend, service: number): void {
    this.frontends[flow] = id;
    this.services[flow] = service;
    this.begunAt[flow] = this.#loop.now();
    this.bytesToEndpoint[flow] = 0;
    this.bytesToClient[flow] = 0;
    this.listenerFds[flow] = fd;
    this.endpointFds[flow] = 0;
    this.clientFds[flow] = 0;
    this.endpoints[flow] = undefined;
    this.lastBatches[flow] = 0;
    this.hasMany[flow] = 0;
    const { counters } = this.#env;
    addTo(counters.frontends, id * FRONTEND.stride + FRONTEND.accepted, 1);
    addTo(counters.frontends, id * FRONTEND.stride + FRONTEND.active, 1);
    addTo(counters.totals, TOTAL.udpFlowsOpened, 1);
    addTo(counters.totals, TOTAL.udpFlowsActive, 1);
  }

  /** Gives a VIP flow its socket towards the client. The flow owns it from here on. Throws NativeError. */
  attachClient(flow: number, fd: Fd): void {
    coalesce(fd);
    this.#watch(flow, fd, this.#handlers.client);
    this.clientFds[flow] = fd;
  }

  /** Notes where answers go: to the sender of received datagram i, whose key was just read, from the address that it used. */
  rememberClient(flow: number, batch: DatagramBatch, i: number, reader: UdpKeyReader): true {
    const from = batch.sourceOffset(i);
    const length = batch.sourceLength(i);
    batch.sources.copy(this.names, this.nameOffset(flow), from, from + length);
    this.nameLengths[flow] = length;
    this.controlLengths[flow] = reader.writeReplyControl(i, this.controls, this.controlOffset(flow));
    return true;
  }

  /** Connects the flow to an endpoint, instead of the one that it had. 0, or errno when the kernel says at once that it cannot be. */
  pin(flow: number, endpoint: UdpEndpoint, port: number): number {
    this.unpin(flow);
    const fd = openSocket(endpoint, port);
    if (fd < 0) {
      addTo(this.#env.counters.endpoints, endpoint.slot * ENDPOINT.stride + ENDPOINT.failures, 1);
      return -fd;
    }
    this.#watch(flow, fd, this.#handlers.endpoint);
    this.endpointFds[flow] = fd;
    this.endpoints[flow] = endpoint;
    this.ports[flow] = port;
    this.unproven[flow] = 1;
    this.coalesces[flow] = 0;
    addTo(this.#env.counters.endpoints, endpoint.slot * ENDPOINT.stride + ENDPOINT.flows, 1);
    addTo(this.#env.counters.endpoints, endpoint.slot * ENDPOINT.stride + ENDPOINT.total, 1);
    return 0;
  }

  /** Notes whether the endpoint has several answers at once, and lets the kernel hand those of one that has over together. */
  noteMany(flow: number, answers: number): void {
    this.hasMany[flow] = answers > 1 ? 1 : 0;
    if (answers > 1 && this.coalesces[flow] === 0 && coalesce(this.endpointFds[flow] as Fd)) this.coalesces[flow] = 1;
  }

  /** Counts bytes of a flow, for it and for its endpoint. */
  count(flow: number, way: 'bytesToClient' | 'bytesToEndpoint', bytes: number): void {
    const own = this[way];
    own[flow] = (own[flow] as number) + bytes;
    addTo(this.#env.counters.endpoints, (this.endpoints[flow]?.slot ?? 0) * ENDPOINT.stride + ENDPOINT[way], bytes);
  }

  /** Takes the flow's endpoint from it. Its client may still come back, and is led to another then. */
  unpin(flow: number): void {
    const fd = this.endpointFds[flow] as number;
    const endpoint = this.endpoints[flow];
    if (fd === 0 || endpoint === undefined) return;
    this.#close(fd);
    this.endpointFds[flow] = 0;
    this.endpoints[flow] = undefined;
    addTo(this.#env.counters.endpoints, endpoint.slot * ENDPOINT.stride + ENDPOINT.flows, -1);
  }

  /** Closes the flow's sockets and forgets it. Nothing may be queued any more that points to its name. */
  end(flow: number): void {
    this.unpin(flow);
    const client = this.clientFds[flow] as number;
    if (client !== 0) this.#close(client);
    this.clientFds[flow] = 0;
    const { counters } = this.#env;
    addTo(counters.frontends, (this.frontends[flow] as number) * FRONTEND.stride + FRONTEND.active, -1);
    addTo(counters.totals, TOTAL.udpFlowsActive, -1);
    this.table.remove(flow);
  }

  /** Takes the ICMP error that waits on a socket; 0: none. */
  takeError(fd: Fd): number {
    this.#four[0] = 4;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#socketErrorAddress, this.#fourAddress) < 0
      ? errno()
      : (this.#socketError[0] as number);
  }

  #watch(flow: number, fd: Fd, handler: Handler): void {
    this.#loop.own(fd);
    this.#flowOf[fd] = flow + 1;
    this.#loop.add(fd, EPOLLIN, handler);
  }

  #close(fd: Fd): void {
    this.#flowOf[fd] = 0;
    this.#loop.close(fd);
  }
}

/** A socket connected to the endpoint, or -errno. */
function openSocket(endpoint: UdpEndpoint, port: number): number {
  const foreign = endpoint.netns !== OWN_NETNS;
  try {
    if (foreign) enterNetns(endpoint.netns);
  } catch (error) {
    if (error instanceof NativeError) return -error.errno;
    throw error;
  }
  const fd = socket(endpoint.family, TYPE, 0);
  const socketErrno = fd < 0 ? errno() : 0;
  if (foreign) leaveNetns();
  if (fd < 0) return -socketErrno;
  endpoint.sockaddr.writeUInt16BE(port, 2);
  if (connect(fd, endpoint.sockaddrAddress, endpoint.sockaddrLength) === 0) return fd;
  const connectErrno = errno();
  close(fd);
  return -connectErrno;
}

export function addTo(counters: Float64Array, index: number, by: number): void {
  counters[index] = (counters[index] as number) + by;
}
