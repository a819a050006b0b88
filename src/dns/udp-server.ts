// DNS over UDP: a batch of questions per system call, and as few as can be for the answers.
import { EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL } from '../native/constants.ts';
import { DatagramBatch } from '../native/datagram-batch.ts';
import { enlargeReceiveBuffer } from '../native/datagram-socket.ts';
import type { EventLoop, Handler } from '../native/event-loop.ts';
import { type Fd, sendto } from '../native/libc.ts';
import type { Scope } from './command.ts';
import { ReplyQueue } from './reply-queue.ts';
import { ASK_UPSTREAM, type Asker, NO_REPLY, type Responder, UDP_SLOTS } from './responder.ts';

/** A client's datagram is a question; those that are longer are malformed in any case. */
const MESSAGE_BYTES = 1280;
/** Batches of one socket before the others get their turn. */
const BATCHES_PER_EVENT = 4;
/**
 * Some 2,500 questions, which take a worker about ten milliseconds. The kernel's default holds 256, which one client asks at once
 * when it has been kept waiting, and what finds no room is lost without a word. With more everybody would only wait longer.
 */
const RECEIVE_BYTES = 1 << 20;
const NONE = -1;

interface UdpSocket extends Asker {
  readonly fd: Fd;
  readonly scope: number;
}

export class UdpServer {
  readonly #loop: EventLoop;
  readonly #responder: Responder;
  readonly #sockets = new Map<Fd, UdpSocket>();
  readonly #batch = new DatagramBatch({ messages: UDP_SLOTS, messageBytes: MESSAGE_BYTES });
  readonly #replies: ReplyQueue;
  /** The next datagram of the same sender in the batch; NONE after the last. */
  readonly #next = new Int8Array(UDP_SLOTS);
  /** The first and the last datagram of each sender in the batch. */
  readonly #first = new Int8Array(UDP_SLOTS);
  readonly #last = new Int8Array(UDP_SLOTS);
  readonly #onReady: Handler = (fd) => this.#serve(fd);

  constructor(loop: EventLoop, responder: Responder) {
    this.#loop = loop;
    this.#responder = responder;
    this.#replies = new ReplyQueue(this.#batch, responder.out);
  }

  /** Begins to answer on a bound socket, which stays the caller's. */
  add(fd: Fd, scope: number, client: number): void {
    enlargeReceiveBuffer(fd, RECEIVE_BYTES);
    this.#sockets.set(fd, { fd, scope, client, overTcp: false });
    this.#loop.add(fd, EPOLLIN, this.#onReady);
  }

  /** Answers nothing more on it. False when it is not one of these sockets. */
  remove(fd: Fd): boolean {
    if (!this.#sockets.delete(fd)) return false;
    this.#loop.remove(fd);
    return true;
  }

  #serve(fd: Fd): void {
    const socket = this.#sockets.get(fd);
    if (socket === undefined) return;
    const scope = this.#responder.scope(socket.scope);
    for (let round = 0; round < BATCHES_PER_EVENT; round++) {
      // An error is what an earlier answer met on its way; there is nobody to tell.
      const count = this.#batch.receive(fd);
      if (count <= 0) return;
      const senders = this.#sortBySender(count);
      for (let sender = 0; sender < senders; sender++) this.#answerSender(socket, scope, this.#first[sender] as number);
      this.#replies.flush(fd);
      if (count < UDP_SLOTS) return;
    }
  }

  /** Links the datagrams of each sender, in the order they came; how many senders there are. */
  #sortBySender(count: number): number {
    let senders = 0;
    for (let i = 0; i < count; i++) {
      this.#next[i] = NONE;
      let sender = 0;
      while (sender < senders && !this.#sameSender(this.#first[sender] as number, i)) sender++;
      if (sender === senders) this.#first[senders++] = i;
      else this.#next[this.#last[sender] as number] = i;
      this.#last[sender] = i;
    }
    return senders;
  }

  #sameSender(a: number, b: number): boolean {
    const { sources } = this.#batch;
    const length = this.#batch.sourceLength(a);
    if (length !== this.#batch.sourceLength(b)) return false;
    const from = this.#batch.sourceOffset(a);
    const other = this.#batch.sourceOffset(b);
    // The port comes first, and is what tells the programs of one container apart.
    for (let at = 2; at < length; at++) if (sources[from + at] !== sources[other + at]) return false;
    return true;
  }

  #answerSender(socket: UdpSocket, scope: Scope, first: number): void {
    const stranger = this.#responder.isStranger(scope, this.#batch.sources, this.#batch.sourceOffset(first));
    let same = false;
    for (let i = first; i !== NONE; i = this.#next[i] as number) {
      const start = this.#batch.offset(i);
      const length = this.#batch.length(i);
      const at = this.#replies.end;
      const replied = stranger
        ? this.#responder.refuse(this.#batch.arena, start, length, scope, socket, at)
        : this.#responder.respond(this.#batch.arena, start, length, scope, socket, at);
      if (replied > NO_REPLY) {
        this.#replies.add(i, replied, same);
        same = true;
      } else if (replied === ASK_UPSTREAM) {
        this.#forward(socket, scope, i);
      }
    }
  }

  #forward(socket: UdpSocket, scope: Scope, i: number): void {
    const from = this.#batch.sourceOffset(i);
    const source = Uint8Array.from(this.#batch.sources.subarray(from, from + this.#batch.sourceLength(i)));
    this.#responder.forward(scope, socket, (message, length) => {
      // Meanwhile the main thread may have closed the socket and its number be somebody else's.
      if (this.#sockets.get(socket.fd) !== socket) return;
      sendto(socket.fd, message, length, MSG_DONTWAIT | MSG_NOSIGNAL, source, source.length);
    });
  }
}
