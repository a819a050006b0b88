// A lab (`vipmesh lab`) for measuring: nodes that can be killed and started again, servers and tasks on them.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type ApiClient, createClient } from '../../src/api/client.ts';
import { type AgentStatus, agentStatus } from '../../src/api/status-schema.ts';
import { agentReady, etcdReady, inNode, PROGRAM, startAgent, startEtcd } from '../../src/cli/lab/agents.ts';
import { takeDown } from '../../src/cli/lab/down.ts';
import { signalProcess } from '../../src/cli/lab/processes.ts';
import { type LabNode, type LabProcess, LabRecord } from '../../src/cli/lab/record.ts';
import { bringUp } from '../../src/cli/lab/up.ts';
import { setPort } from '../../src/cli/lab/wires.ts';
import { closeNetns, openNetns, OWN_NETNS } from '../../src/native/netns.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { parseEtcdUrl } from '../../src/store/etcd/address.ts';
import { type EtcdStore, openEtcdStore } from '../../src/store/etcd/store.ts';
import { systemProcesses } from '../../src/tasks/process-table.ts';
import { killProcesses, labWorld, processesOf } from '../../test/netns/support/lab-world.ts';
import { BenchError, type Usage, usageOf } from '../processes.ts';

const NAME = 'bench';
/** The tests' own server: HTTP on 8000, each answer names it. */
const SERVER = fileURLToPath(new URL('../../test/netns/fixtures/server.js', import.meta.url));
/** Who waits this long waits for ever. */
const PATIENCE_MS = 120_000;
const POLL_MS = 5;

/** A server on a node, or a task that `vipmesh run` started there. */
export interface Started {
  /** What it calls itself in its answers. */
  readonly name: string;
  /** The server, or `vipmesh run`. */
  readonly process: ChildProcess;
  readonly ended: Promise<unknown>;
}

export class BenchLab {
  readonly #record: LabRecord;
  readonly nodes: readonly BenchNode[];

  /** Resolves when every agent is ready. */
  static async up(nodes: number): Promise<BenchLab> {
    await bringUp(labWorld, { name: NAME, nodes, agentFlags: [] });
    const record = LabRecord.open(NAME);
    if (record === undefined) throw new BenchError('the lab is gone as soon as it was made');
    return new BenchLab(record);
  }

  private constructor(record: LabRecord) {
    this.#record = record;
    this.nodes = record.lab.nodes.map(({ name }) => new BenchNode(record, name));
  }

  /** From 1; the first is the machine itself, and etcd runs there. */
  node(number: number): BenchNode {
    const found = this.nodes[number - 1];
    if (found === undefined) throw new RangeError(`there is no node ${number}`);
    return found;
  }

  /** What the agents see; the caller closes it. */
  openStore(): EtcdStore {
    const address = parseEtcdUrl(`etcd://${this.#record.lab.etcd.endpoint}/lab`);
    if (typeof address === 'string') throw new BenchError(address);
    return openEtcdStore({ address, log: SILENT_LOG });
  }

  /** etcd's own count of something. */
  async etcdMetric(name: string): Promise<number> {
    const text = await (await fetch(`http://${this.#record.lab.etcd.endpoint}/metrics`)).text();
    const value = new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1];
    if (value === undefined) throw new BenchError(`etcd does not tell ${name}`);
    return Number(value);
  }

  async killEtcd(): Promise<void> {
    await killProcesses([this.#etcd]);
  }

  async restartEtcd(): Promise<void> {
    startEtcd(labWorld, this.#record);
    await etcdReady(labWorld, this.#record);
  }

  signalEtcd(signal: 'SIGSTOP' | 'SIGCONT'): void {
    signalProcess(systemProcesses, this.#etcd, signal);
  }

  async down(): Promise<void> {
    for (const node of this.nodes) node.close();
    await takeDown(labWorld, NAME);
  }

  get #etcd(): LabProcess {
    const { process } = this.#record.lab.etcd;
    if (process === undefined) throw new BenchError('etcd was never started');
    return process;
  }
}

export class BenchNode {
  readonly #record: LabRecord;
  readonly name: string;
  readonly address: string;
  /** Open until the lab is down. */
  readonly netns: number;
  readonly client: ApiClient;

  constructor(record: LabRecord, name: string) {
    this.#record = record;
    this.name = name;
    const { address, namespace, socket } = this.#node;
    this.address = address;
    this.netns = namespace === undefined ? OWN_NETNS : openNetns(`/run/netns/${namespace}`);
    this.client = createClient(socket);
  }

  get #node(): LabNode {
    return this.#record.node(this.name);
  }

  get #agent(): LabProcess {
    const { agent } = this.#node;
    if (agent === undefined) throw new BenchError(`the agent of ${this.name} was never started`);
    return agent;
  }

  get id(): string {
    return this.#node.nodeIds.at(-1) ?? '';
  }

  /** The words before a command that is to run on it. */
  get through(): readonly string[] {
    return inNode(this.#node);
  }

  /** Rejects when the command fails. */
  async cli(...words: string[]): Promise<void> {
    const [program = '', ...rest] = [...this.through, process.execPath, PROGRAM, ...words];
    const child = spawn(program, rest, { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (text: Buffer) => output.push(text.toString()));
    const [code] = await once(child, 'close');
    if (code !== 0) throw new BenchError(`${this.name}: vipmesh ${words.join(' ')}: ${output.join('')}`);
  }

  status(): Promise<AgentStatus> {
    return this.client.get('/vipmesh/status', agentStatus);
  }

  /** The tests' server on all addresses of the node. */
  serve(): Promise<Started> {
    const env = { ...process.env, VIPMESH_TASK: this.name, VIPMESH_ADDR: this.address };
    return start([...this.through, process.execPath, SERVER], env);
  }

  /** The tests' server in a container. */
  run(service: string): Promise<Started> {
    const words = ['run', '--service', service, '--', process.execPath, SERVER];
    return start([...this.through, process.execPath, PROGRAM, ...words], this.#env);
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, VIPMESH_HOST: this.#node.socket };
  }

  /** Of the agent alone. Resolves when it is gone. */
  async killAgent(): Promise<void> {
    await killProcesses([this.#agent]);
  }

  /** Starts the agent with the state that it left; does not wait. */
  launchAgent(): void {
    startAgent(labWorld, this.#record, this.name);
  }

  async agentReady(): Promise<void> {
    await agentReady(labWorld, this.#record, this.name);
  }

  /** Takes its cable out. */
  async cut(): Promise<void> {
    await setPort(this.#record.lab, this.#node, 'down');
  }

  async heal(): Promise<void> {
    await setPort(this.#record.lab, this.#node, 'up');
  }

  /** Everything that runs on it. Resolves when it is gone. */
  async killAll(): Promise<void> {
    await killProcesses([this.#agent, ...processesOf(this.#node)]);
  }

  /** Its agent's. */
  get usage(): Usage {
    return usageOf(this.#agent.pid);
  }

  close(): void {
    if (this.netns !== OWN_NETNS) closeNetns(this.netns);
  }
}

/** Asks again until the answer pleases. */
export async function until(what: string, pleases: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await pleases())) {
    if (performance.now() - begun > PATIENCE_MS) throw new BenchError(`${what}: not within ${PATIENCE_MS / 1000} s`);
    await rest(POLL_MS);
  }
}

export function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when the server says that it listens. In a session of its own: see README.md. */
async function start([program = '', ...words]: readonly string[], env: NodeJS.ProcessEnv): Promise<Started> {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], env, detached: true });
  const ended = once(child, 'close');
  const complaints: string[] = [];
  child.stderr.on('data', (text: Buffer) => complaints.push(text.toString()));
  const early = ended.then(() => {
    throw new BenchError(`${words.join(' ')} has ended: ${complaints.join('')}`);
  });
  early.catch(() => undefined);
  const [line] = (await Promise.race([once(createInterface({ input: child.stdout }), 'line'), early])) as [string];
  const name = line.split(' ')[2];
  if (name === undefined) throw new BenchError(`${words.join(' ')} says ${line}`);
  return { name, process: child, ended };
}
