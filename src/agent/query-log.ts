// The agent's log of questions to the resolver.
import type { Catalog } from '../catalog/catalog.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { rcodeName, typeName } from '../dns/code-names.ts';
import { QUERY_QUEUE_BYTES, QueryQueue } from '../dns/query-record.ts';
import type { TaskId } from '../model/task.ts';
import type { Log } from '../runtime/log.ts';
import type { Mesh } from './mesh.ts';
import { startWorkerLog, type WorkerLog } from './worker-log.ts';

export interface QueryLogParts {
  readonly catalog: Pick<Catalog, 'snapshot'>;
  readonly plane: Pick<DataPlane, 'workers' | 'postTo'>;
  readonly mesh: Pick<Mesh, 'resolverClient'>;
  readonly log: Log;
  /** See WorkerLogOptions. */
  readonly share: number;
}

export function startQueryLog(parts: QueryLogParts): WorkerLog {
  const { log, plane, share } = parts;
  const clients = new ClientNames(parts);
  return startWorkerLog({
    plane,
    log,
    share,
    queueBytes: QUERY_QUEUE_BYTES,
    message: 'dns',
    dropped: {
      metric: 'vipmesh_dns_query_log_dropped_total',
      help: 'DNS questions that were to be logged and are not, because the log could not keep up',
    },
    open: (memory) => new QueryQueue(memory),
    tell: (worker, queue) => plane.postTo(worker, { kind: 'dns-query-log', share, queue }),
    fields: ({ client, overTcp, name, type, source, rcode, answers, waitedMs }) => ({
      client: clients.nameOf(client),
      ...(name !== '' && { name, type: typeName(type) }),
      protocol: overTcp ? 'tcp' : 'udp',
      source,
      rcode: rcodeName(rcode),
      answers,
      // Microseconds are as fine as anybody wants to know it.
      ...(waitedMs > 0 && { waitedMs: Math.round(waitedMs * 1000) / 1000 }),
    }),
  });
}

/** So many names are remembered. */
const NAMES = 1000;

class ClientNames {
  readonly #parts: Pick<QueryLogParts, 'catalog' | 'mesh'>;
  /** Names of tasks that asked, the last ones: of a task that has just ended questions are still to be written. */
  readonly #names = new Map<string, string>();

  constructor(parts: Pick<QueryLogParts, 'catalog' | 'mesh'>) {
    this.#parts = parts;
  }

  /** `node`, or the task's name; its id when it had gone before its first question was written. */
  nameOf(number: number): string {
    const client = this.#parts.mesh.resolverClient(number);
    if (client === undefined) return '';
    const name = this.#parts.catalog.snapshot.tasks.get(client as TaskId)?.name;
    if (name === undefined) return this.#names.get(client) ?? client;
    this.#names.delete(client);
    this.#names.set(client, name);
    for (const [oldest] of this.#names) {
      if (this.#names.size <= NAMES) break;
      this.#names.delete(oldest);
    }
    return name;
  }
}
