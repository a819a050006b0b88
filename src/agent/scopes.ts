// Scopes: which networks a client of the resolver sees. Clients with the same networks in the same order share one.
import { Slots } from '../balancer/slots.ts';
import { countedAt, type AnswerSource, SCOPE_COUNTS } from '../dns/answer-source.ts';
import type { DnsCommand } from '../dns/command.ts';

/** More distinct combinations of networks than a node has containers on it. */
const MAX_SCOPES = 65_536;
const NODE_KEY = 'node';
const CLIENT_KEY = 'client';

export interface ScopePlane {
  readonly workers: number;
  postTo(worker: number, command: DnsCommand): void;
}

/** What clients that see the same networks were answered. */
export interface ScopeAnswers {
  /** What workers know the networks by, in the clients' order. */
  readonly networks: readonly number[];
  /** These are asked by the node itself. */
  readonly isNode: boolean;
  readonly source: AnswerSource;
  /** As in the header. */
  readonly rcode: number;
  readonly count: number;
}

interface Known {
  networks: readonly number[];
  /** By worker. */
  readonly counts: readonly Float64Array[];
}

export class Scopes {
  readonly #plane: ScopePlane;
  readonly #known = new Map<number, Known>();
  readonly #ids = new Slots<string>(MAX_SCOPES);
  readonly #uses = new Map<string, number>();
  readonly #keyOf = new Map<string, string>();

  constructor(plane: ScopePlane) {
    this.#plane = plane;
    this.#ids.take(NODE_KEY);
  }

  /** What the node itself sees from now on. Its scope keeps its number, because its sockets stay. */
  setNode(networks: readonly number[]): number {
    const id = this.#ids.take(NODE_KEY) ?? 0;
    this.#set(id, networks, true);
    return id;
  }

  /** The scope of a client from now on. `forward`: names that are not ours are asked for outside. */
  take(client: string, networks: readonly number[], forward: boolean): number {
    const key = `${forward} ${networks.join(' ')}`;
    const id = this.#ids.take(key);
    if (id === undefined) throw new RangeError(`more than ${MAX_SCOPES} combinations of networks`);
    const uses = this.#uses.get(key) ?? 0;
    if (uses === 0) this.#set(id, networks, forward);
    this.#uses.set(key, uses + 1);
    this.release(client);
    this.#keyOf.set(client, key);
    return id;
  }

  /** The same for a client that shares its scope with nobody: what it sees may become other, and its sockets stay. */
  takeOwn(client: string, networks: readonly number[], forward: boolean): number {
    const key = `${CLIENT_KEY} ${client}`;
    const id = this.#ids.take(key);
    if (id === undefined) throw new RangeError(`more than ${MAX_SCOPES} combinations of networks`);
    this.#set(id, networks, forward);
    if (this.#keyOf.get(client) === key) return id;
    this.release(client);
    this.#uses.set(key, 1);
    this.#keyOf.set(client, key);
    return id;
  }

  release(client: string): void {
    const key = this.#keyOf.get(client);
    if (key === undefined) return;
    this.#keyOf.delete(client);
    const uses = (this.#uses.get(key) ?? 1) - 1;
    this.#uses.set(key, uses);
    if (uses > 0) return;
    this.#uses.delete(key);
    const id = this.#ids.release(key);
    if (id === undefined) return;
    this.#known.delete(id);
    // As it was set, to each for itself: so a worker's successor is not told of it either.
    for (let worker = 0; worker < this.#plane.workers; worker++)
      this.#plane.postTo(worker, { kind: 'scope-remove', id });
  }

  /** What was answered in each scope that there is; nothing of what never was. */
  *answers(): Generator<ScopeAnswers> {
    const node = this.#ids.take(NODE_KEY);
    for (const [id, { networks, counts }] of this.#known) {
      for (let place = 0; place < SCOPE_COUNTS; place++) {
        const count = counts.reduce((sum, one) => sum + (one[place] as number), 0);
        if (count > 0) yield { networks, isNode: id === node, ...countedAt(place), count };
      }
    }
  }

  /** A scope that is known goes on counting. */
  #set(id: number, networks: readonly number[], forward: boolean): void {
    const { workers } = this.#plane;
    const known = this.#known.get(id) ?? {
      networks,
      counts: Array.from({ length: workers }, () => new Float64Array(new SharedArrayBuffer(8 * SCOPE_COUNTS))),
    };
    known.networks = networks;
    this.#known.set(id, known);
    for (const [worker, counts] of known.counts.entries())
      this.#plane.postTo(worker, { kind: 'scope-set', scope: { id, networks, forward, counts } });
  }
}
