// Scopes: which networks a client of the resolver sees. Clients with the same networks in the same order share one.
import { Slots } from '../balancer/slots.ts';
import type { DnsCommand } from '../dns/command.ts';

/** More distinct combinations of networks than a node has containers on it. */
const MAX_SCOPES = 65_536;
const NODE_KEY = 'node';
const CLIENT_KEY = 'client';

export class Scopes {
  readonly #post: (command: DnsCommand) => void;
  readonly #ids = new Slots<string>(MAX_SCOPES);
  readonly #uses = new Map<string, number>();
  readonly #keyOf = new Map<string, string>();

  constructor(post: (command: DnsCommand) => void) {
    this.#post = post;
    this.#ids.take(NODE_KEY);
  }

  /** What the node itself sees from now on. Its scope keeps its number, because its sockets stay. */
  setNode(networks: readonly number[]): number {
    const id = this.#ids.take(NODE_KEY) ?? 0;
    this.#post({ kind: 'scope-set', scope: { id, networks, forward: true } });
    return id;
  }

  /** The scope of a client from now on. `forward`: names that are not ours are asked for outside. */
  take(client: string, networks: readonly number[], forward: boolean): number {
    const key = `${forward} ${networks.join(' ')}`;
    const id = this.#ids.take(key);
    if (id === undefined) throw new RangeError(`more than ${MAX_SCOPES} combinations of networks`);
    const uses = this.#uses.get(key) ?? 0;
    if (uses === 0) this.#post({ kind: 'scope-set', scope: { id, networks, forward } });
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
    this.#post({ kind: 'scope-set', scope: { id, networks, forward } });
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
    if (id !== undefined) this.#post({ kind: 'scope-remove', id });
  }
}
