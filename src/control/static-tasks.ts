// Tasks of the kind `static`: which ones a service's endpoints make, and how those that exist become them. PURE.
//
// An endpoint comes from the spec, or was added by hand (`Service.addedEndpoints`). Those of the spec change with the spec,
// also by a stack file that is applied again; those added by hand stay until they are removed or the service is.
import { tasksOf } from '../catalog/snapshot.ts';
import { isLoopback } from '../model/address.ts';
import { declaredTargets, type Service, type StaticEndpoint } from '../model/service.ts';
import {
  type Attachment,
  type Health,
  isCheckedByEngine,
  type PortMapping,
  servedPort,
  type Task,
  type TaskId,
} from '../model/task.ts';
import { weightOf } from '../model/weight.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';

/** One task to be, and the endpoints that it stands for. */
export interface StaticPlan {
  readonly endpoints: readonly StaticEndpoint[];
  readonly address: StaticEndpoint['address'];
  readonly portMap: readonly PortMapping[];
  readonly ownPort?: number;
}

/**
 * One task for each endpoint; but endpoints at one address that each name another target port are the ports of one task:
 * `80=10.0.0.1:8080` with `443=10.0.0.1:8443`.
 */
export function planStatic(service: Service): readonly StaticPlan[] {
  const targets = [...new Set<number>(declaredTargets(service.spec).map(({ port }) => port))];
  const plans: StaticPlan[] = [];
  for (const endpoint of allEndpoints(service)) {
    const { address, port, targetPort } = endpoint;
    const target = targetPort ?? (targets.length === 1 ? targets[0] : undefined);
    const mapped = target === undefined || port === undefined ? [] : [{ targetPort: target, port }];
    const index =
      targetPort === undefined
        ? -1
        : plans.findIndex((plan) => plan.address === address && hasRoomFor(plan, targetPort));
    const other = plans[index];
    if (other !== undefined) {
      plans[index] = { ...other, endpoints: [...other.endpoints, endpoint], portMap: [...other.portMap, ...mapped] };
      continue;
    }
    const own = targets.length === 0 && port !== undefined ? { ownPort: port } : {};
    plans.push({ endpoints: [endpoint], address, portMap: mapped, ...own });
  }
  return plans;
}

export function allEndpoints(service: Service): readonly StaticEndpoint[] {
  const { endpoints } = service.spec;
  const added = (service.addedEndpoints ?? []).filter((one) => !endpoints.some((other) => keyOf(other) === keyOf(one)));
  return [...endpoints, ...added];
}

/** The task that stands for a plan; undefined when there is none yet. */
export function taskOfPlan(tasks: readonly Task[], plan: StaticPlan): Task | undefined {
  return tasks.find((task) => task.source === 'static' && sameServing(task, plan));
}

/** Makes the static tasks of a service what its endpoints say: those that stay keep their id, slot and health. */
export function syncStaticTasks(draft: Draft, service: Service): void {
  const existing = tasksOf(draft.snapshot, service.id).filter((task) => task.source === 'static');
  const plans = planStatic(service);
  for (const plan of plans) {
    refuseLoop(service, plan);
    refuseWeights(service, plan);
  }
  const kept = new Map<StaticPlan, Task>();
  const left = new Set(existing);
  for (const plan of plans) {
    const task = [...left].find((one) => sameServing(one, plan));
    if (task === undefined) continue;
    left.delete(task);
    kept.set(plan, task);
  }
  for (const task of left) draft.removeTask(task.id);
  for (const plan of plans) {
    const task = kept.get(plan);
    if (task === undefined) createStaticTask(draft, service, plan);
    else keepStaticTask(draft, service, plan, task);
  }
}

/**
 * An endpoint that is the service's own VIP or published port would be connected to for ever, by itself: one connection would
 * take every descriptor of the agent.
 */
function refuseLoop(service: Service, plan: StaticPlan): void {
  const { name } = service.spec;
  const targets = declaredTargets(service.spec).map(({ port }) => port);
  const served = targets.length === 0 ? [plan.ownPort ?? 0] : targets.map((port) => servedPort(plan, port));
  const own = service.ports.find(
    ({ publishedPort, hostAddress }) =>
      served.includes(publishedPort) &&
      (hostAddress === plan.address || (hostAddress === undefined && isLoopback(plan.address))),
  );
  const what = service.vips.some((vip) => vip.address === plan.address)
    ? 'VIP'
    : own && `published port ${own.publishedPort}`;
  if (what === undefined) return;
  throw new ControlError(
    'invalid',
    `service ${name}: the endpoint ${plan.address} is its own ${what}, so connections would go round for ever; name the address and port at which the server itself listens`,
  );
}

/** The ports of one task get connections together. */
function refuseWeights(service: Service, { endpoints, address }: StaticPlan): void {
  const weights = new Set(endpoints.flatMap(({ weight }) => weight ?? []));
  if (weights.size < 2) return;
  throw new ControlError(
    'invalid',
    `service ${service.spec.name}: the endpoints at ${address} are the ports of one task, and have the weights ${[...weights].join(' and ')}; give them one`,
  );
}

/** The lowest number from 1 that no task of the service has. */
export function freeSlot(draft: Draft, service: Service): number {
  const used = new Set(tasksOf(draft.snapshot, service.id).map((task) => task.slot));
  let slot = 1;
  while (used.has(slot)) slot++;
  return slot;
}

/**
 * What a task's health is before anything was heard of it. A static endpoint is checked by tcp unless it is said otherwise, and
 * so is an attached container where the check is a command; where there is no tcp port to ask, it is taken for well.
 */
export function initialHealth(
  service: Service,
  task: Pick<Task, 'source' | 'ownPort' | 'attachments' | 'container'>,
): Health {
  const { health } = service.spec;
  if (isCheckedByEngine(service, task)) return 'starting';
  if (health === 'none') return 'none';
  if (task.source !== 'static' && health === undefined) return 'none';
  if (task.source === 'process') return 'starting';
  if (health !== undefined && health.probe.kind !== 'exec') return 'starting';
  const targets = declaredTargets(service.spec);
  const askable =
    targets.length === 0 ? task.ownPort !== undefined : targets.some(({ protocol }) => protocol === 'tcp');
  return askable && task.attachments.length > 0 ? 'starting' : 'none';
}

function createStaticTask(draft: Draft, service: Service, plan: StaticPlan): void {
  const id = draft.newId<TaskId>();
  const slot = freeSlot(draft, service);
  const attachments = attachmentsOf(service, plan.address);
  const own = plan.ownPort === undefined ? {} : { ownPort: plan.ownPort };
  draft.putTask({
    id,
    serviceId: service.id,
    slot,
    name: `${service.spec.name}.${slot}.${id}`,
    nodeId: draft.surroundings.nodeId,
    source: 'static',
    state: 'running',
    health: initialHealth(service, { source: 'static', attachments, ...own }),
    attachments,
    portMap: plan.portMap,
    ...own,
    ...weightOfPlan(plan),
    createdAt: draft.wallTime,
    updatedAt: draft.wallTime,
  });
}

/** A check that is introduced takes nothing out of service: the task stays as it is until the check has spoken. */
function keepStaticTask(draft: Draft, service: Service, plan: StaticPlan, task: Task): void {
  const attachments = attachmentsOf(service, plan.address);
  const health = initialHealth(service, { ...task, attachments }) === 'none' ? 'none' : task.health;
  const { weight: _, ...rest } = task;
  const weight = weightOfPlan(plan);
  const same =
    health === task.health &&
    weightOf(weight) === weightOf(task) &&
    JSON.stringify(attachments) === JSON.stringify(task.attachments);
  if (!same) draft.putTask({ ...rest, ...weight, attachments, health, updatedAt: draft.wallTime });
}

/** Nothing where it is as it is by default. */
function weightOfPlan({ endpoints }: StaticPlan): Pick<Task, 'weight'> {
  const weight = endpoints.find((endpoint) => endpoint.weight !== undefined)?.weight;
  return weight === undefined || weight === 1 ? {} : { weight };
}

function attachmentsOf(service: Service, address: StaticEndpoint['address']): readonly Attachment[] {
  return service.networks.map(({ networkId }) => ({ networkId, address, aliases: [] }));
}

function hasRoomFor(plan: StaticPlan, targetPort: number): boolean {
  const named = plan.endpoints.map((endpoint) => endpoint.targetPort);
  return !named.includes(undefined) && !named.includes(targetPort);
}

function sameServing(task: Task, plan: StaticPlan): boolean {
  return (
    task.attachments[0]?.address === plan.address &&
    task.ownPort === plan.ownPort &&
    mapKey(task.portMap) === mapKey(plan.portMap)
  );
}

function mapKey(portMap: readonly PortMapping[]): string {
  return portMap
    .map(({ targetPort, port }) => `${targetPort}=${port}`)
    .sort()
    .join();
}

function keyOf({ address, port, targetPort }: StaticEndpoint): string {
  return `${targetPort ?? ''}=${address}:${port ?? ''}`;
}
