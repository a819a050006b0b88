// What each demo has: a folder that goes with it, the programs that it has started, and the user who may have had enough of it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ApiClient } from '../../api/client.ts';
import { endpointListing } from '../../api/schema.ts';
import { tailOf } from '../lab/processes.ts';
import { CliError } from '../shell.ts';

export const WEB_SERVER = fileURLToPath(new URL('./web-server.js', import.meta.url));
/** A first start may have to wait for a slow disk; after this something is wrong, and the logs say what. */
const READY_TIMEOUT_MS = 60_000;
/** A program that was told to end has had its connections ended too. */
const END_GRACE_MS = 10_000;
const POLL_MS = 50;

export interface Stage {
  readonly asRoot: boolean;
  /** Holds everything that the demo writes; gone at its end. */
  readonly folder: string;
  /** Aborted when the user wants no more of it. */
  readonly stop: AbortSignal;
  readonly out: (text: string) => void;
}

/** One of the demos. */
export interface Show {
  /**
   * Resolves when all of it is there and the reader knows what to try; `ended` is when it ends by itself, with an exit code.
   * Rejects soon after the stage's `stop`.
   */
  begin(): Promise<{ readonly ended: Promise<number> }>;
  /** Leaves nothing, however far it came. */
  end(): Promise<void>;
}

/** A program that a demo has started. */
export interface Started {
  readonly name: string;
  readonly process: ChildProcess;
  /** What it says; undefined: that goes to the reader. */
  readonly log?: string;
}

/**
 * Starts a program in a session of its own: ctrl-C is for the demo alone, which ends what it has started in its own order. What tasks
 * say goes to files: a terminal is for what the reader is to try.
 */
export function startProgram(
  stage: Stage,
  name: string,
  command: readonly string[],
  { env, quiet }: { readonly env: Readonly<Record<string, string | undefined>>; readonly quiet: boolean },
): Started {
  const [program = '', ...words] = command;
  const log = join(stage.folder, `${name}.log`);
  const stderr = quiet ? openSync(log, 'a') : 'inherit';
  try {
    const child = spawn(program, words, { stdio: ['ignore', 'ignore', stderr], env, detached: true });
    // One that could not be started has ended.
    child.once('error', () => undefined);
    return { name, process: child, ...(quiet ? { log } : {}) };
  } finally {
    if (typeof stderr === 'number') closeSync(stderr);
  }
}

/** Asks until the answer is yes. A question that fails is asked again, as long as all of these programs live. Rejects with CliError. */
export async function untilYes(
  stage: Stage,
  otherwise: string,
  programs: readonly Started[],
  question: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    stage.stop.throwIfAborted();
    const ended = programs.find(hasEnded);
    if (ended !== undefined) throw new CliError('FAILED', `${ended.name} has ended; ${wordsOf(ended)}`);
    if (await question().catch(() => false)) return;
    await pause(POLL_MS);
  }
  throw new CliError('FAILED', `${otherwise} within ${READY_TIMEOUT_MS / 1000} s`);
}

function wordsOf({ log }: Started): string {
  return log === undefined ? 'its message is above' : `it says${tailOf(log) || ' nothing'}`;
}

/** Whether each of these services of the stack `demo` has so many tasks that get connections. */
export async function allEligible(client: ApiClient, wanted: Readonly<Record<string, number>>): Promise<boolean> {
  const endpoints = await client.get('/vipmesh/endpoints', endpointListing.array());
  return Object.entries(wanted).every(
    ([service, count]) => endpoints.filter((one) => one.Service === `demo_${service}` && one.Eligible).length >= count,
  );
}

/** Resolves with its exit code. */
export async function endOf({ process }: Started): Promise<number> {
  if (process.pid !== undefined && process.exitCode === null && process.signalCode === null)
    await once(process, 'exit');
  return process.exitCode ?? 1;
}

/** Resolves when all have ended: told to first, and made to when they are slow. */
export async function endAll(programs: readonly Started[]): Promise<void> {
  const late = setTimeout(() => {
    for (const { process } of programs) process.kill('SIGKILL');
  }, END_GRACE_MS);
  for (const { process } of programs) process.kill('SIGTERM');
  await Promise.all(programs.map(endOf));
  clearTimeout(late);
}

function hasEnded({ process }: Started): boolean {
  return process.pid === undefined || process.exitCode !== null || process.signalCode !== null;
}

/** The first port from `first` on that nobody holds. Rejects with CliError. */
export async function freePort(first: number): Promise<number> {
  for (let port = first; port < first + 100; port++) {
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer().once('error', () => resolve(false));
      server.listen(port, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
  throw new CliError('FAILED', `no port between ${first} and ${first + 99} is free`);
}
