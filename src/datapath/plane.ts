// The data plane as the main thread sees it: workers that are told everything by commands, are replaced when they die, and
// count in shared memory.
import type { ConnectionPage, PageWanted } from '../balancer/connection-listing.ts';
import type { KeptAnswers } from '../dns/cache-listing.ts';
import { createEventfd } from '../native/event-loop.ts';
import { close } from '../native/libc.ts';
import type { Log } from '../runtime/log.ts';
import type { Command } from './command.ts';
import {
  type CounterCapacity,
  type Counted,
  Counters,
  DEFAULT_CAPACITY,
  type EndpointCounts,
  type FrontendCounts,
  type ServiceCounts,
} from './counters.ts';
import { ReplayLog } from './replay-log.ts';
import { WorkerHandle } from './worker-handle.ts';

export interface DataPlaneOptions {
  /** Threads, each with its own sockets; at least 1. */
  readonly workers: number;
  readonly log: Log;
  readonly capacity?: CounterCapacity;
  /** A worker died and has a successor that knows everything that was posted. For whoever wants to show it. */
  readonly onWorkerReplaced?: (worker: number) => void;
}

export class DataPlane {
  /** How many frontends, endpoints and backends there may be: their numbers stay below. */
  readonly capacity: CounterCapacity;
  readonly #counters: Counters;
  readonly #log: Log;
  readonly #workers: WorkerHandle[] = [];
  /** What all share; what each was told of its own sockets is in its handle. */
  readonly #replay = new ReplayLog();
  /** Each token with the workers that have yet to answer. */
  readonly #barriers = new Map<number, { readonly missing: Set<number>; readonly resolve: () => void }>();
  /** What workers listed of their caches, by worker, for each token that was asked with. */
  readonly #listed = new Map<number, Map<number, KeptAnswers>>();
  /** The same of pages of what is open. */
  readonly #pages = new Map<number, Map<number, ConnectionPage>>();
  #lastToken = 0;
  readonly #onExit = (): void => {
    for (const worker of this.#workers) worker.send({ kind: 'stop' });
  };

  private constructor(options: DataPlaneOptions) {
    this.#log = options.log;
    this.capacity = options.capacity ?? DEFAULT_CAPACITY;
    this.#counters = new Counters(options.workers, this.capacity);
    for (let index = 0; index < options.workers; index++) {
      const handle = new WorkerHandle({
        index,
        wakeFd: createEventfd(),
        log: options.log,
        counters: this.#counters,
        shared: this.#replay,
        onApplied: (token) => this.#applied(token, index),
        onCacheListed: (token, kept) => this.#listed.get(token)?.set(index, kept),
        onConnections: (token, page) => this.#pages.get(token)?.set(index, page),
        onReplaced: () => {
          // Whatever it was told before it died was told to its successor, too.
          for (const token of [...this.#barriers.keys()]) this.#applied(token, index);
          options.onWorkerReplaced?.(index);
        },
      });
      this.#workers.push(handle);
    }
    // A thread that sleeps in epoll_wait does not notice that the process wants to exit; waking it alone is not enough, for
    // it may be asleep again before Node asks it to end.
    process.on('exit', this.#onExit);
  }

  /** Resolves when every worker takes commands. Rejects when one cannot start. */
  static async start(options: DataPlaneOptions): Promise<DataPlane> {
    if (!(options.workers >= 1)) throw new RangeError(`a data plane needs at least 1 worker, not ${options.workers}`);
    const plane = new DataPlane(options);
    try {
      await Promise.all(plane.#workers.map((worker) => worker.start()));
    } catch (error) {
      await plane.stop(0);
      throw error;
    }
    return plane;
  }

  get workers(): number {
    return this.#workers.length;
  }

  /** Tells every worker. Returns at once; commands of one caller take effect in their order. */
  post(command: Command): void {
    if (isAboutSocket(command)) for (const worker of this.#workers) worker.note(command);
    else this.#replay.note(command);
    for (const worker of this.#workers) worker.send(command);
  }

  /** Tells one worker, 0 to workers - 1: for sockets, of which each has its own. */
  postTo(worker: number, command: Command): void {
    const handle = this.#workers[worker];
    if (handle === undefined) throw new RangeError(`there is no worker ${worker}`);
    handle.note(command);
    handle.send(command);
  }

  /** From now on, what is read of this frontend, endpoint or service counts from here: its number is somebody else's now. */
  beginCounting(kind: Counted, number: number): void {
    this.#counters.begin(kind, number);
  }

  endpointCounters(slot: number): EndpointCounts {
    return this.#counters.endpoint(slot);
  }

  frontendCounters(id: number): FrontendCounts {
    return this.#counters.frontend(id);
  }

  /** Of the service whose turns are counted at this slot. */
  serviceCounters(slot: number): ServiceCounts {
    return this.#counters.service(slot);
  }

  /** One of TOTAL, or TOTAL.dnsRcodes plus an rcode, over all workers. */
  total(index: number): number {
    return this.#counters.total(index);
  }

  /** Each worker, and what it has open. */
  status(): readonly { readonly alive: boolean; readonly connections: number; readonly flows: number }[] {
    return this.#workers.map((worker, index) => ({ alive: worker.alive, ...this.#counters.open(index) }));
  }

  /** Resolves when everything that was posted before is in effect in every worker. */
  barrier(): Promise<void> {
    const token = ++this.#lastToken;
    const { promise, resolve } = withResolvers();
    this.#barriers.set(token, { missing: new Set(this.#workers.keys()), resolve });
    this.post({ kind: 'barrier', token });
    return promise;
  }

  /** By worker, what it keeps of upstreams' answers about a name and those below it, or about all; at most so many of each. */
  async listDnsCache(below: string | undefined, atMost: number): Promise<ReadonlyMap<number, KeptAnswers>> {
    const token = ++this.#lastToken;
    const kept = new Map<number, KeptAnswers>();
    this.#listed.set(token, kept);
    this.post({ kind: 'dns-cache-list', token, atMost, ...(below === undefined ? {} : { below }) });
    // Behind it in every worker's queue; of one that is being replaced there is nothing to list.
    await this.barrier();
    this.#listed.delete(token);
    return kept;
  }

  /** A page from each of these workers, by worker; of one that is being replaced there is none. */
  async connectionPages(
    of: 'tcp' | 'udp',
    wanted: ReadonlyMap<number, PageWanted>,
  ): Promise<ReadonlyMap<number, ConnectionPage>> {
    const token = ++this.#lastToken;
    const pages = new Map<number, ConnectionPage>();
    this.#pages.set(token, pages);
    for (const [worker, page] of wanted) this.postTo(worker, { kind: 'connections-list', token, of, wanted: page });
    await this.barrier();
    this.#pages.delete(token);
    return pages;
  }

  /** Ends the workers and their open connections; whoever still runs after `deadlineMs` is ended by force. */
  async stop(deadlineMs: number): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.stop(deadlineMs)));
    process.off('exit', this.#onExit);
    for (const worker of this.#workers) close(worker.wakeFd);
    for (const { resolve } of this.#barriers.values()) resolve();
    this.#barriers.clear();
    this.#log.debug('the data plane has stopped', { workers: this.#workers.length });
  }

  #applied(token: number, worker: number): void {
    const barrier = this.#barriers.get(token);
    if (barrier === undefined) return;
    barrier.missing.delete(worker);
    if (barrier.missing.size > 0) return;
    this.#barriers.delete(token);
    barrier.resolve();
  }
}

/** What may be told to one worker or to all of them: sockets are added one by one, and removed by a number that all share. */
function isAboutSocket({ kind }: Command): boolean {
  return (
    kind === 'frontend-add' || kind === 'frontend-remove' || kind === 'dns-socket-add' || kind === 'dns-socket-remove'
  );
}

/** Promise.withResolvers is not in Node 20. */
function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
