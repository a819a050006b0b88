// The record of tasks as those see it who run them: they ask in the words of the API and read from the catalog.
import type { Catalog } from '../catalog/catalog.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Service, ServiceId } from '../model/service.ts';
import type { Task, TaskId, TaskState } from '../model/task.ts';
import { ControlError } from './errors.ts';
import type { NewTask } from './tasks.ts';

/** What `vipmesh run` asks for. */
export interface TaskRequest {
  readonly Service: string;
  readonly Network?: string | undefined;
  readonly Name?: string | undefined;
  readonly Hostname?: string | undefined;
  readonly Port?: number | undefined;
  readonly Aliases?: readonly string[] | undefined;
}

export interface TaskRegistry {
  /** A new task in state `starting`. */
  add(request: TaskRequest): Promise<Task>;
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
    add: ({ Service, Network, Name, Hostname, Port, Aliases }) =>
      commands.addTask({
        service: Service,
        ...(Network === undefined ? {} : { networks: [Network] }),
        ...(Name === undefined ? {} : { name: Name }),
        ...(Hostname === undefined ? {} : { hostname: Hostname }),
        ...(Port === undefined ? {} : { port: Port }),
        ...(Aliases === undefined ? {} : { aliases: Aliases }),
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
