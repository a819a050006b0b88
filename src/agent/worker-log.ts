// A line in the agent's log for each of what workers note of their traffic: a share of all, drawn when it comes. Workers write
// records into queues in shared memory and never wait; what finds no room there is counted.
import type { DataPlane } from '../datapath/plane.ts';
import type { Log, LogFields } from '../runtime/log.ts';
import type { Metrics } from '../runtime/metrics.ts';

interface Queue<T> {
  /** The oldest record, which is then gone; undefined when there is none. */
  read(): T | undefined;
  /** Records that found no room since the start. */
  readonly dropped: number;
}

export interface WorkerLogOptions<T> {
  readonly plane: Pick<DataPlane, 'workers'>;
  readonly log: Log;
  /** Of all, 0 to 1; 0: there is no log, and it costs nothing. */
  readonly share: number;
  readonly queueBytes: number;
  readonly message: string;
  readonly dropped: { readonly metric: string; readonly help: string };
  open(memory: SharedArrayBuffer): Queue<T>;
  /** Tells a worker where to write. */
  tell(worker: number, memory: SharedArrayBuffer): void;
  fields(record: T): LogFields;
}

export interface WorkerLog {
  /** Writes what is left. Call it when the workers write no more. */
  close(): void;
  registerMetrics(metrics: Metrics): void;
}

const READ_EVERY_MS = 100;
/** Lines written in one go, before other work of the main thread has its turn. */
const LINES_AT_ONCE = 1000;

export function startWorkerLog<T>(options: WorkerLogOptions<T>): WorkerLog {
  const { dropped, fields, log, message, plane, queueBytes, share } = options;
  const memory = Array.from({ length: share === 0 ? 0 : plane.workers }, () => new SharedArrayBuffer(queueBytes));
  const queues = memory.map((one) => options.open(one));
  for (const [worker, one] of memory.entries()) options.tell(worker, one);
  const write = (atMost: number): void => {
    let left = atMost;
    for (const queue of queues) {
      for (let one = queue.read(); one !== undefined; one = left > 0 ? queue.read() : undefined) {
        left--;
        log.info(message, fields(one));
      }
    }
  };
  const timer = share === 0 ? undefined : setInterval(() => write(LINES_AT_ONCE), READ_EVERY_MS).unref();
  return {
    close: () => {
      clearInterval(timer);
      write(Number.POSITIVE_INFINITY);
    },
    registerMetrics: (metrics) =>
      metrics.registerCollector(dropped.metric, dropped.help, 'counter', [], () => [
        { labels: {}, value: queues.reduce((sum, queue) => sum + queue.dropped, 0) },
      ]),
  };
}
