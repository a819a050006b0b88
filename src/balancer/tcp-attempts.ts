// What becomes due some time after a connection to an endpoint was begun: giving it up, or asking the kernel to keep it alive.
import type { Fd } from '../native/libc.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';

/**
 * Attempts in the order in which they were begun. Each is known by its descriptor and its deadline, so that entries of
 * attempts that have ended, whose descriptors may have had other uses since, are told from those that count.
 */
export class AttemptQueue {
  readonly #connections: TcpConnections;
  #fds: Fd[] = [];
  #deadlines: number[] = [];
  /** Entries before this one are done with. */
  #head = 0;

  constructor(connections: TcpConnections) {
    this.#connections = connections;
  }

  /** Puts an attempt with its deadline behind all others, which are none later. */
  push(fd: Fd, deadline: number): void {
    this.#fds.push(fd);
    this.#deadlines.push(deadline);
  }

  get isEmpty(): boolean {
    return this.#head === this.#fds.length;
  }

  get firstFd(): Fd {
    return this.#fds[this.#head] as Fd;
  }

  get firstDeadline(): number {
    return this.#deadlines[this.#head] as number;
  }

  /** The first entry is the use that its descriptor has now. */
  get firstIsCurrent(): boolean {
    return this.#connections.deadline[this.firstFd] === this.firstDeadline;
  }

  get firstIsConnecting(): boolean {
    return this.firstIsCurrent && ((this.#connections.flags[this.firstFd] as number) & FLAG.connecting) !== 0;
  }

  shift(): void {
    this.#head++;
    if (this.#head === this.#fds.length) {
      this.#fds = [];
      this.#deadlines = [];
      this.#head = 0;
    } else if (this.#head > 1024 && 2 * this.#head > this.#fds.length) {
      this.#fds = this.#fds.slice(this.#head);
      this.#deadlines = this.#deadlines.slice(this.#head);
      this.#head = 0;
    }
  }
}
