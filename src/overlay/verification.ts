// Containers of an earlier run, as they are looked at once they serve: their links, addresses and ways outside are made as planned.
import type { TaskId } from '../model/task.ts';
import type { Container } from './container.ts';
import type { ContainerSet } from './container-set.ts';
import type { EgressBridge } from './egress-bridge.ts';
import type { ContainerSpec } from './plan.ts';

/** What a start found and did. */
export interface Adoption {
  /** Containers whose namespaces were there; the others of the wanted ones were not, and were not made. */
  readonly containers: readonly Pick<Container, 'taskId' | 'netnsPath' | 'netnsFd'>[];
  /** Namespaces that belonged to nothing any more, removed. */
  readonly removed: readonly string[];
}

interface Options {
  readonly containers: ContainerSet;
  readonly egress: EgressBridge;
  /** Compares the networks as wholes, after all ports were looked at. */
  readonly settleNetworks: () => Promise<void>;
}

/** In small steps, so that what is committed meanwhile is soon in effect. */
const CONTAINERS_PER_STEP = 8;

export class Verification {
  readonly #options: Options;
  /** All have their places on the egress bridge before it is made as planned, or it would lose the ports of the later ones. */
  #toOpen: readonly ContainerSpec[];
  #toSettle: readonly ContainerSpec[] = [];
  readonly #lost: TaskId[] = [];
  #isDone = false;

  constructor(options: Options, reopened: readonly ContainerSpec[]) {
    this.#options = options;
    this.#toOpen = reopened;
  }

  /** Could not be made as planned, and were given up. */
  get lost(): readonly TaskId[] {
    return this.#lost;
  }

  /** False: there is more to do. Rejects only for what concerns all of them. */
  async step(): Promise<boolean> {
    if (this.#isDone) return true;
    const { containers, egress, settleNetworks } = this.#options;
    if (this.#toOpen.length > 0) {
      const some = this.#take(this.#toOpen);
      this.#toOpen = this.#toOpen.slice(CONTAINERS_PER_STEP);
      this.#toSettle = [...this.#toSettle, ...(await this.#each(some, (spec) => containers.open(spec)))];
      return false;
    }
    if (this.#toSettle.length > 0) {
      const some = this.#take(this.#toSettle);
      this.#toSettle = this.#toSettle.slice(CONTAINERS_PER_STEP);
      await this.#each(some, ({ taskId }) => containers.settle(taskId));
      return false;
    }
    this.#isDone = true;
    await egress.adopt();
    await settleNetworks();
    return true;
  }

  /** All that is left of it, for who builds on it. */
  async finish(): Promise<void> {
    while (!(await this.step()));
  }

  /** Without those that have been detached since. */
  #take(specs: readonly ContainerSpec[]): readonly ContainerSpec[] {
    const { containers } = this.#options;
    return specs.slice(0, CONTAINERS_PER_STEP).filter(({ taskId }) => containers.get(taskId) !== undefined);
  }

  async #each(
    specs: readonly ContainerSpec[],
    work: (spec: ContainerSpec) => Promise<unknown>,
  ): Promise<readonly ContainerSpec[]> {
    const done = await this.#options.containers.each(specs, work);
    this.#lost.push(...specs.filter((spec) => !done.includes(spec)).map(({ taskId }) => taskId));
    return done;
  }
}

/** Of a container that was reopened. */
export function leftOf({ namespace, spec }: ContainerSet['all'][number]): Adoption['containers'][number] {
  return { taskId: spec.taskId, netnsPath: namespace.path, netnsFd: namespace.fd };
}
