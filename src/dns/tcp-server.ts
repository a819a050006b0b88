// DNS over TCP (RFC 7766): messages behind two length bytes, any number on one connection, answered as they are ready.
import {
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from '../native/constants.ts';
import { EAGAIN, errno } from '../native/errno.ts';
import type { EventLoop, Handler } from '../native/event-loop.ts';
import { accept4, addressOf, type Fd, recv, send } from '../native/libc.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';
import { TOTAL } from '../runtime/worker-env.ts';
import type { Scope } from './command.ts';
import { ASK_UPSTREAM, type Asker, NO_REPLY, type Responder } from './responder.ts';
import { MAX_MESSAGE_BYTES, readU16, writeU16 } from './wire.ts';

export interface TcpLimits {
  /** Connections of one listener, which is one client (a container, or the node itself), in this worker. */
  readonly perListener: number;
  /** Connections in this worker. */
  readonly total: number;
  /** A connection without a complete question for this long is closed; RFC 7766 section 6.2.3 asks for seconds. */
  readonly idleMs: number;
  /** Answers that a client does not take: above this no more of its questions are looked at. */
  readonly unsentBytes: number;
  /** Questions of one connection that upstreams have not answered yet: above this no more of them are looked at. */
  readonly asking: number;
}

export const TCP_LIMITS: TcpLimits = {
  perListener: 128,
  total: 1024,
  idleMs: 10_000,
  unsentBytes: 256 * 1024,
  asking: 100,
};

const LENGTH_BYTES = 2;
const ACCEPTS_PER_EVENT = 32;
/** How often idle connections are looked for. */
const SWEEP_MS = 1000;
/** With no descriptor left, a listener that stays readable would keep the loop busy for nothing. */
const ACCEPT_PAUSE_MS = 100;

const arena = Buffer.alloc(LENGTH_BYTES + MAX_MESSAGE_BYTES);
const arenaAddress = addressOf(arena);
const peer = Buffer.alloc(SOCKADDR_BYTES);
const peerLength = new Uint32Array(1);

interface Listener extends Asker {
  readonly fd: Fd;
  readonly scope: number;
  connections: number;
}

interface Connection {
  readonly fd: Fd;
  readonly listener: Listener;
  /** What came and is not answered yet: the beginning of a message, or whole ones that wait for what is under way. */
  received: Uint8Array;
  /** What could not be sent yet. */
  unsent: Uint8Array;
  /** Questions that an upstream has not answered yet. */
  asking: number;
  /** Its questions are being looked at now: an answer that is there at once must not begin with them again. */
  answering: boolean;
  lastQuestionAt: number;
  /** The client sends no more. */
  ended: boolean;
  events: number;
}

const NOTHING = new Uint8Array(0);

export class TcpServer {
  readonly #loop: EventLoop;
  readonly #responder: Responder;
  readonly #limits: TcpLimits;
  readonly #listeners = new Map<Fd, Listener>();
  readonly #connections = new Map<Fd, Connection>();
  readonly #onAccept: Handler = (fd) => this.#accept(fd);
  readonly #onReady: Handler = (fd, events) => this.#ready(fd, events);
  readonly #totals: Float64Array;
  #sweeping = false;

  /** `totals` is indexed by TOTAL. */
  constructor(loop: EventLoop, responder: Responder, totals: Float64Array, limits: TcpLimits = TCP_LIMITS) {
    this.#loop = loop;
    this.#responder = responder;
    this.#totals = totals;
    this.#limits = limits;
  }

  /** Begins to accept on a listening socket, which stays the caller's. */
  add(fd: Fd, scope: number, client: number): void {
    this.#listeners.set(fd, { fd, scope, client, overTcp: true, connections: 0 });
    this.#loop.add(fd, EPOLLIN, this.#onAccept);
  }

  /** Accepts no more on it and closes its connections: whoever asked through it is gone. */
  remove(fd: Fd): void {
    const listener = this.#listeners.get(fd);
    if (listener === undefined) return;
    this.#listeners.delete(fd);
    this.#loop.remove(fd);
    for (const connection of [...this.#connections.values()]) {
      if (connection.listener === listener) this.#close(connection);
    }
  }

  #accept(fd: Fd): void {
    const listener = this.#listeners.get(fd);
    for (let i = 0; listener !== undefined && i < ACCEPTS_PER_EVENT; i++) {
      peerLength[0] = SOCKADDR_BYTES;
      const accepted = accept4(fd, peer, peerLength, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (accepted < 0) {
        if (errno() !== EAGAIN) this.#pause(listener);
        return;
      }
      this.#loop.own(accepted);
      const isStranger = this.#responder.isStranger(this.#responder.scope(listener.scope), peer, 0);
      if (isStranger || !this.#makeRoom(listener)) this.#loop.close(accepted);
      else this.#open(accepted, listener);
    }
  }

  /**
   * Whether one connection more fits. Where the limit is reached, the one of the same client that has been idle for longest
   * is closed (RFC 7766 section 6.2.3), so that clients who only connect keep nobody out.
   */
  #makeRoom(listener: Listener): boolean {
    const { perListener, total } = this.#limits;
    if (listener.connections < perListener && this.#connections.size < total) return true;
    let idlest: Connection | undefined;
    for (const one of this.#connections.values()) {
      if (one.listener !== listener || one.asking > 0 || one.unsent.length > 0) continue;
      if (idlest === undefined || one.lastQuestionAt < idlest.lastQuestionAt) idlest = one;
    }
    if (idlest !== undefined) this.#close(idlest);
    return idlest !== undefined;
  }

  #pause(listener: Listener): void {
    this.#loop.remove(listener.fd);
    this.#loop.setTimer(ACCEPT_PAUSE_MS, () => {
      if (this.#listeners.get(listener.fd) === listener) this.#loop.add(listener.fd, EPOLLIN, this.#onAccept);
    });
  }

  #open(fd: Fd, listener: Listener): void {
    listener.connections++;
    const lastQuestionAt = this.#loop.now();
    const [received, unsent] = [NOTHING, NOTHING];
    const state = { asking: 0, answering: false, lastQuestionAt, ended: false, events: EPOLLIN };
    const connection = { fd, listener, received, unsent, ...state };
    this.#connections.set(fd, connection);
    this.#totals[TOTAL.dnsTcpConnectionsActive] = this.#connections.size;
    this.#loop.add(fd, EPOLLIN, this.#onReady);
    if (!this.#sweeping) this.#sweepLater();
  }

  #close(connection: Connection): void {
    this.#connections.delete(connection.fd);
    this.#totals[TOTAL.dnsTcpConnectionsActive] = this.#connections.size;
    connection.listener.connections--;
    this.#loop.close(connection.fd);
  }

  #ready(fd: Fd, events: number): void {
    const connection = this.#connections.get(fd);
    if (connection === undefined) return;
    if ((events & EPOLLOUT) !== 0) this.#flush(connection);
    if (this.#isOpen(connection) && (events & EPOLLIN) !== 0) this.#receive(connection);
    // Both directions are over, or an error: nothing can be delivered any more.
    if (this.#isOpen(connection) && (events & EPOLLHUP) !== 0) this.#close(connection);
    else this.#settle(connection);
  }

  #receive(connection: Connection): void {
    const kept = connection.received.length;
    arena.set(connection.received);
    const length = recv(connection.fd, arenaAddress + kept, arena.length - kept, MSG_DONTWAIT);
    if (length < 0) {
      if (errno() !== EAGAIN) this.#close(connection);
      return;
    }
    if (length === 0) connection.ended = true;
    this.#answerAll(connection, arena, kept + length);
  }

  /**
   * Answers the whole messages in `bytes[0, end)`, as long as the client takes the answers; the rest is kept. What can be
   * answered at once goes out together.
   */
  #answerAll(connection: Connection, bytes: Uint8Array, end: number): void {
    const { out } = this.#responder;
    let at = 0;
    let ready = 0;
    connection.answering = true;
    while (end - at >= LENGTH_BYTES && this.#takesMore(connection)) {
      const size = readU16(bytes, at);
      if (end - at < LENGTH_BYTES + size) break;
      connection.lastQuestionAt = this.#loop.now();
      ready = this.#answer(connection, bytes, at + LENGTH_BYTES, size, ready);
      at += LENGTH_BYTES + size;
      if (out.length - ready < LENGTH_BYTES + MAX_MESSAGE_BYTES) {
        this.#send(connection, out.subarray(0, ready));
        ready = 0;
      }
      if (!this.#isOpen(connection)) return;
    }
    connection.answering = false;
    connection.received = at === end ? NOTHING : Uint8Array.from(bytes.subarray(at, end));
    if (ready > 0) this.#send(connection, out.subarray(0, ready));
  }

  #takesMore({ unsent, asking }: Connection): boolean {
    return unsent.length <= this.#limits.unsentBytes && asking < this.#limits.asking;
  }

  /** Writes the answer behind what is `ready` to be sent, and returns how much that is then; or asks an upstream. */
  #answer(connection: Connection, bytes: Uint8Array, start: number, size: number, ready: number): number {
    const responder = this.#responder;
    const scope = responder.scope(connection.listener.scope);
    const length = responder.respond(bytes, start, size, scope, connection.listener, ready + LENGTH_BYTES);
    if (length > NO_REPLY) {
      writeU16(responder.out, ready, length);
      return ready + LENGTH_BYTES + length;
    }
    if (length !== ASK_UPSTREAM) return ready;
    // What fails at once is answered at once, and then stands behind what was asked before.
    if (ready > 0) this.#send(connection, responder.out.subarray(0, ready));
    if (this.#isOpen(connection)) this.#forward(connection, scope);
    return 0;
  }

  #forward(connection: Connection, scope: Scope): void {
    connection.asking++;
    this.#responder.forward(scope, connection.listener, (message, length) => {
      connection.asking--;
      if (!this.#isOpen(connection)) return;
      const framed = new Uint8Array(LENGTH_BYTES + length);
      writeU16(framed, 0, length);
      framed.set(message.subarray(0, length), LENGTH_BYTES);
      this.#send(connection, framed);
      if (connection.answering || !this.#isOpen(connection)) return;
      this.#answerAll(connection, connection.received, connection.received.length);
      this.#settle(connection);
    });
  }

  #send(connection: Connection, bytes: Uint8Array): void {
    let sent = 0;
    if (connection.unsent.length === 0) {
      sent = send(connection.fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0 && errno() !== EAGAIN) {
        this.#close(connection);
        return;
      }
    }
    const rest = bytes.subarray(Math.max(sent, 0));
    if (rest.length > 0) connection.unsent = Uint8Array.from(Buffer.concat([connection.unsent, rest]));
  }

  #flush(connection: Connection): void {
    const { fd, unsent } = connection;
    if (unsent.length === 0) return;
    const sent = send(fd, unsent, unsent.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      connection.unsent = unsent.subarray(sent);
      this.#answerAll(connection, connection.received, connection.received.length);
    } else if (errno() !== EAGAIN) {
      this.#close(connection);
    }
  }

  /** Waits for what can come next; closes when nothing can. */
  #settle(connection: Connection): void {
    if (!this.#isOpen(connection)) return;
    const backlog = connection.unsent.length;
    if (connection.ended && backlog === 0 && connection.asking === 0) {
      this.#close(connection);
      return;
    }
    const readable = !connection.ended && this.#takesMore(connection) ? EPOLLIN : 0;
    const events = readable | (backlog > 0 ? EPOLLOUT : 0);
    if (events === connection.events) return;
    connection.events = events;
    this.#loop.modify(connection.fd, events);
  }

  #isOpen(connection: Connection): boolean {
    return this.#connections.get(connection.fd) === connection;
  }

  #sweepLater(): void {
    this.#sweeping = true;
    this.#loop.setTimer(SWEEP_MS, () => {
      const idleSince = this.#loop.now() - this.#limits.idleMs;
      for (const connection of [...this.#connections.values()]) {
        if (connection.asking === 0 && connection.lastQuestionAt <= idleSince) this.#close(connection);
      }
      this.#sweeping = false;
      if (this.#connections.size > 0) this.#sweepLater();
    });
  }
}
