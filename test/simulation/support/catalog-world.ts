// Agents that follow one store, for simulations: what happens to them, and what must be so all the same.
import { Catalog } from '../../../src/catalog/catalog.ts';
import { LastKnownStore } from '../../../src/store/last-known.ts';
import type { LeaseId, Store } from '../../../src/store/store.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeCluster, FakeLink } from '../../support/fake-store.ts';
import { MemoryDisk } from '../../support/memory-disk.ts';
import { halfOfCommit, pairOfPresences, randomWrites, textOf } from './records.ts';
import type { Dice } from './seeds.ts';

/** Milliseconds that a message takes, at least and at most. */
const LATENCIES: readonly [Latency, ...Latency[]] = [
  [0, 0],
  [0, 5],
  [5, 50],
  [100, 900],
];
type Latency = readonly [number, number];

/** What all simulations together have gone through; one in which nothing happens proves nothing. */
export const seen = { commits: 0, cuts: 0, leasesEnded: 0, newListings: 0, copiesServed: 0, crashes: 0, restarts: 0 };

export class World {
  readonly dice: Dice;
  readonly clock = new FakeClock();
  readonly cluster: FakeCluster;
  readonly agents: readonly Agent[];
  readonly trace: string[] = [];
  #leases: LeaseId[] = [];
  #pairs = 0;

  constructor(dice: Dice) {
    this.dice = dice;
    this.cluster = new FakeCluster({ clock: this.clock, stride: () => dice.between(1, 3) });
    this.agents = ['a', 'b', 'c', 'd'].map((name, n) => new Agent(name, this, n < 2 ? undefined : new MemoryDisk()));
  }

  async step(step: number): Promise<void> {
    const { dice, cluster } = this;
    const agent = dice.pick(this.agents as readonly [Agent, ...Agent[]]);
    const happening = dice.below(100);
    if (happening < 50) {
      for (let n = dice.between(1, 4); n > 0; n--) cluster.commit(randomWrites(dice, step * 10 + n));
      seen.commits++;
    } else if (happening < 57) this.#keepLeases();
    else if (happening < 62) cluster.compact(dice.below(4));
    else if (happening < 70) agent.cut();
    else if (happening < 80) agent.heal();
    else if (happening < 84) for (const one of this.agents) one.cut();
    else if (happening < 88) for (const one of this.agents) one.heal();
    else if (happening < 91) agent.latency = dice.pick(LATENCIES);
    else if (happening < 94) agent.crash();
    else if (happening < 97) await agent.restart();
    else agent.toggleDisk();
  }

  /** A new lease with records under it; of those before, some are kept alive, and some end. */
  #keepLeases(): void {
    const { dice, cluster } = this;
    const before = this.#leases.length;
    this.#leases = this.#leases.filter((lease) => dice.chance(0.5) && cluster.keepAlive(lease));
    seen.leasesEnded += before - this.#leases.length;
    const lease = cluster.grantLease(dice.between(1000, 10_000));
    cluster.commit(pairOfPresences(this.#pairs++, lease));
    this.#leases.push(lease);
  }

  check(): void {
    for (const { problem } of this.agents) if (problem !== undefined) throw new Error(problem);
  }

  async heal(): Promise<void> {
    for (const agent of this.agents) agent.makeWhole();
    await this.clock.advance(90_000);
  }

  async compare(): Promise<void> {
    const fresh = await Catalog.open(new FakeLink(this.cluster), { clock: this.clock });
    for (const agent of this.agents) agent.compare(fresh, this.cluster);
    fresh.close();
    for (const agent of this.agents) await agent.stop();
    this.check();
    for (const agent of this.agents) await agent.compareCopy(this.cluster);
  }
}

/** One node's agent, over its restarts. */
class Agent {
  latency: Latency = [0, 5];
  problem: string | undefined;
  readonly #name: string;
  readonly #world: World;
  #disk: MemoryDisk | undefined;
  #isCut = false;
  #link: FakeLink | undefined;
  #store: Store | undefined;
  #catalog: Catalog | undefined;
  /** Which start of the agent is the present one. */
  #run = 0;
  /** What was seen when, in this run. */
  #history: { readonly at: number; readonly revision: number }[] = [];
  /** What a start must not fall behind: what the copy holds. */
  #floor = 0;

  constructor(name: string, world: World, disk: MemoryDisk | undefined) {
    this.#name = name;
    this.#world = world;
    this.#disk = disk;
  }

  start(): void {
    const { clock, cluster, dice } = this.#world;
    const run = ++this.#run;
    const startedAt = clock.now();
    const link = new FakeLink(cluster, () => dice.between(...this.latency));
    if (this.#isCut) link.cut();
    const disk = this.#disk;
    const store = disk === undefined ? link : new LastKnownStore(link, { disk, identity: 'simulated', clock });
    this.#link = link;
    this.#store = store;
    this.#history = [];
    Catalog.open(store, { clock }).then(
      (catalog) => {
        if (run !== this.#run) return catalog.close();
        if (store instanceof LastKnownStore && store.state.servingCopy) {
          seen.copiesServed++;
          if (clock.now() - startedAt > 700) this.#fail(`served the copy after ${clock.now() - startedAt} ms`);
        }
        this.#follow(catalog, run);
      },
      () => {
        // As an agent that is started again by whoever watches over it.
        if (run !== this.#run) return;
        if (this.#floor > 0) this.#fail('has a copy, and did not begin with it');
        clock.schedule(1000, () => {
          if (run === this.#run) this.start();
        });
      },
    );
  }

  cut(): void {
    seen.cuts++;
    this.#isCut = true;
    this.#link?.cut(this.#world.dice.pick(['silent', 'refused']));
  }

  heal(): void {
    this.#isCut = false;
    this.#link?.heal();
  }

  /** As by SIGKILL: what the copy was not given yet is lost. */
  crash(): void {
    seen.crashes++;
    const lastSecond = this.#world.clock.now() - 1000;
    const kept = this.#history.filter(({ at }) => at < lastSecond).at(-1)?.revision ?? this.#floor;
    this.#end(kept);
    this.#link?.abandon();
    this.#disk = this.#disk?.afterEnd();
    this.start();
  }

  async restart(): Promise<void> {
    seen.restarts++;
    await this.stop();
    this.start();
  }

  async stop(): Promise<void> {
    this.#end(this.#history.at(-1)?.revision ?? this.#floor);
    const closing = this.#store?.close();
    await this.#world.clock.advance(3000);
    await closing;
    this.#disk = this.#disk?.afterEnd();
  }

  toggleDisk(): void {
    if (this.#disk === undefined) return;
    this.#disk.failure = this.#disk.failure === undefined ? new Error('no space left') : undefined;
    this.#floor = 0;
  }

  makeWhole(): void {
    this.heal();
    this.latency = [0, 5];
    if (this.#disk !== undefined) this.#disk.failure = undefined;
  }

  compare(fresh: Catalog, cluster: FakeCluster): void {
    const catalog = this.#catalog;
    if (catalog === undefined) throw new Error(`agent ${this.#name} is not up`);
    const { snapshot } = catalog;
    if (snapshot.revision !== cluster.revision)
      this.#fail(`is at ${snapshot.revision}, the store at ${cluster.revision}`);
    if (textOf(snapshot) !== textOf(fresh.snapshot)) this.#fail('shows something else than the store holds');
    for (const { key, revision } of cluster.list('').entries)
      if (catalog.keyRevision(key) !== revision)
        this.#fail(`has ${key} at ${catalog.keyRevision(key)}, not ${revision}`);
    this.#world.trace.push(`${this.#name} ends at ${snapshot.revision}`);
  }

  /** After a stop: a start without the store would begin with all of it. */
  async compareCopy(cluster: FakeCluster): Promise<void> {
    if (this.#disk === undefined) return;
    const link = new FakeLink(cluster);
    link.cut('refused');
    const store = new LastKnownStore(link, { disk: this.#disk, identity: 'simulated', clock: this.#world.clock });
    const copy = await store.list('');
    if (JSON.stringify(copy) !== JSON.stringify(cluster.list(''))) throw new Error(`${this.#name}: the copy differs`);
    await store.close();
  }

  #end(floor: number): void {
    this.#run++;
    seen.newListings += Math.max(0, (this.#link?.listings ?? 0) - 1);
    this.#catalog?.close();
    this.#catalog = undefined;
    if (this.#isCopyKept) this.#floor = floor;
  }

  get #isCopyKept(): boolean {
    const store = this.#store;
    return store instanceof LastKnownStore && store.problems.length === 0 && this.#disk?.failure === undefined;
  }

  #follow(catalog: Catalog, run: number): void {
    this.#catalog = catalog;
    this.#see(catalog, this.#floor - 1);
    catalog.subscribe((snapshot, previous) => {
      if (run !== this.#run) this.#fail('hears of commits after it was closed');
      if (snapshot.revision <= previous.revision) this.#fail(`goes from ${previous.revision} to ${snapshot.revision}`);
      this.#see(catalog, this.#history.at(-1)?.revision ?? 0);
    });
  }

  #see({ snapshot }: Catalog, after: number): void {
    const { clock, trace } = this.#world;
    const { revision } = snapshot;
    if (revision <= after) this.#fail(`went back from ${after} to ${revision}`);
    const half = halfOfCommit(snapshot);
    if (half !== undefined) this.#fail(`at ${revision}: ${half}`);
    this.#history.push({ at: clock.now(), revision });
    trace.push(`${clock.now()} ${this.#name} ${revision}`);
  }

  #fail(what: string): void {
    this.problem ??= `agent ${this.#name} ${what}`;
  }
}
