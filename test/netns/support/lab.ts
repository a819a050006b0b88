// A lab for tests (`vipmesh lab`), and faults to put into it. The test's process is the lab's first node. Importing this gives it a
// /run of its own, so that labs of tests that run beside each other do not meet; it must be the first import of a test file.
import { mayBeNode } from './node.ts';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  agentLog,
  agentReady,
  etcdReady,
  inNode,
  startAgent,
  startEtcd,
  stateDir,
} from '../../../src/cli/lab/agents.ts';
import { takeDown } from '../../../src/cli/lab/down.ts';
import { switchNamespace } from '../../../src/cli/lab/plan.ts';
import { endProcesses, signalProcess } from '../../../src/cli/lab/processes.ts';
import { type LabNode, type LabProcess, LabRecord } from '../../../src/cli/lab/record.ts';
import { bringUp } from '../../../src/cli/lab/up.ts';
import { setPort } from '../../../src/cli/lab/wires.ts';
import type { NodeId } from '../../../src/model/node.ts';
import { mount } from '../../../src/native/libc.ts';
import { check } from '../../../src/native/errno.ts';
import { closeNetns, openNetns, OWN_NETNS } from '../../../src/native/netns.ts';
import { systemProcesses } from '../../../src/tasks/process-table.ts';
import { endWithProcess, type LogLine, type Outcome, run } from '../../support/agent.ts';
import { inOwnNetns } from '../../support/own-netns.ts';
import { findProgram, needsPrograms } from '../../support/requirements.ts';
import { httpGet } from './clients.ts';
import { killProcesses, labWorld, processesOf } from './lab-world.ts';
import type { Runner } from './tasks.ts';

const SERVER = fileURLToPath(new URL('../fixtures/server.js', import.meta.url));
const NAME = 'lab';
const LOSS_TABLE = 'vipmesh_test_loss';
export const ADMIN_PORT = 7980;

if (inOwnNetns) ownRun();

export interface LabOptions {
  /** 3 by default, this process among them. */
  readonly nodes?: number;
  /** Further flags of all agents. */
  readonly agentFlags?: readonly string[];
}

/** A server in a node that is a machine of its own, not a container: `fixtures/server.ts`. */
export interface NodeServer {
  readonly process: ChildProcess;
  kill(signal?: NodeJS.Signals): Promise<void>;
}

export class Lab {
  readonly #record: LabRecord;
  readonly nodes: readonly Node[];
  readonly etcd: Etcd;
  #isDown = false;

  constructor(record: LabRecord) {
    this.#record = record;
    this.nodes = record.lab.nodes.map(({ name }) => new Node(record, name));
    this.etcd = new Etcd(record);
  }

  /** From 1; the first one is this process. */
  node(number: number): Node {
    const found = this.nodes[number - 1];
    if (found === undefined) throw new RangeError(`the lab has ${this.nodes.length} nodes, and no node ${number}`);
    return found;
  }

  /** What `vipmesh` on the first node says; fails when it does. */
  json<Answer>(...words: string[]): Promise<Answer> {
    return this.node(1).json(...words);
  }

  /** Everything of it is gone then. Once is enough, and twice does no harm. */
  async down(): Promise<void> {
    if (!this.#isDown) for (const node of this.nodes) node.close();
    this.#isDown = true;
    await takeDown(labWorld, this.#record.lab.name);
  }

  /** At once, as far as signals go: for a test that ends in a hurry. */
  killAll(): void {
    const { nodes, etcd } = this.#record.lab;
    const rest = nodes.flatMap((node) => [...(node.agent === undefined ? [] : [node.agent]), ...processesOf(node)]);
    for (const one of [...rest, ...(etcd.process === undefined ? [] : [etcd.process])])
      signalProcess(systemProcesses, one, 'SIGKILL');
  }
}

export class Node {
  readonly #record: LabRecord;
  readonly name: string;
  readonly address: string;
  readonly socket: string;
  /** Its network namespace, for clients; open until the lab is down. */
  readonly netns: number;

  constructor(record: LabRecord, name: string) {
    this.#record = record;
    this.name = name;
    const { address, socket, namespace } = this.#node;
    this.address = address;
    this.socket = socket;
    this.netns = namespace === undefined ? OWN_NETNS : openNetns(`/run/netns/${namespace}`);
  }

  get #node(): LabNode {
    return this.#record.node(this.name);
  }

  get id(): NodeId {
    const id = this.#node.nodeIds.at(-1);
    if (id === undefined) throw new Error(`the agent of ${this.name} has never been ready`);
    return id as NodeId;
  }

  get stateDir(): string {
    return stateDir(this.#node);
  }

  /** The process id of its agent, which may have ended. */
  get pid(): number {
    return this.#agent.pid;
  }

  get #agent(): LabProcess {
    const { agent } = this.#node;
    if (agent === undefined) throw new Error(`the agent of ${this.name} was never started`);
    return agent;
  }

  /** The words before a command that is to run on it. */
  get through(): readonly string[] {
    return inNode(this.#node);
  }

  /** For tasks that are to run on it. */
  get runner(): Runner {
    return { folder: { socket: this.socket }, through: this.through };
  }

  /** Runs one command of the program on it, to its end. */
  cli(...words: string[]): Promise<Outcome> {
    return run(words, { env: { VIPMESH_HOST: this.socket }, through: inNode(this.#node) });
  }

  async json<Answer>(...words: string[]): Promise<Answer> {
    const outcome = await this.cli(...words, '--format', 'json');
    if (outcome.code !== 0) throw new Error(`${this.name}: vipmesh ${words.join(' ')}: ${outcome.stderr}`);
    return JSON.parse(outcome.stdout);
  }

  /** What /readyz says; `ECONNREFUSED` when there is no agent. */
  readiness(): Promise<string> {
    return httpGet(this.netns, '127.0.0.1', ADMIN_PORT, '/readyz').then((text) => text.trim());
  }

  metrics(): Promise<string> {
    return httpGet(this.netns, '127.0.0.1', ADMIN_PORT, '/metrics');
  }

  /** All that its agents have logged. */
  log(): readonly LogLine[] {
    return readFileSync(agentLog(this.#node), 'utf8')
      .split('\n')
      .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LogLine] : []));
  }

  /** HTTP on 8000, lines on 7000; its answers begin with this name. Resolves when it listens; ends with the test. */
  async serve(name = this.name): Promise<NodeServer> {
    const [program = process.execPath, ...words] = [...inNode(this.#node), process.execPath, SERVER];
    const env = { ...process.env, VIPMESH_TASK: name, VIPMESH_ADDR: this.address };
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'], env });
    endWithProcess(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    const kill = async (signal: NodeJS.Signals = 'SIGKILL') => {
      child.kill(signal);
      await ended;
    };
    t.teardown(() => kill());
    await Promise.race([
      once(createInterface({ input: child.stdout }), 'line'),
      ended.then(() => Promise.reject(new Error(`the server on ${this.name} has ended`))),
    ]);
    return { process: child, kill };
  }

  /** kill -9 of the agent alone. Resolves when it is gone. */
  async killAgent(): Promise<void> {
    await killProcesses([this.#agent]);
  }

  /** Starts the agent as it was started before, with the state that it left; resolves when it is ready. */
  async restartAgent(): Promise<void> {
    startAgent(labWorld, this.#record, this.name);
    await agentReady(labWorld, this.#record, this.name);
  }

  /** As `restartAgent`, and does not wait. */
  launchAgent(): void {
    startAgent(labWorld, this.#record, this.name);
  }

  /** SIGTERM; resolves when it has ended. */
  async stopAgent(): Promise<void> {
    await endProcesses(systemProcesses, [this.#agent], 60_000);
  }

  /** SIGSTOP: it is there, and does nothing. */
  freezeAgent(): void {
    signalProcess(systemProcesses, this.#agent, 'SIGSTOP');
  }

  thawAgent(): void {
    signalProcess(systemProcesses, this.#agent, 'SIGCONT');
  }

  /** What a disk that was replaced has left: nothing. The agent should be dead. */
  wipe(): void {
    rmSync(this.stateDir, { recursive: true, force: true });
  }

  /** The power goes off: no packet comes from it any more, and everything that ran on it is dead. */
  async kill(): Promise<void> {
    await this.cut();
    await this.killProcesses();
  }

  /** kill -9 of everything that runs on it, in its containers too. Its kernel lives, and refuses connections. */
  async killProcesses(): Promise<void> {
    if (this.netns === OWN_NETNS) throw new RangeError(`${this.name} is this process; kill another node`);
    await killProcesses([this.#agent, ...processesOf(this.#node)]);
  }

  /** Takes its cable out. */
  cut(): Promise<void> {
    return setPort(this.#record.lab, this.#node, 'down');
  }

  heal(): Promise<void> {
    return setPort(this.#record.lab, this.#node, 'up');
  }

  /** So many of a hundred packets that it sends, and as many of those that it should get, are lost; 0: none any more. */
  lose(percent: number): void {
    const table = `bridge ${LOSS_TABLE}_${this.name}`;
    const lost = percent === 100 ? 'drop' : `numgen random mod 100 < ${percent} drop`;
    const rules = `table ${table}
delete table ${table}
${
  percent === 0
    ? ''
    : `table ${table} {
  chain forward {
    type filter hook forward priority 0
    iifname "${this.name}" ${lost}
    oifname "${this.name}" ${lost}
  }
}`
}
`;
    // In the bridge, not in the node: there a program would be told that its packet was dropped.
    const place = `--net=/run/netns/${switchNamespace(this.#record.lab.name)}`;
    execFileSync('nsenter', [place, findProgram('nft') ?? 'nft', '-f', '-'], { input: rules });
  }

  close(): void {
    if (this.netns !== OWN_NETNS) closeNetns(this.netns);
  }
}

export class Etcd {
  readonly #record: LabRecord;
  constructor(record: LabRecord) {
    this.#record = record;
  }

  /** ADDRESS:PORT */
  get endpoint(): string {
    return this.#record.lab.etcd.endpoint;
  }

  get #process(): LabProcess {
    const { process } = this.#record.lab.etcd;
    if (process === undefined) throw new Error('etcd was never started');
    return process;
  }

  /** kill -9; resolves when it is gone. */
  async kill(): Promise<void> {
    await killProcesses([this.#process]);
  }

  /** Starts it again with what it had stored; resolves when it takes writes. */
  async restart(): Promise<void> {
    startEtcd(labWorld, this.#record);
    await etcdReady(labWorld, this.#record);
  }

  freeze(): void {
    signalProcess(systemProcesses, this.#process, 'SIGSTOP');
  }

  thaw(): void {
    signalProcess(systemProcesses, this.#process, 'SIGCONT');
  }
}

/** True when there can be labs here; otherwise has said why the test did not run. */
export async function mayHaveLab(t: Parameters<typeof mayBeNode>[0]): Promise<boolean> {
  return (await mayBeNode(t)) && needsPrograms(t, 'ip', 'nft', 'etcd');
}

/** Resolves when every agent is ready. It is taken down when the test ends. */
export async function startLab({ nodes = 3, agentFlags = [] }: LabOptions = {}): Promise<Lab> {
  await bringUp(labWorld, { name: NAME, nodes, agentFlags });
  return adoptLab();
}

/** The lab that somebody else has started here. */
export function adoptLab(name = NAME): Lab {
  const record = LabRecord.open(name);
  if (record === undefined) throw new Error(`there is no lab "${name}"`);
  const lab = new Lab(record);
  endWithProcess(() => lab.killAll());
  t.teardown(() => lab.down());
  return lab;
}

/** Seen by this process and what it starts, and gone with them. */
function ownRun(): void {
  check(mount('tmpfs', '/run', 'tmpfs', 0, 'mode=0755'), 'mount', '/run');
  mkdirSync('/run/netns');
}
