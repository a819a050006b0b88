// Questions for one name at a given rate, whatever the answers take. Times count from when a question was due. One JSON line.
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

function run({ port, name, rate, seconds }: PacedQuestions): PacedAnswers {
  const loop = new EventLoop();
  const socket = connectUdp('127.0.0.1', port);
  // What is lost here for want of room would look as if it had not been answered.
  enlargeReceiveBuffer(socket, RECEIVE_BYTES);
  const question = questionFor(name);
  const buffer = Buffer.alloc(2048);
  const due = new Float64Array(0x10000);
  const total = Math.round(rate * seconds);
  const latencies = new Float64Array(total);
  const startAt = performance.now();
  let [sent, answered] = [0, 0];
  loop.add(socket, EPOLLIN, () => {
    while (answered < total && recv(socket, addressOf(buffer), buffer.length, 0) >= 2) {
      latencies[answered++] = performance.now() - (due[buffer.readUInt16BE(0)] ?? Number.NaN);
    }
  });
  const tick = () => {
    const now = performance.now();
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
