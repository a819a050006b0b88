// Which overlay networks a node needs, and what of them. PURE.
import type { Snapshot } from '../catalog/snapshot.ts';
import type { IpAddress } from '../model/address.ts';
import { gatewayOf, type Network, type NetworkId } from '../model/network.ts';
import { bridgeId, type NodeId } from '../model/node.ts';
import { vipsOn } from '../model/service.ts';
import { hasContainer } from '../model/task.ts';

/** The node that the agent is on, as the overlay sees it. */
export interface OverlayNode {
  readonly id: NodeId;
  /** Absent: the node is alone. Known to the agent from its configuration, so that it stays what it is whatever the store says. */
  readonly cluster?: {
    /** Where this node's tunnels end. */
    readonly dataAddress: IpAddress;
    /** UDP, the same on all nodes; 4789 (RFC 7348 section 8) when absent. */
    readonly vxlanPort?: number;
  };
}

/** An overlay network as this node needs it. */
export interface WantedNetwork {
  readonly network: Network;
  /** This node's own addresses, one of each subnet. */
  readonly own: readonly IpAddress[];
  readonly vips: readonly IpAddress[];
}

/**
 * The overlay networks that are to be on this node, in the order of their creation: all of them when it is alone; in a cluster
 * those on which it has an address, which it has where `missingBridges` said so and `idleBridges` does not yet.
 */
export function wantedNetworks(snapshot: Snapshot, node: OverlayNode): readonly WantedNetwork[] {
  return wantedAmong(snapshot, node, snapshot.networks.keys());
}

/** The same of some networks only. */
export function wantedAmong(snapshot: Snapshot, node: OverlayNode, ids: Iterable<NetworkId>): readonly WantedNetwork[] {
  return [...ids]
    .flatMap((id) => snapshot.networks.get(id) ?? [])
    .filter(isOverlay)
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
    .flatMap((network) => wantedNetwork(snapshot, network, node) ?? []);
}

/** One overlay network; undefined while this node has no address on it. */
export function wantedNetwork(snapshot: Snapshot, network: Network, node: OverlayNode): WantedNetwork | undefined {
  const own = ownAddresses(snapshot, network, node);
  if (own === undefined) return undefined;
  const services = [...(snapshot.servicesByNetwork.get(network.id)?.values() ?? [])];
  return { network, own, vips: services.flatMap((service) => vipsOn(service, network.id)).sort() };
}

/** Networks that this node of a cluster needs, and on which it has no address yet: to be given one. */
export function missingBridges(snapshot: Snapshot, self: NodeId): readonly NetworkId[] {
  return usedNetworks(snapshot, [...snapshot.networks.values()], self)
    .filter(({ id }) => !snapshot.bridges.has(bridgeId(id, self)))
    .map(({ id }) => id);
}

/** Networks that this node of a cluster needs no longer, and on which it still has an address: to be taken back. */
export function idleBridges(snapshot: Snapshot, self: NodeId): readonly NetworkId[] {
  const held = [...snapshot.bridges.values()].filter(({ nodeId }) => nodeId === self).map(({ networkId }) => networkId);
  const networks = held.flatMap((id) => snapshot.networks.get(id) ?? []);
  const used = new Set(usedNetworks(snapshot, networks, self).map(({ id }) => id));
  return held.filter((id) => !used.has(id));
}

/** Of these networks, those on which this node has containers, and those of services that publish a port on every node. */
function usedNetworks(snapshot: Snapshot, networks: readonly Network[], self: NodeId): readonly Network[] {
  const withTasks = networksOfTasks(snapshot, self);
  return networks.filter(
    (network) => isOverlay(network) && (withTasks.has(network.id) || takesIngress(snapshot, network)),
  );
}

function isOverlay({ spec }: Network): boolean {
  return spec.driver === 'overlay';
}

function ownAddresses(
  { bridges }: Snapshot,
  { id, subnets }: Network,
  node: OverlayNode,
): readonly IpAddress[] | undefined {
  return node.cluster === undefined ? subnets.map(gatewayOf) : bridges.get(bridgeId(id, node.id))?.addresses;
}

function networksOfTasks({ tasksByPlace }: Snapshot, self: NodeId): ReadonlySet<NetworkId> {
  const own = [...(tasksByPlace.get(self)?.values() ?? [])].filter(hasContainer);
  return new Set(own.flatMap(({ attachments }) => attachments.map(({ networkId }) => networkId)));
}

/** Every node accepts what comes in on such a port, and needs a way to the endpoints. */
function takesIngress({ servicesByNetwork }: Snapshot, { id }: Network): boolean {
  const services = servicesByNetwork.get(id)?.values() ?? [];
  return [...services].some(({ ports }) => ports.some(({ mode }) => mode === 'ingress'));
}
