// The places of tasks on overlay networks: a namespace of their own with a resolver in it.
import type { Catalog } from '../catalog/catalog.ts';
import { ipVersion } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { Task, TaskId } from '../model/task.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import type { ContainerSpec } from '../overlay/plan.ts';
import type { Mesh } from './mesh.ts';

export class Containers {
  readonly #catalog: Catalog;
  readonly #mesh: Mesh;
  readonly #overlay: OverlayDriver | undefined;
  readonly #attached = new Map<TaskId, { readonly path: string; readonly networks: readonly NetworkId[] }>();

  constructor(catalog: Catalog, mesh: Mesh, overlay: OverlayDriver | undefined) {
    this.#catalog = catalog;
    this.#mesh = mesh;
    this.#overlay = overlay;
  }

  /** No task of this node is on an overlay. */
  get isEmpty(): boolean {
    return this.#attached.size === 0;
  }

  /** The path of the task's namespace, made now or found as it was left; null for a task that is on no overlay. */
  async attach(task: Task): Promise<string | null> {
    const known = this.#attached.get(task.id);
    if (known !== undefined) return known.path;
    const spec = this.specOf(task);
    if (spec === undefined || this.#overlay === undefined) return null;
    const container = await this.#overlay.attachContainer(spec);
    const networks = spec.attachments.map((attachment) => attachment.network);
    await this.#mesh.openContainerResolver(task.id, container.netnsFd, networks);
    this.#attached.set(task.id, { path: container.netnsPath, networks: networks.map((network) => network.id) });
    return container.netnsPath;
  }

  /** Nothing happens when there is none. */
  async detach(id: TaskId): Promise<void> {
    if (this.#overlay === undefined) return;
    const attached = this.#attached.get(id);
    this.#attached.delete(id);
    // Open descriptors would keep the namespace alive.
    await this.#mesh.closeContainerResolver(id);
    await this.#overlay.detachContainer(id);
    const { snapshot } = this.#catalog;
    if (attached?.networks.some((network) => !snapshot.networks.has(network))) this.#mesh.refreshOverlay(snapshot);
  }

  /** What the task's namespace should be like; undefined when it has none. */
  specOf(task: Task): ContainerSpec | undefined {
    if (task.source !== 'process') return undefined;
    const attachments = task.attachments.flatMap((attachment) => {
      const network = this.#catalog.snapshot.networks.get(attachment.networkId);
      if (network?.spec.driver !== 'overlay') return [];
      const addresses = [attachment.address, ...(attachment.moreAddresses ?? [])];
      return [{ network, addresses: addresses.toSorted((a, b) => ipVersion(a) - ipVersion(b)) }];
    });
    return attachments.length === 0 ? undefined : { taskId: task.id, attachments };
  }
}
