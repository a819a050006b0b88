// Programs that outlive the command that started them: started in sessions of their own, ended by process id and start time.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { CliError } from '../shell.ts';
import type { LabProcess } from './record.ts';

/** Which processes live. */
export interface Processes {
  /** Undefined: there is no such process, or it has ended and waits for its parent. */
  find(pid: number): LabProcess | undefined;
}

export interface StartOptions {
  /** Gets what the program says, behind what is in it. */
  readonly log: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const POLL_MS = 20;
/** The kernel ends a killed process as soon as it can; one that waits for a disk that is gone may take for ever. */
const KILL_PATIENCE_MS = 10_000;
const TAIL_LINES = 8;

/** Returns when the program runs. Throws CliError. */
export function startProcess(processes: Processes, command: readonly string[], options: StartOptions): LabProcess {
  const [program = '', ...words] = command;
  const log = openSync(options.log, 'a', 0o600);
  try {
    const child = spawn(program, words, { cwd: '/', detached: true, stdio: ['ignore', log, log], env: options.env });
    // A program that is not there is told below.
    child.once('error', () => undefined);
    child.unref();
    const found = child.pid === undefined ? undefined : identify(processes, child.pid);
    if (found === undefined) throw new CliError('FAILED', `${program} could not be started${tailOf(options.log)}`);
    return found;
  } finally {
    closeSync(log);
  }
}

/** What tells a process from all others, and nothing else. */
export function identify(processes: Processes, pid: number): LabProcess | undefined {
  const found = processes.find(pid);
  return found === undefined ? undefined : { pid: found.pid, startTicks: found.startTicks };
}

export function isAlive(processes: Processes, one: LabProcess): boolean {
  return processes.find(one.pid)?.startTicks === one.startTicks;
}

/** False when it has ended already. */
export function signalProcess(processes: Processes, one: LabProcess, signal: NodeJS.Signals): boolean {
  if (!isAlive(processes, one)) return false;
  try {
    return process.kill(one.pid, signal);
  } catch {
    return false;
  }
}

/** SIGTERM, and SIGKILL for those that are still there after the grace. Resolves when all have ended. */
export async function endProcesses(processes: Processes, all: readonly LabProcess[], graceMs: number): Promise<void> {
  for (const one of all) {
    signalProcess(processes, one, 'SIGTERM');
    // A stopped one would not hear of it.
    signalProcess(processes, one, 'SIGCONT');
  }
  await allEnded(processes, all, graceMs);
  for (const one of all) signalProcess(processes, one, 'SIGKILL');
  await allEnded(processes, all, KILL_PATIENCE_MS);
}

/** All processes whose main thread is in this network namespace. None when there is no such namespace. */
export function processesIn(processes: Processes, namespace: string): readonly LabProcess[] {
  const wanted = namespaceLink(namespace);
  if (wanted === undefined) return [];
  return readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry) || linkOf(`/proc/${entry}/ns/net`) !== wanted) return [];
    return identify(processes, Number(entry)) ?? [];
  });
}

/** The last lines of a log, each on a line of its own behind a colon; empty when there are none. */
export function tailOf(log: string): string {
  let text = '';
  try {
    text = readFileSync(log, 'utf8').trimEnd();
  } catch {
    // It was never written.
  }
  return text === '' ? '' : `:\n${text.split('\n').slice(-TAIL_LINES).join('\n')}`;
}

/** What /proc/PID/ns/net of a process in there says. */
function namespaceLink(namespace: string): string | undefined {
  try {
    return `net:[${statSync(`/run/netns/${namespace}`).ino}]`;
  } catch {
    return undefined;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

async function allEnded(processes: Processes, all: readonly LabProcess[], patienceMs: number): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (all.some((one) => isThere(processes, one)) && performance.now() < deadline) await pause(POLL_MS);
}

/** The first thread of a killed process is a zombie before the others have ended, and with them its sockets and locks. */
function isThere(processes: Processes, one: LabProcess): boolean {
  const found = processes.find(one.pid);
  return found === undefined ? threadsOf(one.pid) > 1 : found.startTicks === one.startTicks;
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}
