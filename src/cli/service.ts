// `vipmesh service`: what is reached under one name.
import { Command } from 'commander';
import { z } from 'zod';
import { apiPath } from '../api/client.ts';
import {
  type DockerService,
  type DockerTask,
  dockerNode,
  dockerService,
  dockerTask,
  serviceDetail,
} from '../api/schema.ts';
import { humanDuration } from '../runtime/duration.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { inspect } from './inspect.ts';
import { formatPorts } from './ports.ts';
import { prettyService } from './service-pretty.ts';
import { apiCommand, clientOf, collect, filterQuery, type Shell } from './shell.ts';

export function serviceCommand(shell: Shell): Command {
  return new Command('service')
    .description('see services')
    .addCommand(listCommand(shell))
    .addCommand(tasksCommand(shell))
    .addCommand(inspectCommand(shell));
}

interface ListFlags {
  readonly format?: string;
  readonly filter?: readonly string[];
  readonly quiet?: boolean;
  readonly trunc: boolean;
}

const SERVICE_COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Mode', heading: 'MODE' },
  { field: 'Replicas', heading: 'REPLICAS' },
  { field: 'Ports', heading: 'PORTS' },
];

function listCommand(shell: Shell): Command {
  return apiCommand('ls', 'list services', [
    'vipmesh service ls',
    'vipmesh service ls --filter label=tier=front',
    "vipmesh service ls --format '{{.Name}} {{.Ports}}'",
  ])
    .alias('list')
    .option('-f, --filter <KEY=VALUE>', 'only these: id, name, label, mode', collect)
    .option('--format <FORMAT>', "json, table or a template such as '{{.Name}}'")
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .action(async (flags: ListFlags, command: Command) => {
      const filters = filterQuery(flags.filter);
      const services = await clientOf(command, shell).get('/services', z.array(dockerService), {
        status: true,
        filters,
      });
      const rows = services
        .toSorted((a, b) => natural(a.Spec.Name, b.Spec.Name))
        .map((service) => serviceRow(service, flags));
      shell.out(formatList(SERVICE_COLUMNS, rows, SERVICE_FIELDS, flags));
    });
}

const SERVICE_FIELDS = SERVICE_COLUMNS.map(({ field }) => field);

function serviceRow(service: DockerService, flags: ListFlags): Row {
  const { RunningTasks = 0, DesiredTasks = 0 } = service.ServiceStatus ?? {};
  return {
    ID: shortId(service.ID, !flags.trunc),
    Name: service.Spec.Name,
    Mode: 'Global' in service.Spec.Mode ? 'global' : 'replicated',
    Replicas: `${RunningTasks}/${DesiredTasks}`,
    Ports: formatPorts(service.Endpoint.Ports ?? [], 'ingress'),
  };
}

const TASK_COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Node', heading: 'NODE' },
  { field: 'DesiredState', heading: 'DESIRED STATE' },
  { field: 'CurrentState', heading: 'CURRENT STATE' },
  { field: 'Error', heading: 'ERROR' },
  { field: 'Ports', heading: 'PORTS' },
];
const TASK_FIELDS = TASK_COLUMNS.map(({ field }) => field);

function tasksCommand(shell: Shell): Command {
  return apiCommand('ps', 'list the tasks of services', [
    'vipmesh service ps web',
    'vipmesh service ps web db --filter desired-state=running',
    'vipmesh service ps -q web',
  ])
    .argument('<SERVICE...>', 'names or ids')
    .option('-f, --filter <KEY=VALUE>', 'only these: id, name, node, desired-state', collect)
    .option('--format <FORMAT>', "json, table or a template such as '{{.Name}} {{.CurrentState}}'")
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids and names')
    .action(async (references: readonly string[], flags: ListFlags, command: Command) => {
      const client = clientOf(command, shell);
      const services = await Promise.all(references.map((one) => client.get(apiPath`/services/${one}`, dockerService)));
      const nodes = new Map(
        (await client.get('/nodes', z.array(dockerNode))).map((node) => [node.ID, node.Description.Hostname]),
      );
      const rows: Row[] = [];
      for (const service of services) {
        const filters = filterQuery([...(flags.filter ?? []), `service=${service.ID}`]);
        const tasks = await client.get('/tasks', z.array(dockerTask), { filters });
        for (const task of tasks.toSorted((a, b) => a.Slot - b.Slot)) {
          rows.push(taskRow(task, service.Spec.Name, nodes.get(task.NodeID) ?? task.NodeID, flags, shell.now()));
        }
      }
      shell.out(formatList(TASK_COLUMNS, rows, TASK_FIELDS, flags));
    });
}

function taskRow(task: DockerTask, service: string, node: string, flags: ListFlags, now: number): Row {
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

function inspectCommand(shell: Shell): Command {
  return apiCommand('inspect', 'everything about services, with why an endpoint gets no connections', [
    'vipmesh service inspect web',
    'vipmesh service inspect --pretty web',
    "vipmesh service inspect --format '{{json .Vipmesh.Endpoints}}' web",
  ])
    .argument('<SERVICE...>', 'names or ids')
    .option('--format <FORMAT>', "json or a template such as '{{.Spec.Name}}'")
    .option('--pretty', 'for people')
    .action(
      async (
        references: readonly string[],
        flags: { readonly format?: string; readonly pretty?: boolean },
        command: Command,
      ) => {
        const client = clientOf(command, shell);
        await inspect(shell, {
          references,
          format: flags.format,
          get: (reference) => client.get(apiPath`/vipmesh/services/${reference}`, serviceDetail),
          pretty: flags.pretty === true ? prettyService : undefined,
        });
      },
    );
}

/** `web2` before `web10`. */
function natural(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true });
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
