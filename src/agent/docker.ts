// The node's Docker Engine and the mesh: what its containers want is made, when it is not there.
import { folded, type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { DockerConfig } from '../config-docker.ts';
import type { Control } from '../control/control.ts';
import { ControlError } from '../control/errors.ts';
import { serviceNameProblem } from '../control/service-spec.ts';
import { findNetwork, findService } from '../control/lookup.ts';
import { STACK_LABEL } from '../model/name.ts';
import { DEFAULT_DRAIN_TIMEOUT_MS, type Service, serviceNames, type ServiceSpec } from '../model/service.ts';
import type { NodeId } from '../model/node.ts';
import type { Network, NetworkDriver, NetworkSpec } from '../model/network.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { TaskError } from '../tasks/task-error.ts';
import type { AttachedTasks } from '../tasks/attached.ts';
import type { Containers } from './containers.ts';
import type { Mesh } from './mesh.ts';
import { DockerTasks } from '../tasks/docker/docker-tasks.ts';
import { DockerEngine } from '../tasks/docker/engine.ts';
import type { WantedTask } from '../tasks/docker/wanted-task.ts';

export interface DockerParts {
  readonly config: DockerConfig;
  readonly catalog: Catalog;
  readonly control: Control;
  readonly attached: AttachedTasks;
  readonly containers: Containers;
  readonly mesh: Mesh;
  readonly driver: NetworkDriver;
  readonly log: Log;
}

/** On what was made for containers, and not by a person: the id of the node whose they are. */
const MADE_BY_LABEL = 'vipmesh.made-for-docker-on';

/** Does nothing yet. */
export function dockerTasks(parts: DockerParts): DockerTasks {
  const { config, catalog, control, attached, containers, driver, log, mesh } = parts;
  return new DockerTasks({
    clock: systemClock,
    log,
    engine: new DockerEngine(config.socket),
    selections: config.selections,
    attached,
    cannotEnter,
    names: {
      set: (container, places) => mesh.foreignNames.set(container, places),
      sees: (task, networks) => mesh.foreignNames.sees(task, networks),
      answer: (task) => containers.takeResolver(task),
    },
    registry: {
      tasks: () =>
        [...(catalog.snapshot.tasksByPlace.get(control.nodeId)?.values() ?? [])].filter(
          ({ container }) => container !== undefined,
        ),
      service: ({ serviceId }) => catalog.snapshot.services.get(serviceId),
      ensureService: (wanted) => ensureService(control, catalog, driver, wanted, log),
      removeUnused: (except) => removeUnused(control, catalog, except, log),
      addBridged: (request, address, container) => control.tasks.addBridged(request, address, container),
      remove: (id) => control.tasks.remove(id),
      isFree: (name, service) => isFree(catalog.snapshot, name, service),
      setState: (id, state) => control.setTaskState(id, state),
      setHealth: (id, health) => control.setTaskHealth(id, health),
      setNames: (id, names) => control.setTaskNames(id, names),
    },
  });
}

function isFree(snapshot: Snapshot, name: string, service: Service): boolean {
  if (serviceNameProblem(name) !== undefined) return false;
  const wanted = folded(name);
  if ([...snapshot.tasks.values()].some((task) => folded(task.name) === wanted)) return false;
  return service.networks.every(({ networkId }) => {
    const others = [...(snapshot.servicesByNetwork.get(networkId)?.values() ?? [])].filter(
      ({ id }) => id !== service.id,
    );
    return others.every((other) => !serviceNames(other, networkId).includes(wanted));
  });
}

async function ensureService(
  control: Control,
  catalog: Catalog,
  driver: NetworkDriver,
  wanted: WantedTask,
  log: Log,
): Promise<Service> {
  const find = () => found(() => findService(catalog.snapshot, wanted.service));
  const known = find();
  if (known !== undefined) return known;
  for (const name of wanted.networksOfService) {
    if (found(() => findNetwork(catalog.snapshot, name)) !== undefined) continue;
    await unlessThere(() => control.createNetwork(networkSpec(control.nodeId, name, driver, wanted)));
    log.info('network was made for containers of the Docker Engine', { network: name });
  }
  await unlessThere(() => control.createService(serviceSpec(control.nodeId, wanted)));
  log.info('service was made for containers of the Docker Engine', { service: wanted.service });
  return find() ?? findService(catalog.snapshot, wanted.service);
}

/** Of what this node's agent made; also networks, when no service is left on them. */
async function removeUnused(control: Control, catalog: Catalog, except: ReadonlySet<string>, log: Log): Promise<void> {
  const kept = new Set([...except].map(folded));
  const isMade = ({ spec }: Service | Network) => spec.labels[MADE_BY_LABEL] === control.nodeId;
  for (const service of catalog.snapshot.services.values()) {
    const { name } = service.spec;
    if (!isMade(service) || kept.has(folded(name)) || tasksOf(catalog.snapshot, service.id).length > 0) continue;
    await control.removeService(service.id);
    log.info('service is removed: no container of the Docker Engine is its any more', { service: name });
  }
  for (const network of catalog.snapshot.networks.values()) {
    const services = catalog.snapshot.servicesByNetwork.get(network.id);
    if (isMade(network) && (services?.size ?? 0) === 0) await control.removeNetwork(network.id);
  }
}

function serviceSpec(nodeId: NodeId, { service, stack, networksOfService, publish, expose }: WantedTask): ServiceSpec {
  const published = new Set(publish.map(({ protocol, targetPort }) => `${targetPort}/${protocol}`));
  return {
    name: service,
    labels: labelsOf(nodeId, stack),
    mode: { kind: 'replicated', replicas: 1 },
    endpointMode: 'vip',
    networks: networksOfService.map((network) => ({ network, aliases: [] })),
    publish,
    expose: expose.filter(({ protocol, port }) => !published.has(`${port}/${protocol}`)),
    endpoints: [],
    drainTimeoutMs: DEFAULT_DRAIN_TIMEOUT_MS,
  };
}

function networkSpec(nodeId: NodeId, name: string, driver: NetworkDriver, { stack }: WantedTask): NetworkSpec {
  const isOfStack = stack !== undefined && name.startsWith(`${stack}_`);
  return {
    name,
    driver,
    subnets: [],
    ipv6: false,
    internal: false,
    attachable: true,
    labels: labelsOf(nodeId, isOfStack ? stack : undefined),
    options: {},
  };
}

function labelsOf(nodeId: NodeId, stack: string | undefined): Readonly<Record<string, string>> {
  return { [MADE_BY_LABEL]: nodeId, ...(stack === undefined ? {} : { [STACK_LABEL]: stack }) };
}

/** This agent is no root, the networks are `local`, or the container is hidden from it or none of this machine's. */
function cannotEnter(error: unknown): boolean {
  if (error instanceof ControlError) return error.code === 'forbidden' || error.code === 'invalid';
  if (error instanceof TaskError) return error.code === 'NOT_FOUND' || error.code === 'UNAVAILABLE';
  return error instanceof KernelError && error.code === 'privilege';
}

/** Undefined when there is none; other errors, such as two that could be meant, are thrown. */
function found<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (error instanceof ControlError && error.code === 'not-found') return undefined;
    throw error;
  }
}

/** Another node may have been faster. */
async function unlessThere(make: () => Promise<unknown>): Promise<void> {
  try {
    await make();
  } catch (error) {
    if (!(error instanceof ControlError) || error.code !== 'conflict') throw error;
  }
}
