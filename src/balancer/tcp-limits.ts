// What services allow their connections, in one worker: how many at once, and how long. A service without limits costs nothing here,
// and one with limits nothing per byte: when a connection may have been idle for too long, the kernel is asked since when.
import { IPPROTO_TCP, TCP_INFO } from '../native/constants.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { addressOf, type Fd, getsockopt } from '../native/libc.ts';
import type { Limits } from '../model/limits.ts';
import { SERVICE, type WorkerCounters } from '../runtime/worker-env.ts';
import type { ConnectionEnd } from './connection-record.ts';
import { ConnectionTally, EVERYBODY } from './connection-tally.ts';
import { hashPeer } from './peer.ts';
import type { TcpConnections } from './tcp-connections.ts';

/** A connection ends at most this much later than it should. */
const COARSENESS_MS = 200;

// `struct tcp_info` (linux/tcp.h): milliseconds since data was sent, and since data was received.
const TCP_INFO_BYTES = 64;
const LAST_DATA_SENT = 44;
const LAST_DATA_RECEIVED = 52;

/** A client whose service has limits. */
interface Limited {
  readonly service: number;
  readonly limits: Limits;
  /** The key under which it counts for its address; absent: it is not counted. */
  client?: number;
  /** When it was connected to its endpoint, in the loop's time; 0: not yet. */
  startedAt: number;
  /** When one side ended; 0: none did. */
  halfClosedAt: number;
  /** When it is to be looked at. */
  dueAt: number;
}

type Counter = Exclude<(typeof SERVICE)[keyof typeof SERVICE], typeof SERVICE.stride>;

export interface TcpLimitsPort {
  readonly loop: EventLoop;
  readonly connections: TcpConnections;
  readonly counters: WorkerCounters;
  /** Ends the connection with RST. */
  end(client: Fd, why: ConnectionEnd): void;
}

export class TcpLimits {
  readonly #port: TcpLimitsPort;
  readonly #tally: ConnectionTally;
  readonly #limited = new Map<Fd, Limited>();
  #timer = 0;
  #timerAt = Number.POSITIVE_INFINITY;
  readonly #info = Buffer.alloc(TCP_INFO_BYTES);
  readonly #infoAddress = addressOf(this.#info);
  readonly #infoLength = new Uint32Array(1);

  constructor(port: TcpLimitsPort) {
    this.#port = port;
    this.#tally = new ConnectionTally(port.counters.openConnections, port.counters.ownOpenConnections);
  }

  /** No open connection has limits. */
  get isIdle(): boolean {
    return this.#limited.size === 0;
  }

  /** Whether the client may have a connection; asked before an endpoint is chosen for it, perhaps more than once. */
  admit(client: Fd, service: number, limits: Limits): boolean {
    if (this.#limited.has(client)) return true;
    const one: Limited = { service, limits, startedAt: 0, halfClosedAt: 0, dueAt: Number.POSITIVE_INFINITY };
    const { maxConnections = Number.POSITIVE_INFINITY, maxConnectionsPerClient = Number.POSITIVE_INFINITY } = limits;
    if (isCounted(limits)) {
      const key = hashPeer(client, this.#port.connections.introduced.get(client));
      if (!this.#tally.take(service, EVERYBODY, maxConnections)) {
        this.#count(service, SERVICE.refusedFull);
        return false;
      }
      if (!this.#tally.take(service, key, maxConnectionsPerClient)) {
        this.#tally.give(service, EVERYBODY);
        this.#count(service, SERVICE.refusedClient);
        return false;
      }
      one.client = key;
    }
    this.#limited.set(client, one);
    return true;
  }

  /** Clients that were connected to a service before their number was limited count from now on. */
  adopt(clients: readonly Fd[], service: number): void {
    for (const client of clients) {
      const known = this.#limited.get(client);
      if (known?.client !== undefined) continue;
      const key = hashPeer(client, this.#port.connections.introduced.get(client));
      this.#tally.take(service, EVERYBODY, Number.POSITIVE_INFINITY);
      this.#tally.take(service, key, Number.POSITIVE_INFINITY);
      if (known !== undefined) known.client = key;
      else
        this.#limited.set(client, {
          service,
          limits: {},
          client: key,
          startedAt: 0,
          halfClosedAt: 0,
          dueAt: Number.POSITIVE_INFINITY,
        });
    }
  }

  /** The client's endpoint has accepted. */
  established(client: Fd): void {
    const one = this.#limited.get(client);
    if (one === undefined) return;
    const now = this.#port.loop.now();
    one.startedAt = now;
    this.#expect(one, dueAt(one, now));
  }

  /** One side of the client's connection has ended, and the other was told. */
  halfClosed(client: Fd): void {
    const one = this.#limited.get(client);
    if (one === undefined || one.limits.halfClosedTimeoutMs === undefined) return;
    const now = this.#port.loop.now();
    one.halfClosedAt = now;
    this.#expect(one, Math.min(one.dueAt, now + one.limits.halfClosedTimeoutMs));
  }

  /** The client is gone. */
  ended(client: Fd): void {
    const one = this.#limited.get(client);
    if (one === undefined) return;
    this.#limited.delete(client);
    if (one.client === undefined) return;
    this.#tally.give(one.service, EVERYBODY);
    this.#tally.give(one.service, one.client);
  }

  #expect(one: Limited, at: number): void {
    one.dueAt = at;
    if (at >= this.#timerAt) return;
    const { loop } = this.#port;
    if (this.#timer !== 0) loop.clearTimer(this.#timer);
    this.#timerAt = at;
    this.#timer = loop.setTimer(Math.max(0, at - loop.now()), () => this.#sweep());
  }

  /** One timer for all of them. It looks at all, which costs less than to keep them in order, and not more often than needed. */
  #sweep(): void {
    const { loop } = this.#port;
    const now = loop.now();
    this.#timer = 0;
    this.#timerAt = Number.POSITIVE_INFINITY;
    let next = Number.POSITIVE_INFINITY;
    for (const [client, one] of this.#limited) {
      if (one.dueAt <= now && this.#hasEnded(client, one, now)) continue;
      if (one.dueAt < next) next = one.dueAt;
    }
    if (next === Number.POSITIVE_INFINITY) return;
    this.#timerAt = Math.max(next, now + COARSENESS_MS);
    this.#timer = loop.setTimer(this.#timerAt - now, () => this.#sweep());
  }

  /** Ends a connection that has had its time; else finds out when to look again. */
  #hasEnded(client: Fd, one: Limited, now: number): boolean {
    const { maxDurationMs, idleTimeoutMs, halfClosedTimeoutMs } = one.limits;
    const { startedAt, halfClosedAt } = one;
    if (maxDurationMs !== undefined && now - startedAt >= maxDurationMs)
      return this.#end(client, one.service, SERVICE.endedOld, 'max duration');
    const movedAt = Math.max(startedAt, this.#movedAt(client, now));
    if (idleTimeoutMs !== undefined && now - movedAt >= idleTimeoutMs)
      return this.#end(client, one.service, SERVICE.endedIdle, 'idle timeout');
    const quietSince = Math.max(movedAt, halfClosedAt);
    if (halfClosedTimeoutMs !== undefined && halfClosedAt > 0 && now - quietSince >= halfClosedTimeoutMs)
      return this.#end(client, one.service, SERVICE.endedHalfClosed, 'half-closed timeout');
    one.dueAt = Math.max(dueAt(one, movedAt), now + 1);
    return false;
  }

  #end(client: Fd, service: number, counter: Counter, why: ConnectionEnd): true {
    this.#count(service, counter);
    this.#port.end(client, why);
    return true;
  }

  /** When a byte last came from either side, or was sent to it, in the loop's time. */
  #movedAt(client: Fd, now: number): number {
    const endpoint = (this.#port.connections.peer[client] as number) - 1;
    const sides = endpoint < 0 ? [client] : [client, endpoint];
    return now - Math.min(...sides.map((fd) => this.#quietMs(fd)));
  }

  #quietMs(fd: Fd): number {
    this.#infoLength[0] = TCP_INFO_BYTES;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#infoAddress, this.#infoLength) < 0) return 0;
    return Math.min(this.#info.readUInt32LE(LAST_DATA_SENT), this.#info.readUInt32LE(LAST_DATA_RECEIVED));
  }

  #count(service: number, counter: Counter): void {
    const { services } = this.#port.counters;
    const index = service * SERVICE.stride + counter;
    services[index] = (services[index] as number) + 1;
  }
}

/** The number of connections is limited. */
export function isCounted({ maxConnections, maxConnectionsPerClient }: Limits): boolean {
  return maxConnections !== undefined || maxConnectionsPerClient !== undefined;
}

/** When a connection on which something moved last at `movedAt` would have to end. */
function dueAt({ limits, startedAt, halfClosedAt }: Limited, movedAt: number): number {
  const { maxDurationMs, idleTimeoutMs, halfClosedTimeoutMs } = limits;
  const never = Number.POSITIVE_INFINITY;
  return Math.min(
    startedAt + (maxDurationMs ?? never),
    movedAt + (idleTimeoutMs ?? never),
    halfClosedAt > 0 ? Math.max(movedAt, halfClosedAt) + (halfClosedTimeoutMs ?? never) : never,
  );
}
