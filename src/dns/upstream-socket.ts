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
import { answersQuestion, type Response, readResponse } from './response.ts';
import {
  EDNS_FLAG_DO,
  EDNS_UDP_BYTES,
  FLAG_CD,
  FLAG_RD,
  FORMERR,
  HEADER_BYTES,
  LOWER,
  MAX_MESSAGE_BYTES,
  NOTIMP,
  OPT_BYTES,
  readU16,
  REFUSED,
  SERVFAIL,
  TYPE_OPT,
  writeU16,
} from './wire.ts';

/** What one socket hears in the end; `undefined`: the upstream cannot be reached this way. */
export type Heard = (socket: UpstreamSocket, response: Response | undefined) => void;

const TCP_LENGTH_BYTES = 2;
/** Datagrams looked at for one event: spoofed ones must not hold up everybody else. */
const DATAGRAMS_PER_EVENT = 16;

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
  ask(upstream: Upstream, asked: QuestionToAsk, overTcp: boolean, heard: Heard): UpstreamSocket {
    const message = upstreamMessage(asked, Math.floor(this.#random.unit() * 0x10000));
    const fd = overTcp ? connectTcp(upstream.address, upstream.port) : connectUdp(upstream.address, upstream.port);
    const socket = new UpstreamSocket(fd, message, overTcp, heard, () => this.#loop.modify(fd, EPOLLIN));
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
  /** Whether the message carries an OPT record, and its DO bit. */
  readonly edns: boolean;
  readonly dnssecOk: boolean;
}

export class UpstreamSocket {
  readonly fd: Fd;
  readonly #message: Uint8Array;
  readonly #question: Uint8Array;
  readonly #overTcp: boolean;
  readonly #heard: Heard;
  readonly #listen: () => void;
  #received: Buffer = Buffer.alloc(0);

  /** `listen` tells the loop to wait for what comes in from now on. */
  constructor(fd: Fd, message: Uint8Array, overTcp: boolean, heard: Heard, listen: () => void) {
    this.fd = fd;
    this.#message = message;
    this.#question = message.subarray(0, endOfQuestion(message));
    this.#overTcp = overTcp;
    this.#heard = heard;
    this.#listen = listen;
  }

  get overTcp(): boolean {
    return this.#overTcp;
  }

  /** Sends the question, again if need be (UDP). Throws NativeError. */
  send(): void {
    const sent = send(this.fd, this.#message, this.#message.length, MSG_NOSIGNAL);
    if (sent < 0 && errno() !== EAGAIN) throw new NativeError(errno(), 'send', 'question to an upstream');
  }

  ready(events: number): void {
    if (!this.#overTcp) this.#readDatagrams();
    else if ((events & EPOLLOUT) !== 0) this.#sendStream();
    else this.#readStream();
  }

  #readDatagrams(): void {
    for (let i = 0; i < DATAGRAMS_PER_EVENT; i++) {
      const length = recv(this.fd, arenaAddress, arena.length, 0);
      if (length < 0) {
        if (errno() !== EAGAIN) this.#heard(this, undefined);
        return;
      }
      const response = this.#check(arena.subarray(0, length));
      if (response !== undefined) {
        this.#heard(this, response);
        return;
      }
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
      this.#heard(this, undefined);
    } else {
      this.#listen();
    }
  }

  #readStream(): void {
    const length = recv(this.fd, arenaAddress, arena.length, 0);
    if (length <= 0) {
      if (length === 0 || errno() !== EAGAIN) this.#heard(this, undefined);
      return;
    }
    this.#received = Buffer.concat([this.#received, arena.subarray(0, length)]);
    if (this.#received.length < TCP_LENGTH_BYTES) return;
    const end = TCP_LENGTH_BYTES + this.#received.readUInt16BE();
    if (this.#received.length >= end) this.#heard(this, this.#check(this.#received.subarray(TCP_LENGTH_BYTES, end)));
  }

  /** RFC 5452 section 9.1: address and port are the connected socket's business, id and question are checked here. */
  #check(message: Uint8Array): Response | undefined {
    if (message.length < HEADER_BYTES || readU16(message, 0) !== readU16(this.#message, 0)) return undefined;
    const response = readResponse(message);
    if (response === undefined) return undefined;
    if (answersQuestion(response, this.#question)) return response;
    return response.questionEnd === HEADER_BYTES && mayLackQuestion(response.rcode) ? response : undefined;
  }
}

/** Some servers that cannot answer do not repeat what they could not read. */
function mayLackQuestion(rcode: number): boolean {
  return rcode === FORMERR || rcode === SERVFAIL || rcode === NOTIMP || rcode === REFUSED;
}

/**
 * Our own message: an id of its own, recursion desired, the name in lower case, the client's CD bit and, if it used EDNS, an
 * OPT with our size and its DO bit. Its options were meant for us (RFC 6891 section 6.2.6) and go no further.
 */
function upstreamMessage(asked: QuestionToAsk, id: number): Uint8Array {
  const end = asked.bytes.length;
  const message = new Uint8Array(end + (asked.edns ? OPT_BYTES : 0));
  for (let i = HEADER_BYTES; i < end - 4; i++) message[i] = LOWER[asked.bytes[i] as number] as number;
  message.set(asked.bytes.subarray(end - 4), end - 4);
  writeU16(message, 0, id);
  writeU16(message, 2, FLAG_RD | (asked.flags & FLAG_CD));
  writeU16(message, 4, 1);
  if (asked.edns) {
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
