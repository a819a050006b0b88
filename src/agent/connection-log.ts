// A line in the agent's log for connections that have ended: a share of them, drawn by the workers when they come. Workers write
// records into queues in shared memory and never wait; what finds no room there is counted.
import { ConnectionQueue, type EndedConnection, QUEUE_BYTES } from '../balancer/connection-record.ts';
import { formatAddress } from '../native/stream-socket.ts';
import type { SocketAddress } from '../native/sockaddr.ts';
import type { Log, LogFields } from '../runtime/log.ts';
import type { Metrics } from '../runtime/metrics.ts';
import type { TrafficSources } from './traffic.ts';

export interface ConnectionLogParts extends TrafficSources {
  readonly log: Log;
  /** Of all connections, 0 to 1; 0: there is no log, and it costs nothing. */
  readonly share: number;
}

const READ_EVERY_MS = 100;
/** Lines written in one go, before other work of the main thread has its turn. */
const LINES_AT_ONCE = 1000;

export class ConnectionLog {
  readonly #parts: ConnectionLogParts;
  readonly #queues: readonly ConnectionQueue[];
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: ConnectionLogParts) {
    const { plane, share } = parts;
    this.#parts = parts;
    const memory = Array.from({ length: share === 0 ? 0 : plane.workers }, () => new SharedArrayBuffer(QUEUE_BYTES));
    this.#queues = memory.map((one) => new ConnectionQueue(one));
    for (const [worker, queue] of memory.entries()) plane.postTo(worker, { kind: 'connection-log', share, queue });
    if (share > 0) this.#timer = setInterval(() => this.#write(LINES_AT_ONCE), READ_EVERY_MS).unref();
  }

  /** Writes what is left. Call it when the workers have ended their connections. */
  close(): void {
    clearInterval(this.#timer);
    this.#write(Number.POSITIVE_INFINITY);
  }

  registerMetrics(metrics: Metrics): void {
    metrics.registerCollector(
      'vipmesh_connection_log_dropped_total',
      'Connections that were to be logged and are not, because the log could not keep up',
      'counter',
      [],
      () => [{ labels: {}, value: this.#queues.reduce((sum, queue) => sum + queue.dropped, 0) }],
    );
  }

  #write(atMost: number): void {
    let left = atMost;
    for (const queue of this.#queues) {
      for (let one = queue.read(); one !== undefined; one = left > 0 ? queue.read() : undefined) {
        left--;
        this.#parts.log.info('connection', this.#fields(one));
      }
    }
  }

  #fields(one: EndedConnection): LogFields {
    const { services } = this.#parts.catalog.snapshot;
    const { publisher } = this.#parts.mesh;
    const service = publisher.serviceAt(one.service);
    const wasConnected = one.connectMs >= 0;
    return {
      service: service === undefined ? '' : (services.get(service)?.spec.name ?? service),
      frontend: textOf(one.frontend),
      client: textOf(one.client),
      ...(wasConnected && { endpoint: textOf(one.endpoint), task: this.#taskName(one.slot), why: whyOf(one) }),
      ...(one.failures > 0 && {
        failures: one.failures,
        tried: one.tried.map(({ slot, failure }) => `${this.#taskName(slot)} ${failure}`),
      }),
      bytesToEndpoint: one.bytesToEndpoint,
      bytesToClient: one.bytesToClient,
      ...(wasConnected && { connectMs: rounded(one.connectMs) }),
      totalMs: rounded(one.totalMs),
      end: one.end,
    };
  }

  /** The id, of a task that has gone meanwhile. */
  #taskName(slot: number): string {
    const id = this.#parts.mesh.publisher.taskAt(slot);
    return id === undefined ? '' : (this.#parts.catalog.snapshot.tasks.get(id)?.name ?? id);
  }
}

/** The service's way of choosing, unless affinity came before it; and what else narrowed the choice. */
function whyOf({ failures, isAffine, isLocal, method }: EndedConnection): string {
  return [isAffine ? 'affinity' : method, ...(isLocal ? ['local-first'] : []), ...(failures > 0 ? ['retry'] : [])].join(
    ', ',
  );
}

function textOf(address: SocketAddress | undefined): string {
  return address === undefined ? '' : formatAddress(address.address, address.port);
}

/** Microseconds are as fine as the workers' clock is read. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
