// Chooses endpoints in one worker, for TCP and UDP alike, as each service wants it.
import type { WorkerCounters, WorkerEnv } from '../runtime/worker-env.ts';
import { ENDPOINT } from '../runtime/worker-env.ts';
import { AffinityTable } from './affinity.ts';
import { chooseAnother, chooseEndpoint } from './choose-endpoint.ts';
import { betterOfTwo, byClient, type Choice, leastLoaded, type Load, type Tier } from './selection.ts';

/** What is needed of a backend to choose among its endpoints. */
export interface Choosable {
  /** Also the number of its service. */
  readonly roundRobinSlot: number;
  readonly endpoints: readonly { readonly slot: number }[];
  readonly choice: Choice;
}

export class EndpointChooser {
  readonly #counters: WorkerCounters;
  readonly #affinity: AffinityTable;
  readonly #chance: () => number;
  readonly #load: Load;
  /** The last choice that had to do with affinity was by it. */
  #wasAffine = false;

  constructor({ counters, random }: Pick<WorkerEnv, 'counters' | 'random'>) {
    this.#counters = counters;
    this.#affinity = new AffinityTable(counters.affinity);
    this.#chance = () => Math.floor(random.unit() * 2 ** 32);
    this.#load = (slot) => loadOf(counters, slot);
  }

  /**
   * Index of the endpoint for the next connection; -1 when the slots of all are in `skip`. `clientOf` gives the client's address as
   * hashAddress makes it, and is called only where it matters.
   */
  choose(backend: Choosable, clientOf: () => number, skip: readonly number[]): number {
    const { choice } = backend;
    if (choice.affinityS === 0) return this.#next(backend, clientOf, skip);
    const client = clientOf();
    // The same clock in all threads.
    const [now] = process.hrtime();
    const known = this.#affinity.find(backend.roundRobinSlot, client, now);
    const same = known < 0 || skip.includes(known) ? -1 : backend.endpoints.findIndex(({ slot }) => slot === known);
    this.#wasAffine = same >= 0;
    const index = same >= 0 ? same : this.#next(backend, () => client, skip);
    const slot = backend.endpoints[index]?.slot;
    if (slot !== undefined) this.#affinity.set(backend.roundRobinSlot, client, slot, now + choice.affinityS);
    return index;
  }

  /** The last choice was the endpoint that the client came to before. For services without affinity it says nothing. */
  get wasAffine(): boolean {
    return this.#wasAffine;
  }

  #next(backend: Choosable, clientOf: () => number, skip: readonly number[]): number {
    for (const tier of backend.choice.tiers) {
      const position = this.#ofTier(backend, tier, clientOf, skip);
      if (position >= 0) return tier.members[position] as number;
    }
    return -1;
  }

  #ofTier(backend: Choosable, tier: Tier, clientOf: () => number, skip: readonly number[]): number {
    switch (backend.choice.method) {
      case 'round-robin': {
        const position = chooseEndpoint(tier.round, this.#turn(backend));
        if (position < 0 || !skip.includes(tier.slots[position] as number)) return position;
        // Another turn, so that the share of those that are skipped goes to all others, and not to whoever comes next.
        return chooseAnother(tier.round, tier.slots, this.#turn(backend), skip);
      }
      case 'least-connections':
        return leastLoaded(tier, this.#turn(backend), skip, this.#load);
      case 'random':
        return betterOfTwo(tier, this.#chance, skip, this.#load);
      case 'source-hash':
        return byClient(tier, clientOf(), skip);
    }
  }

  #turn(backend: Choosable): number {
    return Atomics.add(this.#counters.roundRobin, backend.roundRobinSlot, 1);
  }
}

/** Over all workers. */
function loadOf({ allEndpoints }: WorkerCounters, slot: number): number {
  const at = slot * ENDPOINT.stride;
  let open = 0;
  for (const endpoints of allEndpoints)
    open += (endpoints[at + ENDPOINT.active] as number) + (endpoints[at + ENDPOINT.flows] as number);
  return open;
}
