// Clients that must say first who they are: waits for the PROXY header of each, for a while, and takes it off the connection.
import { EPOLLET, EPOLLIN, EPOLLRDHUP, MSG_DONTWAIT, MSG_PEEK } from '../native/constants.ts';
import { EAGAIN, errno } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { type Fd, recv } from '../native/libc.ts';
import type { Admission } from './admission.ts';
import type { Frontend } from './command.ts';
import { type Introduced, LONGEST_HEADER, readIntroduction } from './proxy-introduction.ts';

/** By which door a client came, and who may come by it. */
export interface Entry {
  readonly frontend: Frontend;
  readonly admission: Admission;
}

export interface ProxyIntakePort {
  readonly loop: EventLoop;
  /** The header was whole, and is gone from the connection. It is watched by nobody. */
  introduced(client: Fd, entry: Entry, introduced: Introduced | undefined): void;
  /** The header is none, or did not come in time. */
  refused(client: Fd, entry: Entry): void;
  /** The client has gone without a word, as those do who only look whether somebody listens. */
  gone(client: Fd): void;
}

/** proxy-protocol.txt, section 2: long enough for the kernel to send a lost segment again. */
const WAIT_MS = 5000;
const EVENTS = EPOLLIN | EPOLLRDHUP | EPOLLET;

interface Waiting {
  readonly entry: Entry;
  readonly dueAt: number;
}

export class ProxyIntake {
  readonly #port: ProxyIntakePort;
  /** In the order in which they came, which is that in which their time ends. */
  readonly #waiting = new Map<Fd, Waiting>();
  readonly #data = Buffer.alloc(LONGEST_HEADER);
  #timer = 0;
  readonly #onClient = (fd: Fd): void => this.#read(fd);

  constructor(port: ProxyIntakePort) {
    this.#port = port;
  }

  /** Those who were waited for until now. */
  dismiss(): readonly Fd[] {
    const clients = [...this.#waiting.keys()];
    this.#waiting.clear();
    return clients;
  }

  /** A client has just been accepted. */
  take(client: Fd, entry: Entry): void {
    const { loop } = this.#port;
    this.#waiting.set(client, { entry, dueAt: loop.now() + WAIT_MS });
    loop.add(client, EVENTS, this.#onClient);
    this.#setTimer();
  }

  #read(client: Fd): void {
    const waiting = this.#waiting.get(client);
    if (waiting === undefined) return;
    const length = recv(client, this.#data, this.#data.length, MSG_PEEK | MSG_DONTWAIT);
    if (length < 0 && errno() === EAGAIN) return;
    if (length <= 0) {
      this.#forget(client);
      this.#port.gone(client);
      return;
    }
    const read = readIntroduction(this.#data.subarray(0, length));
    if (read.kind === 'part') return;
    this.#forget(client);
    if (read.kind === 'bad') {
      this.#port.refused(client, waiting.entry);
      return;
    }
    recv(client, this.#data, read.bytes, MSG_DONTWAIT);
    this.#port.introduced(client, waiting.entry, read.introduced);
  }

  #forget(client: Fd): void {
    this.#waiting.delete(client);
    this.#port.loop.remove(client);
  }

  #setTimer(): void {
    if (this.#timer !== 0) return;
    const [first] = this.#waiting.values();
    if (first === undefined) return;
    const { loop } = this.#port;
    this.#timer = loop.setTimer(Math.max(0, first.dueAt - loop.now()), () => {
      this.#timer = 0;
      for (const [client, { entry, dueAt }] of this.#waiting) {
        if (dueAt > loop.now()) break;
        this.#forget(client);
        this.#port.refused(client, entry);
      }
      this.#setTimer();
    });
  }
}
