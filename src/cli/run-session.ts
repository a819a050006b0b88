// The life of one task, from the side of `vipmesh run`: prepared by the agent, run here, left and drained, stopped, reported. The
// agent may go away at any time; the command does not notice.
import { constants } from 'node:os';
import type { ApiClient } from '../api/client.ts';
import type { RunTaskRequest } from '../api/requests.ts';
import type { TaskEvent } from '../api/schema.ts';
import { type Clock, type Scheduled, sleep } from '../runtime/clock.ts';

export type PreparedEvent = Extract<TaskEvent, { Event: 'prepared' }>;
type ProbeEvent = Extract<TaskEvent, { Event: 'probe' }>;
type Environment = Readonly<Record<string, string | undefined>>;

export interface StartedCommand {
  readonly pid: number;
  readonly ended: Promise<{ readonly exitCode: number | null; readonly signal: NodeJS.Signals | null }>;
  signal(signal: NodeJS.Signals): void;
  /** Ends it at once, and everything of its session. */
  destroy(): void;
}

/** How commands are run on this machine. */
export interface CommandRunner {
  /** From now on, what is started lives in the container. */
  enter(container: { netns: string; files: Readonly<Record<string, string>>; hostname?: string }): void;
  /** Rejects with an error whose `code` is COMMAND_NOT_FOUND or COMMAND_NOT_EXECUTABLE, and a sentence for the user. */
  start(
    command: readonly string[],
    options: { env: Environment; ownSession: boolean; stdin: 'inherit' | 'ignore' },
  ): Promise<StartedCommand>;
  probe(
    command: readonly string[],
    shell: boolean,
    timeoutMs: number,
    env: Environment,
  ): Promise<{ readonly exitCode: number; readonly output: string }>;
  /** Where this process stands with its terminal; ctrl-C reaches a command in the foreground directly. */
  terminal(): 'foreground' | 'background' | 'none';
}

/** `process` is one. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
  off(signal: NodeJS.Signals, listener: (signal: NodeJS.Signals) => void): unknown;
}

export interface RunWorld {
  readonly client: ApiClient;
  readonly runner: CommandRunner;
  readonly signals: SignalSource;
  readonly clock: Clock;
  readonly env: Environment;
  /** For the user, on standard error: one line without its newline. */
  readonly say: (line: string) => void;
}

/** As long as Docker gives a container between SIGTERM and SIGKILL. */
const STOP_GRACE_MS = 10_000;
/** The first attempt comes soon, because an agent that is replaced is back within a second. */
const RECONNECT_FIRST_MS = 50;
const RECONNECT_MOST_MS = 2000;
/** The command has ended and the user waits; a task that was not reported is found by the agent in /proc. */
const REPORT_TIMEOUT_MS = 2000;

const STOPPING: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];
const FORWARDED: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'];
/** These a terminal itself sends to everything in its foreground. */
const FROM_TERMINAL: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGWINCH'];
/** As shells number them: 128 and the signal (POSIX, 2.8.2 Exit Status for Commands). */
const SIGNAL_BASE = 128;
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

/** Runs a command as a task; resolves with the exit code that `vipmesh run` ends with. Rejects when it could not begin. */
export async function runTask(world: RunWorld, request: RunTaskRequest, command: readonly string[]): Promise<number> {
  const session = await world.client.runTask(request);
  const events = session.events[Symbol.asyncIterator]();
  const first = await events.next();
  if (first.done === true || first.value.Event !== 'prepared') {
    session.close();
    throw new Error(`the agent ended before the task of ${request.Service} was ready; its log says why`);
  }
  for (const note of first.value.Notes ?? []) world.say(`vipmesh run: ${note}`);
  return new RunSession(world, request, first.value).run(command, { events, close: session.close });
}

interface Connection {
  readonly events: AsyncIterator<TaskEvent>;
  close(): void;
}

class RunSession {
  readonly #world: RunWorld;
  readonly #request: RunTaskRequest;
  readonly #prepared: PreparedEvent;
  readonly #env: Environment;
  readonly #place: 'foreground' | 'background' | 'none';
  readonly #finished = new AbortController();
  /** Signals that came before there was a command. */
  readonly #early: NodeJS.Signals[] = [];
  #command: StartedCommand | undefined;
  #connection: Connection | undefined;
  #draining = false;
  #stopping = false;
  #kill: Scheduled | undefined;

  constructor(world: RunWorld, request: RunTaskRequest, prepared: PreparedEvent) {
    this.#world = world;
    this.#request = request;
    this.#prepared = prepared;
    this.#env = { ...world.env, ...prepared.Env };
    this.#place = world.runner.terminal();
  }

  async run(command: readonly string[], connection: Connection): Promise<number> {
    const { signals } = this.#world;
    const handled = [...STOPPING, ...FORWARDED];
    for (const signal of handled) signals.on(signal, this.#onSignal);
    this.#connection = connection;
    try {
      return await this.#runCommand(command);
    } finally {
      for (const signal of handled) signals.off(signal, this.#onSignal);
      this.#finished.abort();
      this.#kill?.cancel();
      this.#connection?.close();
    }
  }

  async #runCommand(words: readonly string[]): Promise<number> {
    let command: StartedCommand;
    try {
      this.#enter();
      command = await this.#world.runner.start(words, {
        env: this.#env,
        ownSession: this.#place !== 'foreground',
        stdin: this.#place === 'background' ? 'ignore' : 'inherit',
      });
    } catch (error) {
      const exitCode = startFailure(error);
      await this.#report({ ExitCode: exitCode, Signal: null });
      if (exitCode === undefined) throw error;
      this.#world.say(`vipmesh run: ${errorText(error)}`);
      return exitCode;
    }
    this.#command = command;
    void this.#followEvents();
    await this.#tellRunning(command.pid);
    for (const signal of this.#early.splice(0)) this.#onSignal(signal);
    const { exitCode, signal } = await command.ended;
    this.#finished.abort();
    await this.#report({ ExitCode: exitCode, Signal: signal });
    return exitCode ?? SIGNAL_BASE + signalNumber(signal);
  }

  #enter(): void {
    const { Namespace, Files, Hostname } = this.#prepared;
    if (Namespace === undefined) return;
    const hostname = Hostname === undefined ? {} : { hostname: Hostname };
    this.#world.runner.enter({ netns: Namespace, files: Files ?? {}, ...hostname });
  }

  /** Not heard: the agent is gone again, and hears it when the connection is taken up. */
  async #tellRunning(pid: number): Promise<void> {
    try {
      await this.#post('running', { PID: pid });
    } catch (error) {
      if (isUnknown(error)) this.#stop('SIGTERM', errorText(error));
    }
  }

  async #followEvents(): Promise<void> {
    let delay = RECONNECT_FIRST_MS;
    while (!this.#finished.signal.aborted && this.#connection !== undefined) {
      const begun = this.#world.clock.now();
      try {
        for (;;) {
          const event = await this.#connection.events.next();
          if (event.done === true) break;
          this.#onEvent(event.value);
        }
      } catch (error) {
        // A connection that is cut says only what follows: the agent is gone.
        if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') this.#world.say(`vipmesh run: ${errorText(error)}`);
      }
      this.#connection.close();
      // An agent that takes a connection and ends it at once is not asked without pause.
      const brief = this.#world.clock.now() - begun < RECONNECT_MOST_MS;
      delay = brief ? Math.min(delay * 2, RECONNECT_MOST_MS) : RECONNECT_FIRST_MS;
      this.#connection = await this.#reconnect(delay);
    }
    // What came while the last connection was made is nobody's any more.
    this.#connection?.close();
  }

  /** Tries until the agent is back. Undefined: there is no task any more. */
  async #reconnect(firstDelay: number): Promise<Connection | undefined> {
    const { clock, say, client } = this.#world;
    const { signal } = this.#finished;
    const { TaskID, Name } = this.#prepared;
    let told = false;
    for (let delay = firstDelay; ; delay = Math.min(delay * 2, RECONNECT_MOST_MS)) {
      await sleep(clock, delay, signal);
      if (signal.aborted) return undefined;
      try {
        const Resume = { TaskID, ...(this.#command === undefined ? {} : { PID: this.#command.pid }) };
        const { events, close } = await client.runTask({ ...this.#request, Resume });
        if (told) say(`vipmesh run: the agent is back; ${Name} goes on as before`);
        return { events: events[Symbol.asyncIterator](), close };
      } catch (error) {
        if (isUnknown(error)) {
          this.#stop('SIGTERM', errorText(error));
          return undefined;
        }
        if (!told)
          say(
            `vipmesh run: the agent is gone (${errorText(error)}); ${Name} goes on, and is taken up again when it is back`,
          );
        told = true;
      }
    }
  }

  #onEvent(event: TaskEvent): void {
    switch (event.Event) {
      case 'prepared':
        return;
      case 'probe':
        void this.#probe(event);
        return;
      case 'stop':
        this.#stop('SIGTERM', event.Reason);
    }
  }

  async #probe({ Command, Shell, TimeoutMs, Number: number }: ProbeEvent): Promise<void> {
    const { exitCode, output } = await this.#world.runner.probe(Command, Shell, TimeoutMs, this.#env);
    try {
      await this.#post(`probes/${number}`, { ExitCode: exitCode, Output: output });
    } catch {
      // An agent that is not there any more does not miss the result; the next one asks anew.
    }
  }

  readonly #onSignal = (signal: NodeJS.Signals): void => {
    if (this.#place === 'foreground' && FROM_TERMINAL.includes(signal)) return;
    if (this.#command === undefined) this.#early.push(signal);
    else if (STOPPING.includes(signal)) void this.#drainAndStop(signal);
    else this.#command.signal(signal);
  };

  /** The endpoint leaves and its connections end, then the command gets the signal. Asked twice, the wait is over. */
  async #drainAndStop(signal: NodeJS.Signals): Promise<void> {
    if (!this.#draining && !this.#stopping) {
      this.#draining = true;
      try {
        await this.#post('leave');
      } catch {
        // Without an agent there is nobody who would send connections elsewhere.
      }
      if (this.#stopping) return;
    }
    this.#stop(signal);
  }

  #stop(signal: NodeJS.Signals, reason?: string): void {
    if (this.#finished.signal.aborted) return;
    if (reason !== undefined) this.#world.say(`vipmesh run: stopping ${this.#prepared.Name}: ${reason}`);
    this.#stopping = true;
    this.#command?.signal(signal);
    this.#kill ??= this.#world.clock.schedule(STOP_GRACE_MS, () => this.#command?.destroy());
  }

  async #report(how: { ExitCode: number | null | undefined; Signal: NodeJS.Signals | null }): Promise<void> {
    const enough = new AbortController();
    const told = this.#post('exited', { ExitCode: how.ExitCode ?? null, Signal: how.Signal })
      .catch(() => {})
      .finally(() => enough.abort());
    await Promise.race([told, sleep(this.#world.clock, REPORT_TIMEOUT_MS, enough.signal)]);
  }

  #post(what: string, body?: object): Promise<unknown> {
    return this.#world.client.post(`/vipmesh/tasks/${encodeURIComponent(this.#prepared.TaskID)}/${what}`, body);
  }
}

/** The exit code of a command that could not be started; undefined: something else went wrong. */
function startFailure(error: unknown): number | undefined {
  if (codeOf(error) === 'COMMAND_NOT_FOUND') return NOT_FOUND;
  return codeOf(error) === 'COMMAND_NOT_EXECUTABLE' ? NOT_EXECUTABLE : undefined;
}

function isUnknown(error: unknown): boolean {
  return codeOf(error) === 'NOT_FOUND';
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function signalNumber(signal: NodeJS.Signals | null): number {
  return signal === null ? 0 : constants.signals[signal];
}
