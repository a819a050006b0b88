// What a worker thread's rooms (TCP, UDP, DNS) are given: where to count, whom to tell, chance.
import type { Random } from './random.ts';

export interface WorkerEnv {
  readonly counters: WorkerCounters;
  readonly random: Random;
  /** One log line, written by the main thread. Never per packet or per connection. */
  report(level: 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, string | number>>): void;
}

/**
 * Views of shared memory. The first four are this worker's own, so it adds to them without atomics; the main thread reads
 * them and sums over workers. Doubles, because byte counts outgrow 32 bits.
 */
export interface WorkerCounters {
  /** Frontend `id` counts at `id * FRONTEND.stride + FRONTEND.accepted` and so on. */
  readonly frontends: Float64Array;
  /** The endpoint with `slot` counts at `slot * ENDPOINT.stride + ENDPOINT.active` and so on. */
  readonly endpoints: Float64Array;
  /** The service whose turns are counted at `slot` counts at `slot * SERVICE.stride + SERVICE.open` and so on. */
  readonly services: Float64Array;
  /** Indexed by TOTAL. */
  readonly totals: Float64Array;
  /** The endpoints' counters of all workers, this one's among them. */
  readonly allEndpoints: readonly Float64Array[];
  /** Shared by all workers: which client came to which endpoint. */
  readonly affinity: SharedArrayBuffer;
  /** Shared by all workers: what is open to services whose connections are limited in number, and by which clients. */
  readonly openConnections: SharedArrayBuffer;
  /** What this worker has added to that. */
  readonly ownOpenConnections: SharedArrayBuffer;
  /** Shared by all workers: `Atomics.add(roundRobin, backend.roundRobinSlot, 1)` is the next turn. */
  readonly roundRobin: Int32Array;
}

/** Numbers per frontend. A flow of UDP counts as a connection. */
export const FRONTEND = {
  /** Connections taken since the start. */
  accepted: 0,
  /** Of those, the ones that were reset because no endpoint could be reached. */
  failed: 1,
  /** Open now. */
  active: 2,
  /** Clients that were not let in: TCP connections, and datagrams. */
  denied: 3,
  stride: 4,
} as const;

/** Numbers per endpoint. */
export const ENDPOINT = {
  /** Connections open now, those still being made included. */
  active: 0,
  /** Connections and flows made since the start. */
  total: 1,
  /** Attempts that failed: refused, unreachable, timed out. */
  failures: 2,
  bytesToClient: 3,
  bytesToEndpoint: 4,
  /** UDP flows open now. They are not in `active`: a flow moves on at once when its endpoint leaves, so nobody waits for it. */
  flows: 5,
  /** Times that it was ejected since the start. */
  ejections: 6,
  /** Ports of it that are ejected now. */
  ejected: 7,
  stride: 8,
} as const;

/**
 * Numbers per service, of TCP connections. A histogram is the sum of its values, then one count for each of its bounds and one for
 * what is beyond.
 */
export const SERVICE = {
  /** Connections that go to an endpoint now. */
  open: 0,
  /** Clients that were reset because no endpoint could be reached, since the start. */
  refused: 1,
  /** How long it took from taking a client to having an endpoint for it. */
  connectTimes: 2,
  /** How long connections that had an endpoint lasted. */
  durations: 16,
  /** Connections reset because the service had as many as it may have, and because their client had. */
  refusedFull: 31,
  refusedClient: 32,
  /** Connections reset because nothing had moved for too long; after one side had ended; because they were too old. */
  endedIdle: 33,
  endedHalfClosed: 34,
  endedOld: 35,
  stride: 36,
} as const;

/** Upper bounds in milliseconds: from what a machine does within itself to the last SYN of the kernel that is waited for. */
export const CONNECT_BOUNDS_MS = [0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000, 2500, 5000] as const;
/** Upper bounds in milliseconds: from one short request to a day. */
export const DURATION_BOUNDS_MS = [
  1, 10, 100, 500, 1000, 5000, 30_000, 60_000, 300_000, 900_000, 3_600_000, 21_600_000, 86_400_000,
] as const;

/** Numbers per worker. */
export const TOTAL = {
  /** Times that accepting stopped because descriptors had run out. */
  descriptorsExhausted: 0,
  /** Connections to a VIP, or a port of it, that stands for nothing. */
  strayConnections: 1,
  udpFlowsOpened: 2,
  udpFlowsActive: 3,
  udpDatagramsToEndpoint: 4,
  udpDatagramsToClient: 5,
  /** Not sent on: no endpoint, no room for a flow, refused by the kernel, cut. */
  udpDatagramsDropped: 6,
  dnsQueriesUdp: 8,
  dnsQueriesTcp: 9,
  /** By where the answer came from. */
  dnsAnswersLocal: 10,
  dnsAnswersCached: 11,
  dnsAnswersForwarded: 12,
  dnsAnswersStale: 13,
  dnsAnswersRefused: 14,
  /** No answer at all: responses, unreadable packets, strangers. */
  dnsDropped: 15,
  dnsUpstreamFailures: 16,
  dnsTcpConnectionsActive: 17,
  /** Of the local ones: the name exists and has no record of the type asked for. */
  dnsNoData: 18,
  /** Questions that came while the same one was being asked of an upstream, and shared its answer. */
  dnsMerged: 19,
  /** Not asked of any upstream: too many questions or clients were waiting. */
  dnsOverCap: 20,
  /** What is kept of upstreams' answers now. */
  dnsCacheEntries: 21,
  dnsCacheBytes: 22,
  /** Not asked of any upstream: too many of the same client's were waiting. */
  dnsOverShare: 23,
  /** Connections that the kernel had no source port for. */
  portsExhausted: 24,
  /** Connections of trusted proxies that did not begin with a whole PROXY header in time. Each is among the denied, too. */
  proxyHeadersRefused: 25,
  /** Answers by rcode: `dnsRcodes + rcode`, 0 to 15. */
  dnsRcodes: 32,
  /** Questions by type: `dnsTypes + placeOfType(type)`, 0 to 15. */
  dnsTypes: 48,
  /** Upstream n counts at `dnsUpstreams + n * UPSTREAM.stride + UPSTREAM.asked` and so on. */
  dnsUpstreams: 64,
  dnsUpstreamsMost: 32,
  count: 192,
} as const;

/** Numbers per upstream. */
export const UPSTREAM = {
  /** Messages sent to it. */
  asked: 0,
  answered: 1,
  /** 1 while it is known to be silent. */
  silent: 2,
  /** Questions of ours that came back to us from it. */
  loops: 3,
  stride: 4,
} as const;
