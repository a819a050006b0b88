// What is on an overlay network on other nodes: where frames for it go, and who it is, so that nobody needs to be asked. PURE.
import type { Snapshot } from '../catalog/snapshot.ts';
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Bridge, BridgeId, NodeId } from '../model/node.ts';
import { hasContainer, type Attachment, type Task, type TaskId } from '../model/task.ts';
import type { FdbEntry, MacAddress, Neighbour, OnLink, Operation } from '../netlink/kernel.ts';
import { diff } from './diff.ts';
import { BRIDGE, macOf, TUNNEL } from './names.ts';

export type RemoteId = TaskId | BridgeId;

/** A container on another node, or another node's bridge. */
export interface Remote {
  /** At most one of each family. */
  readonly addresses: readonly IpAddress[];
  readonly mac: MacAddress;
  /** Tunnel address of its node. */
  readonly vtep: IpAddress;
}

/** The remotes of one network. */
export class RemoteTable {
  readonly #byId = new Map<RemoteId, Remote>();
  readonly #byMac = new Map<MacAddress, Remote>();
  readonly #byAddress = new Map<IpAddress, Remote>();

  constructor(remotes: Iterable<readonly [RemoteId, Remote]> = []) {
    for (const [id, remote] of remotes) this.set(id, remote);
  }

  get(id: RemoteId): Remote | undefined {
    return this.#byId.get(id);
  }

  withMac(mac: MacAddress): Remote | undefined {
    return this.#byMac.get(mac);
  }

  withAddress(address: IpAddress): Remote | undefined {
    return this.#byAddress.get(address);
  }

  all(): Iterable<Remote> {
    return this.#byId.values();
  }

  /** Without a remote: it is no longer there. */
  set(id: RemoteId, remote: Remote | undefined): void {
    const before = this.#byId.get(id);
    if (before !== undefined) {
      this.#byId.delete(id);
      // Another may have its place by now.
      if (this.#byMac.get(before.mac) === before) this.#byMac.delete(before.mac);
      for (const address of before.addresses)
        if (this.#byAddress.get(address) === before) this.#byAddress.delete(address);
    }
    if (remote === undefined) return;
    this.#byId.set(id, remote);
    this.#byMac.set(remote.mac, remote);
    for (const address of remote.addresses) this.#byAddress.set(address, remote);
  }
}

/** The addresses of a container's link: the first one says its MAC address, to which all nodes come by themselves. */
export function linkAddresses({ address, moreAddresses }: Attachment): readonly IpAddress[] {
  return [address, ...(moreAddresses ?? [])].toSorted((a, b) => ipVersion(a) - ipVersion(b));
}

/** All that is on a network elsewhere; what is on a node without a presence is nowhere. */
export function remotesOn(snapshot: Snapshot, network: Network, self: NodeId): RemoteTable {
  const remotes = new RemoteTable();
  const put = (id: RemoteId): void => remotes.set(id, remoteOf(snapshot, network.id, id, self));
  for (const serviceId of snapshot.servicesByNetwork.get(network.id)?.keys() ?? [])
    for (const taskId of snapshot.tasksByService.get(serviceId)?.keys() ?? []) put(taskId);
  for (const bridgeId of snapshot.bridgesByNetwork.get(network.id)?.keys() ?? []) put(bridgeId);
  return remotes;
}

/** A task's or a bridge's place on a network, when that is on another node that is there. */
export function remoteOf(snapshot: Snapshot, network: NetworkId, id: RemoteId, self: NodeId): Remote | undefined {
  const place = placeOfTask(snapshot.tasks.get(id as TaskId), network) ?? placeOfBridge(snapshot, network, id);
  const [first] = place?.addresses ?? [];
  if (place === undefined || first === undefined || place.nodeId === self) return undefined;
  const vtep = snapshot.presences.get(place.nodeId)?.dataAddress;
  return vtep === undefined ? undefined : { addresses: place.addresses, mac: macOf(first), vtep };
}

interface PlaceOnNetwork {
  readonly nodeId: NodeId;
  readonly addresses: readonly IpAddress[];
}

function placeOfTask(task: Task | undefined, network: NetworkId): PlaceOnNetwork | undefined {
  if (task === undefined || !hasContainer(task)) return undefined;
  const attachment = task.attachments.find(({ networkId }) => networkId === network);
  return attachment === undefined ? undefined : { nodeId: task.nodeId, addresses: linkAddresses(attachment) };
}

function placeOfBridge({ bridges }: Snapshot, network: NetworkId, id: RemoteId): PlaceOnNetwork | undefined {
  const bridge: Bridge | undefined = bridges.get(id as BridgeId);
  return bridge?.networkId === network ? bridge : undefined;
}

/** What is known of remotes, as entries of the network's namespace. */
export interface RemoteEntries {
  readonly neighbours: readonly OnLink<Neighbour>[];
  readonly forwarding: readonly OnLink<FdbEntry>[];
}

/**
 * Twice where frames go: the bridge sends them to the tunnel, and the tunnel to the node. The bridge answers ARP and neighbour
 * solicitations in the remote's place as soon as it knows both its address and the port that it is behind.
 */
export function remoteEntries(remotes: Iterable<Remote>): RemoteEntries {
  const all = [...remotes];
  return {
    neighbours: all.flatMap(({ addresses, mac }) => addresses.map((address) => ({ address, mac, link: BRIDGE }))),
    forwarding: all.flatMap(({ mac, vtep }): OnLink<FdbEntry>[] => [
      { kind: 'port', mac, link: TUNNEL },
      { kind: 'tunnel', mac, vtep, link: TUNNEL },
    ]),
  };
}

/** What changes in the kernel when only these remotes change, without looking at what else there is. */
export function remoteOperations(before: Iterable<Remote>, after: Iterable<Remote>): readonly Operation[] {
  const given = { make: { kind: 'given' } } as const;
  const links = [BRIDGE, TUNNEL].map((name) => ({ name, ...given }));
  const nothing = { links: [], addresses: [], routes: [], sysctls: [] };
  return diff({ ...nothing, links, ...remoteEntries(after) }, { ...nothing, ...remoteEntries(before) }, new Map());
}
