// Containers of the node's Docker Engine become tasks. What the engine tells is only taken as a sign that something is different:
// the container is then looked at, and its task made to agree. So no order of events, and no event that was missed, leaves a
// task twice or one without its container.
import type { IpAddress } from '../../model/address.ts';
import { declaredTargets, type Service } from '../../model/service.ts';
import {
  type EngineContainer,
  type Health,
  isCheckedByEngine,
  type Task,
  type TaskId,
  type TaskState,
} from '../../model/task.ts';
import { type Clock, type Scheduled, sleep } from '../../runtime/clock.ts';
import type { Log } from '../../runtime/log.ts';
import type { AttachRequest, RunTaskRequest } from '../protocol.ts';
import {
  bridgeAddress,
  type ContainerDetails,
  containerName,
  dockerHealth,
  type DockerPlace,
  dockerPlaces,
  isStopSignal,
  SIGKILL,
} from './container-details.ts';
import type { Engine, EngineEvent } from './engine.ts';
import { type DockerSelection, type WantedTask, wantedTask } from './wanted-task.ts';

export interface DockerTasksOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly engine: Engine;
  readonly selections: ReadonlySet<DockerSelection>;
  readonly registry: {
    /** The tasks of this node that are containers of an engine. */
    tasks(): readonly Task[];
    service(task: Task): Service | undefined;
    /** Makes it, and its networks, when it is not there. Rejects with an error for the user. */
    ensureService(wanted: WantedTask): Promise<Service>;
    /** A task of a container that is not entered, at this address. */
    addBridged(request: RunTaskRequest, address: IpAddress, container: EngineContainer): Promise<Task>;
    remove(id: TaskId): Promise<void>;
    /** Removes services that were made for containers, but for those that are named and those that have tasks. */
    removeUnused(except: ReadonlySet<string>): Promise<void>;
    /** Nobody else is called that whom a task of the service would hide, or be hidden by. */
    isFree(name: string, service: Service): boolean;
    setState(id: TaskId, state: TaskState): Promise<void>;
    setHealth(id: TaskId, health: Health): Promise<void>;
    setNames(id: TaskId, names: { readonly name: string; readonly aliases: readonly string[] }): Promise<void>;
  };
  readonly names: {
    /** All that a container is called on networks of Docker's; none: it does not run. */
    set(container: string, places: readonly DockerPlace[]): void;
    /** Of these networks of Docker's, in this order, the agent tells the task's programs too. */
    sees(task: TaskId, networks: readonly string[]): void;
    /** The task's programs ask the agent from now on, and not Docker. */
    answer(task: TaskId): Promise<void>;
  };
  /** The agent may not do that here, or cannot, and not only this time. */
  readonly cannotEnter: (error: unknown) => boolean;
  readonly attached: {
    attach(request: AttachRequest): Promise<{ readonly task: Task; readonly warnings: readonly string[] }>;
    ended(id: TaskId): Promise<void>;
    /** Resolves when nothing is open to it any more, or its drain time is over, or `hasEnded`. */
    drained(id: TaskId, hasEnded: () => boolean): Promise<void>;
  };
}

/** How long after it has gone away, or has failed, an engine is asked again. */
const RETRY_MS = 1000;
/** How long after it could not be made a task a container is tried again; each time for the same reason twice as long, up to this. */
const TRY_AGAIN_MS = 5000;
const TRY_AGAIN_AT_MOST_MS = 60_000;
/** `docker stop` waits this long when the container does not say otherwise. */
const STOP_TIMEOUT_S = 10;
/** After that it is either gone or had only been asked to. */
const STOP_MARGIN_MS = 5000;

/** `docker compose up` removes a container before it makes it anew; what is kept meanwhile keeps its addresses. */
const KEPT_MS = 5000;

export class DockerTasks {
  readonly #options: DockerTasksOptions;
  readonly #stopping = new AbortController();
  /** What was seen of each container that is, or should be, a task. */
  readonly #seen = new Map<string, ContainerDetails>();
  /** To be looked at, in this order. */
  readonly #changed = new Set<string>();
  readonly #timers = new Map<string, Scheduled>();
  /** The process of each container that was made a task: when the task is gone before it, somebody wanted that. */
  readonly #begun = new Map<string, number>();
  /** Whose each container is that there is, also those that do not run. */
  readonly #serviceOf = new Map<string, string>();
  /** Asked to stop: no new connection, whatever it says. */
  readonly #leaving = new Set<string>();
  /** Sentences, by container. */
  readonly #problems = new Map<string, string>();
  /** After which each of those is tried again. */
  readonly #delays = new Map<string, number>();
  #away: string | undefined;
  #tidying: Scheduled | undefined;
  #following: Promise<void> | undefined;
  #looking: Promise<void> | undefined;

  constructor(options: DockerTasksOptions) {
    this.#options = options;
  }

  /** What the user should know, as whole sentences. */
  get problems(): readonly string[] {
    return [...(this.#away === undefined ? [] : [this.#away]), ...this.#problems.values()];
  }

  /** Follows the engine from now on, whether or not it is there yet. */
  start(): void {
    this.#following ??= this.#follow();
  }

  /** Leaves the tasks as they are: the next agent takes them up. */
  async close(): Promise<void> {
    this.#stopping.abort();
    this.#options.engine.close();
    for (const timer of [...this.#timers.values(), this.#tidying]) timer?.cancel();
    this.#changed.clear();
    await this.#following;
    await this.#looking;
  }

  async #follow(): Promise<void> {
    const { clock, engine, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let listed: Promise<void> | undefined;
      try {
        await engine.follow(
          () => {
            // What happens while it is listed is heard of already.
            listed = this.#list();
            listed.catch(() => undefined);
          },
          (event) => this.#hear(event),
          signal,
        );
        await listed;
        if (!signal.aborted) this.#wentAway('the Docker Engine has ended; its containers are watched without it');
      } catch (error) {
        if (!signal.aborted) this.#wentAway(error instanceof Error ? error.message : String(error));
      }
      await sleep(clock, RETRY_MS, signal);
    }
    log.debug('the Docker Engine is followed no longer');
  }

  /** Said once, although it is tried again and again. */
  #wentAway(why: string): void {
    const isNew = this.#away === undefined;
    this.#away = why;
    if (!isNew) return;
    const { log, names, registry } = this.#options;
    log.warn('the Docker Engine does not answer', { why });
    // Its resolver does not either.
    for (const task of registry.tasks())
      names.answer(task.id).catch((error: unknown) => log.debug('container cannot ask the agent', { error }));
  }

  /** Everything that is there now, and everything that was there when it was last looked. */
  async #list(): Promise<void> {
    const { engine, log, registry } = this.#options;
    const ids = await engine.containers();
    const known = registry.tasks().flatMap(({ container }) => container?.id ?? []);
    // What others are called is known before those ask us who could ask Docker until now.
    const others = ids.filter((id) => !known.includes(id));
    for (const id of [...others, ...this.#seen.keys(), ...known]) this.#look(id);
    await this.#looking;
    this.#away = undefined;
    // Some may have been removed while nobody looked.
    this.#tidyLater();
    log.info('containers of the Docker Engine are followed', {
      containers: ids.length,
      tasks: registry.tasks().length,
    });
  }

  #hear({ container, action, signal }: EngineEvent): void {
    const details = this.#seen.get(container);
    if (action === 'kill' && details !== undefined && signal !== undefined && isStopSignal(details, signal)) {
      this.#leave(details, signal);
      return;
    }
    this.#look(container);
  }

  /** The signal is on its way: whatever is still to come goes to others. One that does not heed it is back after a while. */
  #leave(details: ContainerDetails, signal: number): void {
    const { Id } = details;
    const wanted = wantedTask(details, this.#options.selections);
    const endSignal = typeof wanted === 'object' && signal !== SIGKILL ? wanted.endSignal : undefined;
    const isLeaving = this.#leaving.has(Id);
    this.#leaving.add(Id);
    this.#look(Id);
    if (endSignal === undefined) this.#backLater(details);
    else if (!isLeaving) void this.#endWhenDrained(details, endSignal);
  }

  #backLater({ Id, Config }: ContainerDetails): void {
    this.#later(Id, (Config.StopTimeout ?? STOP_TIMEOUT_S) * 1000 + STOP_MARGIN_MS);
  }

  /** What `docker stop` sends it is a signal that it does not mind: it is told to end when nothing is open to it any more. */
  async #endWhenDrained(details: ContainerDetails, signal: number): Promise<void> {
    const { attached, engine, log, registry } = this.#options;
    const { Id } = details;
    const hasEnded = () => this.#stopping.signal.aborted || !this.#leaving.has(Id);
    try {
      const task = registry.tasks().find(({ container }) => container?.id === Id);
      if (task !== undefined) await attached.drained(task.id, hasEnded);
      if (!hasEnded()) await engine.kill(Id, signal);
    } catch (error) {
      log.warn('a container of the Docker Engine is not told to end', { container: containerName(details), error });
    }
    if (!hasEnded()) this.#backLater(details);
  }

  #later(id: string, delayMs: number): void {
    this.#timers.get(id)?.cancel();
    const timer = this.#options.clock.schedule(delayMs, () => {
      this.#timers.delete(id);
      this.#leaving.delete(id);
      this.#look(id);
    });
    this.#timers.set(id, timer);
  }

  /** One at a time: two containers may want the same service to be made. */
  #look(id: string): void {
    if (this.#stopping.signal.aborted) return;
    this.#changed.add(id);
    this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined;
    });
  }

  async #lookAtAll(): Promise<void> {
    // What is named again while it is looked at is looked at again.
    for (let [id] = this.#changed; id !== undefined; [id] = this.#changed) {
      this.#changed.delete(id);
      try {
        await this.#settle(id);
        this.#problems.delete(id);
        this.#delays.delete(id);
      } catch (error) {
        this.#failed(id, error);
      }
    }
  }

  async #settle(id: string): Promise<void> {
    const { engine, names, registry, selections } = this.#options;
    const details = await engine.inspect(id);
    names.set(id, details === undefined ? [] : dockerPlaces(details));
    const task = registry.tasks().find(({ container }) => container?.id === id);
    const wanted = details === undefined ? undefined : wantedTask(details, selections);
    this.#note(id, wanted);
    const runs = details !== undefined && details.State.Pid > 0 && details.State.Restarting !== true;
    if (!runs || wanted === undefined || typeof wanted === 'string') {
      for (const known of [this.#seen, this.#leaving, this.#begun]) known.delete(id);
      if (task !== undefined) await this.#end(task);
      if (runs && typeof wanted === 'string') throw new RangeError(`container ${containerName(details)} ${wanted}`);
      return;
    }
    const { Pid } = details.State;
    this.#seen.set(id, details);
    const begun = this.#begun.get(id);
    if (task !== undefined && isSame(task, details, begun)) {
      this.#begun.set(id, Pid);
      return this.#refresh(task, details, wanted);
    }
    // It was detached, or its service was removed.
    if (task === undefined && begun === Pid) return;
    // It has been started again: what it was before is gone.
    if (task !== undefined) await this.#end(task);
    this.#leaving.delete(id);
    await this.#attach(details, wanted);
    this.#begun.set(id, Pid);
  }

  /** A service that was made for containers goes some time after the last of them was removed. */
  #note(id: string, wanted: WantedTask | string | undefined): void {
    if (typeof wanted === 'object') this.#serviceOf.set(id, wanted.service);
    else if (this.#serviceOf.delete(id)) this.#tidyLater();
  }

  #tidyLater(): void {
    this.#tidying?.cancel();
    this.#tidying = this.#options.clock.schedule(KEPT_MS, () => void this.#tidy());
  }

  /** Nothing is removed while the engine is away: its containers may be there again when it is. */
  async #tidy(): Promise<void> {
    if (this.#away !== undefined || this.#stopping.signal.aborted) return;
    try {
      await this.#options.registry.removeUnused(new Set(this.#serviceOf.values()));
    } catch (error) {
      this.#options.log.warn('a service that was made for containers is kept', { error });
    }
  }

  async #attach(details: ContainerDetails, wanted: WantedTask): Promise<void> {
    const { attached, cannotEnter, engine, log, registry } = this.#options;
    const service = await registry.ensureService(wanted);
    const targets = declaredTargets(service.spec);
    const { port, networks, hostname, name, aliases, publish, weight } = wanted;
    const request = {
      Service: service.spec.name,
      Aliases: aliases.filter((alias) => registry.isFree(alias, service)),
      ...(registry.isFree(name, service) ? { Name: name } : {}),
      ...(hostname === undefined ? {} : { Hostname: hostname }),
      ...(networks === undefined ? {} : { Networks: networks }),
      ...(publish.length === 0 ? {} : { Publish: publish }),
      ...(weight === undefined ? {} : { Weight: weight }),
      ...(port === undefined || targets.some((target) => target.port === port) ? {} : { Port: port }),
    };
    const hasCheck = dockerHealth(details) !== undefined;
    const container = { ID: details.Id, HasCheck: hasCheck };
    let task: Task;
    try {
      const made = await attached.attach({ ...request, PID: details.State.Pid, Container: container });
      for (const warning of made.warnings) log.warn('container of the Docker Engine', { container: name, warning });
      task = made.task;
    } catch (error) {
      const address = bridgeAddress(details);
      if (address === undefined || !cannotEnter(error)) throw error;
      // One that has ended meanwhile, or runs again by now, is no such one.
      const now = await engine.inspect(details.Id);
      if (now?.State.Pid !== details.State.Pid) return this.#look(details.Id);
      task = await registry.addBridged(request, address, { id: details.Id, hasCheck });
      const why = error instanceof Error ? error.message : String(error);
      log.warn('container of the Docker Engine is served at its own address', { container: name, address, why });
    }
    await this.#refresh(task, details, wanted);
  }

  async #end(task: Task): Promise<void> {
    const { attached, registry } = this.#options;
    if (task.source === 'bridged') await registry.remove(task.id);
    else await attached.ended(task.id);
  }

  async #refresh(task: Task, details: ContainerDetails, { name, aliases }: WantedTask): Promise<void> {
    const { names, registry } = this.#options;
    const places = dockerPlaces(details);
    if (task.source !== 'bridged') {
      const networks = places.map(({ network }) => network);
      names.sees(task.id, networks);
      if (networks.length > 0) await names.answer(task.id);
    }
    const state = details.State.Paused || this.#leaving.has(details.Id) ? 'draining' : 'running';
    if (state === 'draining') await registry.setState(task.id, state);
    const service = registry.service(task);
    const health = dockerHealth(details);
    if (health !== undefined && service !== undefined && isCheckedByEngine(service, task))
      await registry.setHealth(task.id, health);
    if (state === 'running') await registry.setState(task.id, state);
    if (service === undefined) return;
    const isMine = (one: string) => task.name === one || task.attachments.some((place) => place.aliases.includes(one));
    const free = (one: string) => isMine(one) || registry.isFree(one, service);
    await registry.setNames(task.id, { name: free(name) ? name : task.name, aliases: aliases.filter(free) });
  }

  /** Said once; tried again as long as the container is there. */
  #failed(id: string, error: unknown): void {
    if (this.#stopping.signal.aborted) return;
    const why = error instanceof Error ? error.message : String(error);
    const isKnown = this.#problems.get(id) === why;
    const delay = isKnown ? Math.min(2 * (this.#delays.get(id) ?? 0), TRY_AGAIN_AT_MOST_MS) : TRY_AGAIN_MS;
    if (!isKnown)
      this.#options.log.warn('container of the Docker Engine is no task', { container: id.slice(0, 12), error });
    this.#problems.set(id, why);
    this.#delays.set(id, delay);
    this.#later(id, delay);
  }
}

/** What the task was made for still runs: the process, or, where none is known (`begun`), the address. */
function isSame(task: Task, details: ContainerDetails, begun: number | undefined): boolean {
  const { Pid } = details.State;
  if (task.source !== 'bridged') return task.pid === Pid;
  if (begun !== undefined && begun !== Pid) return false;
  return task.attachments.every(({ address }) => address === bridgeAddress(details));
}
