// One question to one upstream over one socket: UDP, connected and with a port that the kernel draws at random, or TCP. What
// comes back is checked here, so that whoever listens sees only answers to this very question.
import { EPOLLIN, EPOLLOUT, MSG_NOSIGNAL, SO_ERROR, SOL_SOCKET } from '../native/constants.ts';
import { connectUdp } from '../native/datagram-socket.ts';
import { EAGAIN, errno, NativeError } from '../native/errno.ts';
import type { EventLoop, Handler } from '../native/event-loop.ts';
import { addressOf, type Fd, getsockopt, recv, send } from '../native/libc.ts';
import { connectTcp } from '../native/stream-socket.ts';
import type { Random } from '../runtime/random.ts';
import type { Upstream } from './command.ts';
import type { Manner } from './upstream-query.ts';
import { judgeReply, type Reply } from './upstream-reply.ts';
import {
  CASE_BIT,
  EDNS_FLAG_DO,
  EDNS_UDP_BYTES,
  FLAG_CD,
  FLAG_RD,
  HEADER_BYTES,
  isLetter,
  LOWER,
  MAX_MESSAGE_BYTES,
  OPT_BYTES,
  readU16,
  TYPE_OPT,
  writeU16,
} from './wire.ts';

/** What a socket hears: what came from the upstream, or that it cannot be reached this way. */
export type Heard = (socket: UpstreamSocket, what: Told) => void;
export type Told = Reply | { readonly kind: 'unreachable' };

const UNREACHABLE: Told = { kind: 'unreachable' };

const TCP_LENGTH_BYTES = 2;
/** Datagrams looked at for one event: spoofed ones must not hold up everybody else. */
const DATAGRAMS_PER_EVENT = 16;
/** Of one draw; a double holds 53 exactly, and 31 stay positive in bit operations. */
const SPELLING_BITS = 31;

// One message at a time is read, and copied when it is kept.
const arena = Buffer.alloc(MAX_MESSAGE_BYTES);
const arenaAddress = addressOf(arena);
const option = new Int32Array(1);
const optionLength = new Uint32Array([4]);

/** The sockets of one worker; the loop calls one handler for all of them. */
export class UpstreamSockets {
  readonly #loop: EventLoop;
  readonly #random: Random;
  readonly #open = new Map<Fd, UpstreamSocket>();
  readonly #handler: Handler = (fd, events) => this.#open.get(fd)?.ready(events);

  /** `random` must be unpredictable: query ids are made of it (RFC 5452 section 4.5). */
  constructor(loop: EventLoop, random: Random) {
    this.#loop = loop;
    this.#random = random;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Sends the question of `asked` (a kept query's header and question). Throws NativeError when that fails at once. */
  ask(upstream: Upstream, asked: QuestionToAsk, manner: Manner, heard: Heard): UpstreamSocket {
    const { overTcp } = manner;
    const message = upstreamMessage(asked, manner, this.#random);
    const fd = overTcp ? connectTcp(upstream.address, upstream.port) : connectUdp(upstream.address, upstream.port);
    const socket = new UpstreamSocket(fd, message, manner, heard, () => this.#loop.modify(fd, EPOLLIN));
    this.#loop.own(fd);
    try {
      // A TCP socket is written to once it is connected.
      if (!overTcp) socket.send();
      this.#loop.add(fd, overTcp ? EPOLLOUT : EPOLLIN, this.#handler);
    } catch (error) {
      this.#loop.close(fd);
      throw error;
    }
    this.#open.set(fd, socket);
    return socket;
  }

  close(socket: UpstreamSocket): void {
    if (this.#open.get(socket.fd) !== socket) return;
    this.#open.delete(socket.fd);
    this.#loop.close(socket.fd);
  }
}

export interface QuestionToAsk {
  /** Header and question. */
  readonly bytes: Uint8Array;
  readonly flags: number;
  /** The DO bit of the OPT record, when there is to be one. */
  readonly dnssecOk: boolean;
}

export class UpstreamSocket {
  readonly fd: Fd;
  readonly #message: Uint8Array;
  readonly #question: Uint8Array;
  readonly manner: Manner;
  readonly #heard: Heard;
  readonly #listen: () => void;
  #received: Buffer = Buffer.alloc(0);

  /** `listen` tells the loop to wait for what comes in from now on. */
  constructor(fd: Fd, message: Uint8Array, manner: Manner, heard: Heard, listen: () => void) {
    this.fd = fd;
    this.#message = message;
    this.#question = message.subarray(0, endOfQuestion(message));
    this.manner = manner;
    this.#heard = heard;
    this.#listen = listen;
  }

  /** Header and question, as sent. */
  get question(): Uint8Array {
    return this.#question;
  }

  /** Sends the question, again if need be (UDP). Throws NativeError. */
  send(): void {
    const sent = send(this.fd, this.#message, this.#message.length, MSG_NOSIGNAL);
    if (sent < 0 && errno() !== EAGAIN) throw new NativeError(errno(), 'send', 'question to an upstream');
  }

  ready(events: number): void {
    if (!this.manner.overTcp) this.#readDatagrams();
    else if ((events & EPOLLOUT) !== 0) this.#sendStream();
    else this.#readStream();
  }

  #readDatagrams(): void {
    for (let i = 0; i < DATAGRAMS_PER_EVENT; i++) {
      const length = recv(this.fd, arenaAddress, arena.length, 0);
      if (length < 0) {
        if (errno() !== EAGAIN) this.#heard(this, UNREACHABLE);
        return;
      }
      if (this.#judge(arena.subarray(0, length))) return;
    }
  }

  /** A fresh connection takes this little at once. */
  #sendStream(): void {
    option[0] = 0;
    getsockopt(this.fd, SOL_SOCKET, SO_ERROR, option, optionLength);
    const framed = Buffer.alloc(TCP_LENGTH_BYTES + this.#message.length);
    framed.writeUInt16BE(this.#message.length);
    framed.set(this.#message, TCP_LENGTH_BYTES);
    if (option[0] !== 0 || send(this.fd, framed, framed.length, MSG_NOSIGNAL) !== framed.length) {
      this.#heard(this, UNREACHABLE);
    } else {
      this.#listen();
    }
  }

  #readStream(): void {
    const length = recv(this.fd, arenaAddress, arena.length, 0);
    if (length <= 0) {
      if (length === 0 || errno() !== EAGAIN) this.#heard(this, UNREACHABLE);
      return;
    }
    this.#received = Buffer.concat([this.#received, arena.subarray(0, length)]);
    if (this.#received.length < TCP_LENGTH_BYTES) return;
    const end = TCP_LENGTH_BYTES + this.#received.readUInt16BE();
    if (this.#received.length < end) return;
    if (!this.#judge(this.#received.subarray(TCP_LENGTH_BYTES, end))) this.#heard(this, UNREACHABLE);
  }

  /** Tells who listens, unless it is nothing that was waited for; whether it was told. */
  #judge(message: Uint8Array): boolean {
    const verdict = judgeReply(message, this.#question, this.manner.spelled && !this.manner.overTcp);
    if (verdict.kind === 'unrelated') return false;
    this.#heard(this, verdict);
    return true;
  }
}

/**
 * Our own message: an id of its own, recursion desired, the client's CD bit and, if it used EDNS, an OPT with our size and its DO
 * bit. Its options were meant for us (RFC 6891 section 6.2.6) and go no further.
 */
function upstreamMessage(asked: QuestionToAsk, { edns, spelled }: Manner, random: Random): Uint8Array {
  const end = asked.bytes.length;
  // Of a slab that many share: an ArrayBuffer for each would keep the garbage collector busy.
  const message = Buffer.allocUnsafe(end + (edns ? OPT_BYTES : 0)).fill(0);
  let bits = 0;
  let left = 0;
  for (let i = HEADER_BYTES; i < end - 4; i++) {
    let byte = LOWER[asked.bytes[i] as number] as number;
    if (spelled && isLetter(byte)) {
      if (left === 0) [bits, left] = [Math.floor(random.unit() * 2 ** SPELLING_BITS), SPELLING_BITS];
      if ((bits & 1) === 1) byte ^= CASE_BIT;
      bits >>>= 1;
      left--;
    }
    message[i] = byte;
  }
  message.set(asked.bytes.subarray(end - 4), end - 4);
  writeU16(message, 0, Math.floor(random.unit() * 0x10000));
  writeU16(message, 2, FLAG_RD | (asked.flags & FLAG_CD));
  writeU16(message, 4, 1);
  if (edns) {
    writeU16(message, 10, 1);
    writeU16(message, end + 1, TYPE_OPT);
    writeU16(message, end + 3, EDNS_UDP_BYTES);
    writeU16(message, end + 7, asked.dnssecOk ? EDNS_FLAG_DO : 0);
  }
  return message;
}

function endOfQuestion(message: Uint8Array): number {
  return message.length - (readU16(message, 10) === 0 ? 0 : OPT_BYTES);
}
