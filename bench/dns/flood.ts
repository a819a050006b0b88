// As many questions as a server answers: so many under way at any time, on a few sockets. What is due on a socket leaves as one piece
// that the kernel cuts into datagrams (UDP_SEGMENT), so that a question costs less CPU time here than its answer costs any server,
// and the server sets the rate. One JSON line.
import { readFileSync } from 'node:fs';
import { EPOLLIN, IPPROTO_UDP, UDP_SEGMENT } from '../../src/native/constants.ts';
import { DatagramBatch, WHOLE_MESSAGE_BYTES } from '../../src/native/datagram-batch.ts';
import { coalesce, connectUdp, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { addressOf, type Fd } from '../../src/native/libc.ts';
import { questionFor } from './question.ts';

export interface Flood {
  readonly address: string;
  readonly port: number;
  /** Lines `NAME A`; those of the most frequent length are asked for one after another. */
  readonly file: string;
  readonly sockets: number;
  /** On each socket. At most 64, which is the most that the kernel cuts. */
  readonly underWay: number;
  readonly seconds: number;
  /** The questions come back as they are, so answers are not looked at. */
  readonly isEcho?: boolean;
  /** What comes together is taken together (UDP_GRO). */
  readonly coalesces?: boolean;
}

export interface Flooded {
  /** Answers a second. */
  readonly rate: number;
  /** Without an answer. */
  readonly lost: number;
  /** Anything but the asked-for id with NOERROR and a record. */
  readonly wrong: number;
}

/** struct cmsghdr (length u64, level i32, type i32), a u16, and padding to 8 bytes. */
const CONTROL_BYTES = 24;
const CONTROL_LENGTH = 18;
const RECEIVE_BYTES = 1 << 20;
const COALESCED = { messages: 64, messageBytes: WHOLE_MESSAGE_BYTES, controlBytes: 32, coalesced: true };
/** A question that was not answered by then is not answered any more. */
const LOST_AFTER_MS = 500;

/** One socket's questions: a slot each, whose number is in the id. */
class Stream {
  readonly #flood: Flood;
  readonly #batch: DatagramBatch;
  readonly #questions: readonly Buffer[];
  readonly #out: Buffer;
  readonly #outAddress: number;
  readonly #fd: Fd;
  readonly #sentAt: Float64Array;
  readonly #turn: Uint8Array;
  readonly #control = Buffer.alloc(CONTROL_BYTES);
  readonly #controlAddress = addressOf(this.#control);
  /** Bytes of each question. */
  readonly #size: number;
  #due = 0;
  #next: number;
  answered = 0;
  lost = 0;
  wrong = 0;

  constructor(flood: Flood, questions: readonly Buffer[], first: number) {
    this.#flood = flood;
    this.#batch = new DatagramBatch(flood.coalesces === true ? COALESCED : { messages: 64 });
    this.#questions = questions;
    this.#next = first;
    this.#size = questions[0]?.length ?? 0;
    this.#out = Buffer.alloc(flood.underWay * this.#size);
    this.#control.writeUInt32LE(CONTROL_LENGTH, 0);
    this.#control.writeInt32LE(IPPROTO_UDP, 8);
    this.#control.writeInt32LE(UDP_SEGMENT, 12);
    this.#control.writeUInt16LE(this.#size, 16);
    this.#outAddress = addressOf(this.#out);
    this.#sentAt = new Float64Array(flood.underWay);
    this.#turn = new Uint8Array(flood.underWay);
    this.#fd = connectUdp(flood.address, flood.port);
    if (flood.coalesces === true) coalesce(this.#fd);
    enlargeReceiveBuffer(this.#fd, RECEIVE_BYTES);
  }

  start(loop: EventLoop): void {
    loop.add(this.#fd, EPOLLIN, () => this.#receive(loop.now()));
    for (let slot = 0; slot < this.#flood.underWay; slot++) this.#ask(slot, loop.now());
    this.#send();
  }

  /** Asks anew where no answer has come. */
  repeat(now: number): void {
    for (let slot = 0; slot < this.#flood.underWay; slot++) {
      if (now - (this.#sentAt[slot] as number) < LOST_AFTER_MS) continue;
      this.lost++;
      this.#ask(slot, now);
    }
    this.#send();
  }

  #receive(now: number): void {
    const batch = this.#batch;
    const count = batch.receive(this.#fd);
    const { arena } = batch;
    for (let i = 0; i < count; i++) {
      const at = batch.offset(i);
      const slot = arena[at] as number;
      if (slot >= this.#flood.underWay || arena[at + 1] !== this.#turn[slot]) continue;
      this.answered++;
      if (this.#flood.isEcho !== true && isWrong(arena, at)) this.wrong++;
      this.#ask(slot, now);
    }
    this.#send();
  }

  #ask(slot: number, now: number): void {
    const question = this.#questions[this.#next] as Buffer;
    this.#next = this.#next + 1 === this.#questions.length ? 0 : this.#next + 1;
    const at = this.#due++ * this.#size;
    this.#out.set(question, at);
    this.#turn[slot] = (this.#turn[slot] as number) + 1;
    this.#out[at] = slot;
    this.#out[at + 1] = this.#turn[slot] as number;
    this.#sentAt[slot] = now;
  }

  #send(): void {
    if (this.#due === 0) return;
    const control = this.#due > 1 ? this.#controlAddress : 0;
    const length = this.#due * this.#size;
    this.#batch.queue(this.#outAddress, length, 0, 0, control, control === 0 ? 0 : CONTROL_BYTES);
    this.#batch.flush(this.#fd);
    this.#due = 0;
  }
}

/** By its rcode, and its number of records. */
function isWrong(message: Buffer, at: number): boolean {
  return ((message[at + 3] as number) & 15) !== 0 || message[at + 7] === 0;
}

/** Pieces that the kernel cuts are of one length, so only questions of the most frequent one are asked. */
function questionsIn(file: string): readonly Buffer[] {
  const byLength = new Map<number, Buffer[]>();
  for (const line of readFileSync(file, 'latin1').trim().split('\n')) {
    const question = questionFor(line.split(' ')[0] ?? '');
    const others = byLength.get(question.length);
    if (others === undefined) byLength.set(question.length, [question]);
    else others.push(question);
  }
  return [...byLength.values()].sort((a, b) => b.length - a.length)[0] ?? [];
}

function run(flood: Flood): Flooded {
  const questions = questionsIn(flood.file);
  const loop = new EventLoop();
  const streams = Array.from({ length: flood.sockets }, (_, i) => {
    return new Stream(flood, questions, Math.floor((i * questions.length) / flood.sockets));
  });
  for (const stream of streams) stream.start(loop);
  const repeat = () => {
    for (const stream of streams) stream.repeat(loop.now());
    loop.setTimer(LOST_AFTER_MS, repeat);
  };
  loop.setTimer(LOST_AFTER_MS, repeat);
  loop.setTimer(flood.seconds * 1000, () => loop.stop());
  const startedAt = performance.now();
  loop.run();
  const seconds = (performance.now() - startedAt) / 1000;
  const sum = (of: (stream: Stream) => number) => streams.reduce((total, stream) => total + of(stream), 0);
  return { rate: sum((one) => one.answered) / seconds, lost: sum((one) => one.lost), wrong: sum((one) => one.wrong) };
}

process.stdout.write(`${JSON.stringify(run(JSON.parse(process.argv[2] ?? '') as Flood))}\n`);
