// The nodes of the bench (`vipmesh lab`), and containers on them.
import { kernelInstance, readIdentity } from '../../src/agent/identity.ts';
import { removeLeftovers } from '../../src/agent/leftovers.ts';
import { namespacesOf } from '../../src/agent/traces.ts';
import { type ApiClient, createClient } from '../../src/api/client.ts';
import { resolution } from '../../src/api/schema.ts';
import { inNode, PROGRAM, startAgent } from '../../src/cli/lab/agents.ts';
import { containerProcesses, takeDown } from '../../src/cli/lab/down.ts';
import { endProcesses, processesIn, signalProcess } from '../../src/cli/lab/processes.ts';
import { type LabNode, LabRecord } from '../../src/cli/lab/record.ts';
import { bringUp } from '../../src/cli/lab/up.ts';
import type { LabWorld } from '../../src/cli/lab/world.ts';
import type { NetworkId } from '../../src/model/network.ts';
import type { NodeId } from '../../src/model/node.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { BRIDGE, networkNamespace } from '../../src/overlay/names.ts';
import { systemProcesses } from '../../src/tasks/process-table.ts';
import { BenchError, type Processes, type Running, type Usage, usageOf } from '../processes.ts';

const NAME = 'bench';
/** All contenders have one thread for the traffic. */
const AGENT_FLAGS = ['--workers=1', '--drain=1s'] as const;
const KILL_PATIENCE_MS = 30_000;

/** The one lab that there is at a time. */
export class Labs {
  readonly #stopping = new AbortController();
  readonly #world: LabWorld = {
    machine: {
      processes: systemProcesses,
      nodeIdIn: (directory) => readIdentity(directory)?.nodeId,
      tracesOf: (id) => ({ prefix: namespacesOf(id as NodeId), remove: () => removeLeftovers(id as NodeId) }),
    },
    env: process.env,
    stop: this.#stopping.signal,
  };

  /** Whatever is called so before the first one is somebody else's. */
  #mayBeThere = false;
  #leaving: Promise<unknown> | undefined;

  /** Resolves when all agents are ready. */
  async up(processes: Processes, count: number): Promise<readonly Node[]> {
    this.#mayBeThere = true;
    await bringUp(this.#world, { name: NAME, nodes: count, agentFlags: AGENT_FLAGS });
    return LabRecord.open(NAME)?.lab.nodes.map((node) => new Node(node, processes)) ?? [];
  }

  /** Once at a time: who interrupts a bench may do so while it takes its lab down. */
  async down(): Promise<void> {
    if (!this.#mayBeThere) return;
    this.#leaving ??= takeDown(this.#world, NAME).finally(() => {
      this.#leaving = undefined;
    });
    await this.#leaving;
  }

  /** kill -9 of an agent, and another one in its place. Resolves with that and when its process began (performance.now). */
  async replaceAgent(processes: Processes, { name }: Node): Promise<{ readonly node: Node; readonly begunAt: number }> {
    const record = LabRecord.open(NAME);
    const old = record?.node(name).agent;
    if (record === undefined || old === undefined) throw new BenchError(`${name} has no agent`);
    signalProcess(systemProcesses, old, 'SIGKILL');
    await endProcesses(systemProcesses, [old], KILL_PATIENCE_MS);
    const begunAt = performance.now();
    startAgent(this.#world, record, name);
    return { node: new Node(record.node(name), processes), begunAt };
  }

  /** For good, also while one is being made. */
  async stop(): Promise<void> {
    this.#stopping.abort(new BenchError('interrupted'));
    await this.down();
  }

  /** At once, as far as signals go. */
  kill(): void {
    const lab = this.#mayBeThere ? LabRecord.open(NAME)?.lab : undefined;
    if (lab === undefined) return;
    const inNodes = lab.nodes.flatMap((node) => [
      ...(node.namespace === undefined ? [] : processesIn(systemProcesses, node.namespace)),
      ...containerProcesses(this.#world, node),
      ...(node.agent === undefined ? [] : [node.agent]),
    ]);
    for (const one of [...inNodes, ...(lab.etcd.process === undefined ? [] : [lab.etcd.process])])
      signalProcess(systemProcesses, one, 'SIGKILL');
  }
}

/** A task that `vipmesh run` runs. */
export interface Container {
  /** On its first network. */
  readonly address: string;
  /** Path of its network namespace. */
  readonly netns: string;
  /** `vipmesh run`. */
  readonly run: Running;
}

export class Node {
  readonly #node: LabNode;
  readonly name: string;
  readonly #processes: Processes;
  readonly client: ApiClient;
  /** Its agent's. */
  readonly usage: Usage;

  constructor(node: LabNode, processes: Processes) {
    this.#node = node;
    this.name = node.name;
    this.#processes = processes;
    this.client = createClient(node.socket);
    if (node.agent === undefined) throw new BenchError(`${node.name} has no agent`);
    this.usage = usageOf(node.agent.pid);
  }

  /** Runs a command of the program to its end. Resolves with what it printed. */
  cli(...words: string[]): Promise<string> {
    return this.start(words).done();
  }

  /** Starts a command of the program. */
  start(words: readonly string[]): Running {
    const [program = '', ...rest] = [...inNode(this.#node), process.execPath, PROGRAM, ...words];
    return this.#processes.start(`vipmesh-${words[0]}`, program, rest, { VIPMESH_HOST: this.#node.socket });
  }

  /** Resolves when the command is about to run. */
  async run(service: string, command: readonly string[]): Promise<Container> {
    const words = ['sh', '-c', 'echo "place $$ $VIPMESH_ADDR"; exec "$@"', 'sh', ...command];
    const run = this.start(['run', '--service', service, '--', ...words]);
    const place = () => /^place (\d+) (\S+)$/m.exec(run.output());
    await run.until(async () => place() !== null, `run ${command[0]}`);
    const [, pid = '', address = ''] = place() ?? [];
    return { address, netns: `/proc/${pid}/ns/net`, run };
  }

  async vipOf(service: string, network: string): Promise<string> {
    const { Answers } = await this.client.get('/vipmesh/resolve', resolution, { name: service, network });
    const vip = Answers[0]?.Addresses[0];
    if (vip === undefined) throw new BenchError(`${service} has no VIP on ${network}`);
    return vip;
  }

  /** The namespace of an overlay network that it is on, and its own address there. */
  async placeOn(network: NetworkId): Promise<{ readonly netns: string; readonly address: string }> {
    const instance = kernelInstance(this.#node.nodeIds.at(-1) as NodeId);
    const netns = `/run/netns/${networkNamespace(instance, network)}`;
    const kernel = new LinuxKernel();
    try {
      const observed = await (await kernel.openNamespace(netns))?.observe();
      const own = observed?.addresses.find(({ link, address }) => link === BRIDGE && !address.includes(':'));
      if (own === undefined) throw new BenchError(`${this.#node.name} has no address in ${netns}`);
      return { netns, address: own.address };
    } finally {
      kernel.close();
    }
  }
}

/** The words before a command that is to run in a namespace. */
export function inNamespace(path: string): readonly string[] {
  return ['nsenter', `--net=${path}`, '--'];
}
