// Tasks that run a command under the agent, and containers that were attached. PURE.
import { isDeepStrictEqual } from 'node:util';
import { ipVersion, type IpAddress, parseIp, type Subnet, subnetContains } from '../model/address.ts';
import type { Network } from '../model/network.ts';
import { isPortNumber } from '../model/port.ts';
import { declaredTargets, type Service, serviceNames } from '../model/service.ts';
import type { Attachment, EngineContainer, Health, PortMapping, Task, TaskId, TaskState } from '../model/task.ts';
import { isWeight, WEIGHT_RULE } from '../model/weight.ts';
import { interfaceOf } from '../model/publish-place.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { findNetwork } from './lookup.ts';
import { claimBridge } from './own-records.ts';
import { serviceNameProblem } from './service-spec.ts';
import { freeSlot, initialHealth } from './static-tasks.ts';
import { serviceOfTask, type TaskService } from './task-service.ts';

/** Of `networks`, absent means all of the service. */
export interface NewTask extends TaskService {
  readonly name?: string;
  readonly hostname?: string;
  /** Where the command listens instead of the service's only target port. */
  readonly port?: number;
  /** The same, for several target ports. */
  readonly ports?: readonly PortMapping[];
  /** Names of this task alone, on each of its networks. */
  readonly aliases?: readonly string[];
  readonly pid?: number;
  /** A container that something else started: it exists as long as its `pid`, or the path of its namespace, does. */
  readonly attached?: { readonly netns?: string; readonly container?: EngineContainer };
  /** A container that cannot be entered: it has this address, which its node reaches, on each network of the service. */
  readonly bridged?: { readonly address: IpAddress; readonly container: EngineContainer };
  /** As the user wrote them, at most one for each subnet; where none is wanted, one is allocated. */
  readonly addresses?: readonly string[];
  /** Its share of new connections; absent: 1. */
  readonly weight?: number;
}

export interface TaskNames {
  readonly name: string;
  /** On each of its networks. */
  readonly aliases: readonly string[];
}

/** A task in state `starting`, with an address on each of its networks. */
export function addTask(draft: Draft, wanted: NewTask): Task {
  const service = serviceOfTask(draft, wanted);
  refuseNames(draft, service, wanted);
  refuseWeight(service, wanted);
  const id = draft.newId<TaskId>();
  const slot = freeSlot(draft, service);
  const name = wanted.name ?? `${service.spec.name}.${slot}.${id}`;
  const networks = networksOf(draft, service, wanted.networks);
  const { bridged } = wanted;
  const source = bridged !== undefined ? 'bridged' : wanted.attached !== undefined ? 'attached' : 'process';
  if (source === 'attached') {
    refuseAttaching(draft, service, networks);
    if (wanted.attached?.container === undefined) refuseClosed(networks);
  }
  refuseHiddenNames(draft, service, networks, wanted);
  const addresses = new WantedAddresses(wanted.addresses ?? []);
  const whose = wanted.name === undefined ? `the new task of ${service.spec.name}` : `task ${name}`;
  const attachments = networks.map((network) => ({
    ...(bridged === undefined
      ? addressesOn(draft, network, whose, addresses)
      : { networkId: network.id, address: bridged.address }),
    aliases: wanted.aliases ?? [],
  }));
  addresses.refuseUnused(networks);
  if (bridged === undefined) for (const network of networks) claimBridge(draft, network.id);
  const container = bridged?.container ?? wanted.attached?.container;
  const ofEngine = container === undefined ? {} : { container };
  return draft.putTask({
    id,
    serviceId: service.id,
    slot,
    name,
    nodeId: draft.surroundings.nodeId,
    source,
    state: 'starting',
    health: initialHealth(service, { source, attachments, ...ofEngine }),
    ...ofEngine,
    ...(wanted.hostname === undefined ? {} : { hostname: wanted.hostname }),
    ...(wanted.pid === undefined ? {} : { pid: wanted.pid }),
    ...(wanted.attached?.netns === undefined ? {} : { netns: wanted.attached.netns }),
    attachments,
    // Its ports are its own: none has to make room for one of the node.
    ...servingOf(draft, service, bridged === undefined ? wanted : { ports: [], ...wanted }, networks),
    ...(wanted.weight === undefined || wanted.weight === 1 ? {} : { weight: wanted.weight }),
    createdAt: draft.wallTime,
    updatedAt: draft.wallTime,
  });
}

/** The task in that state; the same object when it is already. A task that has begun to leave does not start again. */
export function withState(task: Task, state: TaskState, pid: number | undefined, now: number): Task {
  if (state === task.state && (pid === undefined || pid === task.pid)) return task;
  if (state === 'starting' && task.state !== 'starting') {
    throw new ControlError('invalid', `task ${task.name} is ${task.state}; it cannot be starting again`);
  }
  return { ...task, state, ...(pid === undefined ? {} : { pid }), updatedAt: now };
}

/** What else it is called from now on. */
export function withNames(task: Task, { name, aliases }: TaskNames, now: number): Task {
  const same = task.name === name && task.attachments.every((one) => isDeepStrictEqual(one.aliases, aliases));
  if (same) return task;
  return { ...task, name, attachments: task.attachments.map((one) => ({ ...one, aliases })), updatedAt: now };
}

export function withHealth(task: Task, health: Health, now: number): Task {
  return health === task.health ? task : { ...task, health, updatedAt: now };
}

/** The tasks that the commands of this node had, but for those that still run. */
export function removeOwnTasks(draft: Draft, except: ReadonlySet<TaskId>): readonly Task[] {
  const { nodeId } = draft.surroundings;
  const gone = [...draft.snapshot.tasks.values()].filter(
    (task) => task.source === 'process' && task.nodeId === nodeId && !except.has(task.id),
  );
  for (const task of gone) draft.removeTask(task.id);
  return gone;
}

function refuseNames(draft: Draft, service: Service, { name, hostname, aliases }: NewTask): void {
  const names = [...(name === undefined ? [] : [name]), ...(aliases ?? [])];
  for (const one of names) {
    const problem = serviceNameProblem(one);
    if (problem !== undefined) throw new ControlError('invalid', `the task name ${JSON.stringify(one)} ${problem}`);
  }
  if (hostname !== undefined && !/^[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9])?$/.test(hostname)) {
    throw new ControlError(
      'invalid',
      `the host name ${JSON.stringify(hostname)} may hold only letters, digits, "_", "-" and "."`,
    );
  }
  const twin = name === undefined ? undefined : [...draft.snapshot.tasks.values()].find((task) => task.name === name);
  if (twin === undefined) return;
  throw new ControlError(
    'conflict',
    `a task is called ${name} already (${twin.id.slice(0, 12)}, ${twin.state}); stop it first, or give service ${service.spec.name} another name for this one`,
  );
}

/** In DNS a service's names go before those of tasks: one that means another service would never lead to this task. */
function refuseHiddenNames(
  draft: Draft,
  service: Service,
  networks: readonly Network[],
  { name, aliases = [] }: NewTask,
): void {
  const wanted = [...(name === undefined ? [] : [name]), ...aliases];
  if (wanted.length === 0) return;
  for (const network of networks) {
    for (const other of draft.snapshot.servicesByNetwork.get(network.id)?.values() ?? []) {
      const taken = other.id === service.id ? [] : serviceNames(other, network.id);
      const hidden = wanted.find((one) => taken.includes(one.toLowerCase()));
      if (hidden === undefined) continue;
      throw new ControlError(
        'conflict',
        `on network ${network.spec.name} the name ${hidden} means service ${other.spec.name}, and would never lead to a task of ${service.spec.name}; choose another name for this one`,
      );
    }
  }
}

function refuseWeight(service: Service, { weight }: NewTask): void {
  if (weight === undefined || isWeight(weight)) return;
  throw new ControlError('invalid', `the weight ${weight} of a task of service ${service.spec.name} ${WEIGHT_RULE}`);
}

function networksOf(draft: Draft, service: Service, wanted: readonly string[] | undefined): readonly Network[] {
  const own = service.networks.flatMap(({ networkId }) => draft.snapshot.networks.get(networkId) ?? []);
  if (wanted === undefined) return own;
  const chosen = wanted.map((text) => {
    const network = findNetwork(draft.snapshot, text);
    if (own.some((one) => one.id === network.id)) return network;
    const names = own.map((one) => one.spec.name).join(', ') || 'none';
    throw new ControlError(
      'invalid',
      `service ${service.spec.name} is not on network ${network.spec.name}, only on ${names}; add it to the service first`,
    );
  });
  return [...new Set(chosen)];
}

/** What a container that something else started cannot have, or not from this agent. */
function refuseAttaching(draft: Draft, service: Service, networks: readonly Network[]): void {
  if (!draft.surroundings.privileged) {
    throw new ControlError(
      'forbidden',
      `attaching makes links in the container's network namespace, which needs an agent that runs as root; tell service ${service.spec.name} where the container listens instead (vipmesh endpoint add ${service.spec.name} ADDRESS:PORT)`,
    );
  }
  if (networks.length === 0)
    throw new ControlError(
      'invalid',
      `service ${service.spec.name} is on no network that a container could be attached to`,
    );
  const local = networks.find(({ spec }) => spec.driver === 'local');
  if (local === undefined) return;
  const advice = `use vipmesh endpoint add ${service.spec.name} ADDRESS:PORT`;
  throw new ControlError(
    'invalid',
    networks.length === 1
      ? `network ${local.spec.name} is local: what is on it listens on the node itself, and no container can be attached to it; ${advice}`
      : `network ${local.spec.name} of service ${service.spec.name} is local, and no container can be attached to it; name the others with --network, or ${advice}`,
  );
}

/**
 * As Docker, which lets nobody attach a container by hand to a network that was not made for it. What `vipmesh run` starts, and a
 * container of the engine that names its service by a label, are the service's own.
 */
function refuseClosed(networks: readonly Network[]): void {
  const closed = networks.filter(({ spec }) => !spec.attachable).map(({ spec }) => spec.name);
  if (closed.length === 0) return;
  const [what, how] = closed.length === 1 ? ['network', 'is'] : ['networks', 'are'];
  const advice = closed.length < networks.length ? '; or name the others with --network' : '';
  throw new ControlError(
    'forbidden',
    `${what} ${closed.join(', ')} ${how} not attachable: no container may be attached by hand; say "attachable: true" in the stack file, or make the network with vipmesh network create --attachable${advice}`,
  );
}

/** Addresses that a user asked for, each used once. */
class WantedAddresses {
  readonly #left: Set<IpAddress>;

  constructor(texts: readonly string[]) {
    this.#left = new Set(
      texts.map((text) => {
        const address = parseIp(text);
        if (address === undefined) throw new ControlError('invalid', `${JSON.stringify(text)} is no IP address`);
        return address;
      }),
    );
  }

  take(subnet: Subnet): IpAddress | undefined {
    const address = [...this.#left].find((one) => subnetContains(subnet, one));
    if (address !== undefined) this.#left.delete(address);
    return address;
  }

  refuseUnused(networks: readonly Network[]): void {
    const [address] = this.#left;
    if (address === undefined) return;
    const subnets = networks.map(({ spec, subnets }) => `${spec.name} (${subnets.join(', ')})`).join(', ');
    throw new ControlError(
      'invalid',
      `address ${address} is in no subnet of the task's networks, or is one too many there: ${subnets}`,
    );
  }
}

function addressesOn(
  draft: Draft,
  network: Network,
  whose: string,
  wanted: WantedAddresses,
): Omit<Attachment, 'aliases'> {
  const inOrder = [...network.subnets].sort((a, b) => ipVersion(a) - ipVersion(b));
  const [address, ...more] = inOrder.map((subnet): IpAddress => {
    const chosen = wanted.take(subnet);
    if (chosen === undefined) return draft.allocateAddress(network, subnet, whose);
    return draft.claimAddress(network, subnet, chosen, whose);
  });
  if (address === undefined)
    throw new ControlError('invalid', `network ${network.spec.name} has no subnet; its record is incomplete`);
  return { networkId: network.id, address, ...(more.length === 0 ? {} : { moreAddresses: more }) };
}

function servingOf(
  draft: Draft,
  service: Service,
  { port, ports }: NewTask,
  networks: readonly Network[],
): Pick<Task, 'portMap' | 'ownPort'> {
  const targets = [...new Set<number>(declaredTargets(service.spec).map((target) => target.port))];
  for (const number of [...(port === undefined ? [] : [port]), ...(ports ?? []).map((one) => one.port)]) {
    if (!isPortNumber(number)) throw new ControlError('invalid', `port ${number}; ports are 1 to 65535`);
  }
  const unknown = ports?.find(({ targetPort }) => !targets.includes(targetPort));
  if (unknown !== undefined) {
    throw new ControlError(
      'invalid',
      `service ${service.spec.name} does not declare target port ${unknown.targetPort}; it declares ${targets.join(', ') || 'none'}`,
    );
  }
  if (port === undefined) return { portMap: ports ?? movedPorts(draft, targets, networks) };
  const [only, ...more] = targets;
  if (only === undefined) return { portMap: [], ownPort: port };
  if (more.length === 0) return { portMap: port === only ? [] : [{ targetPort: only, port }] };
  throw new ControlError(
    'invalid',
    `service ${service.spec.name} has the target ports ${targets.join(', ')}; one port cannot stand for all of them`,
  );
}

/**
 * A task on `local` networks shares its ports with the node, and so cannot have one that the node publishes on every address
 * (the kernel lets nobody listen beside a wildcard), nor, without privilege, one below 1024. It serves those targets on another
 * port, which it is told in $PORT.
 */
function movedPorts(draft: Draft, targets: readonly number[], networks: readonly Network[]): readonly PortMapping[] {
  if (networks.some((network) => network.spec.driver !== 'local')) return [];
  const isPublished = (port: number) =>
    [...(draft.snapshot.servicesByPort.get(port)?.values() ?? [])].some((service) =>
      service.ports.some(
        ({ publishedPort, hostAddress }) =>
          publishedPort === port && (hostAddress === undefined || interfaceOf(hostAddress) !== undefined),
      ),
    );
  const unusable = (port: number) => isPublished(port) || (port < FIRST_FREE_PORT && !draft.surroundings.privileged);
  const taken = new Set(targets);
  return targets.filter(unusable).map((targetPort) => {
    let port = (targetPort + MOVED_BY) % LAST_PORT;
    while (port < FIRST_FREE_PORT || unusable(port) || taken.has(port)) port = (port + 1) % LAST_PORT;
    taken.add(port);
    return { targetPort, port };
  });
}

/** What anybody may listen on (ip(7), ip_unprivileged_port_start). */
const FIRST_FREE_PORT = 1024;
const LAST_PORT = 65_535;
/** 8080 becomes 18080, which a reader of `ss` still recognises. */
const MOVED_BY = 10_000;
