// Starts a task's command, and its checks' commands, as children of `vipmesh run`.
import { type ChildProcess, spawn } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { PROBE_OUTPUT_BYTES, type ProbeOutcome } from './protocol.ts';
import { TaskError } from './task-error.ts';

export interface CommandOptions {
  /** Everything that the command finds in its environment. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /**
   * In a session of its own: signals that a terminal or a supervisor sends to the group of `vipmesh run` do not reach it, so that
   * its endpoint can leave first, and all of it can be killed at once.
   */
  readonly ownSession: boolean;
  readonly stdin: 'inherit' | 'ignore';
}

export interface HowItEnded {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface RunningCommand {
  readonly pid: number;
  readonly ended: Promise<HowItEnded>;
  /** To the command itself. Nothing happens when it has ended. */
  signal(signal: NodeJS.Signals): void;
  /** Ends the command at once, with all its session where it has one. */
  destroy(): void;
}

/** Rejects with TaskError COMMAND_NOT_FOUND or COMMAND_NOT_EXECUTABLE when there is nothing to run. */
export async function startCommand(command: readonly string[], options: CommandOptions): Promise<RunningCommand> {
  const [program = '', ...words] = command;
  const child = spawn(program, words, {
    env: { ...options.env },
    stdio: [options.stdin, 'inherit', 'inherit'],
    detached: options.ownSession,
  });
  const ended = new Promise<HowItEnded>((resolve) => {
    child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
  });
  const pid = await started(child, (error) => cannotRun(program, options.env.PATH, error));
  return {
    pid,
    ended,
    signal: (signal) => child.kill(signal),
    destroy: () => (options.ownSession ? killGroup(pid) : child.kill('SIGKILL')),
  };
}

/**
 * Runs a check's command in a session of its own, which is killed as a whole when the command has ended or its time is over.
 * Never rejects; a command that is not found has exit code 127, one that cannot be run 126 (as in a shell), one that took too
 * long 124 (as timeout(1) says).
 */
export function runProbe(
  command: readonly string[],
  shell: boolean,
  timeoutMs: number,
  env: CommandOptions['env'],
): Promise<ProbeOutcome> {
  const [program = '', ...words] = shell ? ['/bin/sh', '-c', ...command] : command;
  const child = spawn(program, words, { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const chunks: Buffer[] = [];
  let bytes = 0;
  const keep = (chunk: Buffer) => {
    const kept = chunk.subarray(0, PROBE_OUTPUT_BYTES - bytes);
    bytes += kept.length;
    if (kept.length > 0) chunks.push(kept);
  };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', keep);
  return new Promise((resolve) => {
    let late = false;
    const finish = (exitCode: number, note = '') => {
      clearTimeout(timer);
      const output = clip(Buffer.concat(chunks).toString() + note);
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
      resolve({ exitCode, output });
    };
    const timer = setTimeout(() => {
      late = true;
      if (child.pid !== undefined) killGroup(child.pid);
    }, timeoutMs);
    child.once('error', (error) => {
      const { code, message } = cannotRun(program, env.PATH, error);
      finish(code === 'COMMAND_NOT_FOUND' ? 127 : 126, message);
    });
    child.once('exit', (exitCode, signal) => {
      if (child.pid !== undefined) killGroup(child.pid);
      // Its last words may still be in the pipe; whoever left the session and holds the pipe open is not waited for.
      setImmediate(() => {
        if (late) finish(124, `the command did not end within ${timeoutMs} ms`);
        else finish(exitCode ?? 1, signal === null ? '' : `ended by ${signal}`);
      });
    });
  });
}

function started(child: ChildProcess, whyNot: (error: Error) => TaskError): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid as number));
    child.once('error', (error) => reject(whyNot(error)));
  });
}

/** What a shell would say. */
function cannotRun(program: string, path: string | undefined, error: NodeJS.ErrnoException): TaskError {
  // execvp(3) says EACCES also when it found nothing, if a folder of PATH may not be searched.
  if (error.code === 'ENOENT' || (error.code === 'EACCES' && !program.includes('/') && !isOnPath(program, path)))
    return new TaskError('COMMAND_NOT_FOUND', `${program}: command not found`, { cause: error });
  const why = error.code === 'EACCES' ? 'permission denied; is it an executable file?' : error.message;
  return new TaskError('COMMAND_NOT_EXECUTABLE', `${program}: ${why}`, { cause: error });
}

function isOnPath(program: string, path = '/bin:/usr/bin'): boolean {
  return path.split(':').some((folder) => {
    try {
      // An empty one is the current directory.
      return statSync(join(folder || '.', program)).isFile();
    } catch {
      return false;
    }
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}

function clip(text: string): string {
  return Buffer.from(text).subarray(0, PROBE_OUTPUT_BYTES).toString();
}
