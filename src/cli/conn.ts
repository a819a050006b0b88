// `vipmesh conn`: what this node's data path has open.
import { Command } from 'commander';
import { type ConnectionListing, connectionListing } from '../api/status-schema.ts';
import { formatBytes } from '../runtime/bytes.ts';
import { formatDuration } from '../runtime/duration.ts';
import { type Column, formatList, type Row } from './format.ts';
import { apiCommand, CliError, clientOf, type Shell, withExamples } from './shell.ts';

export function connCommand(shell: Shell): Command {
  const command = new Command('conn')
    .description('connections and UDP flows that are open on this node')
    .addCommand(listCommand(shell));
  return withExamples(command, ['vipmesh conn ls', 'vipmesh conn ls web --limit 20']);
}

const COLUMNS: readonly Column[] = [
  { field: 'Service', heading: 'SERVICE' },
  { field: 'Protocol', heading: 'PROTOCOL' },
  { field: 'Client', heading: 'CLIENT' },
  { field: 'Frontend', heading: 'FRONTEND' },
  { field: 'Endpoint', heading: 'ENDPOINT' },
  { field: 'AgeMs', heading: 'AGE', cell: ({ AgeMs }) => formatAge(Number(AgeMs)) },
  { field: 'BytesToEndpoint', heading: 'IN', cell: ({ BytesToEndpoint }) => formatBytes(Number(BytesToEndpoint)) },
  { field: 'BytesToClient', heading: 'OUT', cell: ({ BytesToClient }) => formatBytes(Number(BytesToClient)) },
  { field: 'State', heading: 'STATE' },
];
const FIELDS = [...COLUMNS.map(({ field }) => field), 'Task', 'Worker'];

interface ListFlags {
  readonly limit: string;
  readonly format?: string;
}

function listCommand(shell: Shell): Command {
  return apiCommand('ls', 'connections and UDP flows through this node, the oldest first', [
    'vipmesh conn ls',
    'vipmesh conn ls web --limit 20',
    "vipmesh conn ls --format '{{.Client}} {{.Endpoint}} {{.State}}' web",
  ])
    .alias('list')
    .argument('[SERVICE]', 'name or id (default: all services)')
    .option('--limit <N>', 'no more than so many', '1000')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Client}}'")
    .action(async (service: string | undefined, flags: ListFlags, self: Command) => {
      const { limit } = flags;
      if (!/^\d{1,6}$/.test(limit))
        throw new CliError('USAGE', `--limit should be a number, such as 20, not "${limit}"`);
      const { Connections, Total } = await clientOf(self, shell).get('/vipmesh/connections', connectionListing, {
        service,
        limit,
      });
      shell.out(formatList(COLUMNS, Connections.map(rowOf), FIELDS, flags));
      const hidden = Total - Connections.length;
      if (hidden > 0) shell.err(`${hidden} more; --limit ${Total} shows all\n`);
    });
}

function rowOf(one: ConnectionListing['Connections'][number]): Row {
  return {
    ...one,
    Endpoint: one.Endpoint ?? '',
    Task: one.Task ?? '',
    AgeMs: String(one.AgeMs),
    BytesToEndpoint: String(one.BytesToEndpoint),
    BytesToClient: String(one.BytesToClient),
    Worker: String(one.Worker),
  };
}

/** Below a minute to a tenth of a second, above in whole seconds. */
function formatAge(ms: number): string {
  return ms < 60_000 ? `${(ms / 1000).toFixed(1)}s` : formatDuration(Math.floor(ms / 1000) * 1000);
}
