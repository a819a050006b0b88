// A load generator that keeps to a rate: it sends what is due each millisecond, on whichever connection is free, and measures
// each answer from the moment that its request was due, so that a stall is seen by every request it holds up. One JSON line.
import { EPOLLIN } from '../src/native/constants.ts';
import { EventLoop } from '../src/native/event-loop.ts';
import { addressOf, type Fd, recv, send } from '../src/native/libc.ts';
import { descriptorLimit } from '../src/native/rlimit.ts';
import { connectTcp } from '../src/native/stream-socket.ts';
import { quantile } from './samples.ts';

export interface PacedResult {
  readonly sent: number;
  readonly answered: number;
  readonly errors: number;
  /** From due to answered, in microseconds. */
  readonly p50: number;
  readonly p99: number;
}

interface Options {
  readonly port: number;
  readonly path: string;
  readonly rate: number;
  readonly connections: number;
  readonly seconds: number;
}

const TICK_MS = 1;
/** Answers that have not come by then are errors. */
const GRACE_MS = 1_000;

class PacedClient {
  readonly #options: Options;
  readonly #loop = new EventLoop();
  readonly #request: Buffer;
  readonly #requestAddress: number;
  readonly #buffer = Buffer.alloc(65_536);
  readonly #bufferAddress = addressOf(this.#buffer);
  readonly #free: Fd[] = [];
  /** Descriptor → when its request was due; and how many bytes of the answer have come. */
  readonly #due = new Float64Array(descriptorLimit());
  readonly #received = new Int32Array(descriptorLimit());
  /** Due, and waiting for a connection. */
  readonly #waiting: number[] = [];
  readonly #latencies: Float64Array;
  #answerBytes = 0;
  #sent = 0;
  #answered = 0;
  #errors = 0;
  #startedAt = 0;

  constructor(options: Options) {
    this.#options = options;
    this.#request = Buffer.from(`GET ${options.path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
    this.#requestAddress = addressOf(this.#request);
    this.#latencies = new Float64Array(Math.ceil(options.rate * options.seconds) + 1);
  }

  run(): PacedResult {
    for (let i = 0; i < this.#options.connections; i++) {
      const fd = connectTcp('127.0.0.1', this.#options.port);
      this.#loop.add(fd, EPOLLIN, this.#onReadable);
      this.#free.push(fd);
    }
    this.#startedAt = performance.now();
    this.#loop.setTimer(TICK_MS, () => this.#tick());
    this.#loop.run();
    const latencies = this.#latencies.subarray(0, this.#answered);
    return {
      sent: this.#sent,
      answered: this.#answered,
      errors: this.#errors + this.#sent - this.#answered,
      p50: quantile(latencies, 0.5) * 1000,
      p99: quantile(latencies, 0.99) * 1000,
    };
  }

  #tick(): void {
    const now = performance.now();
    const elapsed = now - this.#startedAt;
    const total = Math.floor(Math.min(elapsed / 1000, this.#options.seconds) * this.#options.rate);
    while (this.#sent + this.#waiting.length < total) {
      const fd = this.#free.shift();
      if (fd === undefined) this.#waiting.push(now);
      else this.#send(fd, performance.now());
    }
    const finished = this.#answered >= total && this.#waiting.length === 0;
    const overdue = elapsed > this.#options.seconds * 1000 + GRACE_MS;
    if (elapsed >= this.#options.seconds * 1000 && (finished || overdue)) this.#loop.stop();
    else this.#loop.setTimer(TICK_MS, () => this.#tick());
  }

  #send(fd: Fd, due: number): void {
    this.#due[fd] = due;
    this.#sent++;
    if (send(fd, this.#requestAddress, this.#request.length, 0) !== this.#request.length) this.#errors++;
  }

  readonly #onReadable = (fd: Fd): void => {
    const length = recv(fd, this.#bufferAddress, this.#buffer.length, 0);
    if (length <= 0) {
      this.#errors++;
      this.#loop.remove(fd);
      return;
    }
    // Every answer is as long as the first, which is small enough to come in one piece.
    if (this.#answerBytes === 0) this.#answerBytes = length;
    this.#received[fd] = (this.#received[fd] as number) + length;
    if ((this.#received[fd] as number) < this.#answerBytes) return;
    this.#received[fd] = 0;
    this.#latencies[this.#answered++] = performance.now() - (this.#due[fd] as number);
    const due = this.#waiting.shift();
    if (due === undefined) this.#free.push(fd);
    else this.#send(fd, due);
  };
}

process.stdout.write(`${JSON.stringify(new PacedClient(JSON.parse(process.argv[2] ?? '{}') as Options).run())}\n`);
