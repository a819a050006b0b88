// Tasks that `vipmesh run` runs, from the agent's side. The command is a child of `vipmesh run`, not of the agent, so that an
// agent may stop, crash and be replaced while its tasks go on. A task lives as long as its command does: known from the client
// while it is connected, from /proc while it is not.
import type { ProbeResult } from '../health/check.ts';
import type { Network, NetworkId } from '../model/network.ts';
import { declaredTargets, type Probe, type Service, type ServiceId } from '../model/service.ts';
import { servedPort, type Task, type TaskId, type TaskState } from '../model/task.ts';
import type { Clock, Scheduled } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { containerHostname, containerHosts, containerResolvConf } from './container-files.ts';
import { drain } from './drain.ts';
import { EventQueue } from './event-queue.ts';
import { isAlive, type ProcessIdentity, type ProcessTable } from './process-table.ts';
import type { PreparedEvent, ProbeOutcome, RunTaskRequest, TaskEvent } from './protocol.ts';
import { publishNotes } from './publish-note.ts';
import { TaskError } from './task-error.ts';

/** The record of tasks: reads from the catalog, writes to the store. */
export interface TaskRegistry {
  /** A new task of the service with its addresses, in state `starting`. Rejects with an error for the user. */
  add(request: RunTaskRequest): Promise<Task>;
  task(id: TaskId): Task | undefined;
  service(id: ServiceId): Service | undefined;
  network(id: NetworkId): Network | undefined;
  setState(id: TaskId, state: TaskState, pid?: number): Promise<void>;
  /** Nothing happens when there is none. */
  remove(id: TaskId): Promise<void>;
}

export interface ProcessTasksOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly registry: TaskRegistry;
  readonly containers: {
    /**
     * The task's place on its overlay networks: the path of its network namespace, made now or found as it was left; null for a
     * task that has none.
     */
    attach(task: Task): Promise<string | null>;
    /** Nothing happens when there is none. */
    detach(id: TaskId): Promise<void>;
  };
  readonly processes: ProcessTable;
  /** Connections and flows that this node has open to the task. */
  readonly activeConnections: (id: TaskId) => number;
  /** Resolves when everything that was committed before is in effect in every worker. */
  readonly applied: () => Promise<void>;
  /** The node's /etc/resolv.conf; empty when there is none. */
  readonly nodeResolvConf: () => string;
}

/** One client's hold of a task. */
export interface TaskSession {
  readonly taskId: TaskId;
  /** `prepared` first. Ends when the task is gone, when another client has taken it over, or the agent stops. */
  readonly events: AsyncIterable<TaskEvent>;
  /** The client is gone. Idempotent; also called after a regular end. */
  abandon(): void;
}

interface Run {
  readonly id: TaskId;
  /** Undefined: no client is connected. */
  session: EventQueue<TaskEvent> | undefined;
  command: ProcessIdentity | undefined;
  /** While nobody is connected: looks whether the command still lives. */
  watch: Scheduled | undefined;
  readonly probes: Map<number, (outcome: ProbeOutcome) => void>;
  leaving: Promise<void> | undefined;
  ending: Promise<void> | undefined;
}

/** How often an unattended command is looked for. */
const WATCH_INTERVAL_MS = 500;
/** After a start of the agent: clients try every 2 s at least, and their tasks may not yet have told their command's id. */
const RECONNECT_GRACE_MS = 5000;
/** The record was written after its command had started; a process that started later has only got the same id. */
const CLOCK_TOLERANCE_MS = 2000;

export class ProcessTasks {
  readonly #options: ProcessTasksOptions;
  readonly #runs = new Map<TaskId, Run>();
  #closing = false;
  #probeNumber = 0;

  constructor(options: ProcessTasksOptions) {
    this.#options = options;
  }

  /**
   * A new task, or (`Resume`) one whose client comes back; the same address and namespace either way. Not eligible before
   * `running`. Rejects with TaskError, or as the registry and the containers do, and then has left nothing behind.
   */
  async start(request: RunTaskRequest): Promise<TaskSession> {
    if (this.#closing) throw new TaskError('UNAVAILABLE', 'the agent is stopping and starts no task');
    const task = request.Resume === undefined ? await this.#create(request) : this.#known(request.Resume.TaskID);
    const run = this.#runs.get(task.id) ?? this.#newRun(task.id);
    const namespace = await this.#attach(run, task, request.Resume === undefined);
    if (this.#runs.get(task.id) !== run) throw unknownTask(task.id);
    run.watch?.cancel();
    run.session?.end();
    const session = new EventQueue<TaskEvent>();
    run.session = session;
    session.push(this.#prepared(request, task, namespace));
    const pid = request.Resume?.PID;
    if (pid !== undefined) await this.#resumed(run, pid);
    return { taskId: task.id, events: session, abandon: () => this.#abandoned(run, session) };
  }

  /** The command runs; from now on the task may be eligible. */
  async running(id: TaskId, pid: number): Promise<void> {
    const run = this.#run(id);
    run.command = this.#options.processes.find(pid);
    await this.#options.registry.setState(id, 'running', pid);
    this.#options.log.info('task runs', { ...this.#names(id), pid });
  }

  /**
   * Takes the task out of balancing and DNS; resolves when it has no connection left or its service's drain time is over.
   * Calling it again waits for the same end.
   */
  leave(id: TaskId): Promise<void> {
    const run = this.#run(id);
    run.leaving ??= this.#leave(run);
    return run.leaving;
  }

  /** The command has ended: the task is removed. */
  async exited(id: TaskId, how: { readonly exitCode: number | null; readonly signal: string | null }): Promise<void> {
    await this.#end(this.#run(id), 'task has ended', { ...how });
  }

  /** Runs a check's command inside the task. Resolves when the signal is aborted, at the latest. */
  probe(
    id: TaskId,
    check: Extract<Probe, { kind: 'exec' }>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<ProbeResult> {
    const run = this.#runs.get(id);
    if (run?.session === undefined) {
      return Promise.resolve({ ok: false, reason: 'the vipmesh run that could run the command is not connected' });
    }
    const { session, probes } = run;
    const number = ++this.#probeNumber;
    return new Promise((resolve) => {
      const finish = (result: ProbeResult) => {
        probes.delete(number);
        signal.removeEventListener('abort', giveUp);
        resolve(result);
      };
      const giveUp = () => finish({ ok: false, reason: 'the command did not end in time' });
      signal.addEventListener('abort', giveUp, { once: true });
      probes.set(number, (outcome) => finish(judge(outcome)));
      session.push({
        Event: 'probe',
        Number: number,
        Command: [...check.command],
        Shell: check.shell,
        TimeoutMs: timeoutMs,
      });
    });
  }

  /** The result of a probe. One that nobody waits for any more is dropped. */
  async probed(id: TaskId, number: number, outcome: ProbeOutcome): Promise<void> {
    this.#run(id).probes.get(number)?.(outcome);
  }

  /** Asks the client to end a task, because its record is gone or for another reason that the user is to see. */
  stop(id: TaskId, reason: string): void {
    const run = this.#runs.get(id);
    if (run === undefined || run.ending !== undefined) return;
    if (run.session !== undefined) run.session.push({ Event: 'stop', Reason: reason });
    else this.#options.log.warn('task cannot be stopped: its vipmesh run is gone', { ...this.#names(id), reason });
  }

  has(id: TaskId): boolean {
    return this.#runs.has(id);
  }

  /**
   * Takes up what a former agent on this node has left on record. Tasks whose command lives stay, with or without a client;
   * those whose command is gone are removed now, and those that never told it when no client comes for them.
   */
  async recover(tasks: readonly Task[]): Promise<void> {
    for (const task of tasks) {
      if (task.source !== 'process' || this.#runs.has(task.id)) continue;
      const run = this.#newRun(task.id);
      run.command = this.#recordedCommand(task);
      if (run.command !== undefined) this.#watch(run);
      else if (task.pid !== undefined) await this.#end(run, 'task ended while no agent ran');
      else
        run.watch = this.#options.clock.schedule(
          RECONNECT_GRACE_MS,
          () => void this.#endUnattended(run, 'no client came for it'),
        );
    }
  }

  /** Ends every session and leaves the tasks as they are: their commands go on, and the next agent takes them up. */
  close(): void {
    this.#closing = true;
    for (const run of this.#runs.values()) {
      run.watch?.cancel();
      run.session?.end();
    }
  }

  async #create(request: RunTaskRequest): Promise<Task> {
    const task = await this.#options.registry.add(request);
    this.#newRun(task.id);
    return task;
  }

  #known(id: string): Task {
    const task = this.#options.registry.task(id as TaskId);
    if (task?.source === 'process') return task;
    throw unknownTask(id);
  }

  #newRun(id: TaskId): Run {
    const run: Run = {
      id,
      session: undefined,
      command: undefined,
      watch: undefined,
      probes: new Map(),
      leaving: undefined,
      ending: undefined,
    };
    this.#runs.set(id, run);
    return run;
  }

  async #attach(run: Run, task: Task, isNew: boolean): Promise<string | null> {
    try {
      return await this.#options.containers.attach(task);
    } catch (error) {
      if (isNew) await this.#end(run, 'task was not started', { error });
      throw error;
    }
  }

  async #resumed(run: Run, pid: number): Promise<void> {
    run.command = this.#options.processes.find(pid);
    const task = this.#known(run.id);
    if (task.state === 'starting' || task.pid !== pid) await this.#options.registry.setState(run.id, 'running', pid);
    this.#options.log.info('task is taken up again', { ...this.#names(run.id), pid });
  }

  #prepared({ Publish, Resume }: RunTaskRequest, task: Task, namespace: string | null): PreparedEvent {
    const { registry, nodeResolvConf } = this.#options;
    const service = registry.service(task.serviceId);
    const name = service?.spec.name ?? '';
    const port = service && taskPort(service, task);
    const address = task.attachments[0]?.address;
    const notes = publishNotes(service, task, Publish !== undefined && Resume === undefined);
    const prepared: PreparedEvent = {
      Event: 'prepared',
      TaskID: task.id,
      Name: task.name,
      Service: name,
      Addresses: task.attachments.map((place) => ({
        Network: registry.network(place.networkId)?.spec.name ?? place.networkId,
        Address: place.address,
      })),
      Env: {
        VIPMESH_SERVICE: name,
        VIPMESH_TASK: task.name,
        ...(address === undefined ? {} : { VIPMESH_ADDR: address }),
        ...(port === undefined ? {} : { PORT: String(port) }),
        ...eachPort(service, task),
      },
      ...(notes.length === 0 ? {} : { Notes: [...notes] }),
    };
    if (namespace === null) return prepared;
    const files = { '/etc/resolv.conf': containerResolvConf(nodeResolvConf()), '/etc/hosts': containerHosts(task) };
    return { ...prepared, Namespace: namespace, Files: files, Hostname: containerHostname(task) };
  }

  async #leave(run: Run): Promise<void> {
    const { registry, activeConnections, log } = this.#options;
    if (registry.task(run.id) === undefined) return;
    await drain(this.#options, run.id, () => run.ending !== undefined);
    log.info('task has left', { ...this.#names(run.id), connectionsLeft: activeConnections(run.id) });
  }

  /** A client that has just ended its session says nothing; only the one that is connected now counts. */
  #abandoned(run: Run, session: EventQueue<TaskEvent>): void {
    session.end();
    if (run.session !== session || this.#closing || run.ending !== undefined) return;
    run.session = undefined;
    for (const answer of [...run.probes.values()])
      answer({ exitCode: 1, output: 'the vipmesh run that ran the command is gone' });
    if (run.command === undefined || !isAlive(this.#options.processes, run.command)) {
      void this.#endUnattended(run, 'its vipmesh run is gone');
      return;
    }
    this.#options.log.warn('vipmesh run is gone, its command goes on', {
      ...this.#names(run.id),
      pid: run.command.pid,
    });
    this.#watch(run);
  }

  #watch(run: Run): void {
    run.watch = this.#options.clock.schedule(WATCH_INTERVAL_MS, () => {
      if (run.command !== undefined && isAlive(this.#options.processes, run.command)) this.#watch(run);
      else void this.#endUnattended(run, 'its command has ended');
    });
  }

  /** The process that the record means; undefined when it is gone, or another one has its id now. */
  #recordedCommand(task: Task): ProcessIdentity | undefined {
    const found = task.pid === undefined ? undefined : this.#options.processes.find(task.pid);
    return found !== undefined && found.startedAt <= task.updatedAt + CLOCK_TOLERANCE_MS ? found : undefined;
  }

  /** When the record cannot be removed now, it is tried again for as long as nobody is connected. */
  async #endUnattended(run: Run, reason: string): Promise<void> {
    try {
      await this.#end(run, 'task has ended', { reason });
    } catch (error) {
      this.#options.log.error('task was not removed; trying again', { ...this.#names(run.id), error });
      run.ending = undefined;
      if (!this.#closing) this.#watch(run);
    }
  }

  #end(run: Run, message: string, fields: Readonly<Record<string, unknown>> = {}): Promise<void> {
    run.ending ??= this.#remove(run, message, fields).catch((error: unknown) => {
      run.ending = undefined;
      throw error;
    });
    return run.ending;
  }

  /** The endpoint goes before its address does, so that nobody is sent to an address that may belong to the next task. */
  async #remove(run: Run, message: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    const { registry, containers, log } = this.#options;
    run.watch?.cancel();
    const names = this.#names(run.id);
    await registry.remove(run.id);
    await containers.detach(run.id);
    this.#runs.delete(run.id);
    run.session?.end();
    log.info(message, { ...names, ...fields });
  }

  #run(id: TaskId): Run {
    const run = this.#runs.get(id);
    if (run === undefined) throw new TaskError('NOT_FOUND', `no command runs here as task ${id}`);
    return run;
  }

  #names(id: TaskId): { readonly task: string; readonly service: string } {
    const task = this.#options.registry.task(id);
    const service = task && this.#options.registry.service(task.serviceId);
    return { task: task?.name ?? id, service: service?.spec.name ?? '' };
  }
}

/** `PORT_80` and so on, for services with several target ports. */
function eachPort(service: Service | undefined, task: Task): Record<string, string> {
  const targets = service === undefined ? [] : declaredTargets(service.spec);
  return Object.fromEntries(targets.map(({ port }) => [`PORT_${port}`, String(servedPort(task, port))]));
}

/** The port that the command should listen on: the first declared one, as it is served by this task, or the task's own. */
function taskPort(service: Service, task: Task): number | undefined {
  const [first] = declaredTargets(service.spec);
  return first === undefined ? task.ownPort : servedPort(task, first.port);
}

function unknownTask(id: string): TaskError {
  return new TaskError(
    'NOT_FOUND',
    `task ${id} is not known here any more; its service was removed, or this agent's state is another`,
  );
}

function judge({ exitCode, output }: ProbeOutcome): ProbeResult {
  if (exitCode === 0) return { ok: true };
  const said = output.trim().split('\n').at(-1) ?? '';
  return { ok: false, reason: `the command exited with ${exitCode}${said === '' ? '' : `: ${said.slice(0, 200)}`}` };
}
