// The agents and the etcd of a lab: started, asked, waited for.
import { mkdirSync } from 'node:fs';
import { get } from 'node:http';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createClient } from '../../api/client.ts';
import { type AgentStatus, agentStatus } from '../../api/status-schema.ts';
import { findProgram } from '../programs.ts';
import { CliError } from '../shell.ts';
import { agentWords, etcdWords } from './plan.ts';
import { isAlive, startProcess, tailOf } from './processes.ts';
import type { LabNode, LabRecord } from './record.ts';
import type { LabWorld } from './world.ts';

export const PROGRAM = fileURLToPath(new URL('../../main.js', import.meta.url));
/** Many of them start at once on few CPUs; after this something is wrong, and the log says what. */
const READY_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** An agent answers in milliseconds; one that does not within this time is stopped or hangs. */
const ANSWER_TIMEOUT_MS = 2000;

/** The words before a command that is to run in a node. */
export function inNode({ namespace }: LabNode): readonly string[] {
  return namespace === undefined ? [] : [findProgram('nsenter') ?? 'nsenter', `--net=/run/netns/${namespace}`, '--'];
}

export function agentLog(node: LabNode): string {
  return join(node.folder, 'agent.log');
}

/** The agent's. */
export function stateDir(node: LabNode): string {
  return join(node.folder, 'state');
}

export function etcdLog(record: LabRecord): string {
  return join(record.lab.folder, 'etcd.log');
}

/** Settings of the user's own agent are not for those of a lab. */
export function environment(env: LabWorld['env']): LabWorld['env'] {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('VIPMESH_')));
}

/** Starts a node's agent; does not wait until it is ready. Throws CliError. */
export function startAgent(world: LabWorld, record: LabRecord, name: string): void {
  const node = record.node(name);
  for (const folder of [node.folder, dirname(node.socket)]) mkdirSync(folder, { recursive: true, mode: 0o700 });
  const words = agentWords({ ...node, stateDir: stateDir(node) }, record.lab.etcd.endpoint, availableParallelism());
  const command = [...inNode(node), process.execPath, PROGRAM, ...words, ...record.lab.agentFlags];
  const options = { log: agentLog(node), env: environment(world.env) };
  record.changeNode(name, { agent: startProcess(world.machine.processes, command, options) });
}

/** Resolves when the agent is as ready as its /readyz says. Rejects with CliError, with the last lines of its log. */
export async function agentReady(world: LabWorld, record: LabRecord, name: string): Promise<void> {
  await until(world, `the agent of ${name}`, agentLog(record.node(name)), record.node(name).agent, async () => {
    const status = await askAgent(record.node(name).socket);
    return status?.State === 'ready';
  });
  learnNodeId(world, record, name);
}

export function startEtcd(world: LabWorld, record: LabRecord): void {
  const { etcd, nodes } = record.lab;
  const [machine] = nodes;
  if (machine === undefined) return;
  mkdirSync(etcd.folder, { recursive: true, mode: 0o700 });
  const command = [findProgram('etcd') ?? 'etcd', ...etcdWords(machine.address, etcd.folder)];
  const options = { log: etcdLog(record), env: etcdEnvironment(world.env) };
  record.change({ etcd: { ...etcd, process: startProcess(world.machine.processes, command, options) } });
}

/** Resolves when it takes writes. Rejects with CliError. */
export async function etcdReady(world: LabWorld, record: LabRecord): Promise<void> {
  const { endpoint, process } = record.lab.etcd;
  await until(world, 'etcd', etcdLog(record), process, () => isEtcdHealthy(endpoint));
}

/** What an agent says of itself; undefined when it does not answer. */
export async function askAgent(socket: string): Promise<AgentStatus | undefined> {
  const late = new AbortController();
  const silence = pause(ANSWER_TIMEOUT_MS, undefined, { signal: late.signal, ref: false }).catch(() => undefined);
  const answer = createClient(socket)
    .get('/vipmesh/status', agentStatus)
    .catch(() => undefined);
  try {
    return await Promise.race([answer, silence]);
  } finally {
    late.abort();
  }
}

/** Writes down which id the node has got: what its agent leaves in the kernel is called after that. */
export function learnNodeId({ machine }: LabWorld, record: LabRecord, name: string): void {
  const node = record.node(name);
  const id = machine.nodeIdIn(stateDir(node));
  if (id !== undefined && !node.nodeIds.includes(id)) record.changeNode(name, { nodeIds: [...node.nodeIds, id] });
}

/** etcd's own settings, which the user may have for another one, would be taken before the flags' defaults. */
function etcdEnvironment(env: LabWorld['env']): LabWorld['env'] {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('ETCD_')));
}

export function isEtcdHealthy(endpoint: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = get(`http://${endpoint}/health`, { agent: false, timeout: ANSWER_TIMEOUT_MS }, (answer) => {
      answer.resume();
      resolve(answer.statusCode === 200);
    });
    asked.once('timeout', () => asked.destroy());
    asked.once('error', () => resolve(false));
  });
}

async function until(
  world: LabWorld,
  who: string,
  log: string,
  process: LabNode['agent'],
  question: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    world.stop.throwIfAborted();
    if (await question()) return;
    if (process === undefined || !isAlive(world.machine.processes, process))
      throw new CliError('FAILED', `${who} has ended; its log says${tailOf(log)}`);
    if (performance.now() > deadline)
      throw new CliError(
        'FAILED',
        `${who} is not ready within ${READY_TIMEOUT_MS / 1000} s; its log says${tailOf(log)}`,
      );
    await pause(POLL_MS);
  }
}
