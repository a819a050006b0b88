// Containers that something else started and `vipmesh attach` made tasks. The agent gives them links and takes them away again;
// a task lives as long as the process or the namespace that the user named, or until it is detached.
import type { Service, ServiceId } from '../model/service.ts';
import { cannotRunCheck, type Task, type TaskId, type TaskState } from '../model/task.ts';
import type { Scheduled } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { asksResolver } from './container-dns.ts';
import { type Draining, drain } from './drain.ts';
import { type NamespaceTable, namespaceOf } from './namespace-table.ts';
import { isAlive, type ProcessIdentity, type ProcessTable } from './process-table.ts';
import type { AttachRequest, ContainerPlace } from './protocol.ts';
import { publishNotes } from './publish-note.ts';
import { TaskError } from './task-error.ts';

export interface AttachedTasksOptions extends Draining {
  readonly log: Log;
  readonly registry: Draining['registry'] & {
    /** A new task of the service with its addresses, in state `starting`. Rejects with an error for the user. */
    addAttached(request: AttachRequest): Promise<Task>;
    service(id: ServiceId): Service | undefined;
    setState(id: TaskId, state: TaskState): Promise<void>;
    /** Nothing happens when there is none. */
    remove(id: TaskId): Promise<void>;
  };
  readonly containers: {
    /** Makes the task's links and its resolver in the container. */
    attach(task: Task): Promise<unknown>;
    /** Takes them away, and nothing else. Nothing happens when there are none. */
    detach(id: TaskId): Promise<void>;
    /** They are there. */
    has(id: TaskId): boolean;
  };
  readonly processes: ProcessTable;
  readonly namespaces: NamespaceTable;
  /** The /etc/resolv.conf that a process sees; undefined when it cannot be told. */
  readonly resolvConfOf: (pid: number) => string | undefined;
}

export interface AttachedTask {
  readonly task: Task;
  /** What the user should know, as whole sentences. */
  readonly warnings: readonly string[];
}

interface Guest {
  readonly id: TaskId;
  /** Of its namespace. */
  readonly identity: string;
  readonly process: ProcessIdentity | undefined;
  watch: Scheduled | undefined;
  detaching: Promise<void> | undefined;
  ending: Promise<void> | undefined;
}

/** How often it is looked whether a container is still there. */
const WATCH_INTERVAL_MS = 500;
/** A process's start is known to 10 ms, and its record was written after it; one that started later has only got the same id. */
const CLOCK_TOLERANCE_MS = 2000;

export class AttachedTasks {
  readonly #options: AttachedTasksOptions;
  readonly #guests = new Map<TaskId, Guest>();
  #closing = false;

  constructor(options: AttachedTasksOptions) {
    this.#options = options;
  }

  /** Rejects with TaskError, or as the registry and the containers do, and then has left nothing behind. */
  async attach(request: AttachRequest): Promise<AttachedTask> {
    const { containers, log, registry } = this.#options;
    if (this.#closing) throw new TaskError('UNAVAILABLE', 'the agent is stopping and attaches nothing');
    const found = this.#find(request);
    const task = await registry.addAttached(request);
    const guest = this.#newGuest(task.id, found);
    try {
      await containers.attach(task);
      if (!this.#isThere(guest, task)) throw this.#gone(request);
      await registry.setState(task.id, 'running');
    } catch (error) {
      await this.#end(guest, 'container was not attached', { error });
      throw error;
    }
    this.#watch(guest);
    log.info('container is attached', { ...this.#names(task.id), ...place(task) });
    return { task: registry.task(task.id) ?? task, warnings: this.#warnings(task, request) };
  }

  /**
   * Drains the task's endpoints, then takes its links and addresses away and removes it; the container goes on. Calling it again
   * waits for the same end.
   */
  detach(id: TaskId): Promise<void> {
    const guest = this.#guests.get(id);
    if (guest === undefined)
      return Promise.reject(new TaskError('NOT_FOUND', `task ${id} is not an attached container of this node`));
    guest.detaching ??= this.#detach(guest).catch((error: unknown) => {
      guest.detaching = undefined;
      throw error;
    });
    return guest.detaching;
  }

  #gone(wanted: ContainerPlace): TaskError {
    if (this.#options.namespaces.isHidden(pathOf(wanted)))
      return new TaskError(
        'UNAVAILABLE',
        `the agent may not look into ${pathOf(wanted)}: that process may do more than the agent, which needs CAP_SYS_PTRACE for it, or the namespace by --netns`,
      );
    return wanted.Netns === undefined
      ? new TaskError('NOT_FOUND', `no process ${wanted.PID} runs on this node; has the container ended?`)
      : new TaskError('NOT_FOUND', `there is no network namespace at ${wanted.Netns}; has the container ended?`);
  }

  /** What is attached in the namespace of that place; also when it has just gone. */
  at(wanted: ContainerPlace): readonly TaskId[] {
    const { namespaces, registry } = this.#options;
    const identity = namespaces.identify(pathOf(wanted));
    return [...this.#guests.values()].flatMap((guest) => {
      const task = registry.task(guest.id);
      const named = wanted.Netns === undefined ? task?.pid === wanted.PID : task?.netns === wanted.Netns;
      return named || (identity !== undefined && guest.identity === identity) ? [guest.id] : [];
    });
  }

  /** The task's record has gone, because its service was removed, say: its links go too. `why` is what the log says. */
  removed(id: TaskId, why = 'container is detached: its task was removed'): void {
    const guest = this.#guests.get(id);
    if (guest === undefined || guest.ending !== undefined) return;
    void this.#end(guest, why).catch((error: unknown) =>
      this.#options.log.error('container was not detached', { task: id, error }),
    );
  }

  /** Whoever runs the container says that it has ended. Nothing happens when it is not attached. */
  async ended(id: TaskId): Promise<void> {
    const guest = this.#guests.get(id);
    if (guest !== undefined) await this.#end(guest, 'container has ended');
  }

  /** After a start: gives a container that has its links from a former agent its resolver again. Never rejects. */
  async resume(task: Task): Promise<void> {
    try {
      await this.#options.containers.attach(task);
    } catch (error) {
      this.#options.log.error('container cannot be taken up again', { ...this.#names(task.id), error });
    }
  }

  /**
   * Then takes up what the former agent has left on record. Containers that are gone, or that were not attached to the end, are
   * removed.
   */
  async recover(tasks: readonly Task[]): Promise<void> {
    for (const task of tasks) {
      if (task.source !== 'attached' || this.#guests.has(task.id)) continue;
      const process = task.pid === undefined ? undefined : this.#options.processes.find(task.pid);
      const identity = this.#options.namespaces.identify(task.netns ?? namespaceOf(task.pid ?? 0));
      const guest = this.#newGuest(task.id, { identity: identity ?? '', process });
      const isSame = process === undefined || process.startedAt <= task.createdAt + CLOCK_TOLERANCE_MS;
      const isThere = identity !== undefined && isSame && this.#isThere(guest, task);
      if (isThere && task.state !== 'starting' && this.#options.containers.has(task.id)) {
        this.#watch(guest);
        this.#options.log.info('container is taken up again', { ...this.#names(task.id), ...place(task) });
      } else await this.#end(guest, 'container has gone while no agent ran');
    }
  }

  /** Leaves the tasks as they are: the next agent takes them up. */
  close(): void {
    this.#closing = true;
    for (const { watch } of this.#guests.values()) watch?.cancel();
  }

  #find(wanted: ContainerPlace): Pick<Guest, 'identity' | 'process'> {
    const { processes, namespaces } = this.#options;
    const process = wanted.PID === undefined ? undefined : processes.find(wanted.PID);
    const identity = namespaces.identify(pathOf(wanted));
    if (identity === undefined || (wanted.PID !== undefined && process === undefined)) throw this.#gone(wanted);
    return { identity, process };
  }

  #newGuest(id: TaskId, found: Pick<Guest, 'identity' | 'process'>): Guest {
    const guest = { id, ...found, watch: undefined, detaching: undefined, ending: undefined };
    this.#guests.set(id, guest);
    return guest;
  }

  /** By what the user named: a process may outlive a path, and the other way round. */
  #isThere({ identity, process }: Guest, task: Task): boolean {
    const { processes, namespaces } = this.#options;
    if (task.netns !== undefined) return namespaces.identify(task.netns) === identity;
    return process !== undefined && isAlive(processes, process);
  }

  #watch(guest: Guest): void {
    const { clock, registry, log } = this.#options;
    if (this.#closing) return;
    guest.watch = clock.schedule(WATCH_INTERVAL_MS, () => {
      const task = registry.task(guest.id);
      if (guest.ending !== undefined) return;
      if (task !== undefined && this.#isThere(guest, task)) this.#watch(guest);
      else {
        this.#end(guest, 'container has ended').catch((error: unknown) =>
          log.error('task was not removed; trying again', { ...this.#names(guest.id), error }),
        );
      }
    });
  }

  /** Nothing new for a task, which stays. Resolves when nothing is open to it any more, or its drain time is over, or it has ended. */
  drained(id: TaskId, hasEnded: () => boolean): Promise<void> {
    return drain(this.#options, id, hasEnded);
  }

  async #detach(guest: Guest): Promise<void> {
    await drain(this.#options, guest.id, () => guest.ending !== undefined);
    const connectionsLeft = this.#options.activeConnections(guest.id);
    await this.#end(guest, 'container is detached', { connectionsLeft });
  }

  #end(guest: Guest, message: string, fields: Readonly<Record<string, unknown>> = {}): Promise<void> {
    guest.ending ??= this.#remove(guest, message, fields).catch((error: unknown) => {
      guest.ending = undefined;
      // What is left of it goes with the container, at the latest.
      this.#watch(guest);
      throw error;
    });
    return guest.ending;
  }

  /** The endpoint goes before its address does, so that nobody is sent to an address that may belong to the next task. */
  async #remove(guest: Guest, message: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    const { registry, containers, log, applied } = this.#options;
    guest.watch?.cancel();
    const names = this.#names(guest.id);
    await registry.remove(guest.id);
    await applied();
    await containers.detach(guest.id);
    this.#guests.delete(guest.id);
    log.info(message, { ...names, ...fields });
  }

  #warnings(task: Task, { Publish }: AttachRequest): readonly string[] {
    const service = this.#options.registry.service(task.serviceId);
    const resolvConf = task.pid === undefined ? undefined : this.#options.resolvConfOf(task.pid);
    const warnings = [...publishNotes(service, task, Publish !== undefined)];
    if (service !== undefined && cannotRunCheck(service, task)) {
      warnings.push(
        `the check of service ${service.spec.name} is a command, which the agent cannot run in a container that it did not start; this task is checked by tcp instead`,
      );
    }
    if (resolvConf !== undefined && !asksResolver(resolvConf)) {
      warnings.push(
        "the container's /etc/resolv.conf does not name 127.0.0.11, so its programs do not ask there, where names of the mesh are known; start it with that as its DNS server (docker run --dns 127.0.0.11)",
      );
    }
    return warnings;
  }

  #names(id: TaskId): { readonly task: string; readonly service: string } {
    const task = this.#options.registry.task(id);
    const service = task && this.#options.registry.service(task.serviceId);
    return { task: task?.name ?? id, service: service?.spec.name ?? '' };
  }
}

function pathOf({ PID, Netns }: ContainerPlace): string {
  return Netns ?? namespaceOf(PID ?? 0);
}

function place({ pid, netns }: Task): { readonly pid?: number; readonly netns?: string } {
  return { ...(pid === undefined ? {} : { pid }), ...(netns === undefined ? {} : { netns }) };
}
