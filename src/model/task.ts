// Tasks: running instances of services, and the endpoints that they have on networks.
import { type IpAddress, isLoopback } from './address.ts';
import type { NetworkId } from './network.ts';
import type { NodeId } from './node.ts';
import type { PortNumber, TargetPort } from './port.ts';
import { declaredTargets, type Service, type ServiceId } from './service.ts';
import { weightOf } from './weight.ts';

declare const taskIdBrand: unique symbol;
/** 25 lower-case letters and digits, as Docker's object ids. */
export type TaskId = string & { readonly [taskIdBrand]: true };

/**
 * Where a task comes from: `vipmesh run`, a container that something else started and `vipmesh attach` put on the service's
 * networks, a container that the agent may not enter, at its address on a bridge of its node (`bridged`), or an address that
 * something else serves.
 */
export type TaskSource = 'process' | 'attached' | 'bridged' | 'static';

/** `starting`: not to be used yet. `draining`: no new connection, open ones may finish. */
export type TaskState = 'starting' | 'running' | 'draining';

export type Health = 'none' | 'starting' | 'healthy' | 'unhealthy';

/** A task's place on one network. */
export interface Attachment {
  readonly networkId: NetworkId;
  readonly address: IpAddress;
  /** Further addresses of the task on that network (the other family). */
  readonly moreAddresses?: readonly IpAddress[];
  /** Names of this task alone on that network. */
  readonly aliases: readonly string[];
}

/** Where a task's target ports are really served; a port that is not named is served as it is. */
export interface PortMapping {
  readonly targetPort: number;
  readonly port: number;
}

/** The container that a task is, where an engine runs it. */
export interface EngineContainer {
  /** The engine's own id of it, in full. */
  readonly id: string;
  /** The engine runs a check in it, of which it tells. */
  readonly hasCheck: boolean;
}

export interface Task {
  readonly id: TaskId;
  readonly serviceId: ServiceId;
  /** Counted from 1 within the service. */
  readonly slot: number;
  /** `SERVICE.SLOT.ID`, or what the user gave. */
  readonly name: string;
  readonly nodeId: NodeId;
  readonly source: TaskSource;
  readonly state: TaskState;
  readonly health: Health;
  readonly hostname?: string;
  /** Of the command, or a process of the attached container, in the agent's pid namespace; the task lives as long as it. */
  readonly pid?: number;
  /** Path of the attached container's network namespace, where that is what the task lives as long as. */
  readonly netns?: string;
  readonly container?: EngineContainer;
  /**
   * On networks of the service, in the order in which the task's names are looked up: the service's, or as the user gave them.
   * A static task has the same address on each.
   */
  readonly attachments: readonly Attachment[];
  readonly portMap: readonly PortMapping[];
  /** Set when the service declares no ports and the task's own stands in for them. */
  readonly ownPort?: number;
  /** Its share of new connections, 0 (none) to MAX_WEIGHT; absent: 1. */
  readonly weight?: number;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** It has a network namespace of ours, or links of ours in its own; else it is only an address, wherever that leads. */
export function hasContainer(task: Pick<Task, 'source'>): boolean {
  return task.source === 'process' || task.source === 'attached';
}

/** Where a task stands and falls with something: on its node, or, where something else serves its address, there. */
export type Place = NodeId | IpAddress;

export function placeOf(task: Pick<Task, 'source' | 'nodeId' | 'attachments'>): Place {
  const address = task.attachments[0]?.address;
  return task.source === 'static' && address !== undefined && !isLoopback(address) ? address : task.nodeId;
}

/** Chosen for new connections, as far as the whole cluster can know: ejection is each node's own business. */
export function isEligible(task: Task): boolean {
  return task.state === 'running' && (task.health === 'none' || task.health === 'healthy') && weightOf(task) > 0;
}

/**
 * The service's check is a command, and the agent has no way to run it in this task: commands run only in what `vipmesh run`
 * started. A tcp check takes its place.
 */
export function cannotRunCheck(service: Service, task: Pick<Task, 'source' | 'container'>): boolean {
  return task.source !== 'process' && hasCommandCheck(service) && !isCheckedByEngine(service, task);
}

/** The check that the engine runs in the container counts: the service has none, or a command, which is the engine's to run. */
export function isCheckedByEngine(service: Service, task: Pick<Task, 'container'>): boolean {
  return task.container?.hasCheck === true && (service.spec.health === undefined || hasCommandCheck(service));
}

function hasCommandCheck({ spec: { health } }: Service): boolean {
  return health !== undefined && health !== 'none' && health.probe.kind === 'exec';
}

/** The target ports of a service: declared ones, else the one that its tasks brought along. */
export function targetPorts(service: Service, tasks: readonly Task[]): readonly TargetPort[] {
  const declared = declaredTargets(service.spec);
  if (declared.length > 0) return declared;
  const own = tasks.find((task) => task.ownPort !== undefined)?.ownPort;
  return own === undefined ? [] : [{ protocol: 'tcp', port: own as PortNumber }];
}

/** The port on which the task serves a target port of its service. */
export function servedPort(task: Pick<Task, 'portMap'>, targetPort: number): number {
  return task.portMap.find((mapping) => mapping.targetPort === targetPort)?.port ?? targetPort;
}
