// Makes a lab, or what is missing of it. What is there already and lives stays as it is.
import { mkdtempSync } from 'node:fs';
import { availableParallelism, homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultSocket } from '../../runtime/paths.ts';
import { CliError } from '../shell.ts';
import { agentReady, askAgent, etcdReady, startAgent, startEtcd } from './agents.ts';
import { takeDown } from './down.ts';
import { addressOf, chooseSubnet, DEFAULT_NODES, etcdEndpoint, isOfLab, nodeName, nodeNamespace } from './plan.ts';
import { isAlive } from './processes.ts';
import { type Lab, labNames, type LabNode, LabRecord, socketFolder } from './record.ts';
import { namespaceNames, routedSubnets, wireMachine, wireNode } from './wires.ts';
import { type LabWorld, occupy, selfOf } from './world.ts';
import type { Subnet } from '../../model/address.ts';

export interface Wanted {
  readonly name: string;
  /** Absent: as many as there are, or the default. */
  readonly nodes?: number;
  /** For the agents that are started. */
  readonly agentFlags: readonly string[];
}

/** Resolves when every agent is ready. Rejects with CliError; a lab that this call began is then taken down again. */
export async function bringUp(world: LabWorld, wanted: Wanted): Promise<Lab> {
  const found = LabRecord.open(wanted.name);
  if (found !== undefined) return complete(world, grown(world, found, wanted));
  const record = await begin(world, wanted);
  try {
    return await complete(world, record);
  } catch (error) {
    await takeDown(world, wanted.name);
    throw error;
  }
}

/** The record of a new lab. Nothing else is made. */
async function begin(world: LabWorld, { name, nodes = DEFAULT_NODES, agentFlags }: Wanted): Promise<LabRecord> {
  const left = namespaceNames().filter((one) => isOfLab(name, one));
  if (left.length > 0) {
    throw new CliError('FAILED', `a lab "${name}" has left ${left.join(', ')}; remove that with: ${downCommand(name)}`);
  }
  await refuseOtherAgent();
  const subnet = chooseSubnet(await routedSubnets());
  if (subnet === undefined)
    throw new CliError(
      'FAILED',
      'each part of 198.18.0.0/15, where labs have their addresses, leads somewhere already',
    );
  const folder = mkdtempSync(join(tmpdir(), `vipmesh-lab-${name}-`));
  return LabRecord.create({
    version: 1,
    name,
    subnet,
    folder,
    busy: selfOf(world),
    isWired: false,
    agentFlags: [...agentFlags],
    etcd: { endpoint: etcdEndpoint(addressOf(subnet, 1)), folder: join(folder, 'etcd') },
    nodes: Array.from({ length: nodes }, (_, index) => planNode({ name, subnet, folder }, index + 1)),
  });
}

function grown(world: LabWorld, record: LabRecord, { name, nodes, agentFlags }: Wanted): LabRecord {
  const { lab } = record;
  const count = nodes ?? lab.nodes.length;
  if (count < lab.nodes.length) {
    throw new CliError(
      'FAILED',
      `the lab "${name}" is there with ${lab.nodes.length} nodes, and loses none; take it down first: ${downCommand(name)}`,
    );
  }
  occupy(world, record);
  const place = { name, subnet: lab.subnet as Subnet, folder: lab.folder };
  const added = Array.from({ length: count - lab.nodes.length }, (_, index) =>
    planNode(place, lab.nodes.length + index + 1),
  );
  record.change({
    nodes: [...lab.nodes, ...added],
    ...(agentFlags.length === 0 ? {} : { agentFlags: [...agentFlags] }),
  });
  return record;
}

function planNode(
  lab: { readonly name: string; readonly subnet: Subnet; readonly folder: string },
  number: number,
): LabNode {
  const name = nodeName(number);
  const isMachine = number === 1;
  return {
    name,
    ...(isMachine ? {} : { namespace: nodeNamespace(lab.name, name) }),
    address: addressOf(lab.subnet, number),
    socket: isMachine ? machineSocket() : join(socketFolder(lab.name), `${name}.sock`),
    folder: join(lab.folder, name),
    isWired: false,
    nodeIds: [],
  };
}

async function complete(world: LabWorld, record: LabRecord): Promise<Lab> {
  await wire(world, record);
  const { processes } = world.machine;
  const lives = (one: LabNode['agent']) => one !== undefined && isAlive(processes, one);
  if (!lives(record.lab.etcd.process)) startEtcd(world, record);
  await etcdReady(world, record);
  const start = async ({ name }: LabNode) => {
    world.stop.throwIfAborted();
    if (!lives(record.node(name).agent)) startAgent(world, record, name);
    await agentReady(world, record, name);
  };
  const [first, ...others] = record.lab.nodes;
  // The first agent writes what the mesh begins with; the others only need CPUs.
  if (first !== undefined) await start(first);
  await inTurns(Math.max(2, availableParallelism()), others, start);
  record.change({ busy: undefined });
  return record.lab;
}

async function wire(world: LabWorld, record: LabRecord): Promise<void> {
  if (!record.lab.isWired) {
    // The nodes' links go with the bridge.
    record.change({ nodes: record.lab.nodes.map((node) => ({ ...node, isWired: false })) });
    await wireMachine(record.lab);
    record.change({ isWired: true });
  }
  for (const node of record.lab.nodes) {
    if (node.isWired) continue;
    world.stop.throwIfAborted();
    await wireNode(record.lab, node);
    record.changeNode(node.name, { isWired: true });
  }
}

/** Its socket is where users' commands look for an agent, so the lab's first node has to have it. */
async function refuseOtherAgent(): Promise<void> {
  const socket = machineSocket();
  for (const name of labNames()) {
    if (LabRecord.open(name)?.lab.nodes[0]?.socket !== socket) continue;
    throw new CliError(
      'FAILED',
      `there is a lab already, "${name}", of which this machine is the first node; take it down first: ${downCommand(name)}`,
    );
  }
  const other = await askAgent(socket);
  if (other === undefined) return;
  throw new CliError(
    'FAILED',
    `an agent is running on ${socket} (pid ${other.PID}), where the lab's first node would be; stop it first`,
  );
}

function machineSocket(): string {
  return defaultSocket({ env: {}, uid: 0, home: homedir() });
}

function downCommand(name: string): string {
  return `vipmesh lab down --name ${name}`;
}

/** At most so many at once. Rejects with the first failure, when those that had begun are over. */
async function inTurns<T>(width: number, all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const rest = [...all];
  const rows = Array.from({ length: width }, async () => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift()) await work(next);
  });
  const outcomes = await Promise.allSettled(rows);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
