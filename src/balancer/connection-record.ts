// The queue through which a worker tells the main thread of connections that have ended.
import { BALANCE_METHODS, type BalanceMethod } from '../model/service.ts';
import type { Failure } from './ejection.ts';
import { readSockaddr, SOCKADDR_BYTES, type SocketAddress } from '../native/sockaddr.ts';
import { queueBytes, RecordQueue } from '../runtime/record-queue.ts';

/** Who ended a connection, and how. A FIN is of whoever sent it first. */
export const CONNECTION_ENDS = [
  'FIN by client',
  'FIN by endpoint',
  'RST by client',
  'RST by endpoint',
  'no endpoint took it',
  'drain deadline',
  'endpoint unhealthy',
  'agent',
  'too many connections',
  'idle timeout',
  'half-closed timeout',
  'max duration',
  'denied',
  'no PROXY header',
] as const;
export type ConnectionEnd = (typeof CONNECTION_ENDS)[number];

export type AttemptFailure = Failure | 'no source port' | 'left';
const ATTEMPT_FAILURES: readonly AttemptFailure[] = ['refused', 'silent', 'reset', 'no source port', 'left'];

export interface FailedAttempt {
  /** The endpoint's. */
  readonly slot: number;
  readonly failure: AttemptFailure;
}

export interface EndedConnection {
  /** Slot of the service's turns; -1: it never came to a service. */
  readonly service: number;
  /** The endpoint's; -1: it had none. */
  readonly slot: number;
  /** Socket addresses; undefined where the kernel did not know. */
  readonly client: SocketAddress | undefined;
  readonly frontend: SocketAddress | undefined;
  readonly endpoint: SocketAddress | undefined;
  readonly method: BalanceMethod;
  /** It came to where the client was before. */
  readonly isAffine: boolean;
  /** It stayed on this node because the service wants that. */
  readonly isLocal: boolean;
  /** The first of the attempts that failed before. */
  readonly tried: readonly FailedAttempt[];
  /** How many failed, those that are not in `tried` included. */
  readonly failures: number;
  /** From taking the client to having an endpoint; -1: it never had one. */
  readonly connectMs: number;
  readonly totalMs: number;
  readonly bytesToEndpoint: number;
  readonly bytesToClient: number;
  readonly end: ConnectionEnd;
}

/** What a worker knows before it is written: addresses as the kernel gave them, all zero where it did not. */
export interface ConnectionNotes extends Omit<EndedConnection, 'client' | 'frontend' | 'endpoint'> {
  readonly addresses: Buffer;
}

const TRIED = 4;
/** Of a record: where its parts are, in bytes. Four doubles, then words, bytes, and three socket addresses. */
const AT = { numbers: 0, service: 32, slot: 36, failures: 40, tried: 44, kinds: 60, flags: 64, addresses: 68 } as const;
const ADDRESSES_BYTES = 3 * SOCKADDR_BYTES;
const RECORD_BYTES = 152;

/** Two tenths of a second of the shortest connections that a worker can make. */
const RECORDS = 4096;
export const QUEUE_BYTES = queueBytes(RECORDS, RECORD_BYTES);
export const ADDRESSES = { client: 0, frontend: SOCKADDR_BYTES, endpoint: 2 * SOCKADDR_BYTES } as const;

export function emptyAddresses(): Buffer {
  return Buffer.alloc(ADDRESSES_BYTES);
}

export class ConnectionQueue {
  readonly #queue: RecordQueue;

  /** `memory`: QUEUE_BYTES, or less for fewer records; all zero at first. */
  constructor(memory: SharedArrayBuffer) {
    this.#queue = new RecordQueue(memory, RECORD_BYTES);
  }

  /** Records that found no room since the start. */
  get dropped(): number {
    return this.#queue.dropped;
  }

  /** False when there is no room. */
  write(notes: ConnectionNotes): boolean {
    return this.#queue.write((at) => this.#encode(at, notes));
  }

  /** The oldest record, which is then gone; undefined when there is none. */
  read(): EndedConnection | undefined {
    return this.#queue.read((at) => this.#decode(at));
  }

  #encode(at: number, notes: ConnectionNotes): void {
    const { bytes } = this.#queue;
    const numbers = [notes.connectMs, notes.totalMs, notes.bytesToEndpoint, notes.bytesToClient];
    for (const [index, value] of numbers.entries()) bytes.writeDoubleLE(value, at + AT.numbers + 8 * index);
    bytes.writeInt32LE(notes.service, at + AT.service);
    bytes.writeInt32LE(notes.slot, at + AT.slot);
    bytes.writeInt32LE(notes.failures, at + AT.failures);
    for (let index = 0; index < TRIED; index++) {
      const one = notes.tried[index];
      bytes.writeInt32LE(one?.slot ?? -1, at + AT.tried + 4 * index);
      bytes[at + AT.kinds + index] = one === undefined ? 0 : ATTEMPT_FAILURES.indexOf(one.failure);
    }
    bytes[at + AT.flags] = BALANCE_METHODS.indexOf(notes.method);
    bytes[at + AT.flags + 1] = (notes.isAffine ? 1 : 0) | (notes.isLocal ? 2 : 0);
    bytes[at + AT.flags + 2] = CONNECTION_ENDS.indexOf(notes.end);
    notes.addresses.copy(bytes, at + AT.addresses);
  }

  #decode(at: number): EndedConnection {
    const { bytes } = this.#queue;
    const number = (index: number) => bytes.readDoubleLE(at + AT.numbers + 8 * index);
    const failures = bytes.readInt32LE(at + AT.failures);
    return {
      service: bytes.readInt32LE(at + AT.service),
      slot: bytes.readInt32LE(at + AT.slot),
      client: addressAt(bytes, at + AT.addresses + ADDRESSES.client),
      frontend: addressAt(bytes, at + AT.addresses + ADDRESSES.frontend),
      endpoint: addressAt(bytes, at + AT.addresses + ADDRESSES.endpoint),
      method: BALANCE_METHODS[bytes[at + AT.flags] as number] ?? 'round-robin',
      isAffine: ((bytes[at + AT.flags + 1] as number) & 1) !== 0,
      isLocal: ((bytes[at + AT.flags + 1] as number) & 2) !== 0,
      tried: Array.from({ length: Math.min(TRIED, failures) }, (_, index) => ({
        slot: bytes.readInt32LE(at + AT.tried + 4 * index),
        failure: ATTEMPT_FAILURES[bytes[at + AT.kinds + index] as number] ?? 'refused',
      })),
      failures,
      connectMs: number(0),
      totalMs: number(1),
      bytesToEndpoint: number(2),
      bytesToClient: number(3),
      end: CONNECTION_ENDS[bytes[at + AT.flags + 2] as number] ?? 'agent',
    };
  }
}

function addressAt(bytes: Buffer, at: number): SocketAddress | undefined {
  return bytes.readUInt16LE(at) === 0 ? undefined : readSockaddr(bytes, at);
}
