// A line in the agent's log for questions to the resolver: a share of them, drawn by the workers when they come. Workers write
// records into queues in shared memory and never wait; what finds no room there is counted.
import type { Catalog } from '../catalog/catalog.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { rcodeName, typeName } from '../dns/code-names.ts';
import { type LoggedQuery, QUERY_QUEUE_BYTES, QueryQueue } from '../dns/query-record.ts';
import type { TaskId } from '../model/task.ts';
import type { Log, LogFields } from '../runtime/log.ts';
import type { Metrics } from '../runtime/metrics.ts';
import type { Mesh } from './mesh.ts';

export interface QueryLogParts {
  readonly catalog: Pick<Catalog, 'snapshot'>;
  readonly plane: Pick<DataPlane, 'workers' | 'postTo'>;
  readonly mesh: Pick<Mesh, 'resolverClient'>;
  readonly log: Log;
  /** Of all questions, 0 to 1; 0: there is no log, and it costs nothing. */
  readonly share: number;
}

const READ_EVERY_MS = 100;
/** Lines written in one go, before other work of the main thread has its turn. */
const LINES_AT_ONCE = 1000;
const NAMES = 1000;

export class QueryLog {
  readonly #parts: QueryLogParts;
  readonly #queues: readonly QueryQueue[];
  /** Names of tasks that asked, the last ones: of a task that has just ended questions are still to be written. */
  readonly #names = new Map<string, string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: QueryLogParts) {
    const { plane, share } = parts;
    this.#parts = parts;
    const memory = Array.from(
      { length: share === 0 ? 0 : plane.workers },
      () => new SharedArrayBuffer(QUERY_QUEUE_BYTES),
    );
    this.#queues = memory.map((one) => new QueryQueue(one));
    for (const [worker, queue] of memory.entries()) plane.postTo(worker, { kind: 'dns-query-log', share, queue });
    if (share > 0) this.#timer = setInterval(() => this.#write(LINES_AT_ONCE), READ_EVERY_MS).unref();
  }

  /** Writes what is left. Call it when the workers answer no more. */
  close(): void {
    clearInterval(this.#timer);
    this.#write(Number.POSITIVE_INFINITY);
  }

  registerMetrics(metrics: Metrics): void {
    metrics.registerCollector(
      'vipmesh_dns_query_log_dropped_total',
      'DNS questions that were to be logged and are not, because the log could not keep up',
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
        this.#parts.log.info('dns', this.#fields(one));
      }
    }
  }

  #fields({ client, overTcp, name, type, source, rcode, answers, waitedMs }: LoggedQuery): LogFields {
    return {
      client: this.#clientName(client),
      ...(name !== '' && { name, type: typeName(type) }),
      protocol: overTcp ? 'tcp' : 'udp',
      source,
      rcode: rcodeName(rcode),
      answers,
      // Microseconds are as fine as anybody wants to know it.
      ...(waitedMs > 0 && { waitedMs: Math.round(waitedMs * 1000) / 1000 }),
    };
  }

  /** `node`, or the task's name; its id when it had gone before its first question was written. */
  #clientName(number: number): string {
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
