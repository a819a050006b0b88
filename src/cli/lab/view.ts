// What a lab is like, for people and for programs.
import type { Column, Row } from '../format.ts';
import { formatTable } from '../table.ts';
import { agentLog, askAgent, isEtcdHealthy } from './agents.ts';
import { isAlive, type Processes } from './processes.ts';
import type { Lab, LabNode, LabProcess } from './record.ts';

/** `ended`: there is no such process. `silent`: it does not answer. */
type AgentState = 'ready' | 'starting' | 'draining' | 'silent' | 'ended';

export interface LabView {
  readonly Name: string;
  readonly Subnet: string;
  readonly Folder: string;
  readonly Etcd: {
    readonly Endpoint: string;
    readonly PID: number | null;
    readonly State: 'ready' | 'silent' | 'ended';
  };
  readonly Nodes: readonly NodeView[];
}

interface NodeView {
  readonly Name: string;
  /** Empty: the machine's own. */
  readonly Namespace: string;
  readonly Address: string;
  /** The agent's; null when it has ended. */
  readonly PID: number | null;
  readonly State: AgentState;
  readonly Socket: string;
  readonly Log: string;
}

export async function viewLab(processes: Processes, lab: Lab): Promise<LabView> {
  const { endpoint, process } = lab.etcd;
  const [nodes, healthy] = await Promise.all([
    Promise.all(lab.nodes.map((node) => viewNode(processes, node))),
    isEtcdHealthy(endpoint),
  ]);
  const pid = livingPid(processes, process);
  return {
    Name: lab.name,
    Subnet: lab.subnet,
    Folder: lab.folder,
    Etcd: { Endpoint: endpoint, PID: pid, State: pid === null ? 'ended' : healthy ? 'ready' : 'silent' },
    Nodes: nodes,
  };
}

async function viewNode(processes: Processes, node: LabNode): Promise<NodeView> {
  const pid = livingPid(processes, node.agent);
  return {
    Name: node.name,
    Namespace: node.namespace ?? '',
    Address: node.address,
    PID: pid,
    State: pid === null ? 'ended' : ((await askAgent(node.socket))?.State ?? 'silent'),
    Socket: node.socket,
    Log: agentLog(node),
  };
}

function livingPid(processes: Processes, one: LabProcess | undefined): number | null {
  return one !== undefined && isAlive(processes, one) ? one.pid : null;
}

/** The nodes as a table, with a line about the whole before it. */
export function describeLab({ Name, Subnet, Folder, Etcd, Nodes }: LabView): string {
  const rows = Nodes.map((node) => [
    node.Name,
    node.Namespace || "(the machine's)",
    node.Address,
    node.PID === null ? '' : String(node.PID),
    node.State,
    node.Socket,
  ]);
  const etcd = `etcd at ${Etcd.Endpoint}${Etcd.PID === null ? '' : ` (pid ${Etcd.PID})`}, ${Etcd.State}`;
  return [
    `Lab ${Name}: ${Subnet}, ${etcd}; logs in ${Folder}\n`,
    formatTable(['NODE', 'NAMESPACE', 'ADDRESS', 'PID', 'STATE', 'SOCKET'], rows),
  ].join('\n');
}

export const LAB_COLUMNS: readonly Column[] = [
  { field: 'Name', heading: 'NAME' },
  { field: 'Nodes', heading: 'NODES' },
  { field: 'Ready', heading: 'READY' },
  { field: 'Subnet', heading: 'SUBNET' },
  { field: 'Etcd', heading: 'ETCD' },
];

export function labRow({ Name, Subnet, Etcd, Nodes }: LabView): Row {
  const ready = Nodes.filter(({ State }) => State === 'ready').length;
  return { Name, Nodes: String(Nodes.length), Ready: String(ready), Subnet, Etcd: `${Etcd.Endpoint}, ${Etcd.State}` };
}
