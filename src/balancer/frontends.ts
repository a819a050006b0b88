// PURE: what this node should listen on for a service, and among which endpoints each of those shares its connections.
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { isLeaving, nodeOf, type Standing, standingOf } from '../catalog/standing.ts';
import type { Access } from '../model/access.ts';
import type { IpAddress } from '../model/address.ts';
import { type Endpoint, endpointOf } from '../model/endpoint.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import type { Protocol, PublishMode } from '../model/port.ts';
import type { Service, ServiceId } from '../model/service.ts';
import { type Task, targetPorts } from '../model/task.ts';

/** Which endpoints: those on one network (a VIP), every task's first one (`ingress`), or this node's own (`host`). */
export type BackendKey = `${ServiceId}/${NetworkId | PublishMode}`;

export interface PlannedEndpoint extends Endpoint {
  readonly standing: Standing;
  /** On this node. */
  readonly isHere: boolean;
  /** It was told to go: what is open to it has until the drain timeout. */
  readonly isLeaving: boolean;
}

export interface BackendPlan {
  readonly key: BackendKey;
  /** In order of slot. Those in use get connections; the others are named so that their open ones stay known. */
  readonly endpoints: readonly PlannedEndpoint[];
}

/** `PROTOCOL/ADDRESS/PORT`: one socket group of this node's own namespace. */
export type FrontendKey = `${Protocol}/${string}/${number}`;

export interface FrontendPlan {
  readonly key: FrontendKey;
  readonly serviceId: ServiceId;
  readonly protocol: Protocol;
  /** Where to listen, as parsePlace reads it; undefined: at every address of the node, IPv6 and IPv4. */
  readonly address?: string;
  readonly port: number;
  readonly targetPort: number;
  readonly backend: BackendKey;
  readonly kind: 'published' | 'vip';
  /** Who is let in; absent: everybody. */
  readonly access?: Access;
}

/** A VIP of an overlay network: every port of it goes to the same port of an endpoint. */
export interface OverlayVipPlan {
  readonly networkId: NetworkId;
  readonly address: IpAddress;
  readonly backend: BackendKey;
}

interface View {
  readonly snapshot: Snapshot;
  readonly nodeId: NodeId;
}

export interface ServicePlan {
  readonly backends: readonly BackendPlan[];
  readonly frontends: readonly FrontendPlan[];
  readonly overlayVips: readonly OverlayVipPlan[];
}

export const EMPTY_PLAN: ServicePlan = { backends: [], frontends: [], overlayVips: [] };

/** Everything that a node does for one service. Costs work in proportion to the service, not to the snapshot. */
export function planService(snapshot: Snapshot, service: Service, nodeId: NodeId): ServicePlan {
  const tasks = tasksOf(snapshot, service.id);
  const view: View = { snapshot, nodeId };
  const networks = service.networks.flatMap(({ networkId }) => snapshot.networks.get(networkId) ?? []);
  const vips = service.vips.flatMap((vip) => {
    const network = snapshot.networks.get(vip.networkId);
    return network === undefined ? [] : [{ network, address: vip.address }];
  });
  const published = planPublished(service, tasks, networks, view);
  const local = vips.filter(({ network }) => network.spec.driver === 'local');
  const overlay = vips.filter(({ network }) => network.spec.driver === 'overlay');
  const networksWithVip = [...new Map(vips.map(({ network }) => [network.id, network])).values()];
  return {
    backends: [
      ...published.backends,
      ...networksWithVip.map((network) => ({
        key: `${service.id}/${network.id}` as const,
        endpoints: endpointsOn(tasks, network, view),
      })),
    ],
    frontends: [
      ...published.frontends,
      ...local.flatMap(({ network, address }) => planLocalVip(service, tasks, network.id, address)),
    ],
    overlayVips: overlay.map(({ network, address }) => ({
      networkId: network.id,
      address,
      backend: `${service.id}/${network.id}` as const,
    })),
  };
}

/** The endpoints that get connections: the eligible ones, or where there are none, those of last resort. */
export function endpointsInUse({ endpoints }: BackendPlan): readonly PlannedEndpoint[] {
  const eligible = endpoints.filter((endpoint) => endpoint.standing === 'eligible');
  return eligible.length > 0 ? eligible : endpoints.filter((endpoint) => endpoint.standing === 'last-resort');
}

function planPublished(
  service: Service,
  tasks: readonly Task[],
  networks: readonly Network[],
  view: View,
): Pick<ServicePlan, 'backends' | 'frontends'> {
  const own = tasks.filter((task) => task.nodeId === view.nodeId);
  // `host` is only where a task is: without one, nothing listens, so that another service may have the port there.
  const ports = service.ports.filter((port) => port.mode === 'ingress' || own.length > 0);
  const modes = [...new Set(ports.map((port) => port.mode))];
  return {
    backends: modes.map((mode) => ({
      key: `${service.id}/${mode}` as const,
      endpoints: firstEndpoints(mode === 'host' ? own : tasks, networks, view),
    })),
    frontends: ports.map((port) => ({
      key: `${port.protocol}/${port.hostAddress ?? '*'}/${port.publishedPort}` as const,
      serviceId: service.id,
      protocol: port.protocol,
      ...(port.hostAddress === undefined ? {} : { address: port.hostAddress }),
      port: port.publishedPort,
      targetPort: port.targetPort,
      backend: `${service.id}/${port.mode}` as const,
      kind: 'published' as const,
      ...(service.spec.access === undefined ? {} : { access: service.spec.access }),
    })),
  };
}

function planLocalVip(
  service: Service,
  tasks: readonly Task[],
  networkId: NetworkId,
  address: IpAddress,
): readonly FrontendPlan[] {
  return targetPorts(service, tasks).map(({ protocol, port }) => ({
    key: `${protocol}/${address}/${port}` as const,
    serviceId: service.id,
    protocol,
    address,
    port,
    targetPort: port,
    backend: `${service.id}/${networkId}` as const,
    kind: 'vip' as const,
  }));
}

function endpointsOn(tasks: readonly Task[], network: Network, view: View): readonly PlannedEndpoint[] {
  return tasks.flatMap((task) => plannedEndpoint(task, network, view) ?? []);
}

/** One endpoint of each task: that on the first of the service's networks on which it is. */
function firstEndpoints(tasks: readonly Task[], networks: readonly Network[], view: View): readonly PlannedEndpoint[] {
  return tasks.flatMap((task) => {
    for (const network of networks) {
      const endpoint = plannedEndpoint(task, network, view);
      if (endpoint !== undefined) return [endpoint];
    }
    return [];
  });
}

function plannedEndpoint(task: Task, network: Network, { snapshot, nodeId }: View): PlannedEndpoint | undefined {
  const endpoint = endpointOf(task, network);
  if (endpoint === undefined) return undefined;
  return {
    ...endpoint,
    standing: standingOf(snapshot, task, endpoint.address, nodeId),
    isHere: nodeOf(snapshot, task) === nodeId,
    isLeaving: isLeaving(snapshot, task),
  };
}
