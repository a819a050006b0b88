// Moves bytes between the two sides of established TCP connections.
//
// Everything is edge-triggered and nothing is registered twice. A read that fills its room makes a direction `bulk`: it is
// then peeked at in large pieces, sent, and what the kernel took is discarded from the receive queue, so that bulk is
// never kept in user space and a reader that stalls stops its sender through TCP's own window. Small reads of a batch
// share one arena and are sent when all were done; only what the kernel does not take of such a read is kept, 20 KiB per
// direction and read.
import {
  EPOLLERR,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  IPPROTO_TCP,
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_NOSIGNAL,
  MSG_PEEK,
  MSG_TRUNC,
  SHUT_WR,
  TCP_NODELAY,
} from '../native/constants.ts';
import { EAGAIN, errno } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { addressOf, type Fd, recv, send, setsockopt, shutdown } from '../native/libc.ts';
import { resetOnClose } from '../native/stream-socket.ts';
import { ENDPOINT, type WorkerCounters } from '../runtime/worker-env.ts';
import type { ConnectionEnd } from './connection-record.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';
import type { TcpJournal } from './tcp-journal.ts';

/**
 * Room for one read. A read that fills it is followed by large pieces. What programs write at once is often 16 KiB and a header, such as
 * a whole TLS record (RFC 8446, section 5.2: 16,640 bytes at most, and 5), which is not to be cut in two.
 */
const READ_BYTES = 20 * 1024;
/** Arena of one batch: what the processor's second-level cache holds beside the rest. */
const ARENA_BYTES = 1024 * 1024;
/** Largest piece of a bulk transfer. Measured: 256 KiB gives nine tenths of the gain, more than 1 MiB nothing. */
const BULK_BYTES = 1024 * 1024;
const SENDS = 512;

const SEND_FLAGS = MSG_NOSIGNAL | MSG_DONTWAIT;

/** What endpoints do, for whoever judges them. */
export interface EndpointWatcher {
  /** Something is held against some endpoint, so that it matters which ones answer. */
  readonly isWatching: boolean;
  /** The first bytes for this client have come. */
  answered(client: Fd): void;
  /** Reset by the endpoint before it sent anything. */
  endpointReset(fd: Fd): void;
}

/** What services allow their connections. */
export interface ConnectionWatcher {
  readonly isIdle: boolean;
  halfClosed(client: Fd): void;
  ended(client: Fd): void;
}

export class TcpRelay {
  readonly #loop: EventLoop;
  readonly #connections: TcpConnections;
  readonly #endpointCounters: Float64Array;
  readonly #watcher: EndpointWatcher;
  readonly #journal: TcpJournal;
  readonly #limits: ConnectionWatcher;
  readonly #arena = Buffer.alloc(ARENA_BYTES);
  readonly #arenaAddress = addressOf(this.#arena);
  #arenaUsed = 0;
  readonly #bulk = Buffer.alloc(BULK_BYTES);
  readonly #bulkAddress = addressOf(this.#bulk);
  #bulkQueue: Fd[] = [];
  // The batch's reads that are to be sent on: from which descriptor, where in the arena.
  readonly #sendFrom = new Int32Array(SENDS);
  readonly #sendOffset = new Int32Array(SENDS);
  readonly #sendLength = new Int32Array(SENDS);
  readonly #sendLast = new Uint8Array(SENDS);
  #sends = 0;
  /** By receiving side: what the kernel did not take of a small read. */
  readonly #held = new Map<Fd, Buffer>();
  readonly #one = new Int32Array([1]);
  readonly #oneAddress = addressOf(this.#one);

  constructor(
    loop: EventLoop,
    connections: TcpConnections,
    counters: WorkerCounters,
    watchers: {
      readonly endpoints: EndpointWatcher;
      readonly limits: ConnectionWatcher;
      readonly journal: TcpJournal;
    },
  ) {
    this.#journal = watchers.journal;
    this.#limits = watchers.limits;
    this.#loop = loop;
    this.#connections = connections;
    this.#endpointCounters = counters.endpoints;
    this.#watcher = watchers.endpoints;
  }

  /** Bytes kept in user space for readers that are slow. */
  get heldBytes(): number {
    let sum = 0;
    for (const bytes of this.#held.values()) sum += bytes.length;
    return sum;
  }

  /** An established side, or a client whose endpoint is still being connected to, is ready for something. */
  onEvents(fd: Fd, events: number): void {
    const { flags, peer } = this.#connections;
    if ((events & EPOLLERR) !== 0) {
      this.#onError(fd);
      return;
    }
    if ((events & EPOLLRDHUP) !== 0) flags[fd] = (flags[fd] as number) | FLAG.hangup;
    if ((events & EPOLLOUT) !== 0 && ((flags[fd] as number) & FLAG.full) !== 0) this.#resume(fd);
    // The connection may have ended just now.
    if ((events & (EPOLLIN | EPOLLRDHUP)) !== 0 && flags[fd] !== 0) this.#read(fd, (peer[fd] as number) - 1);
  }

  /** The other side can be written to now: reads what has come meanwhile. */
  start(fd: Fd): void {
    const other = (this.#connections.peer[fd] as number) - 1;
    if (((this.#connections.flags[fd] as number) & FLAG.readable) !== 0) this.#read(fd, other);
  }

  /** End of a batch: sends what was read, then moves one large piece for each bulk direction. */
  flush(): void {
    this.#sendAll();
    if (this.#bulkQueue.length === 0) return;
    const queue = this.#bulkQueue;
    this.#bulkQueue = [];
    for (const fd of queue) this.#moveBulk(fd);
    if (this.#bulkQueue.length > 0) this.#loop.again();
  }

  /** Ends both sides with RST, and says why. Also for a client that has no endpoint yet. */
  reset(fd: Fd, why: ConnectionEnd = 'agent'): void {
    if (this.#connections.flags[fd] === 0) return;
    resetOnClose(fd);
    const other = (this.#connections.peer[fd] as number) - 1;
    if (other >= 0) resetOnClose(other);
    this.#closeBoth(fd, why);
  }

  /** Reset by its peer, or lost: what had come before is passed on as far as it goes, then the reset. */
  #onError(fd: Fd): void {
    const other = (this.#connections.peer[fd] as number) - 1;
    if (this.#isSilentEndpoint(fd, other)) this.#watcher.endpointReset(fd);
    if (other >= 0) this.#read(fd, other);
    this.#sendAll();
    if (this.#connections.flags[fd] !== 0) this.reset(fd, this.#resetBy(fd));
  }

  #isSilentEndpoint(fd: Fd, client: Fd): boolean {
    const { flags } = this.#connections;
    if (client < 0 || ((flags[fd] as number) & FLAG.endpoint) === 0) return false;
    if (((flags[client] as number) & FLAG.written) !== 0) return false;
    return recv(fd, this.#bulkAddress, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
  }

  #read(fd: Fd, other: Fd): void {
    if (this.#arenaUsed + READ_BYTES > ARENA_BYTES || this.#sends === SENDS) this.#sendAll();
    const { flags } = this.#connections;
    const before = flags[fd] as number;
    if (before === 0 || (before & FLAG.ended) !== 0) return;
    if (other < 0 || ((flags[other] as number) & (FLAG.full | FLAG.connecting)) !== 0) {
      flags[fd] = before | FLAG.readable;
      return;
    }
    if ((before & FLAG.bulk) !== 0) {
      this.#queueBulk(fd);
      return;
    }
    const length = recv(fd, this.#arenaAddress + this.#arenaUsed, READ_BYTES, MSG_DONTWAIT);
    if (length < 0) {
      if (errno() === EAGAIN) flags[fd] = before & ~FLAG.readable;
      else this.reset(fd, this.#resetBy(fd));
      return;
    }
    const last = length === 0 || (length < READ_BYTES && (before & FLAG.hangup) !== 0);
    if (last) flags[fd] = (before & ~FLAG.readable) | FLAG.ended;
    else if (length === READ_BYTES) flags[fd] = before | FLAG.bulk | FLAG.readable;
    else flags[fd] = before & ~FLAG.readable;
    this.#count(fd, other, length);
    this.#queueSend(fd, length, last);
  }

  #queueSend(fd: Fd, length: number, last: boolean): void {
    const k = this.#sends++;
    this.#sendFrom[k] = fd;
    this.#sendOffset[k] = this.#arenaUsed;
    this.#sendLength[k] = length;
    this.#sendLast[k] = last ? 1 : 0;
    this.#arenaUsed += (length + 63) & ~63;
  }

  #sendAll(): void {
    for (let k = 0; k < this.#sends; k++) this.#sendOne(k);
    this.#sends = 0;
    this.#arenaUsed = 0;
  }

  #sendOne(k: number): void {
    const { flags, peer } = this.#connections;
    const fd = this.#sendFrom[k] as number;
    const other = (peer[fd] as number) - 1;
    if (other < 0) return;
    const offset = this.#sendOffset[k] as number;
    const length = this.#sendLength[k] as number;
    const last = this.#sendLast[k] === 1;
    let sent = 0;
    if (((flags[other] as number) & FLAG.full) === 0) {
      if (length > 0) sent = this.#send(other, this.#arenaAddress + offset, length, last);
      if (sent < 0) return;
      if (sent === length) {
        if (last) this.#passEnd(fd, other);
        else if (((flags[fd] as number) & FLAG.bulk) !== 0) this.#queueBulk(fd);
        return;
      }
    }
    this.#hold(other, this.#arena.subarray(offset + sent, offset + length));
  }

  /** Keeps what a full side did not take, behind what is kept already. */
  #hold(to: Fd, rest: Buffer): void {
    if (rest.length === 0) return;
    const held = this.#held.get(to);
    this.#held.set(to, held === undefined ? Buffer.from(rest) : Buffer.concat([held, rest]));
  }

  /** Returns how many bytes the kernel took, marking the side `full` when not all; -1 when the connection was reset. */
  #send(to: Fd, address: number, length: number, more: boolean): number {
    const { flags } = this.#connections;
    const before = flags[to] as number;
    if ((before & FLAG.written) === 0) {
      flags[to] = before | FLAG.written;
      if (this.#watcher.isWatching && (before & FLAG.client) !== 0) this.#watcher.answered(to);
    } else if ((before & FLAG.noDelay) === 0) {
      // A first write is never delayed (Nagle's algorithm waits for what is unacknowledged), so most short connections
      // never need the option.
      flags[to] = before | FLAG.noDelay;
      setsockopt(to, IPPROTO_TCP, TCP_NODELAY, this.#oneAddress, 4);
    }
    // With MSG_MORE the last data and the FIN that follows leave in one segment.
    const sent = send(to, address, length, more ? SEND_FLAGS | MSG_MORE : SEND_FLAGS);
    if (sent === length) return sent;
    if (sent < 0 && errno() !== EAGAIN) {
      this.reset(to, this.#resetBy(to));
      return -1;
    }
    flags[to] = (flags[to] as number) | FLAG.full;
    return Math.max(sent, 0);
  }

  /** EPOLLOUT on a side that was full: first what is held for it, then what its peer has. */
  #resume(to: Fd): void {
    const { flags, peer } = this.#connections;
    flags[to] = (flags[to] as number) & ~FLAG.full;
    const from = (peer[to] as number) - 1;
    const held = this.#held.get(to);
    if (held !== undefined) {
      const ended = ((flags[from] as number) & FLAG.ended) !== 0;
      const sent = this.#send(to, addressOf(held), held.length, ended);
      if (sent < 0) return;
      if (sent < held.length) {
        this.#held.set(to, held.subarray(sent));
        return;
      }
      this.#held.delete(to);
    }
    const now = flags[from] as number;
    if ((now & (FLAG.ended | FLAG.endPassed)) === FLAG.ended) this.#passEnd(from, to);
    else if ((now & FLAG.readable) !== 0) this.#read(from, to);
  }

  #queueBulk(fd: Fd): void {
    const { flags } = this.#connections;
    const before = flags[fd] as number;
    flags[fd] = before | FLAG.bulkQueued | FLAG.readable;
    if ((before & FLAG.bulkQueued) === 0) this.#bulkQueue.push(fd);
  }

  #moveBulk(fd: Fd): void {
    const { flags, peer } = this.#connections;
    const other = (peer[fd] as number) - 1;
    const before = (flags[fd] as number) & ~FLAG.bulkQueued;
    // Reset since, and perhaps another connection already.
    if (other < 0 || (flags[fd] as number) === before) return;
    flags[fd] = before;
    if (((flags[other] as number) & FLAG.full) !== 0) return;
    const length = recv(fd, this.#bulkAddress, BULK_BYTES, MSG_PEEK | MSG_DONTWAIT);
    if (length < 0) {
      if (errno() === EAGAIN) flags[fd] = before & ~(FLAG.readable | FLAG.bulk);
      else this.reset(fd, this.#resetBy(fd));
      return;
    }
    const last = length === 0 || ((before & FLAG.hangup) !== 0 && length < BULK_BYTES);
    if (length > 0) {
      const sent = this.#send(other, this.#bulkAddress, length, last);
      if (sent < 0) return;
      if (sent > 0) recv(fd, null, sent, MSG_TRUNC | MSG_DONTWAIT);
      this.#count(fd, other, sent);
      if (sent < length) return;
    }
    if (last) {
      flags[fd] = (before & ~FLAG.readable) | FLAG.ended;
      this.#passEnd(fd, other);
    } else if (length === BULK_BYTES) {
      this.#queueBulk(fd);
    } else {
      flags[fd] = before & ~(length < READ_BYTES ? FLAG.readable | FLAG.bulk : FLAG.readable);
    }
  }

  /** Everything of `from` is sent: passes its FIN on, or closes when the other direction has ended too. */
  #passEnd(from: Fd, to: Fd): void {
    const { flags } = this.#connections;
    flags[from] = (flags[from] as number) | FLAG.endPassed;
    if (((flags[to] as number) & FLAG.endPassed) !== 0)
      this.#closeBoth(from, this.#isClient(to) ? 'FIN by client' : 'FIN by endpoint');
    else if (shutdown(to, SHUT_WR) < 0) this.reset(from, this.#resetBy(to));
    else if (!this.#limits.isIdle) this.#limits.halfClosed(this.#isClient(to) ? to : from);
  }

  #resetBy(fd: Fd): ConnectionEnd {
    return this.#isClient(fd) ? 'RST by client' : 'RST by endpoint';
  }

  #isClient(fd: Fd): boolean {
    return ((this.#connections.flags[fd] as number) & FLAG.client) !== 0;
  }

  #closeBoth(fd: Fd, end: ConnectionEnd): void {
    const { flags, peer } = this.#connections;
    const other = (peer[fd] as number) - 1;
    const [client, endpoint] = this.#isClient(fd) ? [fd, other] : [other, fd];
    if (((flags[client] as number) & FLAG.logged) !== 0) this.#journal.ended(client, endpoint, end, this.#loop.now());
    if (endpoint >= 0) {
      this.#connections.forgetEndpoint(endpoint);
      this.#close(endpoint);
    }
    if (client >= 0) {
      if (!this.#limits.isIdle) this.#limits.ended(client);
      this.#connections.forgetClient(client, this.#loop.now());
      this.#close(client);
    }
  }

  #close(fd: Fd): void {
    if (this.#held.size > 0) this.#held.delete(fd);
    this.#loop.close(fd);
  }

  #count(from: Fd, to: Fd, bytes: number): void {
    const { flags, received, slot } = this.#connections;
    received[from] = (received[from] as number) + bytes;
    const endpoint = ((slot[from] as number) - 1) * ENDPOINT.stride;
    const index =
      endpoint + (((flags[to] as number) & FLAG.client) !== 0 ? ENDPOINT.bytesToClient : ENDPOINT.bytesToEndpoint);
    this.#endpointCounters[index] = (this.#endpointCounters[index] as number) + bytes;
  }
}
