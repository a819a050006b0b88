// A real agent in a process of its own, on addresses that no other test uses, with the CLI to talk to it.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { decode, encode, type Packet, type RecordType, RECURSION_DESIRED } from 'dns-packet';
import t from 'tap';
import { unusedPort } from './ports.ts';

export const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** A test that ran out of time is killed and tears nothing down: what it started goes with it (util-linux's setpriv). */
const WITH_PARENT = ['setpriv', '--pdeathsig', 'KILL'];
/** Who waits this long waits for ever. */
const AGENT_TIMEOUT_MS = 60_000;
/** Also a task of a test is run, and goes on as long as the test; only what hangs is ended. */
const COMMAND_TIMEOUT_MS = 240_000;
const ANSWER_TIMEOUT_MS = 20_000;
/** A resolver that is lost with a question does not answer it: who asks asks again, as resolv.conf(5) has it. */
const ASK_AGAIN_MS = 5000;

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface AgentOptions {
  /** Stack name → text of its Compose file. */
  readonly stacks?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Words before the program's, such as `nsenter --net=PATH`. */
  readonly through?: readonly string[];
  /** The folder of an agent that ran before: same state, socket and addresses. */
  readonly folder?: AgentFolder;
}

/** What outlives one run of an agent. */
export interface AgentFolder {
  readonly path: string;
  readonly socket: string;
  readonly dnsPort: number;
  readonly adminPort: number;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly message: string };

export interface Agent {
  readonly folder: AgentFolder;
  readonly process: ChildProcess;
  readonly log: readonly LogLine[];
  stackFile(name: string): string;
  /** Resolves with the first line, past or to come, that the predicate likes. */
  logged(what: (line: LogLine) => boolean): Promise<LogLine>;
  cli(...words: string[]): Promise<Outcome>;
  json<Answer>(...words: string[]): Promise<Answer>;
  /** Asks the node's own resolver over UDP. */
  dig(name: string, type?: RecordType): Promise<Packet>;
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** What an agent warned of, but for what it says of a machine that is busy. */
export function complaints({ log }: Agent): readonly LogLine[] {
  return log.filter(
    ({ level, message }) =>
      (level === 'warn' || level === 'error') && !message.startsWith('links of a container are slow'),
  );
}

export async function makeFolder(): Promise<AgentFolder> {
  const path = mkdtempSync(join(tmpdir(), 'vipmesh-test-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return { path, socket: join(path, 'vipmesh.sock'), dnsPort: unusedPort(), adminPort: unusedPort() };
}

/** Starts an agent and waits until it serves. Ends with the test. */
export async function startAgent(options: AgentOptions = {}): Promise<Agent> {
  const folder = options.folder ?? (await makeFolder());
  const { child, log, logged } = launch(folder, options);
  t.teardown(() => stop(child, 'SIGKILL'));
  const ready = logged((line) => line.message === 'ready');
  const early = once(child, 'exit').then(([code]) => {
    throw new Error(`the agent ended with ${code}: ${log.map((line) => JSON.stringify(line)).join('\n')}`);
  });
  await Promise.race([ready, early, deadline('the agent was not ready', log)]);
  early.catch(() => undefined);
  const cli = (...words: string[]) =>
    run(words, { env: { VIPMESH_HOST: folder.socket }, through: options.through ?? [] });
  return {
    folder,
    process: child,
    log,
    logged: (what) => Promise.race([logged(what), deadline('no such line', log)]),
    stackFile: (name) => join(folder.path, `${name}.yaml`),
    cli,
    json: async (...words) => {
      const outcome = await cli(...words, '--format', 'json');
      if (outcome.code !== 0) throw new Error(`vipmesh ${words.join(' ')}: ${outcome.stderr}`);
      return JSON.parse(outcome.stdout);
    },
    dig: (name, type = 'A') => dig(folder.dnsPort, name, type),
    stop: (signal) => stop(child, signal ?? 'SIGTERM'),
  };
}

/** Runs an agent that is expected to end by itself, with an error. */
export async function failingAgent(options: AgentOptions = {}): Promise<Outcome> {
  const folder = options.folder ?? (await makeFolder());
  return run(agentWords(folder, options), { env: options.env ?? {}, through: options.through ?? [] });
}

/** Runs one command of the program to its end. */
export function run(
  words: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly through?: readonly string[] } = {},
): Promise<Outcome> {
  const [program = process.execPath, ...rest] = [
    ...(options.through ?? []),
    ...WITH_PARENT,
    process.execPath,
    PROGRAM,
    ...words,
  ];
  return new Promise((resolve) => {
    execFile(
      program,
      rest,
      { env: { ...process.env, ...options.env }, timeout: COMMAND_TIMEOUT_MS },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
      },
    );
  });
}

/** One question to 127.0.0.11 over UDP. Rejects when nothing is answered within 20 s. */
export async function dig(port: number, name: string, type: RecordType = 'A'): Promise<Packet> {
  const socket = createSocket('udp4');
  const id = Math.floor(Math.random() * 65536);
  const question = encode({ type: 'query', id, flags: RECURSION_DESIRED, questions: [{ name, type, class: 'IN' }] });
  const ask = () => socket.send(question, port, '127.0.0.11');
  const again = setInterval(ask, ASK_AGAIN_MS);
  try {
    ask();
    const [message] = await once(socket, 'message', { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    return decode(message);
  } finally {
    clearInterval(again);
    socket.close();
  }
}

/** The addresses (or names) of an answer. */
export function answers(packet: Packet): readonly string[] {
  return (packet.answers ?? []).flatMap((answer) => ('data' in answer ? [String(answer.data)] : []));
}

const ends = new Set<() => void>();

/** A test that runs out of time, or is killed, ends without its teardown; what it started ends with it all the same. */
export function endWithProcess(end: () => void): void {
  if (ends.size === 0) {
    const endAll = () => {
      for (const one of ends) one();
    };
    process.once('exit', endAll);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.once(signal, () => {
        endAll();
        process.kill(process.pid, signal);
      });
    }
  }
  ends.add(end);
}

function agentWords(folder: AgentFolder, options: AgentOptions): readonly string[] {
  const stacks = Object.entries(options.stacks ?? {}).flatMap(([name, text]) => {
    const file = join(folder.path, `${name}.yaml`);
    writeFileSync(file, text);
    return ['--stack', `${name}=${file}`];
  });
  return [
    'agent',
    ...stacks,
    '--state-dir',
    join(folder.path, 'state'),
    '--socket',
    folder.socket,
    '--dns',
    `127.0.0.11:${folder.dnsPort}`,
    '--admin',
    `127.0.0.1:${folder.adminPort}`,
    '--log-format',
    'json',
    ...(options.args ?? []),
  ];
}

function launch(folder: AgentFolder, options: AgentOptions) {
  const [program = process.execPath, ...rest] = [
    ...(options.through ?? []),
    ...WITH_PARENT,
    process.execPath,
    PROGRAM,
    ...agentWords(folder, options),
  ];
  const child = spawn(program, rest, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...options.env } });
  endWithProcess(() => child.kill('SIGKILL'));
  const log: LogLine[] = [];
  const waiting = new Set<(line: LogLine) => void>();
  createInterface({ input: child.stderr }).on('line', (text) => {
    const line = parseLine(text);
    log.push(line);
    for (const tell of waiting) tell(line);
  });
  const logged = (what: (line: LogLine) => boolean) =>
    new Promise<LogLine>((resolve) => {
      const past = log.find(what);
      if (past !== undefined) resolve(past);
      else waiting.add((line) => what(line) && resolve(line));
    });
  return { child, log, logged };
}

/** What is not JSON (a crash, say) is kept, so that a failing test shows it. */
function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text);
  } catch {
    return { level: 'raw', message: text };
  }
}

function deadline(what: string, log: readonly LogLine[]): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(
      () =>
        reject(
          new Error(
            `${what} within ${AGENT_TIMEOUT_MS / 1000} s:\n${log.map((line) => JSON.stringify(line)).join('\n')}`,
          ),
        ),
      AGENT_TIMEOUT_MS,
    );
    timer.unref();
  });
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
  return child.exitCode;
}
