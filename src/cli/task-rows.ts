// A list of tasks, for `service ps`, `node ps` and `stack ps`.
import { z } from 'zod';
import type { ApiClient } from '../api/client.ts';
import { type DockerTask, dockerNode, dockerService, dockerTask } from '../api/schema.ts';
import { humanDuration } from '../runtime/duration.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { formatPorts } from './ports.ts';
import { natural, type RowOptions } from './service-rows.ts';
import { filterQuery } from './shell.ts';

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Node', heading: 'NODE' },
  { field: 'DesiredState', heading: 'DESIRED STATE' },
  { field: 'CurrentState', heading: 'CURRENT STATE' },
  { field: 'Error', heading: 'ERROR' },
  { field: 'Ports', heading: 'PORTS' },
];
const FIELDS = COLUMNS.map(({ field }) => field);

export interface TaskListFlags extends RowOptions {
  readonly filter?: readonly string[];
}

/**
 * The tasks that `which` describes (`service=ID`, `node=ID`, `label=…`; one list after the other) and the flags' filters leave,
 * by service and slot. `now` in milliseconds since the epoch.
 */
export async function listTasks(
  client: ApiClient,
  which: readonly string[],
  flags: TaskListFlags,
  now: number,
): Promise<string> {
  const [nodes, services] = await Promise.all([
    client.get('/nodes', z.array(dockerNode)),
    client.get('/services', z.array(dockerService)),
  ]);
  const nodeNames = new Map(nodes.map((node) => [node.ID, node.Description.Hostname]));
  const serviceNames = new Map(services.map((service) => [service.ID, service.Spec.Name]));
  const rows: Row[] = [];
  for (const one of which) {
    const filters = filterQuery([...(flags.filter ?? []), one]);
    const tasks = await client.get('/tasks', z.array(dockerTask), { filters });
    const named = tasks.map((task) => ({ task, service: serviceNames.get(task.ServiceID) ?? task.ServiceID }));
    for (const { task, service } of named.sort((a, b) => natural(a.service, b.service) || a.task.Slot - b.task.Slot)) {
      rows.push(taskRow(task, service, nodeNames.get(task.NodeID) ?? task.NodeID, flags, now));
    }
  }
  return formatList(COLUMNS, rows, FIELDS, flags);
}

function taskRow(task: DockerTask, service: string, node: string, flags: TaskListFlags, now: number): Row {
  const state = `${capital(task.Status.State)} ${humanDuration(now - Date.parse(task.Status.Timestamp)).toLowerCase()} ago`;
  const ownName = `${service}.${task.Slot}.${task.ID}`;
  return {
    ID: shortId(task.ID, !flags.trunc),
    Name: flags.trunc && task.Name === ownName ? `${service}.${task.Slot}` : task.Name,
    Node: node,
    DesiredState: capital(task.DesiredState),
    CurrentState: state,
    Error: task.Status.Message === 'unhealthy' ? 'unhealthy' : '',
    Ports: formatPorts(task.Status.PortStatus.Ports ?? [], 'host'),
  };
}

export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
