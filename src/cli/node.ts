// `vipmesh node`: the machines that run the agent.
import { Command, Option } from 'commander';
import { z } from 'zod';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type DockerNode, dockerNode } from '../api/schema.ts';
import { dockerInfo } from '../api/system-schema.ts';
import { changeLabels } from './flag-fields.ts';
import { type Column, formatList, type Row } from './format.ts';
import { inspect } from './inspect.ts';
import { listOptions } from './list-options.ts';
import { field } from './service-pretty.ts';
import { natural, type RowOptions } from './service-rows.ts';
import { apiCommand, CliError, clientOf, collect, filterQuery, type Shell, withExamples } from './shell.ts';
import { capital, listTasks, type TaskListFlags } from './task-rows.ts';

export function nodeCommand(shell: Shell): Command {
  const command = new Command('node')
    .description('see nodes, and take them out of service')
    .addCommand(inspectCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(tasksCommand(shell))
    .addCommand(removeCommand(shell))
    .addCommand(updateCommand(shell));
  return withExamples(command, ['vipmesh node ls', 'vipmesh node update --availability drain alpha']);
}

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID', cell: ({ ID, Self }) => `${ID} ${Self === true ? '*' : ' '}` },
  { field: 'Hostname', heading: 'HOSTNAME' },
  { field: 'Status', heading: 'STATUS' },
  { field: 'Availability', heading: 'AVAILABILITY' },
  { field: 'ManagerStatus', heading: 'MANAGER STATUS' },
  { field: 'EngineVersion', heading: 'ENGINE VERSION' },
];
const FIELDS = ['ID', 'Self', ...COLUMNS.slice(1).map((column) => column.field)];

function listCommand(shell: Shell): Command {
  const command = apiCommand('ls', 'list nodes; * is the one that answers', [
    'vipmesh node ls',
    "vipmesh node ls --filter node.label=zone=a --format '{{.Hostname}} {{.Availability}}'",
    'vipmesh node ls -q',
  ])
    .alias('list')
    .addHelpText('after', '\nIds are always whole here, as Docker prints them.');
  return listOptions(command, '{{.Hostname}}', 'id, name, label, node.label, role').action(
    async (flags: RowOptions & { readonly filter?: readonly string[] }, self: Command) => {
      const client = clientOf(self, shell);
      const filters = filterQuery(flags.filter);
      const nodes = await client.get('/nodes', z.array(dockerNode), { filters });
      const { Swarm } = await client.get('/info', dockerInfo);
      const rows = nodes
        .toSorted((a, b) => natural(a.Description.Hostname, b.Description.Hostname))
        .map((node) => nodeRow(node, Swarm.NodeID));
      shell.out(formatList(COLUMNS, rows, FIELDS, flags));
    },
  );
}

function nodeRow(node: DockerNode, self: string): Row {
  const { ManagerStatus } = node;
  return {
    ID: node.ID,
    Self: node.ID === self,
    Hostname: node.Description.Hostname,
    Status: capital(node.Status.State),
    Availability: capital(node.Spec.Availability),
    ManagerStatus:
      ManagerStatus === undefined ? '' : ManagerStatus.Leader ? 'Leader' : capital(ManagerStatus.Reachability),
    EngineVersion: node.Description.Engine.EngineVersion,
  };
}

function tasksCommand(shell: Shell): Command {
  const command = apiCommand('ps', 'list the tasks of nodes', [
    'vipmesh node ps',
    'vipmesh node ps alpha beta --filter desired-state=running',
  ]).argument('[NODE...]', 'names or ids (default: self, the one that answers)');
  return listOptions(command, '{{.Name}} {{.CurrentState}}', 'id, name, service, desired-state').action(
    async (references: readonly string[], flags: TaskListFlags, self: Command) => {
      const client = clientOf(self, shell);
      const nodes = await Promise.all(
        (references.length === 0 ? ['self'] : references).map((one) => find(client, one)),
      );
      const which = nodes.map(({ ID }) => `node=${ID}`);
      shell.out(await listTasks(client, which, flags, shell.now()));
    },
  );
}

function inspectCommand(shell: Shell): Command {
  return apiCommand('inspect', 'everything about nodes', [
    'vipmesh node inspect self',
    'vipmesh node inspect --pretty alpha',
    "vipmesh node inspect --format '{{.Spec.Availability}}' alpha",
  ])
    .argument('<NODE...>', 'names or ids; self is the one that answers')
    .option('--format <FORMAT>', "json or a template such as '{{.Spec.Availability}}'")
    .option('--pretty', 'for people')
    .action(
      async (
        references: readonly string[],
        flags: { readonly format?: string; readonly pretty?: boolean },
        self: Command,
      ) => {
        const client = clientOf(self, shell);
        await inspect(shell, {
          references,
          format: flags.format,
          get: (reference) => find(client, reference),
          pretty: flags.pretty === true ? prettyNode : undefined,
        });
      },
    );
}

function prettyNode({ ID, Spec, Description, Status, ManagerStatus, CreatedAt }: DockerNode): string {
  const { Resources, Platform, Engine } = Description;
  return [
    field('ID', ID),
    field('Hostname', Description.Hostname),
    ...Object.entries(Spec.Labels).map(([key, value]) => field('Label', `${key}=${value}`)),
    field('Joined', CreatedAt),
    field('State', capital(Status.State)),
    field('Availability', capital(Spec.Availability)),
    ...(Status.Addr === '' ? [] : [field('Address', Status.Addr)]),
    ...(ManagerStatus === undefined ? [] : [field('Leader', ManagerStatus.Leader ? 'yes' : 'no')]),
    // A node knows the machine of nobody but itself.
    ...(Platform.Architecture === '' ? [] : [field('Platform', `${Platform.OS} ${Platform.Architecture}`)]),
    ...(Resources.NanoCPUs === 0 ? [] : [field('CPUs', String(Resources.NanoCPUs / 1_000_000_000))]),
    ...(Resources.MemoryBytes === 0 ? [] : [field('Memory', `${Math.round(Resources.MemoryBytes / 2 ** 20)} MiB`)]),
    field('Version', Engine.EngineVersion),
  ].join('');
}

function removeCommand(shell: Shell): Command {
  return apiCommand('rm', 'forget nodes that are down', ['vipmesh node rm gamma'])
    .alias('remove')
    .argument('<NODE...>', 'names or ids')
    .option('-f, --force', 'taken because Docker has it; a node whose agent runs cannot be forgotten')
    .action(async (references: readonly string[], _flags: { readonly force?: boolean }, self: Command) => {
      const client = clientOf(self, shell);
      for (const reference of references) {
        const { ID } = await find(client, reference);
        await client.delete(apiPath`/nodes/${ID}`);
        shell.out(`${reference}\n`);
      }
    });
}

interface UpdateFlags {
  readonly availability?: 'active' | 'pause' | 'drain';
  readonly labelAdd?: readonly string[];
  readonly labelRm?: readonly string[];
}

function updateCommand(shell: Shell): Command {
  return apiCommand('update', 'take a node out of service or back, or label it', [
    'vipmesh node update --availability drain alpha',
    'vipmesh node update --availability active alpha',
    'vipmesh node update --label-add zone=a self',
  ])
    .argument('<NODE>', 'name or id; self is the one that answers')
    .addOption(
      new Option(
        '--availability <AVAILABILITY>',
        'active; pause: no new tasks; drain: its tasks get no new connections',
      ).choices(['active', 'pause', 'drain']),
    )
    .option('--label-add <KEY=VALUE>', 'label to add or replace; repeatable', collect)
    .option('--label-rm <KEY>', 'label to remove; repeatable', collect)
    .action(async (reference: string, flags: UpdateFlags, self: Command) => {
      if (flags.availability === undefined && flags.labelAdd === undefined && flags.labelRm === undefined)
        throw new CliError('USAGE', 'what is to change? give --availability, --label-add or --label-rm');
      const client = clientOf(self, shell);
      const { ID, Version, Spec } = await find(client, reference);
      const spec = {
        ...Spec,
        Labels: changeLabels(Spec.Labels, flags),
        Availability: flags.availability ?? Spec.Availability,
      };
      await client.post(apiPath`/nodes/${ID}/update`, spec, { version: String(Version.Index) });
      shell.out(`${reference}\n`);
    });
}

function find(client: ApiClient, reference: string): Promise<DockerNode> {
  return client.get(apiPath`/nodes/${reference}`, dockerNode);
}
