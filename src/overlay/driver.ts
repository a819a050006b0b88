// The overlay driver of one node: a namespace per overlay network, one per container (its own, or one that something else made
// and that is only fitted out: never deleted, nothing changed in it but the driver's links), and the node-local bridge that leads
// containers outside. What it was told is its plan; the kernel is made to agree after every call, and again whenever
// the kernel tells of a change that the driver did not make.
import type { Snapshot } from '../catalog/snapshot.ts';
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { Kernel, Namespace } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { Log } from '../runtime/log.ts';
import { awaitLinks, type Container, describeContainer, removeBrokenPairs } from './container.ts';
import { EgressBridge, type EgressOptions } from './egress-bridge.ts';
import {
  BRIDGE,
  containerNamespace,
  type Instance,
  isInstance,
  namespacePrefix,
  networkNamespace,
  portLink,
} from './names.ts';
import { fitOut, isGuest, isStillThere, openGuest } from './open-guest.ts';
import { OverlayError } from './overlay-error.ts';
import { type ContainerSpec, hasEgress, planContainer, planNetwork, wantedNetworks } from './plan.ts';
import { type Outcome, reconcile, throwFirst, throwUnlessPort } from './reconciler.ts';

export interface OverlayOptions extends EgressOptions {
  /** Six lower-case letters and digits; the same at every start of one agent, another for every agent of a machine. */
  readonly instance: Instance;
  readonly kernel: Kernel;
  readonly log: Log;
}

/** Where the sockets of an overlay network are made. */
export interface NetworkPlace {
  readonly netnsPath: string;
  /** Open until the network is removed. */
  readonly netnsFd: number;
}

/** What a start found and did. */
export interface Adoption {
  /** Containers whose namespaces were there; the others of the wanted ones were not, and were not made. */
  readonly containers: readonly Container[];
  /** Namespaces that belonged to nothing any more, removed. */
  readonly removed: readonly string[];
}

interface NetworkState {
  readonly namespace: Namespace;
  network: Network;
  vips: readonly IpAddress[];
}

interface ContainerState {
  readonly namespace: Namespace;
  readonly spec: ContainerSpec;
}

/**
 * Changes settle this long before the driver looks at them: a change made by hand comes as several notices, and so does
 * each of the driver's own.
 */
const NOTICE_SETTLE_MS = 50;

export class OverlayDriver {
  readonly #instance: Instance;
  readonly #kernel: Kernel;
  readonly #log: Log;
  readonly #egress: EgressBridge;
  readonly #networks = new Map<NetworkId, NetworkState>();
  readonly #containers = new Map<TaskId, ContainerState>();
  readonly #problems = new Map<NetworkId, KernelError>();
  /** Public calls are carried out one after another, because each reads, compares and changes. */
  #last: Promise<unknown> = Promise.resolve();
  #noticed: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: OverlayOptions) {
    if (!isInstance(options.instance)) {
      throw new OverlayError(
        'bad-setting',
        `the instance "${options.instance}" is not six lower-case letters and digits, which names in the kernel have room for`,
      );
    }
    this.#instance = options.instance;
    this.#kernel = options.kernel;
    this.#log = options.log;
    this.#egress = new EgressBridge(options, () => this.#scheduleRepair());
  }

  /**
   * Takes over what an earlier run of this agent left: namespaces of these networks, and of those of these containers that
   * still have one. Everything else with this agent's names is removed. To be called once, before anything else.
   */
  adopt(networks: readonly Network[], containers: readonly ContainerSpec[]): Promise<Adoption> {
    return this.#inTurn(async () => {
      const found = new Set(this.#kernel.listNamespaces(namespacePrefix(this.#instance)));
      for (const network of networks) await this.#openNetwork(network);
      const alive: ContainerSpec[] = [];
      for (const spec of containers) {
        const isAlive = isGuest(spec)
          ? await isStillThere(this.#kernel, spec, this.#log)
          : found.has(containerNamespace(this.#instance, spec.taskId));
        if (isAlive) alive.push(spec);
      }
      // All are known before the first bridge is compared, or it would lose the ports of the later ones.
      const open = await this.#each(alive, (spec) => this.#openContainer(spec));
      await this.#egress.adopt();
      const adopted: Container[] = [];
      await this.#each(open, async ({ taskId }) => adopted.push(await this.#settleContainer(taskId)));
      for (const state of this.#networks.values()) await this.#settleNetwork(state);
      const removed = this.#removeStrangers(found);
      return { containers: adopted, removed };
    });
  }

  /** Makes an overlay network's namespace, or brings it up to date. Idempotent. Rejects with KernelError. */
  ensureNetwork(network: Network): Promise<NetworkPlace> {
    return this.#inTurn(() => this.#ensureNetwork(network));
  }

  /** The VIPs of a network, all of them; those that were there and are not named are removed. */
  setVips(networkId: NetworkId, vips: readonly IpAddress[]): Promise<void> {
    return this.#inTurn(() => this.#setVips(networkId, vips));
  }

  /** Everything of a network. Rejects with `in-use` while a container here is on it. Idempotent. */
  removeNetwork(networkId: NetworkId): Promise<void> {
    return this.#inTurn(async () => this.#removeNetwork(networkId));
  }

  /**
   * Makes all overlay networks and VIPs be as in a snapshot. A network that cannot be made is left out of the result and told
   * by `problems`; a removed one that still has containers here is kept, with a warning.
   */
  applySnapshot(snapshot: Snapshot): Promise<ReadonlyMap<NetworkId, NetworkPlace>> {
    return this.#inTurn(async () => {
      const wanted = wantedNetworks(snapshot);
      const places = new Map<NetworkId, NetworkPlace>();
      for (const { network, vips } of wanted) {
        try {
          const state = await this.#openNetwork(network);
          state.vips = vips;
          await this.#settleNetwork(state);
          places.set(network.id, placeOf(state));
        } catch (error) {
          if (!(error instanceof KernelError)) throw error;
          this.#problems.set(network.id, error);
          this.#log.error('an overlay network is not as it should be', { network: network.spec.name, error });
        }
      }
      this.#removeNetworksBut(new Set(wanted.map(({ network }) => network.id)));
      return places;
    });
  }

  /** Networks that are not as they should be, each with the first thing that failed. */
  get problems(): ReadonlyMap<NetworkId, KernelError> {
    return this.#problems;
  }

  /**
   * Makes a container's namespace, or opens the one that it brings along, with a link to each of its networks and, unless all of
   * them are internal or it has a default route of its own, one that leads outside. Idempotent. After a failure nothing of it is
   * left. Rejects with OverlayError and KernelError.
   */
  attachContainer(spec: ContainerSpec): Promise<Container> {
    return this.#inTurn(async () => {
      for (const { network } of spec.attachments)
        if (!this.#networks.has(network.id)) await this.#ensureNetwork(network);
      try {
        await this.#openContainer(spec);
        return await this.#settleContainer(spec.taskId);
      } catch (error) {
        await this.#detachContainer(spec.taskId);
        throw error;
      }
    });
  }

  /** Removes a container's links and addresses and, if it was made here, its namespace: its processes should have ended. Idempotent. */
  detachContainer(taskId: TaskId): Promise<void> {
    return this.#inTurn(() => this.#detachContainer(taskId));
  }

  /** Compares all with the kernel now. Resolves with how many differences were mended. */
  repair(): Promise<number> {
    return this.#inTurn(() => this.#repair());
  }

  /** Lets go of everything and leaves it in the kernel, for the next start to adopt. The kernel object stays open. */
  close(): Promise<void> {
    return this.#inTurn(async () => this.#close());
  }

  /** Removes all that this agent has in the kernel, and closes. */
  removeAll(): Promise<void> {
    return this.#inTurn(async () => {
      for (const taskId of [...this.#containers.keys()]) await this.#detachContainer(taskId);
      for (const id of [...this.#networks.keys()]) this.#removeNetwork(id);
      await this.#egress.remove();
      this.#removeStrangers(new Set(this.#kernel.listNamespaces(namespacePrefix(this.#instance))));
      this.#close();
    });
  }

  /** Those for which it could be done; the others are given up with a warning, so that one does not keep all from starting. */
  async #each(
    specs: readonly ContainerSpec[],
    work: (spec: ContainerSpec) => Promise<unknown>,
  ): Promise<ContainerSpec[]> {
    const done: ContainerSpec[] = [];
    for (const spec of specs) {
      try {
        await work(spec);
        done.push(spec);
      } catch (error) {
        this.#log.error('cannot take over a container of an earlier run', { taskId: spec.taskId, error });
        await this.#detachContainer(spec.taskId);
      }
    }
    return done;
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => {
      if (this.#isClosed) throw new OverlayError('closed', 'the overlay driver has been closed');
      return work();
    });
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #ensureNetwork(network: Network): Promise<NetworkPlace> {
    const state = await this.#openNetwork(network);
    await this.#settleNetwork(state);
    return placeOf(state);
  }

  async #openNetwork(network: Network): Promise<NetworkState> {
    const known = this.#networks.get(network.id);
    if (known !== undefined) {
      known.network = network;
      return known;
    }
    const namespace = await this.#kernel.ensureNamespace(networkNamespace(this.#instance, network.id));
    const state: NetworkState = { namespace, network, vips: [] };
    this.#networks.set(network.id, state);
    namespace.watch(() => this.#scheduleRepair());
    return state;
  }

  async #settleNetwork(state: NetworkState): Promise<void> {
    throwFirst(await this.#reconcileNetwork(state));
  }

  async #reconcileNetwork(state: NetworkState): Promise<Outcome> {
    const outcome = await reconcile(state.namespace, planNetwork(this.#instance, state, this.#specs()));
    const [problem] = outcome.failures;
    if (problem === undefined) this.#problems.delete(state.network.id);
    else this.#problems.set(state.network.id, problem);
    return outcome;
  }

  #removeNetworksBut(kept: ReadonlySet<NetworkId>): void {
    for (const [id, { network }] of this.#networks) {
      if (kept.has(id)) continue;
      if (!this.#isUsed(id)) this.#removeNetwork(id);
      else this.#log.warn('a removed network is kept while it has containers', { network: network.spec.name });
    }
  }

  async #setVips(networkId: NetworkId, vips: readonly IpAddress[]): Promise<void> {
    const state = this.#networkState(networkId);
    state.vips = vips;
    await this.#settleNetwork(state);
  }

  #removeNetwork(networkId: NetworkId): void {
    const state = this.#networks.get(networkId);
    if (state === undefined) return;
    if (this.#isUsed(networkId)) {
      throw new OverlayError(
        'in-use',
        `network ${state.network.spec.name} still has containers on this node; stop them first`,
      );
    }
    this.#networks.delete(networkId);
    this.#problems.delete(networkId);
    state.namespace.close();
    this.#kernel.deleteNamespace(state.namespace.name);
  }

  #isUsed(networkId: NetworkId): boolean {
    return this.#specs().some(({ attachments }) => attachments.some(({ network }) => network.id === networkId));
  }

  async #openContainer(wanted: ContainerSpec): Promise<void> {
    const namespace = this.#containers.get(wanted.taskId)?.namespace ?? (await this.#homeOf(wanted));
    // Known from here on, so that it is closed whatever happens.
    this.#containers.set(wanted.taskId, { namespace, spec: wanted });
    const spec = isGuest(wanted) ? await fitOut(wanted, namespace) : wanted;
    this.#containers.set(spec.taskId, { namespace, spec });
    for (const { network } of spec.attachments) {
      await removeBrokenPairs(spec, network.id, this.#networkState(network.id).namespace, namespace);
    }
    if (hasEgress(spec)) await this.#egress.admit(spec.taskId, namespace);
  }

  #homeOf(spec: ContainerSpec): Promise<Namespace> {
    if (!isGuest(spec)) return this.#kernel.ensureNamespace(containerNamespace(this.#instance, spec.taskId));
    const inUse = { networks: [...this.#networks.values()], containers: [...this.#containers.values()] };
    return openGuest(this.#kernel, spec, inUse);
  }

  async #settleContainer(taskId: TaskId): Promise<Container> {
    const state = this.#containers.get(taskId);
    if (state === undefined) throw new RangeError(`container ${taskId} was not opened`);
    const { namespace, spec } = state;
    for (const { network } of spec.attachments) {
      const state = this.#networkState(network.id);
      const outcome = await this.#reconcileNetwork(state);
      // A failure may be another container's; what counts here is this one's port.
      throwUnlessPort(outcome, portLink(spec.taskId), BRIDGE);
    }
    const egress = hasEgress(spec) ? await this.#egress.settle(spec.taskId) : undefined;
    const { observed } = throwFirst(await reconcile(namespace, planContainer(spec, egress)));
    const networks = spec.attachments.map(({ network }) => this.#networkState(network.id).namespace);
    const slow = await awaitLinks(spec, { container: namespace, networks, node: this.#kernel.own }, egress);
    if (slow.length > 0)
      this.#log.warn('links of a container are slow to come up', { taskId: spec.taskId, links: slow });
    return describeContainer(spec, namespace, observed, egress);
  }

  async #detachContainer(taskId: TaskId): Promise<void> {
    const state = this.#containers.get(taskId);
    if (state === undefined) return;
    this.#containers.delete(taskId);
    const made = !isGuest(state.spec);
    // Removed here and now, so that the links are gone when this returns; the kernel takes its time over the namespace itself.
    // Others may have far ends in a namespace that is not ours: there, each link goes with its port below.
    if (made) await state.namespace.apply({ kind: 'remove-far-ends' });
    for (const { network } of state.spec.attachments) {
      const known = this.#networks.get(network.id);
      if (known === undefined) continue;
      const { failures } = await this.#reconcileNetwork(known);
      for (const error of failures) this.#log.warn('cannot remove a container from its network', { taskId, error });
    }
    await this.#egress.dismiss(taskId);
    state.namespace.close();
    if (made) this.#kernel.deleteNamespace(state.namespace.name);
  }

  #networkState(id: NetworkId): NetworkState {
    const state = this.#networks.get(id);
    if (state === undefined) throw new RangeError(`network ${id} was not ensured before it was used`);
    return state;
  }

  #specs(): readonly ContainerSpec[] {
    return [...this.#containers.values()].map(({ spec }) => spec);
  }

  /** Of the namespaces found, those that belong to nothing that is known. */
  #removeStrangers(found: ReadonlySet<string>): readonly string[] {
    const known = new Set(
      [...this.#networks.values(), ...this.#containers.values()].map(({ namespace }) => namespace.name),
    );
    const strangers = [...found].filter((name) => !known.has(name));
    for (const name of strangers) this.#kernel.deleteNamespace(name);
    return strangers;
  }

  #scheduleRepair(): void {
    if (this.#noticed !== undefined || this.#isClosed) return;
    this.#noticed = setTimeout(() => {
      this.#noticed = undefined;
      this.repair().catch((error: unknown) => {
        if (!this.#isClosed) this.#log.error('cannot compare the overlay with the kernel', { error });
      });
    }, NOTICE_SETTLE_MS).unref();
  }

  async #repair(): Promise<number> {
    let mended = 0;
    for (const state of this.#networks.values()) {
      mended += this.#report(await this.#reconcileNetwork(state), state.network.spec.name);
    }
    const outcome = await this.#egress.repair();
    return mended + (outcome === undefined ? 0 : this.#report(outcome, 'egress'));
  }

  /** Returns how much was mended. */
  #report({ applied, failures }: Outcome, network: string): number {
    if (applied.length > 0) {
      const what = applied.map(({ kind }) => kind);
      this.#log.warn('mended what something else had changed in the kernel', { network, operations: what });
    }
    for (const error of failures) this.#log.warn('cannot bring the kernel in line', { network, error });
    return applied.length;
  }

  #close(): void {
    this.#isClosed = true;
    clearTimeout(this.#noticed);
    for (const { namespace } of this.#networks.values()) namespace.close();
    for (const { namespace } of this.#containers.values()) namespace.close();
    this.#networks.clear();
    this.#containers.clear();
  }
}

function placeOf({ namespace }: NetworkState): NetworkPlace {
  return { netnsPath: namespace.path, netnsFd: namespace.fd };
}
