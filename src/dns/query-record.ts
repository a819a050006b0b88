// The queue through which a worker tells the main thread of questions that are to be logged, and what they were answered.
import { queueBytes, RecordQueue } from '../runtime/record-queue.ts';
import { ANSWER_SOURCES, type AnswerSource } from './answer-source.ts';
import { writtenName } from './code-names.ts';
import { type Asked, nameLength } from './query.ts';
import { HEADER_BYTES, MAX_NAME_BYTES, readU16 } from './wire.ts';

export interface LoggedQuery {
  /** The number of whoever asked, as in the command that brought its socket. */
  readonly client: number;
  readonly overTcp: boolean;
  /** In the client's spelling, without the final dot; empty when the message had no question that could be read. */
  readonly name: string;
  /** 0 without a question. */
  readonly type: number;
  readonly source: AnswerSource;
  /** Above 15 with EDNS. */
  readonly rcode: number;
  /** Records in the answer section. */
  readonly answers: number;
  /** How long upstreams were waited for, in milliseconds; 0 when none was asked. */
  readonly waitedMs: number;
}

/** What a worker knows of an answer. */
export interface QueryNotes extends Omit<LoggedQuery, 'name' | 'type' | 'source'> {
  readonly asked: Asked;
  /** An index of ANSWER_SOURCES. */
  readonly source: number;
}

/** Of a record: where its parts are, in bytes. */
const AT = {
  waited: 0,
  client: 8,
  type: 12,
  rcode: 14,
  answers: 16,
  source: 18,
  flags: 19,
  nameLength: 20,
  name: 21,
} as const;
const OVER_TCP = 1;
const RECORD_BYTES = 280;
/** Of a worker that answers 200,000 questions a second, two hundredths of a second: more than a log could be read by anybody. */
const RECORDS = 4096;
export const QUERY_QUEUE_BYTES = queueBytes(RECORDS, RECORD_BYTES);

export class QueryQueue {
  readonly #queue: RecordQueue;

  /** `memory`: QUERY_QUEUE_BYTES, or less for fewer records; all zero at first. */
  constructor(memory: SharedArrayBuffer) {
    this.#queue = new RecordQueue(memory, RECORD_BYTES);
  }

  /** Records that found no room since the start. */
  get dropped(): number {
    return this.#queue.dropped;
  }

  /** False when there is no room. */
  write(notes: QueryNotes): boolean {
    return this.#queue.write((at) => this.#encode(at, notes));
  }

  /** The oldest record, which is then gone; undefined when there is none. */
  read(): LoggedQuery | undefined {
    return this.#queue.read((at) => this.#decode(at));
  }

  #encode(at: number, { asked, client, overTcp, source, rcode, answers, waitedMs }: QueryNotes): void {
    const { bytes } = this.#queue;
    const length = nameLength(asked);
    bytes.writeDoubleLE(waitedMs, at + AT.waited);
    bytes.writeInt32LE(client, at + AT.client);
    bytes.writeUInt16LE(length === 0 ? 0 : readU16(asked.bytes, asked.start + asked.questionEnd - 4), at + AT.type);
    bytes.writeUInt16LE(rcode, at + AT.rcode);
    bytes.writeUInt16LE(answers, at + AT.answers);
    bytes[at + AT.source] = source;
    bytes[at + AT.flags] = overTcp ? OVER_TCP : 0;
    bytes[at + AT.nameLength] = length;
    const from = asked.start + HEADER_BYTES;
    bytes.set(asked.bytes.subarray(from, from + length), at + AT.name);
  }

  #decode(at: number): LoggedQuery {
    const { bytes } = this.#queue;
    const length = Math.min(bytes[at + AT.nameLength] as number, MAX_NAME_BYTES);
    const wire = bytes.toString('latin1', at + AT.name, at + AT.name + length);
    return {
      client: bytes.readInt32LE(at + AT.client),
      overTcp: ((bytes[at + AT.flags] as number) & OVER_TCP) !== 0,
      name: length === 0 ? '' : writtenName(wire),
      type: bytes.readUInt16LE(at + AT.type),
      source: ANSWER_SOURCES[bytes[at + AT.source] as number] ?? 'rejected',
      rcode: bytes.readUInt16LE(at + AT.rcode),
      answers: bytes.readUInt16LE(at + AT.answers),
      waitedMs: bytes.readDoubleLE(at + AT.waited),
    };
  }
}
