// One worker's notes of TCP connections that are to be logged: a share of all, drawn when they come. For others, and while nothing
// is logged, a bit is looked at and that is all.
import { type Fd, getpeername, getsockname } from '../native/libc.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';
import type { Random } from '../runtime/random.ts';
import {
  ADDRESSES,
  type AttemptFailure,
  type ConnectionEnd,
  ConnectionQueue,
  emptyAddresses,
  type FailedAttempt,
} from './connection-record.ts';
import type { Choice } from './selection.ts';
import { FLAG, type TcpConnections } from './tcp-connections.ts';

interface Notes {
  readonly addresses: Buffer;
  choice: Choice | undefined;
  isAffine: boolean;
  isLocal: boolean;
  readonly tried: FailedAttempt[];
  failures: number;
  /** The loop's time; 0: not yet. */
  connectedAt: number;
}

/** So many attempts of one connection are named; the others are counted. */
const NAMED_ATTEMPTS = 4;

export class TcpJournal {
  readonly #connections: TcpConnections;
  readonly #random: Random;
  readonly #notes = new Map<Fd, Notes>();
  #share = 0;
  #queue: ConnectionQueue | undefined;
  readonly #length = new Uint32Array(1);

  constructor(connections: TcpConnections, random: Random) {
    this.#connections = connections;
    this.#random = random;
  }

  /** Logs this share of the connections that come from now on, 0 to 1. */
  set(share: number, queue: SharedArrayBuffer): void {
    this.#share = share;
    this.#queue = new ConnectionQueue(queue);
  }

  /** A client has come, and is known to the connections. */
  begin(client: Fd): void {
    if (!this.#draws()) return;
    const { flags, introduced } = this.#connections;
    flags[client] = (flags[client] as number) | FLAG.logged;
    const addresses = this.#addressesOf(client, introduced.get(client)?.client);
    const notes = { choice: undefined, isAffine: false, isLocal: false, tried: [], failures: 0, connectedAt: 0 };
    this.#notes.set(client, { addresses, ...notes });
  }

  /** A client was not let in, for this reason. `introduced`: who it is, where somebody else's connection brought it. */
  turnedAway(client: Fd, service: number, introduced: Buffer | undefined, end: ConnectionEnd): void {
    if (!this.#draws()) return;
    const addresses = this.#addressesOf(client, introduced);
    const chosen = {
      slot: -1,
      method: 'round-robin',
      isAffine: false,
      isLocal: false,
      tried: [],
      failures: 0,
    } as const;
    const measured = { connectMs: -1, totalMs: 0, bytesToEndpoint: 0, bytesToClient: 0 };
    this.#queue?.write({ addresses, service, ...chosen, ...measured, end });
  }

  /** The endpoint at this index of its backend is about to be connected to. */
  chose(client: Fd, choice: Choice, index: number, isAffine: boolean): void {
    const notes = this.#of(client);
    if (notes === undefined) return;
    notes.choice = choice;
    notes.isAffine = isAffine && choice.affinityS > 0;
    notes.isLocal = choice.tiers.length > 1 && choice.tiers[0]?.members.includes(index) === true;
  }

  /** An attempt for this client has failed. */
  failed(client: Fd, slot: number, failure: AttemptFailure): void {
    const notes = this.#of(client);
    if (notes === undefined) return;
    notes.failures++;
    if (notes.tried.length < NAMED_ATTEMPTS) notes.tried.push({ slot, failure });
  }

  connected(client: Fd, endpoint: Fd, now: number): void {
    const notes = this.#of(client);
    if (notes === undefined) return;
    notes.connectedAt = now;
    this.#ask(getpeername, endpoint, notes.addresses, ADDRESSES.endpoint);
  }

  /** Both sides are about to be forgotten; `endpoint` is -1 when there is none. */
  ended(client: Fd, endpoint: Fd, end: ConnectionEnd, now: number): void {
    const notes = this.#of(client);
    if (notes === undefined) return;
    this.#notes.delete(client);
    const { acceptedAt, received, service, slot } = this.#connections;
    const began = acceptedAt[client] as number;
    this.#queue?.write({
      addresses: notes.addresses,
      service: (service[client] as number) - 1,
      slot: notes.connectedAt === 0 ? -1 : (slot[client] as number) - 1,
      method: notes.choice?.method ?? 'round-robin',
      isAffine: notes.isAffine,
      isLocal: notes.isLocal,
      tried: notes.tried,
      failures: notes.failures,
      connectMs: notes.connectedAt === 0 ? -1 : notes.connectedAt - began,
      totalMs: now - began,
      bytesToEndpoint: received[client] as number,
      bytesToClient: endpoint < 0 ? 0 : (received[endpoint] as number),
      end,
    });
  }

  /** Whether the connection that has come is one of the share. */
  #draws(): boolean {
    return this.#share > 0 && (this.#share >= 1 || this.#random.unit() < this.#share);
  }

  /** Later, when the client has been reset, the kernel knows no more. */
  #addressesOf(client: Fd, introduced: Buffer | undefined): Buffer {
    const addresses = emptyAddresses();
    if (introduced === undefined) this.#ask(getpeername, client, addresses, ADDRESSES.client);
    else introduced.copy(addresses, ADDRESSES.client);
    this.#ask(getsockname, client, addresses, ADDRESSES.frontend);
    return addresses;
  }

  #of(client: Fd): Notes | undefined {
    return ((this.#connections.flags[client] as number) & FLAG.logged) === 0 ? undefined : this.#notes.get(client);
  }

  #ask(what: typeof getpeername, fd: Fd, addresses: Buffer, at: number): void {
    this.#length[0] = SOCKADDR_BYTES;
    what(fd, addresses.subarray(at, at + SOCKADDR_BYTES), this.#length);
  }
}
