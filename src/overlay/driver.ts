// The overlay driver of one node: a namespace per overlay network, one per container (its own, or one that something else made
// and that is only fitted out: never deleted, nothing changed in it but the driver's links), and the node-local bridge that leads
// containers outside. What it was told is its plan; the kernel is made to agree after every call, and again whenever
// the kernel tells of a change that the driver did not make.
import type { Change } from '../catalog/change.ts';
import { EMPTY_SNAPSHOT, type Snapshot } from '../catalog/snapshot.ts';
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { Kernel, Notice } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { Log } from '../runtime/log.ts';
import { overlayChanges } from './changes.ts';
import type { Container } from './container.ts';
import { ContainerSet } from './container-set.ts';
import { EgressBridge, type EgressOptions } from './egress-bridge.ts';
import { type Instance, isInstance, namespacePrefix } from './names.ts';
import { type FramesDropped, Networks, type NetworkState } from './networks.ts';
import { OverlayError } from './overlay-error.ts';
import type { ContainerSpec } from './plan.ts';
import { NOTHING_DONE, type Outcome } from './reconciler.ts';
import { removeStranger } from './strangers.ts';
import { linksOf, type Suspect, Suspects } from './suspects.ts';
import { TunnelGuard } from './tunnel-guard.ts';
import { type Adoption, leftOf, Verification } from './verification.ts';
import { type OverlayNode, wantedAmong, wantedNetworks } from './wanted.ts';

export interface OverlayOptions extends EgressOptions {
  /** Six lower-case letters and digits; the same at every start of one agent, another for every agent of a machine. */
  readonly instance: Instance;
  readonly node: OverlayNode;
  readonly kernel: Kernel;
  readonly log: Log;
}

/** Where the sockets of an overlay network are made. */
export interface NetworkPlace {
  readonly netnsPath: string;
  /** Open until the network is removed. */
  readonly netnsFd: number;
}

/** What a call did that made networks be as they are wanted. */
export interface Applied {
  /** Those that were looked at, and are there. */
  readonly places: ReadonlyMap<NetworkId, NetworkPlace>;
  /** Those that this node has and needs no longer: for the caller to let go of, and then to remove. */
  readonly idle: readonly NetworkId[];
}

export class OverlayDriver {
  readonly #instance: Instance;
  readonly #kernel: Kernel;
  readonly #log: Log;
  readonly #egress: EgressBridge;
  readonly #networks: Networks;
  readonly #node: OverlayNode;
  readonly #containers: ContainerSet;
  /** What was last taken over. */
  #snapshot = EMPTY_SNAPSHOT;
  /** Public calls are carried out one after another, because each reads, compares and changes. */
  #last: Promise<unknown> = Promise.resolve();
  readonly #suspects = new Suspects((where) => this.#lookAt(where));
  #isWatchingNode = false;
  #verification: Verification | undefined;
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
    this.#node = options.node;
    this.#egress = new EgressBridge(options, (notice) => this.#nodeChanged(notice));
    this.#networks = new Networks({
      ...options,
      containers: () => this.#containers.specs,
      suspect: (what) => this.#suspects.add(what),
    });
    this.#containers = new ContainerSet({ ...options, networks: this.#networks, egress: this.#egress });
  }

  /**
   * Takes over what an earlier run of this agent left: namespaces of the networks that a snapshot says are wanted here, and of
   * those of these containers that still have one. Everything else with this agent's names is removed. To be called once,
   * before anything else. What is in the containers is looked at by `verify`, so that they are served first.
   */
  adopt(snapshot: Snapshot, containers: readonly ContainerSpec[]): Promise<Adoption> {
    return this.#inTurn(async () => {
      const found = new Set(this.#kernel.listNamespaces(namespacePrefix(this.#instance)));
      await this.#takeOver(snapshot);
      if (this.#node.cluster === undefined) await TunnelGuard.removeTable(this.#kernel, this.#instance);
      for (const wanted of wantedNetworks(snapshot, this.#node))
        (await this.#networks.open(wanted, snapshot)).isWanted = true;
      const open = await this.#containers.reopen(containers, found);
      // Before anything is made: one of them may hold a tunnel that is needed.
      const removed = await this.#removeStrangers(found);
      await this.#settleNetworks();
      const parts = {
        containers: this.#containers,
        egress: this.#egress,
        settleNetworks: () => this.#settleNetworks(),
      };
      this.#verification = new Verification(parts, open);
      if (open.length === 0) await this.#verification.finish();
      return { containers: this.#containers.all.map(leftOf), removed };
    });
  }

  /**
   * Makes the containers that `adopt` found be as planned, a few at a time. Resolves with those that could not be, and were given up.
   * What builds on them does not wait for it, but has it done at once.
   */
  async verify(): Promise<readonly TaskId[]> {
    while (!(await this.#inTurn(async () => (await this.#verification?.step()) ?? true)));
    return this.#verification?.lost ?? [];
  }

  /**
   * Makes an overlay network's namespace, or brings it up to date. Idempotent. Rejects with KernelError, and with OverlayError
   * `no-address` in a cluster where this node has no address there.
   */
  ensureNetwork(network: Network): Promise<NetworkPlace> {
    return this.#inTurn(() => this.#ensureNetwork(network));
  }

  /** The VIPs of a network, all of them; those that were there and are not named are removed. */
  setVips(networkId: NetworkId, vips: readonly IpAddress[]): Promise<void> {
    return this.#inTurn(async () => {
      const state = this.#networks.require(networkId);
      state.vips = vips;
      await this.#networks.settle(state);
    });
  }

  /** Everything of a network. Rejects with `in-use` while a container here is on it. Idempotent. */
  removeNetwork(networkId: NetworkId): Promise<void> {
    return this.#inTurn(() => this.#removeNetwork(networkId));
  }

  /**
   * Makes all overlay networks be as a snapshot says. One that is not as it should be is told by `problems`, and tried again by and
   * by; one without even a namespace is left out of the result. One that is needed no longer stays until it is removed.
   */
  applySnapshot(snapshot: Snapshot): Promise<Applied> {
    return this.#inTurn(async () => {
      await this.#takeOver(snapshot);
      const networks = [...snapshot.networks.values()].filter(({ spec }) => spec.driver === 'overlay');
      return this.#applyNetworks(new Set([...networks.map(({ id }) => id), ...this.#networks.ids]));
    });
  }

  /** The same for one commit, which leads from `previous` to `snapshot`, at a price that depends on that commit alone. */
  applyChanges(snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]): Promise<Applied> {
    return this.#inTurn(async () => {
      const found = overlayChanges(snapshot, previous, changes, this.#node.id, this.#networks.ids);
      this.#snapshot = snapshot;
      if (found.nodes) await this.#setNodes();
      if (this.#node.cluster !== undefined) {
        for (const [id, remotes] of found.remotes) {
          const state = found.networks.has(id) ? undefined : this.#networks.get(id);
          if (state !== undefined)
            await this.#attempt(state.network, () => this.#networks.moveRemotes(state, snapshot, remotes));
        }
      }
      return this.#applyNetworks(found.networks);
    });
  }

  /** The tunnels of this node of a cluster end at another of its addresses from now on. What fails is told by `problems`. */
  moveTunnels(dataAddress: IpAddress): Promise<void> {
    return this.#inTurn(async () => {
      await this.#networks.moveTunnels(dataAddress);
      await this.#settleNetworks();
      await this.#settleContainers();
    });
  }

  /** The networks that this node has and needs no longer, now. */
  get idleNetworks(): readonly NetworkId[] {
    return this.#networks.all
      .filter(({ isWanted, network }) => !isWanted && !this.#containers.isOn(network.id))
      .map(({ network }) => network.id);
  }

  /** Frames that did not get into an overlay network, by why; since the node's tables were made. Rejects with KernelError. */
  framesDropped(): Promise<FramesDropped> {
    return this.#networks.framesDropped();
  }

  /** Networks that are not as they should be, each with the first thing that failed. */
  get problems(): ReadonlyMap<NetworkId, KernelError> {
    return this.#networks.problems;
  }

  /**
   * Makes a container's namespace, or opens the one that it brings along, with a link to each of its networks and, unless all of
   * them are internal or it has a default route of its own, one that leads outside. Idempotent. After a failure nothing of it is
   * left. Rejects with OverlayError and KernelError.
   */
  attachContainer(spec: ContainerSpec): Promise<Container> {
    return this.#inTurn(async () => {
      await this.#verification?.finish();
      for (const { network } of spec.attachments)
        if (this.#networks.get(network.id) === undefined) await this.#ensureNetwork(network);
      try {
        await this.#containers.open(spec);
        return await this.#containers.settle(spec.taskId);
      } catch (error) {
        await this.#containers.detach(spec.taskId);
        throw error;
      }
    });
  }

  /** Removes a container's links and addresses and, if it was made here, its namespace: its processes should have ended. Idempotent. */
  detachContainer(taskId: TaskId): Promise<void> {
    return this.#inTurn(async () => {
      await this.#verification?.finish();
      await this.#containers.detach(taskId);
    });
  }

  /** Compares all with the kernel now. Resolves with how many differences were mended. */
  repair(): Promise<number> {
    return this.#inTurn(async () => {
      await this.#verification?.finish();
      return this.#repair(new Set(['node' as const, ...this.#networks.ids]));
    });
  }

  /** Lets go of everything and leaves it in the kernel, for the next start to adopt. The kernel object stays open. */
  close(): Promise<void> {
    return this.#inTurn(async () => this.#close());
  }

  /** Removes all that this agent has in the kernel, and closes. */
  removeAll(): Promise<void> {
    return this.#inTurn(async () => {
      for (const { taskId } of this.#containers.specs) await this.#containers.detach(taskId);
      for (const id of [...this.#networks.ids]) await this.#removeNetwork(id);
      await this.#egress.remove();
      await TunnelGuard.removeTable(this.#kernel, this.#instance);
      await this.#removeStrangers(new Set(this.#kernel.listNamespaces(namespacePrefix(this.#instance))));
      this.#close();
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(() => {
      if (this.#isClosed) throw new OverlayError('closed', 'the overlay driver has been closed');
      return work();
    });
    this.#last = turn.catch(() => undefined).then(() => this.#suspects.retryLater(() => [...this.problems.keys()]));
    return turn;
  }

  /** What holds for all networks at once. */
  async #takeOver(snapshot: Snapshot): Promise<void> {
    this.#snapshot = snapshot;
    if (this.#node.cluster === undefined) return;
    if (!this.#isWatchingNode) this.#kernel.own.watch((notice) => this.#nodeChanged(notice));
    this.#isWatchingNode = true;
    await this.#networks.readUnderlay();
    await this.#setNodes();
  }

  async #setNodes(): Promise<void> {
    const { cluster } = this.#node;
    if (cluster === undefined) return;
    const nodes = [...this.#snapshot.presences.values()].map(({ dataAddress }) => dataAddress);
    try {
      await this.#networks.guard?.setNodes(nodes);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#log.error('cannot say to the kernel which nodes there are', { error });
      this.#suspects.add('node');
    }
  }

  /** Makes these networks be as the last snapshot wants them. */
  async #applyNetworks(ids: ReadonlySet<NetworkId>): Promise<Applied> {
    const places = new Map<NetworkId, NetworkPlace>();
    if (ids.size === 0) return { places, idle: [] };
    const snapshot = this.#snapshot;
    // What could not be made before is tried again.
    const all = new Set([...ids, ...this.problems.keys()]);
    const wanted = new Map(wantedAmong(snapshot, this.#node, all).map((one) => [one.network.id, one]));
    for (const id of all) {
      const one = wanted.get(id);
      const known = this.#networks.get(id);
      if (known !== undefined) known.isWanted = one !== undefined;
      if (one === undefined) continue;
      await this.#attempt(one.network, async () => {
        const state = await this.#networks.open(one, snapshot);
        state.isWanted = true;
        // What is there of it can be used, whatever is still missing.
        places.set(id, placeOf(state));
        await this.#networks.settle(state);
      });
    }
    return { places, idle: this.idleNetworks };
  }

  async #settleContainers(): Promise<void> {
    await this.#verification?.finish();
    for (const { taskId } of this.#containers.specs) await this.#containers.settle(taskId);
  }

  async #settleNetworks(): Promise<void> {
    for (const state of this.#networks.all) await this.#attempt(state.network, () => this.#networks.settle(state));
  }

  /** A network that cannot be made keeps no other from being made. */
  async #attempt(network: Network, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#networks.setProblem(network.id, error);
      this.#log.error('an overlay network is not as it should be', { network: network.spec.name, error });
    }
  }

  async #ensureNetwork(network: Network): Promise<NetworkPlace> {
    const state = await this.#networks.ensure(network, this.#snapshot);
    await this.#networks.settle(state);
    return placeOf(state);
  }

  async #removeNetwork(networkId: NetworkId): Promise<void> {
    const state = this.#networks.get(networkId);
    if (state === undefined) return;
    if (this.#containers.isOn(networkId)) {
      throw new OverlayError(
        'in-use',
        `network ${state.network.spec.name} still has containers on this node; stop them first`,
      );
    }
    await this.#networks.remove(state);
  }

  /** Of the namespaces found, those that belong to nothing that is known. */
  async #removeStrangers(found: ReadonlySet<string>): Promise<readonly string[]> {
    const known = new Set([...this.#networks.all, ...this.#containers.all].map(({ namespace }) => namespace.name));
    const strangers = [...found].filter((name) => !known.has(name));
    for (const name of strangers) await removeStranger(this.#kernel, name, this.#log);
    return strangers;
  }

  #nodeChanged(notice: Notice): void {
    if (notice.kind === 'rules') this.#suspects.add('rules of node');
    else if (notice.kind === 'link' && this.#egress.isOurs(notice.name))
      this.#suspects.add(`link ${notice.name} of node`);
    else this.#suspects.add('node');
  }

  async #lookAt(where: ReadonlySet<Suspect>): Promise<number> {
    try {
      return await this.#inTurn(async () => {
        const begun = performance.now();
        await this.#repair(where);
        return performance.now() - begun;
      });
    } catch (error) {
      if (!this.#isClosed) this.#log.error('cannot compare the overlay with the kernel', { error });
      return 0;
    }
  }

  async #repair(where: ReadonlySet<Suspect>): Promise<number> {
    // Another size of packets concerns everything.
    const resized = where.has('node') && (await this.#networks.readUnderlay());
    let mended = 0;
    for (const state of this.#networks.all) {
      const { id, spec } = state.network;
      const links = linksOf(where, id);
      if (resized || where.has(id)) mended += this.#report(await this.#networks.reconcile(state), spec.name);
      else if (links.size > 0) mended += this.#report(await this.#networks.reconcileLinks(state, links), spec.name);
      if (where.has(`rules of ${id}`)) mended += this.#report(await this.#networks.reconcileRules(state), spec.name);
    }
    if (resized) await this.#settleContainers();
    const links = linksOf(where, 'node');
    if (links.size > 0 && !where.has('node')) mended += this.#report(await this.#egress.repairLinks(links), 'egress');
    if (!where.has('node') && !where.has('rules of node')) return mended;
    if (await this.#networks.guard?.repair()) {
      this.#log.warn('made the nftables table of the tunnels anew, which something else had removed');
      mended++;
    }
    const outcome = where.has('node') ? await this.#egress.repair() : await this.#egress.repairTable();
    return mended + this.#report(outcome, 'egress');
  }

  /** Returns how much was mended. */
  #report({ applied, failures }: Outcome = NOTHING_DONE, network: string): number {
    if (applied.length > 0) {
      const what = applied.map(({ kind }) => kind);
      this.#log.warn('mended what something else had changed in the kernel', { network, operations: what });
    }
    for (const error of failures) this.#log.warn('cannot bring the kernel in line', { network, error });
    return applied.length;
  }

  #close(): void {
    this.#isClosed = true;
    this.#suspects.close();
    this.#networks.close();
    this.#containers.close();
  }
}

function placeOf({ namespace }: NetworkState): NetworkPlace {
  return { netnsPath: namespace.path, netnsFd: namespace.fd };
}
