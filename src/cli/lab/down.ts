// Takes a lab apart, however much of it there is: what runs in its nodes, the agents, etcd, then what they ran in.
import { rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { learnNodeId } from './agents.ts';
import { isOfLab } from './plan.ts';
import { endProcesses, processesIn } from './processes.ts';
import { type Lab, LabRecord, type LabNode, type LabProcess, socketFolder } from './record.ts';
import { namespaceNames, removeMachineLink, removeNamespace } from './wires.ts';
import { type LabWorld, occupy } from './world.ts';

/** Tasks were told to end, and whoever needs longer than this is not going to be asked again. */
const TASK_GRACE_MS = 5000;
/** An agent waits up to 10 s for open connections. */
const AGENT_GRACE_MS = 15_000;
const ETCD_GRACE_MS = 5000;

/** False when there was nothing of that name. Leaves nothing of it, also when some of it is gone or was killed. */
export async function takeDown(world: LabWorld, name: string): Promise<boolean> {
  const record = LabRecord.open(name);
  if (record !== undefined) occupy(world, record);
  const strays = namespaceNames().filter((one) => isOfLab(name, one));
  if (record === undefined && strays.length === 0) return false;
  if (record !== undefined) for (const { name } of record.lab.nodes) learnNodeId(world, record, name);
  await endAll(world, record?.lab, strays);
  // Namespaces of containers are among what an agent leaves, and hold the other ends of links of the nodes.
  for (const { nodeIds } of record?.lab.nodes ?? [])
    for (const id of nodeIds) await world.machine.tracesOf(id).remove();
  await removeMachineLink(name);
  for (const one of namespaceNames()) if (isOfLab(name, one)) await removeNamespace(one);
  if (record !== undefined) {
    await removeFiles(record.lab);
    record.remove();
  }
  return true;
}

async function endAll(world: LabWorld, lab: Lab | undefined, namespaces: readonly string[]): Promise<void> {
  const { machine } = world;
  const agents = lab?.nodes.flatMap(({ agent }) => agent ?? []) ?? [];
  const etcd = lab?.etcd.process;
  const kept = new Set([...agents, ...(etcd === undefined ? [] : [etcd])].map(({ pid }) => pid));
  const inNodes = namespaces.flatMap((one) => processesIn(machine.processes, one));
  const inContainers = (lab?.nodes ?? []).flatMap((node) => containerProcesses(world, node));
  await endProcesses(
    machine.processes,
    [...inNodes, ...inContainers].filter(({ pid }) => !kept.has(pid)),
    TASK_GRACE_MS,
  );
  await endProcesses(machine.processes, agents, AGENT_GRACE_MS);
  if (etcd !== undefined) await endProcesses(machine.processes, [etcd], ETCD_GRACE_MS);
}

/** What runs in the containers of a node. */
export function containerProcesses({ machine }: LabWorld, { nodeIds }: LabNode): readonly LabProcess[] {
  const prefixes = nodeIds.map((id) => machine.tracesOf(id).prefix);
  return namespaceNames()
    .filter((name) => prefixes.some((prefix) => name.startsWith(prefix)))
    .flatMap((name) => processesIn(machine.processes, name));
}

async function removeFiles(lab: Lab): Promise<void> {
  for (const { socket } of lab.nodes) if (!(await isServed(socket))) rmSync(socket, { force: true });
  for (const folder of [lab.folder, socketFolder(lab.name)]) rmSync(folder, { recursive: true, force: true });
}

/** Another agent may have taken the machine's default socket after the lab's own had ended. */
function isServed(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.once('error', () => resolve(false));
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
  });
}
