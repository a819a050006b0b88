// State of all TCP connections of one worker, in arrays indexed by descriptor. A connection has two: the client's and the
// endpoint's. Entries of descriptors that were never used cost no memory (untouched pages), so everything is zero for
// "none" and nothing is ever filled.
import type { Introduced } from './proxy-introduction.ts';
import { ENDPOINT, FRONTEND, type WorkerCounters } from '../runtime/worker-env.ts';
import { ServiceTimes } from './service-times.ts';

/** Bits of `flags`, of the side that a descriptor is. */
export const FLAG = {
  /** The side that connected to us. */
  client: 1 << 0,
  /** The side that we connect to; `connecting` until the kernel says how that went. */
  endpoint: 1 << 1,
  connecting: 1 << 2,
  /** There may be more to read than was read: an edge came that was not followed up, or the last read was cut off. */
  readable: 1 << 3,
  /** The kernel told that the peer sends no more (EPOLLRDHUP), so a short read is the last one. */
  hangup: 1 << 4,
  /** Everything that this side will ever send has been read; the end is passed on once that is sent. */
  ended: 1 << 5,
  /** The end was passed on to the other side. */
  endPassed: 1 << 6,
  /** This side takes no more for now; EPOLLOUT will tell. */
  full: 1 << 7,
  /** So much comes from this side that it is moved in large pieces. */
  bulk: 1 << 8,
  /** Queued for the next round of large pieces. */
  bulkQueued: 1 << 9,
  /** Something was sent to this side: the next write must not wait for its acknowledgement. */
  written: 1 << 10,
  noDelay: 1 << 11,
  /** In the event loop. Clients come there with the first attempt to connect. */
  watched: 1 << 12,
  /** Of clients: has had an endpoint. */
  connected: 1 << 13,
  /** Of clients: to be logged when it ends. */
  logged: 1 << 14,
} as const;

export class TcpConnections {
  readonly capacity: number;
  readonly flags: Int32Array;
  /** The other side's descriptor plus one; 0: none (yet). */
  readonly peer: Int32Array;
  /** Of both sides, the endpoint's slot plus one. */
  readonly slot: Int32Array;
  /** Of clients. */
  readonly frontend: Int32Array;
  /** Of clients: where to look for an endpoint again if this one fails. */
  readonly backend: Int32Array;
  readonly targetPort: Uint16Array;
  /** Of endpoints: when the connection was begun, in the loop's time. 0: not in use. */
  readonly begunAt: Float64Array;
  /** Of clients: when they came, in the loop's time. */
  readonly acceptedAt: Float64Array;
  /** Of clients: the slot of the service's turns plus one; 0: not known yet. */
  readonly service: Int32Array;
  /** Bytes that came from this side. */
  readonly received: Float64Array;
  readonly #times: ServiceTimes;
  readonly #counters: WorkerCounters;
  /** Who clients are, of those for whom another spoke. */
  readonly introduced = new Map<number, Introduced>();
  #highest = 0;
  #connecting = 0;
  #clients = 0;

  constructor(capacity: number, counters: WorkerCounters) {
    this.capacity = capacity;
    this.flags = new Int32Array(capacity);
    this.peer = new Int32Array(capacity);
    this.slot = new Int32Array(capacity);
    this.frontend = new Int32Array(capacity);
    this.backend = new Int32Array(capacity);
    this.targetPort = new Uint16Array(capacity);
    this.begunAt = new Float64Array(capacity);
    this.acceptedAt = new Float64Array(capacity);
    this.service = new Int32Array(capacity);
    this.received = new Float64Array(capacity);
    this.#times = new ServiceTimes(counters.services);
    this.#counters = counters;
  }

  openClient(fd: number, frontend: number, backend: number, targetPort: number, now: number): void {
    this.flags[fd] = FLAG.client | FLAG.noDelay;
    this.#clients++;
    this.frontend[fd] = frontend;
    this.backend[fd] = backend;
    this.targetPort[fd] = targetPort;
    this.acceptedAt[fd] = now;
    this.service[fd] = 0;
    this.received[fd] = 0;
    if (fd > this.#highest) this.#highest = fd;
    add(this.#counters.frontends, frontend * FRONTEND.stride + FRONTEND.accepted, 1);
    add(this.#counters.frontends, frontend * FRONTEND.stride + FRONTEND.active, 1);
  }

  /** Clients that are connected to us. */
  get clients(): number {
    return this.#clients;
  }

  /** No descriptor above this one was ever in use. */
  get highest(): number {
    return this.#highest;
  }

  /** Connections that are being made to endpoints. */
  get connecting(): number {
    return this.#connecting;
  }

  /** Ties the socket of a connection that is being made to its client. */
  openEndpoint(fd: number, client: number, slot: number, now: number): void {
    this.flags[fd] = FLAG.endpoint | FLAG.connecting;
    this.#connecting++;
    this.begunAt[fd] = now;
    this.received[fd] = 0;
    this.peer[fd] = client + 1;
    this.peer[client] = fd + 1;
    this.slot[fd] = slot + 1;
    this.slot[client] = slot + 1;
    if (fd > this.#highest) this.#highest = fd;
    add(this.#counters.endpoints, slot * ENDPOINT.stride + ENDPOINT.active, 1);
  }

  established(fd: number, now: number): void {
    this.flags[fd] = (this.flags[fd] as number) & ~FLAG.connecting;
    const client = (this.peer[fd] as number) - 1;
    this.flags[client] = (this.flags[client] as number) | FLAG.connected;
    this.#times.connected((this.service[client] as number) - 1, now - (this.acceptedAt[client] as number));
    this.#connecting--;
    add(this.#counters.endpoints, ((this.slot[fd] as number) - 1) * ENDPOINT.stride + ENDPOINT.total, 1);
  }

  /** An attempt to connect to the endpoint with this slot failed. */
  countFailure(slot: number): void {
    add(this.#counters.endpoints, slot * ENDPOINT.stride + ENDPOINT.failures, 1);
  }

  /** No endpoint took this client. */
  clientFailed(fd: number): void {
    add(this.#counters.frontends, (this.frontend[fd] as number) * FRONTEND.stride + FRONTEND.failed, 1);
    if (this.service[fd] !== 0) this.#times.refused((this.service[fd] as number) - 1);
  }

  forgetClient(fd: number, now: number): void {
    if (this.introduced.size > 0) this.introduced.delete(fd);
    this.#clients--;
    if (((this.flags[fd] as number) & FLAG.connected) !== 0)
      this.#times.ended((this.service[fd] as number) - 1, now - (this.acceptedAt[fd] as number));
    add(this.#counters.frontends, (this.frontend[fd] as number) * FRONTEND.stride + FRONTEND.active, -1);
    this.flags[fd] = 0;
    this.peer[fd] = 0;
    this.slot[fd] = 0;
  }

  forgetEndpoint(fd: number): void {
    if (((this.flags[fd] as number) & FLAG.connecting) !== 0) this.#connecting--;
    add(this.#counters.endpoints, ((this.slot[fd] as number) - 1) * ENDPOINT.stride + ENDPOINT.active, -1);
    const client = this.peer[fd] as number;
    if (client > 0) {
      this.peer[client - 1] = 0;
      this.slot[client - 1] = 0;
    }
    this.begunAt[fd] = 0;
    this.flags[fd] = 0;
    this.peer[fd] = 0;
    this.slot[fd] = 0;
  }

  /** Sockets of all clients that are connected to us. */
  openClients(): number[] {
    const found: number[] = [];
    for (let fd = 0; fd <= this.#highest; fd++) if (((this.flags[fd] as number) & FLAG.client) !== 0) found.push(fd);
    return found;
  }

  /** Endpoint sockets of the connections that go to any of these slots. */
  toSlots(slots: readonly number[]): number[] {
    const wanted = new Set(slots);
    const found: number[] = [];
    for (let fd = 0; fd <= this.#highest; fd++) {
      if (((this.flags[fd] as number) & FLAG.endpoint) !== 0 && wanted.has((this.slot[fd] as number) - 1))
        found.push(fd);
    }
    return found;
  }
}

function add(counters: Float64Array, index: number, by: number): void {
  counters[index] = (counters[index] as number) + by;
}
