// The processes of the bench: each in a session of its own, observed through /proc, ended by its number whatever happens.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
const START_DEADLINE_MS = 15_000;
const STOP_DEADLINE_MS = 5_000;
const RETRY_MS = 20;

export class BenchError extends Error {
  override readonly name = 'BenchError';
}

/** What a process and its descendants have taken. */
export interface Usage {
  /** User and system time since they started. Resolution 10 ms. */
  cpuSeconds(): number;
  /** Resident memory. */
  rssBytes(): number;
}

/** Of a process that somebody else started, too. */
export function usageOf(pid: number): Usage {
  return {
    cpuSeconds: () => sum(treeOf(pid), ticksOf) / TICKS_PER_SECOND,
    rssBytes: () => sum(treeOf(pid), residentKilobytes) * 1024,
  };
}

/** Starts processes and knows all that run. */
export class Processes {
  readonly #directory: string;
  readonly #running = new Set<Running>();
  #started = 0;

  /** Output of what is started goes to files in `directory`. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** A session of its own is a scheduler autogroup of its own: in a shared one, whoever shares with the load generator starves. */
  start(name: string, command: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Running {
    const logFile = join(this.#directory, `${this.#started++}-${name}.log`);
    const log = openSync(logFile, 'w');
    const child = spawn(command, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...environment },
    });
    closeSync(log);
    const running = new Running(name, child, logFile);
    this.#running.add(running);
    child.on('exit', () => this.#running.delete(running));
    return running;
  }

  /** Runs to the end and returns what was printed. Throws BenchError when it fails. */
  async run(name: string, command: string, args: readonly string[]): Promise<string> {
    return this.start(name, command, args).done();
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.stop()));
  }

  /** For the last moment, when nothing can be awaited. */
  killAll(): void {
    for (const running of this.#running) running.kill();
  }
}

export class Running implements Usage {
  readonly name: string;
  /** Its exit code, or the name of the signal that ended it. */
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #words: string;

  constructor(name: string, child: ChildProcess, logFile: string) {
    this.name = name;
    this.#words = child.spawnargs.join(' ');
    this.#child = child;
    this.#logFile = logFile;
    this.ended = Promise.race([
      once(child, 'exit').then(([code, signal]) => (code ?? signal) as number | string),
      once(child, 'error').then(([error]) => String(error)),
    ]);
  }

  /** Resolves with what it printed, at its end. Throws BenchError when it fails. */
  async done(): Promise<string> {
    const code = await this.ended;
    const output = this.output();
    if (code !== 0) throw new BenchError(`${this.name} ended with ${code}: ${this.#words}\n${output}`);
    return output;
  }

  /** Resolves when it takes TCP connections. Throws BenchError with its output when it does not. */
  async listening(port: number, deadlineMs = START_DEADLINE_MS): Promise<this> {
    return this.until(() => isListening(port), `listen on port ${port}`, deadlineMs);
  }

  /** Resolves when `ready` does with true. */
  async until(ready: () => Promise<boolean>, what: string, deadlineMs = START_DEADLINE_MS): Promise<this> {
    let ended: number | string | undefined;
    void this.ended.then((code) => {
      ended = code;
    });
    const deadline = performance.now() + deadlineMs;
    while (!(await ready())) {
      if (ended !== undefined) throw new BenchError(`${this.name} ended with ${ended}:\n${this.output()}`);
      if (performance.now() > deadline) throw new BenchError(`${this.name} does not ${what}:\n${this.output()}`);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    return this;
  }

  output(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  cpuSeconds(): number {
    return usageOf(this.pid).cpuSeconds();
  }

  rssBytes(): number {
    return usageOf(this.pid).rssBytes();
  }

  async stop(): Promise<void> {
    this.#signal('SIGTERM');
    const timer = setTimeout(() => this.kill(), STOP_DEADLINE_MS);
    await this.ended;
    clearTimeout(timer);
  }

  /** The whole session: what it started goes too. */
  kill(): void {
    const pid = this.#child.pid;
    if (pid === undefined || this.#child.exitCode !== null) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child.exitCode === null) this.#child.kill(signal);
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new BenchError(`${this.name} never started`);
    return pid;
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new BenchError('no port is free');
  return address.port;
}

/** Kernel memory that cannot be reclaimed: sockets, for the most part. */
export function kernelSlabBytes(): number {
  return Number(/^SUnreclaim:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
}

/** It and its descendants, whichever thread started them (a Go program forks from any of them). */
function treeOf(pid: number): readonly number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) => childrenOf(`/proc/${pid}/task/${thread}`));
  return [pid, ...children.flatMap(treeOf)];
}

function childrenOf(thread: string): readonly number[] {
  try {
    return readFileSync(`${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    // The thread has ended since it was listed.
    return [];
  }
}

function ticksOf(pid: number): number {
  // Fields 14 and 15 of proc(5) stat; the name in parentheses may hold anything.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

function residentKilobytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

function sum(pids: readonly number[], of: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + of(pid), 0);
}

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
