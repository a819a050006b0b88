// What a commit changes for the overlay of one node, so that the rest need not be looked at. PURE.
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { NetworkId } from '../model/network.ts';
import { type Bridge, bridgeId, type NodeId, type Presence } from '../model/node.ts';
import type { Service } from '../model/service.ts';
import { hasContainer, type Task } from '../model/task.ts';
import type { RemoteId } from './remotes.ts';

export interface OverlayChanges {
  /** To be looked at as a whole. */
  readonly networks: ReadonlySet<NetworkId>;
  /** What is on other nodes and may have come, moved or gone. */
  readonly remotes: ReadonlyMap<NetworkId, ReadonlySet<RemoteId>>;
  /** The tunnel addresses of the nodes are others. */
  readonly nodes: boolean;
}

/** `present`: the networks that this node has; of others nothing needs to be known. Costs in proportion to the changes. */
export function overlayChanges(
  snapshot: Snapshot,
  previous: Snapshot,
  changes: readonly Change[],
  self: NodeId,
  present: Iterable<NetworkId>,
): OverlayChanges {
  const found = new Found([...present]);
  for (const change of changes) {
    switch (change.kind) {
      case 'network':
        if ((change.after ?? change.before)?.spec.driver === 'overlay') found.network(change.after ?? change.before);
        break;
      case 'service':
        for (const id of overlaysOf(change, snapshot, previous)) found.networks.add(id);
        break;
      case 'task':
        if (placeText(change.before) !== placeText(change.after))
          for (const task of [change.before, change.after]) found.task(task, self);
        break;
      case 'bridge':
        for (const bridge of [change.before, change.after]) found.bridge(bridge, self);
        break;
      case 'presence':
        if (change.before?.dataAddress !== change.after?.dataAddress)
          found.node((change.after ?? change.before)?.id, snapshot, previous, self);
        break;
      case 'node':
      case 'suspicion':
        break;
    }
  }
  return found;
}

class Found implements OverlayChanges {
  readonly networks = new Set<NetworkId>();
  readonly remotes = new Map<NetworkId, Set<RemoteId>>();
  nodes = false;
  readonly #present: readonly NetworkId[];

  constructor(present: readonly NetworkId[]) {
    this.#present = present;
  }

  network(network: { readonly id: NetworkId } | undefined): void {
    if (network !== undefined) this.networks.add(network.id);
  }

  task(task: Task | undefined, self: NodeId): void {
    if (task === undefined || !hasContainer(task)) return;
    for (const { networkId } of task.attachments) {
      // One of this node comes and goes with its container.
      if (task.nodeId !== self) this.#remote(networkId, task.id);
    }
  }

  bridge(bridge: Bridge | undefined, self: NodeId): void {
    if (bridge === undefined) return;
    if (bridge.nodeId === self) this.networks.add(bridge.networkId);
    else this.#remote(bridge.networkId, bridge.id);
  }

  /** Everything that the node has moves with its tunnel. */
  node(id: Presence['id'] | undefined, snapshot: Snapshot, previous: Snapshot, self: NodeId): void {
    if (id === undefined || id === self) return;
    this.nodes = true;
    for (const which of [snapshot, previous])
      for (const task of which.tasksByPlace.get(id)?.values() ?? []) this.task(task, self);
    for (const network of this.#present) this.#remote(network, bridgeId(network, id));
  }

  #remote(network: NetworkId, id: RemoteId): void {
    const ids = this.remotes.get(network) ?? new Set();
    this.remotes.set(network, ids.add(id));
  }
}

/** Health, state and names of a task leave the network as it is. */
function placeText(task: Task | undefined): string {
  if (task === undefined) return '';
  const addresses = task.attachments.map(({ networkId, address, moreAddresses }) =>
    [networkId, address, ...(moreAddresses ?? [])].join(),
  );
  return [task.nodeId, task.source, ...addresses].join(' ');
}

function overlaysOf(
  { before, after }: { readonly before?: Service; readonly after?: Service },
  snapshot: Snapshot,
  previous: Snapshot,
): readonly NetworkId[] {
  const ids = new Set([before, after].flatMap((service) => service?.networks.map(({ networkId }) => networkId) ?? []));
  return [...ids].filter((id) => (snapshot.networks.get(id) ?? previous.networks.get(id))?.spec.driver === 'overlay');
}
