// What becomes due some time after a connection to an endpoint was begun: giving it up, or asking the kernel to keep it alive.
import type { Fd } from '../native/libc.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';

/**
 * Attempts in the order in which they were begun, each due the same time after that. They are known by their descriptor and their
 * begin, so that entries of attempts that have ended, whose descriptors may have had other uses since, are told from those that
 * count.
 */
export class AttemptQueue {
  readonly #connections: TcpConnections;
  readonly #afterMs: number;
  #fds: Fd[] = [];
  #begins: number[] = [];
  /** Entries before this one are done with. */
  #head = 0;

  constructor(connections: TcpConnections, afterMs: number) {
    this.#connections = connections;
    this.#afterMs = afterMs;
  }

  /** Puts an attempt that begins now behind all others. */
  push(fd: Fd): void {
    this.#fds.push(fd);
    this.#begins.push(this.#connections.begunAt[fd] as number);
  }

  get isEmpty(): boolean {
    return this.#head === this.#fds.length;
  }

  get firstFd(): Fd {
    return this.#fds[this.#head] as Fd;
  }

  /** Infinity when there is none. */
  get firstDueAt(): number {
    return this.isEmpty ? Number.POSITIVE_INFINITY : (this.#begins[this.#head] as number) + this.#afterMs;
  }

  /** The first entry is the use that its descriptor has now. */
  get firstIsCurrent(): boolean {
    return this.#isCurrent(this.#head);
  }

  get firstIsConnecting(): boolean {
    return this.#isConnecting(this.#head);
  }

  /** Those that are still being made. */
  connecting(): readonly Fd[] {
    return this.#fds.filter((_, i) => i >= this.#head && this.#isConnecting(i));
  }

  shift(): void {
    this.#head++;
    if (this.#head === this.#fds.length) {
      this.#fds = [];
      this.#begins = [];
      this.#head = 0;
    } else if (this.#head > 1024 && 2 * this.#head > this.#fds.length) {
      this.#fds = this.#fds.slice(this.#head);
      this.#begins = this.#begins.slice(this.#head);
      this.#head = 0;
    }
  }

  #isCurrent(i: number): boolean {
    return this.#connections.begunAt[this.#fds[i] as Fd] === this.#begins[i];
  }

  #isConnecting(i: number): boolean {
    return this.#isCurrent(i) && ((this.#connections.flags[this.#fds[i] as Fd] as number) & FLAG.connecting) !== 0;
  }
}
