// Containers of the tests, started as a user does: `vipmesh run --service S -- COMMAND`.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { closeNetns, openNetns } from '../../../src/native/netns.ts';
import { endWithProcess, PROGRAM } from '../../support/agent.ts';

const SERVER = fileURLToPath(new URL('../fixtures/server.js', import.meta.url));
/** Who waits this long waits for ever. */
const PATIENCE_MS = 60_000;

/** Whom `vipmesh run` talks to. */
export interface Runner {
  readonly folder: { readonly socket: string };
  /** Words before the program's, such as `nsenter --net=PATH`. */
  readonly through?: readonly string[];
}

export interface Task {
  readonly name: string;
  /** On its first network. */
  readonly address: string;
  /** The command's. */
  readonly pid: number;
  /** Its network namespace; open until the test ends. */
  readonly netns: number;
  /** `vipmesh run`. */
  readonly run: ChildProcess;
  /** The exit code of `vipmesh run`; null when a signal ended it. */
  readonly ended: Promise<number | null>;
  /** Lines of standard error. */
  readonly complaints: readonly string[];
  /** Resolves with the first line of standard output, past or to come, that fits. */
  says(what: RegExp): Promise<string>;
}

/** A container with the tests' own server in it. Resolves when it listens; ends with the test. */
export async function startServer(agent: Runner, service: string, ...options: string[]): Promise<Task> {
  const run = spawnRun(agent, ['--service', service, ...options, '--', process.execPath, SERVER]);
  const [, pid, name = '', address = ''] = (await run.says(/^ready /)).split(' ');
  const netns = openNetns(`/proc/${pid}/ns/net`);
  t.teardown(() => closeNetns(netns));
  return { ...run, name, address, pid: Number(pid), netns };
}

/** Several at once, in any order. */
export function startServers(agent: Runner, service: string, count: number): Promise<readonly Task[]> {
  return Promise.all(Array.from({ length: count }, () => startServer(agent, service)));
}

/** `vipmesh run` with these words. Ends with the test, its command too. */
export function spawnRun(agent: Runner, words: readonly string[]): Pick<Task, 'run' | 'ended' | 'complaints' | 'says'> {
  const [program = '', ...rest] = [...(agent.through ?? []), process.execPath, PROGRAM, 'run', ...words];
  const run = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, VIPMESH_HOST: agent.folder.socket },
  });
  const said: string[] = [];
  const complaints: string[] = [];
  const listeners = new Set<(line: string) => void>();
  createInterface({ input: run.stdout }).on('line', (line) => {
    said.push(line);
    for (const listener of listeners) listener(line);
  });
  createInterface({ input: run.stderr }).on('line', (line) => complaints.push(line));
  const ended = new Promise<number | null>((resolve) => run.once('close', resolve));
  const commands = childrenOf(run);
  const end = () => {
    for (const pid of commands()) kill(-pid, 'SIGKILL');
    run.kill('SIGKILL');
  };
  endWithProcess(end);
  t.teardown(async () => {
    end();
    await ended;
  });
  const says = (what: RegExp) => {
    const line = new Promise<string>((resolve) => {
      const past = said.find((line) => what.test(line));
      if (past !== undefined) resolve(past);
      else listeners.add((line) => what.test(line) && resolve(line));
    });
    const over = ended.then((code) => {
      throw new Error(`vipmesh run ${words.join(' ')} ended with ${code}: ${complaints.join('\n')}`);
    });
    over.catch(() => undefined);
    return Promise.race([line, over, tooLate(`vipmesh run ${words.join(' ')} did not say ${what}`)]);
  };
  return { run, ended, complaints, says };
}

/** Asks again until the answer pleases, for what nobody tells of when it happens. Rejects after a minute with the last answer. */
export async function until<Answer>(
  what: string,
  ask: () => Answer | Promise<Answer>,
  pleases: (answer: Answer) => boolean,
): Promise<Answer> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (pleases(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`${what} within ${PATIENCE_MS / 1000} s: ${JSON.stringify(answer)}`);
    await pause(5);
  }
}

/** Nothing happens when it is gone. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

/** The commands of a `vipmesh run`, also those of one that was killed after they were seen. */
function childrenOf(run: ChildProcess): () => readonly number[] {
  const seen = new Set<number>();
  const look = () => {
    try {
      const text = readFileSync(`/proc/${run.pid}/task/${run.pid}/children`, 'utf8');
      for (const pid of text.split(' ').filter(Boolean)) seen.add(Number(pid));
    } catch {
      // It is gone; what was seen of it is known.
    }
    return [...seen];
  };
  run.stdout?.once('data', look);
  return look;
}

function tooLate(what: string): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`${what} within ${PATIENCE_MS / 1000} s`)), PATIENCE_MS).unref();
  });
}
