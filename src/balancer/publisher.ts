// From catalog changes to balancer commands: plans the services that a change touches, compares with what was planned
// before, and sends only the difference. Owns the numbers by which the data path knows backends, endpoints and VIPs.
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { servicesOfChangedNodes } from '../catalog/standing.ts';
import type { IpAddress } from '../model/address.ts';
import type { Endpoint } from '../model/endpoint.ts';
import type { NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import { DEFAULT_DRAIN_TIMEOUT_MS, type Service, type ServiceId } from '../model/service.ts';
import type { TaskId } from '../model/task.ts';
import type { BalancerCommand } from './command.ts';
import {
  type BackendKey,
  type BackendPlan,
  EMPTY_PLAN,
  endpointsInUse,
  type FrontendKey,
  type FrontendPlan,
  planService,
  type ServicePlan,
} from './frontends.ts';
import { Leavers } from './leavers.ts';
import { Slots } from './slots.ts';

export interface FrontendWanted {
  readonly plan: FrontendPlan;
  readonly backend: number;
  /** Without one the port is refused. */
  readonly hasEligible: boolean;
}

/** What the publisher drives. All of these return at once. */
export interface PublisherPort {
  post(command: BalancerCommand): void;
  /** The node's listening sockets: what to drop, then what to have (new ones and changed ones). */
  listen(remove: readonly FrontendKey[], set: readonly FrontendWanted[]): void;
  /** The overlay VIP exists (or no longer, `backend: null`), and may be connected to when it has eligible endpoints. */
  overlayVip(networkId: NetworkId, address: IpAddress, backend: number | null, hasEligible: boolean): void;
  /** Descriptor of the namespace of an overlay network; undefined while it is not there. */
  netnsOf(networkId: NetworkId): number | undefined;
  /** Connections and flows open to an endpoint, over all workers. */
  openCount(slot: number): number;
  /** A slot has a new owner, an endpoint of this service, who is to be counted from zero. */
  beginCounting(slot: number, serviceId: ServiceId): void;
  /** The same of a service's own slot. */
  beginService(slot: number): void;
  /** TCP connections that are open to endpoints of the service with this slot, over all workers. */
  openOfService(slot: number): number;
  later(delayMs: number, action: () => void): void;
  /** All numbers are taken: the object is left out. */
  exhausted(what: 'backend' | 'endpoint', name: string): void;
}

type EndpointKey = `${TaskId}/${NetworkId}`;

export class BalancerPublisher {
  readonly #port: PublisherPort;
  readonly #nodeId: NodeId;
  readonly #plans = new Map<ServiceId, ServicePlan>();
  readonly #backends: Slots<BackendKey>;
  readonly #endpoints: Slots<EndpointKey>;
  /** The counter of whose turn it is: one per service, so that its published port and its VIPs share one order. */
  readonly #turns: Slots<ServiceId>;
  /** How many backends name an endpoint; its slot is given back after the last. */
  readonly #uses = new Map<EndpointKey, number>();
  readonly #leavers: Leavers;

  constructor(
    nodeId: NodeId,
    capacity: { readonly backends: number; readonly endpoints: number },
    port: PublisherPort,
  ) {
    this.#port = port;
    this.#nodeId = nodeId;
    this.#leavers = new Leavers({
      openCount: (slot) => port.openCount(slot),
      end: (slots) => port.post({ kind: 'endpoint-close', slots }),
      later: (delayMs, action) => port.later(delayMs, action),
    });
    this.#backends = new Slots(capacity.backends);
    this.#endpoints = new Slots(
      capacity.endpoints,
      (slot) => port.openCount(slot) === 0,
      (slot) => this.#leavers.stay(slot),
    );
    this.#turns = new Slots(
      capacity.backends,
      (slot) => port.openOfService(slot) === 0,
      (slot) => port.beginService(slot),
    );
  }

  apply(snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]): void {
    const removed: FrontendKey[] = [];
    const set: FrontendWanted[] = [];
    for (const serviceId of affectedServices(snapshot, previous, changes)) {
      const service = snapshot.services.get(serviceId);
      const before = this.#plans.get(serviceId) ?? EMPTY_PLAN;
      const after = service === undefined ? EMPTY_PLAN : planService(snapshot, service, this.#nodeId);
      if (service === undefined) this.#plans.delete(serviceId);
      else this.#plans.set(serviceId, after);
      const drainMs = service?.spec.drainTimeoutMs ?? previous.services.get(serviceId)?.spec.drainTimeoutMs;
      if (service !== undefined) this.#setBackends(service, after);
      this.#publish(before, after, removed, set);
      this.#endLeavers(before, after, drainMs ?? DEFAULT_DRAIN_TIMEOUT_MS);
      if (service === undefined) this.#turns.release(serviceId);
    }
    this.#closeUnhealthy(snapshot, changes);
    const wanted = new Set(set.map(({ plan }) => plan.key));
    if (removed.length + set.length > 0)
      this.#port.listen(
        removed.filter((key) => !wanted.has(key)),
        set,
      );
  }

  /** Where the data path counts for the endpoints of a task; it has one on each of its networks. */
  slotsOf(taskId: TaskId, networkIds: readonly NetworkId[]): readonly number[] {
    return networkIds.flatMap((networkId) => this.#endpoints.get(`${taskId}/${networkId}`) ?? []);
  }

  /** Where the data path counts for a service; undefined while nothing of it is here. */
  slotOfService(serviceId: ServiceId): number | undefined {
    return this.#turns.get(serviceId);
  }

  /** The service that is counted there, or was last. */
  serviceAt(slot: number): ServiceId | undefined {
    return this.#turns.owner(slot);
  }

  /** The task whose endpoint is counted there, or was last. */
  taskAt(slot: number): TaskId | undefined {
    return this.#endpoints.owner(slot)?.split('/')[0] as TaskId | undefined;
  }

  /** Whether new connections to a service's VIP on a network have somewhere to go. */
  hasEligible(serviceId: ServiceId, networkId: NetworkId): boolean {
    const plan = this.#plans.get(serviceId)?.backends.find((backend) => backend.key === `${serviceId}/${networkId}`);
    return plan !== undefined && endpointsInUse(plan).length > 0;
  }

  /** Where the service says so, the connections of a task end with its health. */
  #closeUnhealthy(snapshot: Snapshot, changes: readonly Change[]): void {
    for (const change of changes) {
      if (change.kind !== 'task' || change.after?.health !== 'unhealthy' || change.before?.health === 'unhealthy')
        continue;
      const task = change.after;
      if (snapshot.services.get(task.serviceId)?.spec.onUnhealthy !== 'close') continue;
      const networkIds = task.attachments.map((attachment) => attachment.networkId);
      const slots = this.slotsOf(task.id, networkIds);
      if (slots.length > 0) this.#port.post({ kind: 'endpoint-close', slots, isUnhealthy: true });
    }
  }

  #setBackends(service: Service, { backends }: ServicePlan): void {
    for (const plan of backends) {
      this.#countUses(plan.endpoints, 1);
      this.#setBackend(plan, service);
    }
  }

  #publish(before: ServicePlan, after: ServicePlan, removed: FrontendKey[], set: FrontendWanted[]): void {
    const eligible = new Map(after.backends.map((plan) => [plan.key, endpointsInUse(plan).length > 0]));
    const frontends = new Set(after.frontends.map((plan) => plan.key));
    removed.push(...before.frontends.filter((plan) => !frontends.has(plan.key)).map((plan) => plan.key));
    for (const plan of after.frontends) {
      const backend = this.#backends.get(plan.backend);
      if (backend !== undefined) set.push({ plan, backend, hasEligible: eligible.get(plan.backend) ?? false });
    }
    // Overlay networks may have the same addresses.
    const vips = new Set(after.overlayVips.map((vip) => `${vip.networkId} ${vip.address}`));
    for (const vip of before.overlayVips) {
      if (!vips.has(`${vip.networkId} ${vip.address}`)) this.#port.overlayVip(vip.networkId, vip.address, null, false);
    }
    for (const vip of after.overlayVips) {
      const backend = this.#backends.get(vip.backend);
      if (backend !== undefined)
        this.#port.overlayVip(vip.networkId, vip.address, backend, eligible.get(vip.backend) ?? false);
    }
    for (const plan of before.backends) {
      if (!eligible.has(plan.key)) this.#removeBackend(plan.key);
    }
  }

  #setBackend(plan: BackendPlan, { id: serviceId, spec }: Service): void {
    const id = this.#backends.take(plan.key);
    const roundRobinSlot = this.#turns.take(serviceId);
    if (id === undefined || roundRobinSlot === undefined) {
      this.#port.exhausted('backend', plan.key);
      return;
    }
    const endpoints = endpointsInUse(plan).flatMap((endpoint) => {
      const slot = this.#endpointSlot(endpointKey(endpoint), serviceId);
      const netns = endpoint.reach === 'node' ? 0 : this.#port.netnsOf(endpoint.networkId);
      if (slot === undefined) this.#port.exhausted('endpoint', endpoint.address);
      if (slot === undefined || netns === undefined) return [];
      const { address, portMap, isHere, weight } = endpoint;
      const isPreferred = spec.balance?.localFirst === true && isHere;
      return [{ slot, address, portMap, netns, weight, ...(isPreferred && { isPreferred }) }];
    });
    const { method, affinityMs } = spec.balance ?? {};
    const { limits, proxyProtocol } = spec;
    const sharing = {
      ...(method && { method }),
      ...(affinityMs && { affinityMs }),
      ...(proxyProtocol && { proxyProtocol }),
      ...(limits && { limits }),
    };
    this.#port.post({ kind: 'backend-set', backend: { id, roundRobinSlot, endpoints, ...sharing } });
  }

  #endpointSlot(key: EndpointKey, serviceId: ServiceId): number | undefined {
    const known = this.#endpoints.get(key);
    const slot = this.#endpoints.take(key);
    if (known === undefined && slot !== undefined) this.#port.beginCounting(slot, serviceId);
    return slot;
  }

  #removeBackend(key: BackendKey): void {
    const id = this.#backends.release(key);
    if (id !== undefined) this.#port.post({ kind: 'backend-remove', id });
  }

  #countUses(endpoints: readonly Endpoint[], by: 1 | -1): void {
    for (const endpoint of endpoints) {
      const key = endpointKey(endpoint);
      this.#uses.set(key, (this.#uses.get(key) ?? 0) + by);
    }
  }

  /** Endpoints that are to leave, or that no backend names any more, keep their open connections until the drain timeout. */
  #endLeavers(before: ServicePlan, after: ServicePlan, drainMs: number): void {
    const leaving: number[] = [];
    for (const endpoint of after.backends.flatMap((plan) => plan.endpoints)) {
      const slot = this.#endpoints.get(endpointKey(endpoint));
      if (slot === undefined) continue;
      if (endpoint.isLeaving) leaving.push(slot);
      else this.#leavers.stay(slot);
    }
    const named = before.backends.flatMap((plan) => plan.endpoints);
    this.#countUses(named, -1);
    for (const key of new Set(named.map(endpointKey))) {
      if ((this.#uses.get(key) ?? 0) > 0) continue;
      this.#uses.delete(key);
      const slot = this.#endpoints.release(key);
      if (slot !== undefined && this.#port.openCount(slot) > 0) leaving.push(slot);
    }
    this.#leavers.begin(leaving, drainMs);
  }
}

/** Services whose plan may differ: changed themselves, or by a task or its node, or by a network that they are on. */
function affectedServices(snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]): ReadonlySet<ServiceId> {
  const ids = new Set(servicesOfChangedNodes(snapshot, previous, changes));
  for (const change of changes) {
    const subjects = [change.before, change.after].flatMap((subject) => subject ?? []);
    for (const subject of subjects) {
      if (change.kind === 'service') ids.add(subject.id as ServiceId);
      else if ('serviceId' in subject) ids.add(subject.serviceId);
      else if (change.kind === 'network') {
        for (const which of [snapshot, previous]) {
          for (const id of which.servicesByNetwork.get(subject.id as NetworkId)?.keys() ?? []) ids.add(id);
        }
      }
    }
  }
  return ids;
}

function endpointKey(endpoint: Endpoint): EndpointKey {
  return `${endpoint.taskId}/${endpoint.networkId}`;
}
