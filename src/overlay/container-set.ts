// The containers of this node: their namespaces, and their links to networks and to the outside.
import type { NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { Kernel, Namespace } from '../netlink/kernel.ts';
import type { Log } from '../runtime/log.ts';
import { awaitLinks, type Container, describeContainer, removeBrokenPairs } from './container.ts';
import type { EgressBridge } from './egress-bridge.ts';
import { containerNamespace, type Instance } from './names.ts';
import type { Networks } from './networks.ts';
import { fitOut, isGuest, openGuest, reopenGuest } from './open-guest.ts';
import { type ContainerSpec, hasEgress, planContainer } from './plan.ts';
import { reconcile, throwFirst } from './reconciler.ts';

interface ContainerState {
  readonly namespace: Namespace;
  readonly spec: ContainerSpec;
}

interface Options {
  readonly instance: Instance;
  readonly kernel: Kernel;
  readonly log: Log;
  readonly networks: Networks;
  readonly egress: EgressBridge;
}

export class ContainerSet {
  readonly #options: Options;
  readonly #states = new Map<TaskId, ContainerState>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Undefined when it was not opened, or has been detached. */
  get(taskId: TaskId): ContainerState | undefined {
    return this.#states.get(taskId);
  }

  get all(): readonly ContainerState[] {
    return [...this.#states.values()];
  }

  get specs(): readonly ContainerSpec[] {
    return this.all.map(({ spec }) => spec);
  }

  /** One of the containers is on that network. */
  isOn(id: NetworkId): boolean {
    return this.specs.some(({ attachments }) => attachments.some(({ network }) => network.id === id));
  }

  /**
   * Opens the namespaces of those that are still there, and looks at nothing in them that can wait: `open` and `settle` are to follow.
   * `found` are the names of this agent's namespaces. All are known before the first bridge is compared, or it would lose the ports
   * of the later ones.
   */
  async reopen(specs: readonly ContainerSpec[], found: ReadonlySet<string>): Promise<readonly ContainerSpec[]> {
    return this.each(specs, async (spec) => {
      const state = await this.#reopened(spec, found);
      if (state !== undefined) this.#states.set(spec.taskId, state);
      return state !== undefined;
    });
  }

  async #reopened(spec: ContainerSpec, found: ReadonlySet<string>): Promise<ContainerState | undefined> {
    const { instance, kernel, networks } = this.#options;
    if (isGuest(spec)) return reopenGuest(kernel, spec, { networks: networks.all, containers: this.all });
    const name = containerNamespace(instance, spec.taskId);
    return found.has(name) ? { namespace: await kernel.ensureNamespace(name), spec } : undefined;
  }

  /** Those of which `work` says so; the others are given up, with an error where it fails, so that one does not keep all from starting. */
  async each(
    specs: readonly ContainerSpec[],
    work: (spec: ContainerSpec) => Promise<unknown>,
  ): Promise<readonly ContainerSpec[]> {
    const done: ContainerSpec[] = [];
    for (const spec of specs) {
      try {
        if ((await work(spec)) !== false) done.push(spec);
      } catch (error) {
        this.#options.log.error('cannot take over a container of an earlier run', { taskId: spec.taskId, error });
        await this.detach(spec.taskId);
      }
    }
    return done;
  }

  /** Makes its namespace, or opens the one that it brings along; its networks are there. */
  async open(wanted: ContainerSpec): Promise<void> {
    const { networks, egress } = this.#options;
    const namespace = this.#states.get(wanted.taskId)?.namespace ?? (await this.#homeOf(wanted));
    // Known from here on, so that it is closed whatever happens.
    this.#states.set(wanted.taskId, { namespace, spec: wanted });
    const spec = isGuest(wanted) ? await fitOut(wanted, namespace) : wanted;
    this.#states.set(spec.taskId, { namespace, spec });
    for (const { network } of spec.attachments) {
      await removeBrokenPairs(spec, network.id, networks.require(network.id).namespace, namespace);
    }
    if (hasEgress(spec)) await egress.admit(spec.taskId, namespace);
  }

  /** Makes its links be as planned, and waits until they are ready. */
  async settle(taskId: TaskId): Promise<Container> {
    const state = this.#states.get(taskId);
    if (state === undefined) throw new RangeError(`container ${taskId} was not opened`);
    const { namespace, spec } = state;
    const { egress: bridge, kernel, log } = this.#options;
    const networks = spec.attachments.map(({ network }) => this.#options.networks.require(network.id));
    for (const network of networks) await this.#options.networks.addPort(network, spec);
    const egress = hasEgress(spec) ? await bridge.settle(spec.taskId) : undefined;
    const mtuOf = (id: NetworkId) => this.#options.networks.mtuOf(this.#options.networks.require(id).network);
    throwFirst(await reconcile(namespace, planContainer(spec, egress, mtuOf)));
    const links = await namespace.observeLinks();
    const places = { container: namespace, networks: networks.map((one) => one.namespace), node: kernel.own };
    const slow = await awaitLinks(spec, places, egress);
    if (slow.length > 0) log.warn('links of a container are slow to come up', { taskId: spec.taskId, links: slow });
    return describeContainer(spec, namespace, links, { gateways: networks.map(({ own }) => own), egress });
  }

  /** Removes its links and, if it was made here, its namespace. Idempotent. */
  async detach(taskId: TaskId): Promise<void> {
    const state = this.#states.get(taskId);
    if (state === undefined) return;
    const { networks, egress, kernel, log } = this.#options;
    this.#states.delete(taskId);
    const made = !isGuest(state.spec);
    // Removed here and now, so that the links are gone when this returns; the kernel takes its time over the namespace itself.
    // Others may have far ends in a namespace that is not ours: there, each link goes with its port below.
    if (made) await state.namespace.apply({ kind: 'remove-far-ends' });
    for (const { network } of state.spec.attachments) {
      const known = networks.get(network.id);
      if (known === undefined) continue;
      for (const error of await networks.removePort(known, state.spec))
        log.warn('cannot remove a container from its network', { taskId, error });
    }
    await egress.dismiss(taskId);
    state.namespace.close();
    if (made) kernel.deleteNamespace(state.namespace.name);
  }

  /** Leaves everything in the kernel. */
  close(): void {
    for (const { namespace } of this.#states.values()) namespace.close();
    this.#states.clear();
  }

  #homeOf(spec: ContainerSpec): Promise<Namespace> {
    const { instance, kernel, networks } = this.#options;
    if (!isGuest(spec)) return kernel.ensureNamespace(containerNamespace(instance, spec.taskId));
    return openGuest(kernel, spec, { networks: networks.all, containers: this.all });
  }
}
