// Makes the connections to endpoints: chooses, connects inside the endpoint's network namespace, and tries the next one when
// that fails before a byte was forwarded.
import {
  EPOLLERR,
  EPOLLHUP,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  SO_ERROR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../native/constants.ts';
import { EADDRNOTAVAIL, EINPROGRESS, EMFILE, ENFILE, errno, NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { addressOf, close, connect, type Fd, getsockopt, send, socket } from '../native/libc.ts';
import { keepAlive } from '../native/stream-socket.ts';
import { enterNetns, leaveNetns, OWN_NETNS } from '../native/netns.ts';
import type { AttemptFailure, ConnectionEnd } from './connection-record.ts';
import type { Failure } from './ejection.ts';
import type { EndpointChooser } from './endpoint-chooser.ts';
import { hashPeer, headerFor } from './peer.ts';
import { AttemptQueue } from './tcp-attempts.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';
import type { TcpEjector } from './tcp-ejector.ts';
import type { TcpJournal } from './tcp-journal.ts';
import type { TcpLimits } from './tcp-limits.ts';
import type { TcpBackend, TcpEndpoint, TcpTargets } from './tcp-targets.ts';

export interface TcpConnectorPort {
  readonly loop: EventLoop;
  readonly targets: TcpTargets;
  readonly connections: TcpConnections;
  readonly chooser: EndpointChooser;
  readonly ejector: TcpEjector;
  readonly journal: TcpJournal;
  readonly limits: TcpLimits;
  /** An endpoint that has not answered by then is given up, where its service says nothing else. */
  readonly timeoutMs: number;
  /** Puts one side of a connection into the loop. */
  watch(fd: Fd): void;
  /** The client's endpoint takes data now. */
  established(client: Fd): void;
  /** No endpoint takes this client. */
  refuse(client: Fd): void;
  /** The connection cannot go on. */
  abort(client: Fd, why?: ConnectionEnd): void;
  /** A socket could not be made for want of descriptors; the client waits for `retryStarved`. */
  short(error: number): void;
  /** The kernel has no source port left for connections to an endpoint. */
  portless(endpoint: TcpEndpoint): void;
}

const NONE: readonly number[] = [];
const SOCKET_TYPE = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
/**
 * An endpoint that has not answered by then is given up when there is another to try: the kernel has repeated its SYN after one
 * second (RFC 6298), so two were lost, or it is not there.
 */
const HASTE_MS = 2000;
/** A client that got no socket for its endpoint in this time is reset, which frees a descriptor itself. */
const STARVED_MS = 1000;
/** Age at which a connection to an endpoint gets SO_KEEPALIVE. (Accepted sockets inherit it from their listener.) */
const KEEP_ALIVE_FROM_MS = 1000;

export class TcpConnector {
  readonly #port: TcpConnectorPort;
  /** Clients of which an attempt failed: the slots that were tried. */
  readonly #tried = new Map<Fd, number[]>();
  /** Clients to connect again at the end of this batch. */
  #again: Fd[] = [];
  /** Clients that wait for a descriptor, and since when. */
  readonly #starved = new Map<Fd, number>();
  /** Connections that are being made, for as long as there is another endpoint, and to the last one. */
  readonly #hasty: AttemptQueue;
  readonly #patient: AttemptQueue;
  /** Those of services with a connect timeout of their own, by that; only while they are needed. */
  readonly #ownQueues = new Map<number, AttemptQueue>();
  #timer = 0;
  #timerAt = 0;
  /** Connections that the kernel is to keep alive if they grow old enough. */
  readonly #young: AttemptQueue;
  #netns: Fd = OWN_NETNS;
  /** The client whose endpoint is being chosen. */
  #chosenFor: Fd = -1;
  readonly #clientHash = (): number =>
    hashPeer(this.#chosenFor, this.#port.connections.introduced.get(this.#chosenFor));
  readonly #value = new Int32Array([1]);
  readonly #valueAddress = addressOf(this.#value);
  readonly #valueLength = new Uint32Array(1);

  constructor(port: TcpConnectorPort) {
    this.#port = port;
    this.#hasty = new AttemptQueue(port.connections, Math.min(HASTE_MS, port.timeoutMs));
    this.#patient = new AttemptQueue(port.connections, port.timeoutMs);
    this.#young = new AttemptQueue(port.connections, KEEP_ALIVE_FROM_MS);
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

  /** Endpoints have left a backend. Who was waiting for one of them is led to another, if there is one, instead of to the timeout. */
  endpointsLeft(backend: number, slots: readonly number[]): void {
    const { connections } = this.#port;
    for (const queue of this.#queues()) {
      for (const fd of queue.connecting()) {
        const client = (connections.peer[fd] as number) - 1;
        if (connections.backend[client] === backend && slots.includes((connections.slot[fd] as number) - 1))
          this.#tryAnother(fd, 'left');
      }
    }
  }

  /** An endpoint has reset its connection before it sent anything. */
  endpointReset(fd: Fd): void {
    const { peer, slot } = this.#port.connections;
    this.#blame((peer[fd] as number) - 1, (slot[fd] as number) - 1, 'reset');
  }

  /** The kernel has news of a connection being made. True when it is made. */
  finish(fd: Fd, events: number): boolean {
    const { connections, limits } = this.#port;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && this.#socketError(fd) !== 0) {
      this.#failed(fd, 'refused');
      return false;
    }
    const client = (connections.peer[fd] as number) - 1;
    connections.established(fd, this.#port.loop.now());
    this.#port.journal.connected(client, fd, this.#port.loop.now());
    this.forget(client);
    if (!this.#introduce(client, fd)) return false;
    if (!limits.isIdle) limits.established(client);
    this.#port.established(client);
    return connections.flags[fd] !== 0;
  }

  /** Tells the endpoint who the client is, where its service wants that. False when the connection has ended over it. */
  #introduce(client: Fd, fd: Fd): boolean {
    const { connections, targets } = this.#port;
    const version = targets.backend(connections.backend[client] as number)?.proxyProtocol;
    if (version === undefined) return true;
    const header = headerFor(version, client, connections.introduced.get(client));
    // A socket that has just been connected takes more than this at once. A server that speaks first waits for it, so it is not
    // held back for the client's own data, which then goes without delay.
    const sent = header === undefined ? -1 : send(fd, header, header.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent !== header?.length) {
      this.#port.abort(client);
      return false;
    }
    connections.flags[fd] = (connections.flags[fd] as number) | FLAG.written;
    return true;
  }

  endBatch(): void {
    if (this.#again.length > 0) {
      const clients = this.#again;
      this.#again = [];
      this.connectAll(clients);
    }
    this.#setTimer();
    this.#keepAlive();
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
    const { connections, ejector, limits, targets } = this.#port;
    // Reset by the client meanwhile.
    if (connections.flags[client] === 0) return;
    const backend = targets.backend(connections.backend[client] as number);
    if (backend === undefined) {
      this.#port.refuse(client);
      return;
    }
    connections.service[client] = backend.roundRobinSlot + 1;
    if (backend.limits !== undefined && !limits.admit(client, backend.roundRobinSlot, backend.limits)) {
      this.#port.abort(client, 'too many connections');
      return;
    }
    const targetPort = connections.targetPort[client] as number;
    for (;;) {
      const tried = (this.#tried.size > 0 ? this.#tried.get(client) : undefined) ?? NONE;
      const index = this.#choose(backend, client, targetPort, tried);
      if (index < 0) {
        this.#port.refuse(client);
        return;
      }
      this.#port.journal.chose(client, backend.choice, index, this.#port.chooser.wasAffine);
      const endpoint = backend.endpoints[index] as TcpEndpoint;
      const isLast = tried.length + 1 >= backend.endpoints.length;
      const attempt = this.#attempt(client, endpoint, this.#queueFor(backend, isLast));
      if (attempt === 'begun') return;
      connections.countFailure(endpoint.slot);
      // Which is no fault of the endpoint's.
      if (attempt === 'portless') this.#port.portless(endpoint);
      else ejector.failed(connections.backend[client] as number, endpoint, targetPort, 'refused');
      this.#noteTried(client, endpoint.slot, attempt === 'portless' ? 'no source port' : 'refused');
    }
  }

  /** Index of an endpoint that was not tried: one that is not ejected, if there is one; -1 when all were tried. */
  #choose(backend: TcpBackend, client: Fd, targetPort: number, tried: readonly number[]): number {
    const { chooser, ejector } = this.#port;
    const out = ejector.isIdle ? NONE : ejector.outOf(backend, targetPort);
    const skip = out.length === 0 ? tried : [...tried, ...out];
    this.#chosenFor = client;
    const index = chooser.choose(backend, this.#clientHash, skip);
    return index >= 0 || out.length === 0 ? index : chooser.choose(backend, this.#clientHash, tried);
  }

  /** Where an attempt waits for its answer. */
  #queueFor({ limits }: TcpBackend, isLast: boolean): AttemptQueue {
    const own = limits?.connectTimeoutMs;
    if (own === undefined) return isLast ? this.#patient : this.#hasty;
    const afterMs = isLast ? own : Math.min(HASTE_MS, own);
    const queue = this.#ownQueues.get(afterMs) ?? new AttemptQueue(this.#port.connections, afterMs);
    this.#ownQueues.set(afterMs, queue);
    return queue;
  }

  /** Anything but `begun`: the endpoint cannot be connected to, so that another is to be tried. */
  #attempt(client: Fd, endpoint: TcpEndpoint, queue: AttemptQueue): 'begun' | 'failed' | 'portless' {
    if (endpoint.netns !== this.#netns && !this.#moveTo(endpoint.netns)) return 'failed';
    const { connections, loop } = this.#port;
    const fd = socket(endpoint.family, SOCKET_TYPE, 0);
    if (fd < 0 || fd >= connections.capacity) {
      const error = fd < 0 ? errno() : EMFILE;
      if (fd >= 0) close(fd);
      if (error !== EMFILE && error !== ENFILE) return 'failed';
      if (!this.#starved.has(client)) this.#starved.set(client, loop.now());
      this.#port.short(error);
      return 'begun';
    }
    if (this.#starved.size > 0) this.#starved.delete(client);
    const { targetPort } = connections;
    if (
      connect(fd, endpoint.sockaddr(targetPort[client] as number), endpoint.sockaddrLength) < 0 &&
      errno() !== EINPROGRESS
    ) {
      const error = errno();
      close(fd);
      return error === EADDRNOTAVAIL ? 'portless' : 'failed';
    }
    loop.own(fd);
    connections.openEndpoint(fd, client, endpoint.slot, loop.now());
    queue.push(fd);
    this.#young.push(fd);
    this.#port.watch(fd);
    if (((connections.flags[client] as number) & FLAG.watched) === 0) {
      connections.flags[client] = (connections.flags[client] as number) | FLAG.watched;
      this.#port.watch(client);
    }
    return 'begun';
  }

  #failed(fd: Fd, failure: Failure): void {
    const { connections } = this.#port;
    const slot = (connections.slot[fd] as number) - 1;
    connections.countFailure(slot);
    this.#blame((connections.peer[fd] as number) - 1, slot, failure);
    this.#tryAnother(fd, failure);
  }

  /** At the end of the batch. */
  #tryAnother(fd: Fd, why: AttemptFailure): void {
    const { connections, loop } = this.#port;
    const client = (connections.peer[fd] as number) - 1;
    const slot = (connections.slot[fd] as number) - 1;
    connections.forgetEndpoint(fd);
    loop.close(fd);
    this.#noteTried(client, slot, why);
    this.#again.push(client);
  }

  /** Nothing happens when the endpoint has left its backend meanwhile. */
  #blame(client: Fd, slot: number, failure: Failure): void {
    const { connections, ejector, targets } = this.#port;
    const backend = connections.backend[client] as number;
    const endpoint = targets.backend(backend)?.endpoints.find((one) => one.slot === slot);
    if (endpoint !== undefined) ejector.failed(backend, endpoint, connections.targetPort[client] as number, failure);
  }

  #noteTried(client: Fd, slot: number, failure: AttemptFailure): void {
    this.#port.journal.failed(client, slot, failure);
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

  /** A timer is set while connections are being made; there is none otherwise. */
  #setTimer(): void {
    skipDone(this.#hasty);
    skipDone(this.#patient);
    let dueAt = Math.min(this.#hasty.firstDueAt, this.#patient.firstDueAt);
    if (this.#ownQueues.size > 0) dueAt = Math.min(dueAt, this.#ownDueAt());
    // One that comes too early finds nothing due, which is cheaper than to set another for each connection.
    if (this.#timer !== 0 && this.#timerAt <= dueAt && dueAt !== Number.POSITIVE_INFINITY) return;
    if (this.#timer !== 0) this.#port.loop.clearTimer(this.#timer);
    this.#timer = 0;
    if (dueAt === Number.POSITIVE_INFINITY) return;
    this.#timerAt = dueAt;
    const delay = dueAt - this.#port.loop.now();
    this.#timer = this.#port.loop.setTimer(Math.max(0, delay), () => this.#giveUp());
  }

  #ownDueAt(): number {
    let dueAt = Number.POSITIVE_INFINITY;
    for (const [afterMs, queue] of this.#ownQueues) {
      skipDone(queue);
      if (queue.isEmpty) this.#ownQueues.delete(afterMs);
      else dueAt = Math.min(dueAt, queue.firstDueAt);
    }
    return dueAt;
  }

  #giveUp(): void {
    this.#timer = 0;
    const now = this.#port.loop.now();
    for (const queue of this.#queues())
      for (; queue.firstDueAt <= now; queue.shift()) if (queue.firstIsConnecting) this.#failed(queue.firstFd, 'silent');
  }

  #queues(): readonly AttemptQueue[] {
    return [this.#hasty, this.#patient, ...this.#ownQueues.values()];
  }

  /** Most connections end before it matters, and are spared the call. The loop comes by here twice a second at least. */
  #keepAlive(): void {
    const young = this.#young;
    const now = this.#port.loop.now();
    for (; young.firstDueAt <= now; young.shift()) if (young.firstIsCurrent) this.#keepOneAlive(young.firstFd);
  }

  /** Accepted sockets are kept alive already, as is usual. */
  #keepOneAlive(fd: Fd): void {
    const { connections, targets } = this.#port;
    const client = (connections.peer[fd] as number) - 1;
    const ownMs = targets.backend(connections.backend[client] as number)?.limits?.keepAliveMs;
    if (ownMs === undefined) {
      keepAlive(fd);
      return;
    }
    for (const side of [fd, client]) keepAlive(side, Math.ceil(ownMs / 1000));
  }

  #socketError(fd: Fd): number {
    this.#valueLength[0] = 4;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#valueAddress, this.#valueLength);
    return this.#value[0] as number;
  }
}

function skipDone(queue: AttemptQueue): void {
  while (!queue.isEmpty && !queue.firstIsConnecting) queue.shift();
}
