// Questions for one name at a given rate, whatever the answers take, and beside them, if wanted, questions for names that nobody
// answers, so many that a given number is always waiting. Times count from when a question was due. One JSON line.
import { connectUdp, enlargeReceiveBuffer } from '../../src/native/datagram-socket.ts';
import { EPOLLIN } from '../../src/native/constants.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { addressOf, recv, send } from '../../src/native/libc.ts';
import { quantile } from '../samples.ts';
import { questionFor } from './question.ts';

export interface PacedQuestions {
  readonly port: number;
  readonly name: string;
  /** A second. */
  readonly rate: number;
  readonly seconds: number;
  /** Names that nobody answers, under way at any time. */
  readonly pending: number;
}

export interface PacedAnswers {
  readonly sent: number;
  readonly answered: number;
  /** From due to answered, in microseconds. */
  readonly p50: number;
  readonly p99: number;
}

const TICK_MS = 1;
const RECEIVE_BYTES = 4 << 20;
const GRACE_MS = 1_000;
/** As long as a resolver goes on asking for a name that nobody answers. */
const HOPELESS_MS = 4_000;
/** Before the measurement: until the number that is to be waiting is, and nothing of a run before. */
const FILL_MS = 4_500;

function run({ port, name, rate, seconds, pending }: PacedQuestions): PacedAnswers {
  const loop = new EventLoop();
  const [socket, hopeless] = [connectUdp('127.0.0.1', port), connectUdp('127.0.0.1', port)];
  // What is lost here for want of room would look as if it had not been answered.
  for (const fd of [socket, hopeless]) enlargeReceiveBuffer(fd, RECEIVE_BYTES);
  const question = questionFor(name);
  const buffer = Buffer.alloc(2048);
  const due = new Float64Array(0x10000);
  const total = Math.round(rate * seconds);
  const latencies = new Float64Array(total);
  const beginAt = performance.now();
  const startAt = beginAt + FILL_MS;
  let [sent, answered, asked] = [0, 0, 0];
  loop.add(socket, EPOLLIN, () => {
    while (answered < total && recv(socket, addressOf(buffer), buffer.length, 0) >= 2) {
      latencies[answered++] = performance.now() - (due[buffer.readUInt16BE(0)] ?? Number.NaN);
    }
  });
  loop.add(hopeless, EPOLLIN, () => {
    while (recv(hopeless, addressOf(buffer), buffer.length, 0) > 0);
  });
  const tick = () => {
    const now = performance.now();
    for (const wanted = ((now - beginAt) * pending) / HOPELESS_MS; asked < wanted; asked++) {
      const message = questionFor(`h${asked}.nobody.example`);
      send(hopeless, message, message.length, 0);
    }
    for (const wanted = Math.min(total, ((now - startAt) * rate) / 1000); sent < wanted; sent++) {
      due[sent & 0xffff] = startAt + (sent * 1000) / rate;
      question.writeUInt16BE(sent & 0xffff, 0);
      send(socket, question, question.length, 0);
    }
    if (now < startAt + seconds * 1000 + GRACE_MS && answered < total) loop.setTimer(TICK_MS, tick);
    else loop.stop();
  };
  loop.setTimer(0, tick);
  loop.run();
  loop.destroy();
  const known = latencies.subarray(0, answered);
  return { sent, answered, p50: 1000 * quantile(known, 0.5), p99: 1000 * quantile(known, 0.99) };
}

process.stdout.write(`${JSON.stringify(run(JSON.parse(process.argv[2] ?? '') as PacedQuestions))}\n`);
