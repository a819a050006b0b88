// One request over HTTP, by hand, or one question, from within a network namespace, again and again until somebody answers.
import { createSocket, type Socket } from 'node:dgram';
import { connect, type LookupFunction } from 'node:net';
import { bindUdp } from '../../src/native/datagram-socket.ts';
import { closeNetns, inNetns, openNetns } from '../../src/native/netns.ts';
import { questionFor } from '../dns/question.ts';
import { BenchError } from '../processes.ts';

/** Between two attempts; what an answer may be seen late. */
const EVERY_MS = 1;
const PATIENCE_MS = 30_000;

/** A client in a namespace. */
export class Asker {
  readonly #netns: number;

  constructor(path: string) {
    this.#netns = openNetns(path);
  }

  /** Resolves with the time (performance.now) of the first byte of the first answer. Rejects with BenchError after half a minute. */
  untilAnswered(address: string, port: number): Promise<number> {
    return this.#until(address, port, true);
  }

  /** Resolves when connections are refused, or broken before there is an answer. */
  async untilRefused(address: string, port: number): Promise<void> {
    await this.#until(address, port, false);
  }

  close(): void {
    closeNetns(this.#netns);
  }

  async #until(address: string, port: number, answers: boolean): Promise<number> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      if ((await this.#ask(address, port)) === answers) return performance.now();
      if (performance.now() > deadline)
        throw new BenchError(`${address}:${port} is ${answers ? 'not ' : ''}answered for ${PATIENCE_MS / 1000} s`);
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  /** Whether there was an answer. */
  #ask(address: string, port: number): Promise<boolean> {
    // Node makes the socket in the lookup's callback: in that namespace.
    const lookup: LookupFunction = (_host, _options, found) => inNetns(this.#netns, () => found(null, address, 4));
    return new Promise((resolve) => {
      const socket = connect({ host: 'asked', port, autoSelectFamily: false, lookup });
      const end = (answered: boolean) => {
        socket.destroy();
        resolve(answered);
      };
      socket.once('connect', () => socket.write('GET /small HTTP/1.0\r\n\r\n'));
      socket.once('data', () => end(true));
      socket.once('error', () => end(false));
      socket.once('close', () => end(false));
    });
  }
}

const RESOLVER = { address: '127.0.0.11', port: 53 } as const;

/** A socket in a namespace that asks the resolver there for one name. */
export class ResolverAsker {
  readonly #socket: Socket;
  readonly #question: Buffer;

  constructor(path: string, name: string) {
    this.#question = questionFor(name);
    const netns = openNetns(path);
    this.#socket = createSocket('udp4');
    this.#socket.bind({ fd: bindUdp('0.0.0.0', 0, { netns }) });
    closeNetns(netns);
    // Where nobody listens the kernel says so, and it is asked again.
    this.#socket.on('error', () => undefined);
  }

  /** Resolves with the first answer. Rejects with BenchError after half a minute. */
  async untilAnswered(): Promise<void> {
    let answered = false;
    this.#socket.on('message', () => {
      answered = true;
    });
    for (const deadline = performance.now() + PATIENCE_MS; !answered; ) {
      if (performance.now() > deadline) throw new BenchError(`a resolver is silent for ${PATIENCE_MS / 1000} s`);
      this.#socket.send(this.#question, RESOLVER.port, RESOLVER.address, () => undefined);
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  }

  close(): void {
    this.#socket.close();
  }
}
