// The record of tasks as those see it who run them: they ask in the words of the API and read from the catalog.
import type { Catalog } from '../catalog/catalog.ts';
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { PublishSpec } from '../model/port.ts';
import type { Service, ServiceId } from '../model/service.ts';
import type { EngineContainer, Task, TaskId, TaskState } from '../model/task.ts';
import { ControlError } from './errors.ts';
import type { NewTask } from './tasks.ts';

/** What `vipmesh attach` asks for. */
export interface AttachRequest {
  readonly Service: string;
  /** In the order in which names are looked up; absent: every network of the service. */
  readonly Networks?: readonly string[] | undefined;
  readonly Name?: string | undefined;
  readonly Hostname?: string | undefined;
  readonly Port?: number | undefined;
  readonly Aliases?: readonly string[] | undefined;
  readonly Publish?: readonly PublishSpec[] | undefined;
  readonly Weight?: number | undefined;
  readonly Addresses?: readonly string[] | undefined;
  readonly PID?: number | undefined;
  readonly Netns?: string | undefined;
  readonly Container?: { readonly ID: string; readonly HasCheck: boolean } | undefined;
}

/** What `vipmesh run` asks for. */
export interface TaskRequest {
  readonly Service: string;
  /** In the order in which names are looked up; absent: every network of the service. */
  readonly Networks?: readonly string[] | undefined;
  readonly Name?: string | undefined;
  readonly Hostname?: string | undefined;
  readonly Port?: number | undefined;
  readonly Aliases?: readonly string[] | undefined;
  readonly Publish?: readonly PublishSpec[] | undefined;
  readonly Weight?: number | undefined;
  /** At most one for each subnet of the networks; where none is wanted, one is allocated. */
  readonly Addresses?: readonly string[] | undefined;
}

export interface TaskRegistry {
  /** A new task in state `starting`. */
  add(request: TaskRequest): Promise<Task>;
  /** The same, for a container that something else started. */
  addAttached(request: AttachRequest): Promise<Task>;
  /** The same, for one that cannot be entered. */
  addBridged(request: TaskRequest, address: IpAddress, container: EngineContainer): Promise<Task>;
  task(id: TaskId): Task | undefined;
  service(id: ServiceId): Service | undefined;
  network(id: NetworkId): Network | undefined;
  setState(id: TaskId, state: TaskState, pid?: number): Promise<void>;
  /** Nothing happens when there is none. */
  remove(id: TaskId): Promise<void>;
}

interface Commands {
  addTask(task: NewTask): Promise<Task>;
  setTaskState(id: TaskId, state: TaskState, pid?: number): Promise<void>;
  removeTask(id: TaskId): Promise<void>;
}

export function taskRegistry(commands: Commands, catalog: Catalog): TaskRegistry {
  return {
    add: (request) =>
      commands.addTask({
        ...common(request),
        ...(request.Networks === undefined ? {} : { networks: request.Networks }),
      }),
    addAttached: ({ Networks, PID, Netns, Container, ...request }) =>
      commands.addTask({
        ...common(request),
        attached: {
          ...(Netns === undefined ? {} : { netns: Netns }),
          ...(Container === undefined ? {} : { container: { id: Container.ID, hasCheck: Container.HasCheck } }),
        },
        ...(Networks === undefined ? {} : { networks: Networks }),
        ...(PID === undefined ? {} : { pid: PID }),
      }),
    addBridged: (request, address, container) =>
      commands.addTask({
        ...common(request),
        bridged: { address, container },
        ...(request.Networks === undefined ? {} : { networks: request.Networks }),
      }),
    task: (id) => catalog.snapshot.tasks.get(id),
    service: (id) => catalog.snapshot.services.get(id),
    network: (id) => catalog.snapshot.networks.get(id),
    setState: (id, state, pid) => commands.setTaskState(id, state, pid),
    async remove(id) {
      try {
        await commands.removeTask(id);
      } catch (error) {
        if (!(error instanceof ControlError) || error.code !== 'not-found') throw error;
      }
    },
  };
}

function common(request: Omit<TaskRequest, 'Networks'>): NewTask {
  const { Service, Name, Hostname, Port, Aliases, Publish, Weight, Addresses } = request;
  return {
    service: Service,
    ...(Name === undefined ? {} : { name: Name }),
    ...(Hostname === undefined ? {} : { hostname: Hostname }),
    ...(Port === undefined ? {} : { port: Port }),
    ...(Aliases === undefined ? {} : { aliases: Aliases }),
    ...(Publish === undefined ? {} : { publish: Publish }),
    ...(Weight === undefined ? {} : { weight: Weight }),
    ...(Addresses === undefined ? {} : { addresses: Addresses }),
  };
}
