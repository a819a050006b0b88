// The numbers that workers keep and the main thread reads, in shared memory. A worker writes only its own part, plainly; the
// round-robin turns and the clients' affinity alone are shared and atomic. A read sees each number as it was at some recent moment.
import { AFFINITY_BYTES } from '../balancer/affinity.ts';
import { TALLY_BYTES, takeBack } from '../balancer/connection-tally.ts';
import {
  CONNECT_BOUNDS_MS,
  DURATION_BOUNDS_MS,
  ENDPOINT,
  FRONTEND,
  SERVICE,
  TOTAL,
  UPSTREAM,
  type WorkerCounters,
} from '../runtime/worker-env.ts';

/** How many of each there may be at once; decided at start, because workers hold views of the memory. */
export interface CounterCapacity {
  readonly frontends: number;
  readonly endpoints: number;
  readonly backends: number;
}

/** 10,000 services of 10 endpoints, twice. Costs address space only: about 37 MB per worker, of which touched pages become memory. */
export const DEFAULT_CAPACITY: CounterCapacity = { frontends: 32_768, endpoints: 262_144, backends: 65_536 };

/** One worker's memory, as it is posted to it. */
export interface CounterBuffers {
  readonly frontends: SharedArrayBuffer;
  readonly endpoints: SharedArrayBuffer;
  readonly services: SharedArrayBuffer;
  readonly totals: SharedArrayBuffer;
  readonly roundRobin: SharedArrayBuffer;
  /** Shared by all workers. */
  readonly affinity: SharedArrayBuffer;
  /** Shared by all workers. */
  readonly openConnections: SharedArrayBuffer;
  readonly ownOpenConnections: SharedArrayBuffer;
  /** `endpoints` of all workers. */
  readonly allEndpoints: readonly SharedArrayBuffer[];
}

export interface FrontendCounts {
  readonly accepted: number;
  readonly failed: number;
  /** Clients that were not let in. */
  readonly denied: number;
  readonly active: number;
}

/** How long something took, in milliseconds. */
export interface Durations {
  /** Each counts what took `upToMs` at most, what is in the earlier ones included. */
  readonly buckets: readonly { readonly upToMs: number; readonly count: number }[];
  readonly count: number;
  readonly sumMs: number;
}

/** Of TCP connections. */
export interface ServiceCounts {
  readonly open: number;
  readonly refused: number;
  /** By limits of the service: see SERVICE. */
  readonly refusedFull: number;
  readonly refusedClient: number;
  readonly endedIdle: number;
  readonly endedHalfClosed: number;
  readonly endedOld: number;
  readonly connectTimes: Durations;
  readonly durations: Durations;
}

export interface EndpointCounts {
  readonly active: number;
  readonly total: number;
  readonly failures: number;
  readonly bytesToClient: number;
  readonly bytesToEndpoint: number;
  readonly flows: number;
  /** Times that it was ejected, by all workers. */
  readonly ejections: number;
  /** Ports of it that are ejected now, counted in each worker. */
  readonly ejected: number;
}

/** What has numbers that are given to others when their owner has gone. */
export type Counted = 'frontends' | 'endpoints' | 'services';
const STRIDES = { frontends: FRONTEND.stride, endpoints: ENDPOINT.stride, services: SERVICE.stride } as const;

/** The worker's side. */
export function viewCounters(buffers: CounterBuffers): WorkerCounters {
  return {
    frontends: new Float64Array(buffers.frontends),
    endpoints: new Float64Array(buffers.endpoints),
    services: new Float64Array(buffers.services),
    totals: new Float64Array(buffers.totals),
    roundRobin: new Int32Array(buffers.roundRobin),
    affinity: buffers.affinity,
    openConnections: buffers.openConnections,
    ownOpenConnections: buffers.ownOpenConnections,
    allEndpoints: buffers.allEndpoints.map((one) => new Float64Array(one)),
  };
}

/** The main thread's side: sums over the workers. */
export class Counters {
  readonly capacity: CounterCapacity;
  readonly #buffers: readonly CounterBuffers[];
  readonly #views: readonly WorkerCounters[];
  /** What had been counted under a number when it was given to whom it has now. */
  readonly #baselines = {
    frontends: new Map<number, number>(),
    endpoints: new Map<number, number>(),
    services: new Map<number, number>(),
  };

  constructor(workers: number, capacity: CounterCapacity) {
    this.capacity = capacity;
    const roundRobin = new SharedArrayBuffer(capacity.backends * 4);
    const affinity = new SharedArrayBuffer(AFFINITY_BYTES);
    const openConnections = new SharedArrayBuffer(TALLY_BYTES);
    const allEndpoints = Array.from(
      { length: workers },
      () => new SharedArrayBuffer(capacity.endpoints * ENDPOINT.stride * 8),
    );
    this.#buffers = allEndpoints.map((endpoints) => ({
      frontends: new SharedArrayBuffer(capacity.frontends * FRONTEND.stride * 8),
      endpoints,
      services: new SharedArrayBuffer(capacity.backends * SERVICE.stride * 8),
      allEndpoints,
      affinity,
      openConnections,
      ownOpenConnections: new SharedArrayBuffer(TALLY_BYTES),
      totals: new SharedArrayBuffer(TOTAL.count * 8),
      roundRobin,
    }));
    this.#views = this.#buffers.map(viewCounters);
  }

  /** What the worker is started with. */
  buffers(worker: number): CounterBuffers {
    return this.#buffers[worker] as CounterBuffers;
  }

  frontend(id: number): FrontendCounts {
    const at = id * FRONTEND.stride;
    return {
      accepted: this.#since('frontends', at + FRONTEND.accepted),
      failed: this.#since('frontends', at + FRONTEND.failed),
      denied: this.#since('frontends', at + FRONTEND.denied),
      active: this.#sum('frontends', at + FRONTEND.active),
    };
  }

  endpoint(slot: number): EndpointCounts {
    const at = slot * ENDPOINT.stride;
    return {
      active: this.#sum('endpoints', at + ENDPOINT.active),
      flows: this.#sum('endpoints', at + ENDPOINT.flows),
      total: this.#since('endpoints', at + ENDPOINT.total),
      failures: this.#since('endpoints', at + ENDPOINT.failures),
      bytesToClient: this.#since('endpoints', at + ENDPOINT.bytesToClient),
      bytesToEndpoint: this.#since('endpoints', at + ENDPOINT.bytesToEndpoint),
      ejections: this.#since('endpoints', at + ENDPOINT.ejections),
      ejected: this.#sum('endpoints', at + ENDPOINT.ejected),
    };
  }

  /** Of the service with this slot. */
  service(slot: number): ServiceCounts {
    const at = slot * SERVICE.stride;
    return {
      open: this.#sum('services', at + SERVICE.open),
      refused: this.#since('services', at + SERVICE.refused),
      refusedFull: this.#since('services', at + SERVICE.refusedFull),
      refusedClient: this.#since('services', at + SERVICE.refusedClient),
      endedIdle: this.#since('services', at + SERVICE.endedIdle),
      endedHalfClosed: this.#since('services', at + SERVICE.endedHalfClosed),
      endedOld: this.#since('services', at + SERVICE.endedOld),
      connectTimes: this.#durations(at + SERVICE.connectTimes, CONNECT_BOUNDS_MS),
      durations: this.#durations(at + SERVICE.durations, DURATION_BOUNDS_MS),
    };
  }

  /** `index` is one of TOTAL, or TOTAL.dnsRcodes plus an rcode. */
  total(index: number): number {
    return this.#sum('totals', index);
  }

  /** What one worker has open now. */
  open(worker: number): { readonly connections: number; readonly flows: number } {
    const { frontends, totals } = this.#views[worker] as WorkerCounters;
    let all = 0;
    for (let at = FRONTEND.active; at < frontends.length; at += FRONTEND.stride) all += frontends[at] ?? 0;
    const flows = totals[TOTAL.udpFlowsActive] ?? 0;
    return { connections: all - flows, flows };
  }

  /** After a worker died, and before another uses its memory: nothing of what it had open is open any more. */
  clearActive(worker: number): void {
    const { frontends, endpoints, services, totals } = this.#views[worker] as WorkerCounters;
    for (let at = SERVICE.open; at < services.length; at += SERVICE.stride) if (services[at] !== 0) services[at] = 0;
    for (let at = FRONTEND.active; at < frontends.length; at += FRONTEND.stride)
      if (frontends[at] !== 0) frontends[at] = 0;
    for (let at = ENDPOINT.active; at < endpoints.length; at += ENDPOINT.stride)
      if (endpoints[at] !== 0) endpoints[at] = 0;
    for (const what of [ENDPOINT.flows, ENDPOINT.ejected])
      for (let at = what; at < endpoints.length; at += ENDPOINT.stride) if (endpoints[at] !== 0) endpoints[at] = 0;
    const { openConnections, ownOpenConnections } = this.#buffers[worker] as CounterBuffers;
    takeBack(openConnections, ownOpenConnections);
    totals[TOTAL.udpFlowsActive] = 0;
    totals[TOTAL.dnsTcpConnectionsActive] = 0;
    totals[TOTAL.dnsCacheEntries] = 0;
    totals[TOTAL.dnsCacheBytes] = 0;
    for (let n = 0; n < TOTAL.dnsUpstreamsMost; n++)
      totals[TOTAL.dnsUpstreams + n * UPSTREAM.stride + UPSTREAM.silent] = 0;
  }

  /** Of a frontend, endpoint or service: its number may have been another's before, whose counts are not its own. */
  begin(kind: Counted, number: number): void {
    const stride = STRIDES[kind];
    const baseline = this.#baselines[kind];
    for (let index = number * stride; index < (number + 1) * stride; index++) {
      const sum = this.#sum(kind, index);
      if (sum === 0) baseline.delete(index);
      else baseline.set(index, sum);
    }
  }

  #durations(at: number, bounds: readonly number[]): Durations {
    let count = 0;
    const buckets = bounds.map((upToMs, bucket) => {
      count += this.#since('services', at + 1 + bucket);
      return { upToMs, count };
    });
    count += this.#since('services', at + 1 + bounds.length);
    return { buckets, count, sumMs: this.#since('services', at) };
  }

  #since(kind: Counted, index: number): number {
    return this.#sum(kind, index) - (this.#baselines[kind].get(index) ?? 0);
  }

  #sum(kind: Counted | 'totals', index: number): number {
    let sum = 0;
    for (const view of this.#views) sum += view[kind][index] ?? 0;
    return sum;
  }
}
