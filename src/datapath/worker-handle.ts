// One worker thread's place: the thread that fills it now, and what its successor must know and clean up.
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { wake } from '../native/event-loop.ts';
import { close, type Fd } from '../native/libc.ts';
import { resetOnClose } from '../native/stream-socket.ts';
import type { ConnectionPage } from '../balancer/connection-listing.ts';
import type { KeptAnswers } from '../dns/cache-listing.ts';
import { descriptorLimit } from '../native/rlimit.ts';
import type { Log } from '../runtime/log.ts';
import type { Command, Report } from './command.ts';
import type { Counters } from './counters.ts';
import { ReplayLog } from './replay-log.ts';
import type { WorkerStart } from './worker.ts';

export interface WorkerHandleOptions {
  readonly index: number;
  readonly wakeFd: Fd;
  readonly log: Log;
  readonly counters: Counters;
  /** What all workers were told. */
  readonly shared: ReplayLog;
  onApplied(token: number): void;
  onCacheListed(token: number, kept: KeptAnswers): void;
  onConnections(token: number, page: ConnectionPage): void;
  onReplaced(): void;
}

/** A worker that dies again and again is started less and less often, so that the main thread stays usable. */
const FIRST_DELAY_MS = 10;
const LONGEST_DELAY_MS = 1000;
/** A worker that ran this long dies of something new. */
const SOUND_AFTER_MS = 10_000;

export class WorkerHandle {
  readonly wakeFd: Fd;
  readonly #options: WorkerHandleOptions;
  readonly #own = new ReplayLog();
  readonly #descriptors = new SharedArrayBuffer(descriptorLimit());
  #worker: Worker | undefined;
  #port: MessagePort | undefined;
  #startedAt = 0;
  #delayMs = FIRST_DELAY_MS;
  #restart: NodeJS.Timeout | undefined;
  #stopping = false;
  #waking = false;
  #onExit: () => void = () => {};

  constructor(options: WorkerHandleOptions) {
    this.#options = options;
    this.wakeFd = options.wakeFd;
  }

  /** Resolves when the thread takes commands. Rejects when it ends before. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => this.#launch(resolve, reject));
  }

  get alive(): boolean {
    return this.#port !== undefined;
  }

  /** Remembers a command that this worker alone is told. */
  note(command: Command): void {
    this.#own.note(command);
  }

  /** While there is no thread nothing is lost: the next one is started with everything that was noted. */
  send(command: Command): void {
    if (this.#port === undefined) return;
    this.#port.postMessage(command);
    // Nothing runs after this when the process is about to end.
    if (command.kind === 'stop') wake(this.wakeFd);
    else this.#wakeSoon();
  }

  /** Once for all that is told in one go: a start tells thousands of things. */
  #wakeSoon(): void {
    if (this.#waking) return;
    this.#waking = true;
    queueMicrotask(() => {
      this.#waking = false;
      if (this.#port !== undefined) wake(this.wakeFd);
    });
  }

  /** Resolves when the thread has ended and its descriptors are closed. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#restart);
    const worker = this.#worker;
    if (worker === undefined) return;
    const ended = new Promise<void>((resolve) => {
      this.#onExit = resolve;
    });
    this.send({ kind: 'stop' });
    const timer = setTimeout(() => {
      this.#options.log.warn('a worker did not stop in time and is ended', { worker: this.#options.index, deadlineMs });
      void worker.terminate();
      wake(this.wakeFd);
    }, deadlineMs);
    await ended;
    clearTimeout(timer);
  }

  #launch(onReady: () => void, onFailed: (error: unknown) => void): void {
    const { port1, port2 } = new MessageChannel();
    const start: WorkerStart = {
      port: port2,
      wakeFd: this.wakeFd,
      counters: this.#options.counters.buffers(this.#options.index),
      descriptors: this.#descriptors,
      commands: [...this.#options.shared.commands(), ...this.#own.commands()],
    };
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData: start,
      transferList: [port2],
      name: `vipmesh-${this.#options.index}`,
    });
    this.#worker = worker;
    this.#port = port1;
    this.#startedAt = performance.now();
    let failure: unknown;
    let ready = false;
    const receive = (report: Report): void => {
      if (report.kind === 'ready') {
        ready = true;
        onReady();
      }
      this.#receive(report);
    };
    port1.on('message', receive);
    worker.on('error', (error) => {
      failure = error;
    });
    worker.on('exit', (code) => {
      // What it said last must be heard before its place is filled again.
      for (let last = receiveMessageOnPort(port1); last !== undefined; last = receiveMessageOnPort(port1)) {
        receive(last.message as Report);
      }
      port1.close();
      this.#ended();
      if (this.#stopping) this.#onExit();
      else if (!ready && onFailed !== ignore)
        onFailed(failure ?? new Error(`the worker thread ended with code ${code}`));
      else this.#replace(failure, code);
    });
  }

  #receive(report: Report): void {
    const { log, index, onApplied, onCacheListed, onConnections, shared } = this.#options;
    switch (report.kind) {
      case 'ready':
        return;
      case 'applied':
        onApplied(report.token);
        return;
      case 'dns-cache':
        onCacheListed(report.token, report.kept);
        return;
      case 'connections':
        onConnections(report.token, report.page);
        return;
      case 'refused':
        shared.forget(report.command);
        this.#own.forget(report.command);
        log.error('a worker cannot carry out a command; it is dropped', {
          worker: index,
          command: report.command.kind,
        });
        return;
      case 'log':
        log[report.level](report.message, { worker: index, ...report.fields });
        return;
    }
  }

  /**
   * The thread is gone: what it had open is closed, so that its clients notice and nothing leaks; by RST, which nobody takes for the
   * end of what was being sent. Listeners are not in there.
   */
  #ended(): void {
    this.#worker = undefined;
    this.#port = undefined;
    const descriptors = new Uint8Array(this.#descriptors);
    for (let fd = descriptors.indexOf(1); fd >= 0; fd = descriptors.indexOf(1, fd + 1)) {
      descriptors[fd] = 0;
      resetOnClose(fd);
      close(fd);
    }
    this.#options.counters.clearActive(this.#options.index);
  }

  #replace(failure: unknown, code: number): void {
    const { index, log } = this.#options;
    log.error('a worker died; its connections are lost, its listeners are not, and another takes its place', {
      worker: index,
      code,
      error: failure,
      ...(failure instanceof Error ? { stack: failure.stack } : {}),
    });
    if (performance.now() - this.#startedAt > SOUND_AFTER_MS) this.#delayMs = FIRST_DELAY_MS;
    this.#restart = setTimeout(() => this.#launch(() => this.#options.onReplaced(), ignore), this.#delayMs);
    this.#delayMs = Math.min(2 * this.#delayMs, LONGEST_DELAY_MS);
  }
}

/** A successor that fails, too, is replaced like any other. */
function ignore(): void {}
