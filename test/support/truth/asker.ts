// The thread that asks: so many questions at random at a given rate, on several sockets, each noted with when it was sent and what
// came back when. It blocks in a loop of its own, so that its times are those of the answers and of nothing else.
import { parentPort, workerData } from 'node:worker_threads';
import { EPOLLIN } from '../../../src/native/constants.ts';
import { DatagramBatch } from '../../../src/native/datagram-batch.ts';
import { connectUdp } from '../../../src/native/datagram-socket.ts';
import { EventLoop } from '../../../src/native/event-loop.ts';
import { addressOf, close, type Fd } from '../../../src/native/libc.ts';
import { Dice } from '../../simulation/support/seeds.ts';
import { monotonicMs } from './moment.ts';

export interface Asking {
  readonly address: string;
  readonly port: number;
  /** Messages; their ids are set here. */
  readonly questions: readonly Uint8Array[];
  readonly count: number;
  /** Questions a second, at most: whoever changes things needs the CPU, too. */
  readonly rate: number;
  readonly seed: number;
}

/** Columns, one row for each question that was answered. */
export interface Asked {
  /** Index of the question. */
  readonly question: Int32Array;
  /** Index in `texts`. */
  readonly answer: Int32Array;
  readonly sentAt: Float64Array;
  readonly receivedAt: Float64Array;
  /** Different answers: everything behind the id, in latin1. */
  readonly texts: readonly string[];
  /** Questions that nobody answered in time. */
  readonly unanswered: number;
}

/** The kernel shares sockets out among the workers: enough of them that every worker gets some. */
const SOCKETS = 8;
const UNDER_WAY = 8;
/** Longer than any of the questions. */
const SLOT_BYTES = 512;
/** Who waits this long waits for ever; on a busy machine a buffer may overflow. */
const PATIENCE_MS = 5_000;
const TICK_MS = 1;
const NOTHING = -1;

class Asker {
  readonly #asking: Asking;
  readonly #dice: Dice;
  readonly #loop = new EventLoop();
  readonly #batch = new DatagramBatch({ messages: 64 });
  readonly #out = Buffer.alloc(UNDER_WAY * SLOT_BYTES);
  readonly #outAddress = addressOf(this.#out);
  readonly #sockets: readonly Fd[];
  /** By socket and slot: which question is under way (or NOTHING), since when, and how many have been there before it. */
  readonly #question: Int32Array;
  readonly #sentAt: Float64Array;
  readonly #turn: Int32Array;
  readonly #index = new Map<string, number>();
  readonly #done: { question: Int32Array; answer: Int32Array; sentAt: Float64Array; receivedAt: Float64Array };
  readonly #startedAt = monotonicMs();
  #askedCount = 0;
  #count = 0;
  #unanswered = 0;

  constructor(asking: Asking) {
    this.#asking = asking;
    this.#dice = new Dice(asking.seed);
    this.#sockets = Array.from({ length: SOCKETS }, () => connectUdp(asking.address, asking.port));
    const slots = SOCKETS * UNDER_WAY;
    this.#question = new Int32Array(slots).fill(NOTHING);
    this.#sentAt = new Float64Array(slots);
    this.#turn = new Int32Array(slots);
    const { count } = asking;
    this.#done = {
      question: new Int32Array(count),
      answer: new Int32Array(count),
      sentAt: new Float64Array(count),
      receivedAt: new Float64Array(count),
    };
  }

  run(): Asked {
    for (const [i, fd] of this.#sockets.entries()) this.#loop.add(fd, EPOLLIN, () => this.#receive(fd, i));
    const every = (milliseconds: number, action: () => void) => {
      this.#loop.setTimer(milliseconds, () => {
        action();
        every(milliseconds, action);
      });
    };
    every(TICK_MS, () => {
      for (const [i, fd] of this.#sockets.entries()) this.#send(fd, i);
    });
    every(PATIENCE_MS, () => this.#giveUp());
    this.#loop.run();
    for (const fd of this.#sockets) close(fd);
    this.#loop.destroy();
    return { ...this.#done, texts: [...this.#index.keys()], unanswered: this.#unanswered };
  }

  #receive(fd: Fd, socket: number): void {
    const batch = this.#batch;
    const count = batch.receive(fd);
    const now = monotonicMs();
    for (let i = 0; i < count; i++) {
      const at = batch.offset(i);
      const id = batch.arena.readUInt16BE(at);
      const [slot, turn] = [id & 0xff, id >> 8];
      const cell = socket * UNDER_WAY + slot;
      if (slot >= UNDER_WAY || this.#question[cell] === NOTHING) continue;
      if (turn !== ((this.#turn[cell] as number) & 0xff)) continue;
      this.#note(cell, batch.arena.toString('latin1', at + 2, at + batch.length(i)), now);
      if (this.#count === this.#asking.count) {
        this.#loop.stop();
        return;
      }
    }
    this.#send(fd, socket);
  }

  #note(cell: number, text: string, now: number): void {
    let answer = this.#index.get(text);
    if (answer === undefined) {
      answer = this.#index.size;
      this.#index.set(text, answer);
    }
    const row = this.#count++;
    this.#done.question[row] = this.#question[cell] as number;
    this.#done.answer[row] = answer;
    this.#done.sentAt[row] = this.#sentAt[cell] as number;
    this.#done.receivedAt[row] = now;
    this.#question[cell] = NOTHING;
  }

  /** Asks as much as is due and finds a free slot on this socket. */
  #send(fd: Fd, socket: number): void {
    const now = monotonicMs();
    const due = ((now - this.#startedAt) * this.#asking.rate) / 1000;
    for (let slot = 0; slot < UNDER_WAY && this.#askedCount < due; slot++) {
      const cell = socket * UNDER_WAY + slot;
      if (this.#question[cell] !== NOTHING) continue;
      this.#askedCount++;
      this.#ask(cell, slot);
      this.#sentAt[cell] = now;
    }
    this.#batch.flush(fd);
  }

  #ask(cell: number, slot: number): void {
    const { questions } = this.#asking;
    const question = this.#dice.below(questions.length);
    this.#question[cell] = question;
    this.#turn[cell] = (this.#turn[cell] as number) + 1;
    const message = questions[question] as Uint8Array;
    const at = slot * SLOT_BYTES;
    this.#out.set(message, at);
    this.#out.writeUInt16BE((((this.#turn[cell] as number) & 0xff) << 8) | slot, at);
    this.#batch.queue(this.#outAddress + at, message.length, 0, 0);
  }

  /** Whoever was not answered is not waited for; other questions take their place. */
  #giveUp(): void {
    const now = monotonicMs();
    for (const [cell, question] of this.#question.entries()) {
      if (question === NOTHING || now - (this.#sentAt[cell] as number) < PATIENCE_MS) continue;
      this.#question[cell] = NOTHING;
      this.#unanswered++;
    }
  }
}

parentPort?.postMessage(new Asker(workerData as Asking).run());
