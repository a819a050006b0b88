// The places of tasks on overlay networks: a namespace with a resolver in it, made for `vipmesh run` or brought along.
import type { Catalog } from '../catalog/catalog.ts';
import { hasContainer, type Task, type TaskId } from '../model/task.ts';
import { closeNetns, openNetns } from '../native/netns.ts';
import { OwnedRules } from '../netlink/owned-rules.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import { NativeError } from '../native/errno.ts';
import { OWN_RESOLVER_TABLE, ownResolverRules } from '../overlay/own-resolver.ts';
import type { ContainerSpec } from '../overlay/plan.ts';
import { linkAddresses } from '../overlay/remotes.ts';
import type { Adoption } from '../overlay/verification.ts';
import { namespaceOf } from '../tasks/namespace-table.ts';
import { TaskError } from '../tasks/task-error.ts';
import type { Mesh } from './mesh.ts';
import { hasOtherResolver } from './resolver-conflict.ts';

type Place = Adoption['containers'][number];

export class Containers {
  readonly #catalog: Catalog;
  readonly #mesh: Mesh;
  readonly #overlay: OverlayDriver | undefined;
  /** The paths of their namespaces. */
  readonly #attached = new Map<TaskId, string>();
  readonly #resolverRules = new Map<TaskId, OwnedRules>();
  readonly #left = new Map<TaskId, Place>();
  /** A container that is attached and detached at once is so one after the other. */
  readonly #last = new Map<TaskId, Promise<unknown>>();

  constructor(catalog: Catalog, mesh: Mesh, overlay: OverlayDriver | undefined) {
    this.#catalog = catalog;
    this.#mesh = mesh;
    this.#overlay = overlay;
  }

  /** No task of this node is on an overlay. */
  get isEmpty(): boolean {
    return this.#attached.size === 0;
  }

  /** The places that a former agent left, which `attach` then takes as they are. */
  adopted(containers: Adoption['containers']): void {
    for (const container of containers) this.#left.set(container.taskId, container);
  }

  /** The path of the task's namespace, made now or found as it was left; null for a task that is on no overlay. */
  attach(task: Task): Promise<string | null> {
    return this.#inTurn(task.id, () => this.#attach(task));
  }

  /** It was attached, and has not been detached. */
  has(id: TaskId): boolean {
    return this.#attached.has(id);
  }

  /**
   * Programs in the container ask the embedded resolver from now on, also where Docker's is before it, until the container is
   * detached or this agent ends, in whatever way. Nothing happens when it is not attached.
   */
  takeResolver(id: TaskId): Promise<void> {
    return this.#inTurn(id, async () => {
      const path = this.#attached.get(id);
      if (path === undefined || this.#resolverRules.has(id)) return;
      const netns = openNetns(path);
      try {
        this.#resolverRules.set(id, await OwnedRules.make(netns, OWN_RESOLVER_TABLE, ownResolverRules()));
      } finally {
        closeNetns(netns);
      }
    });
  }

  /** Before the agent's resolvers close: whoever answered in containers before them does so again. */
  giveResolversBack(): void {
    for (const rules of this.#resolverRules.values()) rules.close();
    this.#resolverRules.clear();
  }

  /** Nothing happens when there is none. */
  detach(id: TaskId): Promise<void> {
    return this.#inTurn(id, () => this.#detach(id));
  }

  async #attach(task: Task): Promise<string | null> {
    const known = this.#attached.get(task.id);
    if (known !== undefined) return known;
    const spec = this.specOf(task);
    if (spec === undefined || this.#overlay === undefined) return null;
    // The node's place on the networks came with the task's commit, which has to be in effect.
    await this.#mesh.caughtUp();
    const left = this.#left.get(task.id);
    this.#left.delete(task.id);
    const container = left ?? (await this.#overlay.attachContainer(spec));
    const networks = spec.attachments.map((attachment) => attachment.network);
    try {
      const isEngines = task.container !== undefined;
      if (left === undefined && task.source === 'attached' && !isEngines && hasOtherResolver(container.netnsFd))
        throw resolverTaken(container);
      await this.#mesh.openContainerResolver(task.id, container.netnsFd, networks, isEngines);
    } catch (error) {
      await this.#overlay.detachContainer(task.id);
      throw error instanceof NativeError && error.code === 'EADDRINUSE' ? resolverTaken(container, error) : error;
    }
    this.#attached.set(task.id, container.netnsPath);
    return container.netnsPath;
  }

  async #detach(id: TaskId): Promise<void> {
    if (this.#overlay === undefined) return;
    this.#attached.delete(id);
    this.#resolverRules.get(id)?.close();
    this.#resolverRules.delete(id);
    this.#left.delete(id);
    // Open descriptors would keep the namespace alive.
    await this.#mesh.closeContainerResolver(id);
    await this.#overlay.detachContainer(id);
    if (this.#overlay.idleNetworks.length > 0) this.#mesh.refreshOverlay(this.#catalog.snapshot);
  }

  /** What the task's namespace should be like; undefined when it has none. */
  specOf(task: Task): ContainerSpec | undefined {
    if (!hasContainer(task)) return undefined;
    const attachments = task.attachments.flatMap((attachment) => {
      const network = this.#catalog.snapshot.networks.get(attachment.networkId);
      if (network?.spec.driver !== 'overlay') return [];
      return [{ network, addresses: linkAddresses(attachment) }];
    });
    if (attachments.length === 0) return undefined;
    const netns = task.source === 'attached' ? (task.netns ?? namespaceOf(task.pid ?? 0)) : undefined;
    return { taskId: task.id, attachments, ...(netns === undefined ? {} : { netns }) };
  }

  #inTurn<T>(id: TaskId, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(id) ?? Promise.resolve()).then(work);
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.#last.get(id) === settled) this.#last.delete(id);
      });
    this.#last.set(id, settled);
    return turn;
  }
}

function resolverTaken({ netnsPath }: Place, cause?: unknown): TaskError {
  return new TaskError(
    'RESOLVER_TAKEN',
    `the container in ${netnsPath} has a resolver of its own at 127.0.0.11 or at port 53 of all addresses (Docker's, on a network that its user made?), and the mesh's names could not be asked for there; start the container without it (docker run --network none or bridge)`,
    { cause },
  );
}
