// Makes the connections to endpoints: chooses, connects inside the endpoint's network namespace, and tries the next one when
// that fails before a byte was forwarded.
import {
  EPOLLERR,
  EPOLLHUP,
  SO_ERROR,
  SO_KEEPALIVE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../native/constants.ts';
import { EINPROGRESS, EMFILE, ENFILE, errno, NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { addressOf, close, connect, type Fd, getsockopt, setsockopt, socket } from '../native/libc.ts';
import { enterNetns, leaveNetns, OWN_NETNS } from '../native/netns.ts';
import type { WorkerCounters } from '../runtime/worker-env.ts';
import { chooseAnother, chooseEndpoint } from './choose-endpoint.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';
import type { TcpEndpoint, TcpTargets } from './tcp-targets.ts';

export interface TcpConnectorPort {
  readonly loop: EventLoop;
  readonly counters: WorkerCounters;
  readonly targets: TcpTargets;
  readonly connections: TcpConnections;
  readonly timeoutMs: number;
  /** Puts one side of a connection into the loop. */
  watch(fd: Fd): void;
  /** The client's endpoint takes data now. */
  established(client: Fd): void;
  /** No endpoint takes this client. */
  refuse(client: Fd): void;
  /** A socket could not be made for want of descriptors; the client waits for `retryStarved`. */
  descriptorsShort(): void;
}

const SOCKET_TYPE = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
/** A client that got no socket for its endpoint in this time is reset, which frees a descriptor itself. */
const STARVED_MS = 1000;

export class TcpConnector {
  readonly #port: TcpConnectorPort;
  /** Clients of which an attempt failed: the slots that were tried. */
  readonly #tried = new Map<Fd, number[]>();
  /** Clients to connect again at the end of this batch. */
  #again: Fd[] = [];
  /** Clients that wait for a descriptor, and since when. */
  readonly #starved = new Map<Fd, number>();
  readonly #timeouts: ConnectTimeouts;
  #netns: Fd = OWN_NETNS;
  readonly #value = new Int32Array([1]);
  readonly #valueAddress = addressOf(this.#value);
  readonly #valueLength = new Uint32Array(1);

  constructor(port: TcpConnectorPort) {
    this.#port = port;
    this.#timeouts = new ConnectTimeouts(port.loop, port.connections, (fd) => this.#failed(fd));
  }

  isConnecting(fd: Fd): boolean {
    return ((this.#port.connections.flags[fd] as number) & FLAG.connecting) !== 0;
  }

  /** Nothing is remembered of whoever had this descriptor before. */
  forget(client: Fd): void {
    if (this.#tried.size > 0) this.#tried.delete(client);
    if (this.#starved.size > 0) this.#starved.delete(client);
  }

  /** Chooses an endpoint for each client and connects. */
  connectAll(clients: readonly Fd[]): void {
    try {
      for (const client of clients) this.#connect(client);
    } finally {
      if (this.#netns !== OWN_NETNS) leaveNetns();
      this.#netns = OWN_NETNS;
    }
  }

  /** The kernel has news of a connection being made. True when it is made. */
  finish(fd: Fd, events: number): boolean {
    const { connections } = this.#port;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && this.#socketError(fd) !== 0) {
      this.#failed(fd);
      return false;
    }
    const client = (connections.peer[fd] as number) - 1;
    connections.established(fd);
    this.forget(client);
    this.#port.established(client);
    return connections.flags[fd] !== 0;
  }

  endBatch(): void {
    if (this.#again.length > 0) {
      const clients = this.#again;
      this.#again = [];
      this.connectAll(clients);
    }
    this.#timeouts.endBatch();
  }

  /** Tries again for clients that found no descriptor. */
  retryStarved(): void {
    const now = this.#port.loop.now();
    const waiting: Fd[] = [];
    for (const [client, since] of this.#starved) {
      if (this.#port.connections.flags[client] === 0) {
        this.#starved.delete(client);
      } else if (now - since > STARVED_MS) {
        this.#starved.delete(client);
        this.#port.refuse(client);
      } else {
        waiting.push(client);
      }
    }
    this.connectAll(waiting);
  }

  #connect(client: Fd): void {
    const { connections, counters, targets } = this.#port;
    // Reset by the client meanwhile.
    if (connections.flags[client] === 0) return;
    const backend = targets.backend(connections.backend[client] as number);
    if (backend === undefined) {
      this.#port.refuse(client);
      return;
    }
    const { round, slots, endpoints, roundRobinSlot } = backend;
    for (;;) {
      const turn = Atomics.add(counters.roundRobin, roundRobinSlot, 1);
      const tried = this.#tried.size > 0 ? this.#tried.get(client) : undefined;
      const index = tried === undefined ? chooseEndpoint(round, turn) : chooseAnother(round, slots, turn, tried);
      if (index < 0) {
        this.#port.refuse(client);
        return;
      }
      const endpoint = endpoints[index] as TcpEndpoint;
      if (this.#attempt(client, endpoint)) return;
      connections.countFailure(endpoint.slot);
      this.#noteTried(client, endpoint.slot);
    }
  }

  /** False when the endpoint cannot be connected to, so that another is to be tried. */
  #attempt(client: Fd, endpoint: TcpEndpoint): boolean {
    if (endpoint.netns !== this.#netns && !this.#moveTo(endpoint.netns)) return false;
    const { connections, loop } = this.#port;
    const fd = socket(endpoint.family, SOCKET_TYPE, 0);
    if (fd < 0) {
      const error = errno();
      if (error !== EMFILE && error !== ENFILE) return false;
      if (!this.#starved.has(client)) this.#starved.set(client, loop.now());
      this.#port.descriptorsShort();
      return true;
    }
    this.#value[0] = 1;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, this.#valueAddress, 4);
    const { targetPort } = connections;
    if (
      connect(fd, endpoint.sockaddr(targetPort[client] as number), endpoint.sockaddrLength) < 0 &&
      errno() !== EINPROGRESS
    ) {
      close(fd);
      return false;
    }
    loop.own(fd);
    connections.openEndpoint(fd, client, endpoint.slot);
    this.#timeouts.add(fd, this.#port.timeoutMs);
    this.#port.watch(fd);
    if (((connections.flags[client] as number) & FLAG.watched) === 0) {
      connections.flags[client] = (connections.flags[client] as number) | FLAG.watched;
      this.#port.watch(client);
    }
    return true;
  }

  #failed(fd: Fd): void {
    const { connections, loop } = this.#port;
    const client = (connections.peer[fd] as number) - 1;
    const slot = (connections.slot[fd] as number) - 1;
    connections.countFailure(slot);
    connections.forgetEndpoint(fd);
    loop.close(fd);
    this.#noteTried(client, slot);
    this.#again.push(client);
  }

  #noteTried(client: Fd, slot: number): void {
    const tried = this.#tried.get(client);
    if (tried === undefined) this.#tried.set(client, [slot]);
    else tried.push(slot);
  }

  /** False when the namespace is gone. */
  #moveTo(netns: Fd): boolean {
    if (netns === OWN_NETNS) {
      leaveNetns();
    } else {
      try {
        enterNetns(netns);
      } catch (error) {
        if (error instanceof NativeError) return false;
        throw error;
      }
    }
    this.#netns = netns;
    return true;
  }

  #socketError(fd: Fd): number {
    this.#valueLength[0] = 4;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#valueAddress, this.#valueLength);
    return this.#value[0] as number;
  }
}

/** Connections being made, in order of deadline: the time is the same for all, so first in, first out. */
class ConnectTimeouts {
  readonly #loop: EventLoop;
  readonly #connections: TcpConnections;
  readonly #expired: (fd: Fd) => void;
  #fds: Fd[] = [];
  #deadlines: number[] = [];
  /** Entries before this one are done with. */
  #head = 0;
  #timer = 0;

  constructor(loop: EventLoop, connections: TcpConnections, expired: (fd: Fd) => void) {
    this.#loop = loop;
    this.#connections = connections;
    this.#expired = expired;
  }

  add(fd: Fd, timeoutMs: number): void {
    const deadline = this.#loop.now() + timeoutMs;
    this.#connections.deadline[fd] = deadline;
    this.#fds.push(fd);
    this.#deadlines.push(deadline);
  }

  /** Sets a timer while connections are being made; there is none otherwise. */
  endBatch(): void {
    if (this.#fds.length === 0) return;
    while (this.#head < this.#fds.length && !this.#isCurrent(this.#head)) this.#head++;
    if (this.#head === this.#fds.length) {
      this.#fds = [];
      this.#deadlines = [];
      this.#head = 0;
      if (this.#timer !== 0) this.#loop.clearTimer(this.#timer);
      this.#timer = 0;
    } else if (this.#timer === 0) {
      const delay = (this.#deadlines[this.#head] as number) - this.#loop.now();
      this.#timer = this.#loop.setTimer(Math.max(0, delay), () => this.#fire());
    }
    if (this.#head > 1024 && 2 * this.#head > this.#fds.length) this.#compact();
  }

  #fire(): void {
    this.#timer = 0;
    const now = this.#loop.now();
    while (this.#head < this.#fds.length) {
      if (this.#isCurrent(this.#head)) {
        if ((this.#deadlines[this.#head] as number) > now) return;
        this.#expired(this.#fds[this.#head] as Fd);
      }
      this.#head++;
    }
  }

  /** Still being made, and by this attempt: the descriptor may have had other uses since. */
  #isCurrent(entry: number): boolean {
    const fd = this.#fds[entry] as Fd;
    const { flags, deadline } = this.#connections;
    return ((flags[fd] as number) & FLAG.connecting) !== 0 && deadline[fd] === this.#deadlines[entry];
  }

  #compact(): void {
    this.#fds = this.#fds.slice(this.#head);
    this.#deadlines = this.#deadlines.slice(this.#head);
    this.#head = 0;
  }
}
