// Creating, changing and removing services. PURE.
import { isDeepStrictEqual } from 'node:util';
import { folded, tasksOf } from '../catalog/snapshot.ts';
import { ipVersion } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Service, ServiceId, ServiceSpec, StaticEndpoint, Vip } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import type { Draft } from './draft.ts';
import { causedBy, ControlError } from './errors.ts';
import { findNetwork, findService } from './lookup.ts';
import { defaultNetwork } from './networks.ts';
import { publishPorts } from './published-ports.ts';
import { formatEndpoint, refuseEndpoint, refuseServiceSpec, sameEndpoint } from './service-spec.ts';
import { initialHealth, planStatic, syncStaticTasks, taskOfPlan } from './static-tasks.ts';

export function createService(draft: Draft, spec: ServiceSpec): Service {
  refuseServiceSpec(spec);
  const twinId = draft.snapshot.serviceByFoldedName.get(folded(spec.name));
  const twin = twinId === undefined ? undefined : draft.snapshot.services.get(twinId);
  if (twin !== undefined) {
    throw new ControlError(
      'conflict',
      `service ${spec.name} exists already (${twin.spec.name}, ${twin.id.slice(0, 12)}); choose another name, or update that one`,
    );
  }
  const id = draft.newId<ServiceId>();
  return settle(draft, { id, createdAt: draft.wallTime }, spec, undefined);
}

/** `expectedVersion`: the object's revision that the caller knows; `version`: what it is. */
export function updateService(
  draft: Draft,
  service: Service,
  spec: ServiceSpec,
  versions: { readonly expected: number; readonly actual: number } | undefined,
): Service {
  if (versions !== undefined && versions.expected !== versions.actual) {
    throw new ControlError(
      'conflict',
      `service ${service.spec.name} has changed since version ${versions.expected} (it is at ${versions.actual} now); look at it again and repeat the update`,
    );
  }
  if (spec.name !== service.spec.name) {
    throw new ControlError(
      'invalid',
      `service ${service.spec.name} cannot be renamed to ${spec.name}; create the new one and remove the old one`,
    );
  }
  if (sameValue(spec, service.spec)) return service;
  refuseServiceSpec(spec);
  const before = { ...service, previousSpec: service.spec };
  return settle(draft, before, spec, service);
}

/** Back to the spec before; a second time, forth again. */
export function rollbackService(draft: Draft, text: string): Service {
  const service = findService(draft.snapshot, text);
  const { previousSpec } = service;
  if (previousSpec === undefined) {
    throw new ControlError(
      'invalid',
      `service ${service.spec.name} has no previous spec to go back to; it was never updated`,
    );
  }
  return updateService(draft, service, previousSpec, undefined);
}

/** Its tasks go with it. */
export function removeService(draft: Draft, text: string): Service {
  const service = findService(draft.snapshot, text);
  for (const task of tasksOf(draft.snapshot, service.id)) draft.removeTask(task.id);
  draft.removeService(service.id);
  return service;
}

/**
 * One more endpoint, by hand: it is no part of the spec. One that is there already takes the weight, if one is given. Gives the
 * task that stands for it.
 */
export function addEndpoint(draft: Draft, text: string, endpoint: StaticEndpoint): Task {
  const service = findService(draft.snapshot, text);
  refuseEndpoint(service.spec, endpoint);
  const { spec, addedEndpoints = [] } = service;
  const isKnown = [...spec.endpoints, ...addedEndpoints].some((other) => sameEndpoint(other, endpoint));
  if (isKnown && endpoint.weight === undefined) {
    throw new ControlError('conflict', `service ${spec.name} has the endpoint ${formatEndpoint(endpoint)} already`);
  }
  const changed = draft.putService({
    ...(isKnown ? reweighted(service, endpoint) : { ...service, addedEndpoints: [...addedEndpoints, endpoint] }),
    updatedAt: draft.wallTime,
  });
  syncStaticTasks(draft, changed);
  const plan = planStatic(changed).find((one) => one.endpoints.some((other) => sameEndpoint(other, endpoint)));
  const task = plan && taskOfPlan(tasksOf(draft.snapshot, service.id), plan);
  if (task === undefined) throw new Error(`no task was made for endpoint ${formatEndpoint(endpoint)}`);
  return task;
}

/** The endpoint replaces the one like it, in the spec or among those added by hand. */
function reweighted(service: Service, endpoint: StaticEndpoint): Service {
  const { spec, addedEndpoints } = service;
  const replaced = (all: readonly StaticEndpoint[]) => all.map((one) => (sameEndpoint(one, endpoint) ? endpoint : one));
  const endpoints = replaced(spec.endpoints);
  return {
    ...service,
    ...(addedEndpoints === undefined ? {} : { addedEndpoints: replaced(addedEndpoints) }),
    ...(sameValue(endpoints, spec.endpoints) ? {} : { spec: { ...spec, endpoints }, previousSpec: spec }),
  };
}

/** Removes the endpoints at an address, or only those on that port of it; whether the spec names them or they were added by hand. */
export function removeEndpointsAt(
  draft: Draft,
  text: string,
  address: string,
  port?: number,
): readonly StaticEndpoint[] {
  const service = findService(draft.snapshot, text);
  const plans = planStatic(service);
  const leaving = plans
    .flatMap((plan) => plan.endpoints)
    .filter((endpoint) => endpoint.address === address && (port === undefined || endpoint.port === port));
  if (leaving.length === 0) {
    const all = plans.flatMap((plan) => plan.endpoints.map(formatEndpoint));
    const has =
      all.length === 0 ? 'it has none' : `it has ${all.slice(0, 5).join(', ')}${all.length > 5 ? ' and more' : ''}`;
    throw new ControlError(
      'not-found',
      `service ${service.spec.name} has no endpoint ${port === undefined ? address : formatEndpoint({ address: address as never, port })}; ${has}`,
    );
  }
  dropEndpoints(draft, service, leaving);
  return leaving;
}

/** Removes the endpoints that a static task stands for. */
export function removeStaticTask(draft: Draft, task: Task): void {
  const service = draft.snapshot.services.get(task.serviceId);
  if (service === undefined || task.source !== 'static') {
    throw new ControlError(
      'invalid',
      task.source === 'attached'
        ? `task ${task.name} is an attached container; detach it instead of removing an endpoint`
        : task.source === 'bridged'
          ? `task ${task.name} is a container of the Docker Engine; stop it instead of removing an endpoint`
          : `task ${task.name} runs under vipmesh; stop its command instead of removing an endpoint`,
    );
  }
  const plan = planStatic(service).find((one) => taskOfPlan([task], one) !== undefined);
  if (plan === undefined) draft.removeTask(task.id);
  else dropEndpoints(draft, service, plan.endpoints);
}

function dropEndpoints(draft: Draft, service: Service, leaving: readonly StaticEndpoint[]): void {
  const stays = (endpoint: StaticEndpoint) => !leaving.some((other) => sameEndpoint(other, endpoint));
  const { addedEndpoints, ...rest } = service;
  const added = addedEndpoints?.filter(stays) ?? [];
  const endpoints = service.spec.endpoints.filter(stays);
  const changed = draft.putService({
    ...rest,
    ...(added.length === 0 ? {} : { addedEndpoints: added }),
    ...(endpoints.length === service.spec.endpoints.length
      ? {}
      : { spec: { ...service.spec, endpoints }, previousSpec: service.spec }),
    updatedAt: draft.wallTime,
  });
  syncStaticTasks(draft, changed);
}

/** The service that a spec makes, with addresses and ports; what it had `before` it keeps where it still wants it. */
function settle(
  draft: Draft,
  own: Pick<Service, 'id' | 'createdAt'> & Partial<Service>,
  spec: ServiceSpec,
  before: Service | undefined,
): Service {
  for (const endpoint of own.addedEndpoints ?? []) refuseEndpoint(spec, endpoint);
  const attached = attach(draft, spec);
  const service = draft.putService({
    id: own.id,
    spec,
    ...(own.previousSpec === undefined ? {} : { previousSpec: own.previousSpec }),
    ...(own.addedEndpoints === undefined ? {} : { addedEndpoints: own.addedEndpoints }),
    networks: attached.map(({ network, aliases }) => ({ networkId: network.id, aliases })),
    vips: vipsFor(draft, spec, attached, before),
    ports: publishPorts(draft, spec, before),
    createdAt: own.createdAt,
    updatedAt: draft.wallTime,
  });
  syncStaticTasks(draft, service);
  if (before !== undefined) adjustProcessTasks(draft, service);
  return service;
}

interface Attached {
  readonly network: Network;
  readonly aliases: readonly string[];
}

function attach(draft: Draft, spec: ServiceSpec): readonly Attached[] {
  if (spec.networks.length === 0) return [{ network: defaultNetwork(draft), aliases: [] }];
  const attached: Attached[] = [];
  for (const { network: text, aliases } of spec.networks) {
    const network = networkFor(draft, spec, text);
    if (attached.some((other) => other.network.id === network.id)) {
      throw new ControlError('invalid', `service ${spec.name} names network ${network.spec.name} twice`);
    }
    attached.push({ network, aliases });
  }
  return attached;
}

function networkFor(draft: Draft, spec: ServiceSpec, text: string): Network {
  try {
    return findNetwork(draft.snapshot, text);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    const advice = error.code === 'not-found' ? '; create it first (vipmesh network create)' : '';
    throw causedBy(error, error.code, `service ${spec.name}: ${error.message}${advice}`);
  }
}

function vipsFor(
  draft: Draft,
  spec: ServiceSpec,
  attached: readonly Attached[],
  before: Service | undefined,
): readonly Vip[] {
  if (spec.endpointMode === 'dnsrr') return [];
  return attached.flatMap(({ network }) => {
    if (network.subnets.length === 0)
      throw new ControlError('invalid', `network ${network.spec.name} has no subnet; its record is incomplete`);
    const inOrder = [...network.subnets].sort((a, b) => ipVersion(a) - ipVersion(b));
    return inOrder.map((subnet) => {
      const sameFamily = (vip: Vip) => vip.networkId === network.id && ipVersion(vip.address) === ipVersion(subnet);
      const kept = before?.vips.find(sameFamily);
      if (kept !== undefined) return kept;
      return { networkId: network.id, address: draft.allocateAddress(network, subnet, `service ${spec.name}`) };
    });
  });
}

/** A running command cannot be moved: it loses the networks that its service has left, and joins no new one. */
function adjustProcessTasks(draft: Draft, service: Service): void {
  const networks = new Set<NetworkId>(service.networks.map(({ networkId }) => networkId));
  for (const task of tasksOf(draft.snapshot, service.id)) {
    if (task.source === 'static') continue;
    const attachments = task.attachments.filter(({ networkId }) => networks.has(networkId));
    const health = initialHealth(service, task) === 'none' ? 'none' : task.health;
    if (attachments.length === task.attachments.length && health === task.health) continue;
    draft.putTask({ ...task, attachments, health, updatedAt: draft.wallTime });
  }
}

/** As JSON has them: a field that is there without a value is the same as none. */
export function sameValue(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(JSON.parse(JSON.stringify(a)), JSON.parse(JSON.stringify(b)));
}
