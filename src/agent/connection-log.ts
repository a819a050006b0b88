// The agent's log of TCP connections that have ended.
import { ConnectionQueue, type EndedConnection, QUEUE_BYTES } from '../balancer/connection-record.ts';
import { formatAddress } from '../native/stream-socket.ts';
import type { SocketAddress } from '../native/sockaddr.ts';
import type { Log, LogFields } from '../runtime/log.ts';
import type { TrafficSources } from './traffic.ts';
import { startWorkerLog, type WorkerLog } from './worker-log.ts';

export interface ConnectionLogParts extends TrafficSources {
  readonly log: Log;
  /** See WorkerLogOptions. */
  readonly share: number;
}

export function startConnectionLog(parts: ConnectionLogParts): WorkerLog {
  const { log, plane, share } = parts;
  return startWorkerLog({
    plane,
    log,
    share,
    queueBytes: QUEUE_BYTES,
    message: 'connection',
    dropped: {
      metric: 'vipmesh_connection_log_dropped_total',
      help: 'Connections that were to be logged and are not, because the log could not keep up',
    },
    open: (memory) => new ConnectionQueue(memory),
    tell: (worker, queue) => plane.postTo(worker, { kind: 'connection-log', share, queue }),
    fields: (one) => fieldsOf(parts, one),
  });
}

function fieldsOf(parts: TrafficSources, one: EndedConnection): LogFields {
  const { services } = parts.catalog.snapshot;
  const service = parts.mesh.publisher.serviceAt(one.service);
  const wasConnected = one.connectMs >= 0;
  return {
    service: service === undefined ? '' : (services.get(service)?.spec.name ?? service),
    frontend: textOf(one.frontend),
    client: textOf(one.client),
    ...(wasConnected && { endpoint: textOf(one.endpoint), task: taskName(parts, one.slot), why: whyOf(one) }),
    ...(one.failures > 0 && {
      failures: one.failures,
      tried: one.tried.map(({ slot, failure }) => `${taskName(parts, slot)} ${failure}`),
    }),
    bytesToEndpoint: one.bytesToEndpoint,
    bytesToClient: one.bytesToClient,
    ...(wasConnected && { connectMs: rounded(one.connectMs) }),
    totalMs: rounded(one.totalMs),
    end: one.end,
  };
}

/** The id, of a task that has gone meanwhile. */
function taskName({ catalog, mesh }: TrafficSources, slot: number): string {
  const id = mesh.publisher.taskAt(slot);
  return id === undefined ? '' : (catalog.snapshot.tasks.get(id)?.name ?? id);
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
