// `vipmesh endpoint`: addresses that something else serves, and those of all tasks.
import { Command } from 'commander';
import { z } from 'zod';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type EndpointListing, endpointListing } from '../api/schema.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { formatMappings } from './service-pretty.ts';
import { apiCommand, CliError, clientOf, type Shell } from './shell.ts';

export function endpointCommand(shell: Shell): Command {
  return new Command('endpoint')
    .description('add, remove and see endpoints')
    .addCommand(addCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(removeCommand(shell));
}

const added = z.object({ ID: z.string(), Name: z.string() });

function addCommand(shell: Shell): Command {
  return apiCommand('add', 'add what something else serves to a service', [
    'vipmesh endpoint add db 10.0.0.5:5432',
    'vipmesh endpoint add web 10.0.0.5 10.0.0.6        # on the target ports of the service',
    'vipmesh endpoint add web 80=10.0.0.5:8080         # which target port, when there are several',
  ])
    .argument('<SERVICE>', 'name or id')
    .argument('<ENDPOINT...>', 'ADDRESS, ADDRESS:PORT or TARGETPORT=ADDRESS:PORT')
    .action(async (service: string, endpoints: readonly string[], _flags: object, command: Command) => {
      const client = clientOf(command, shell);
      for (const endpoint of endpoints) {
        const answer = await client.post('/vipmesh/endpoints', { Service: service, Endpoint: endpoint });
        shell.out(`${added.parse(answer).ID}\n`);
      }
    });
}

function removeCommand(shell: Shell): Command {
  return apiCommand('rm', 'remove endpoints that were added', [
    'vipmesh endpoint rm db 10.0.0.5:5432',
    'vipmesh endpoint rm web k3v9x0q2m1tz',
  ])
    .alias('remove')
    .argument('<SERVICE>', 'name or id')
    .argument('<ENDPOINT...>', 'as it was added, or its id')
    .action(async (service: string, endpoints: readonly string[], _flags: object, command: Command) => {
      const client = clientOf(command, shell);
      const listed = await listEndpoints(client, service);
      for (const endpoint of endpoints) {
        const { TaskID } = findEndpoint(listed, service, endpoint);
        await client.delete(apiPath`/vipmesh/endpoints/${TaskID}`);
        shell.out(`${TaskID}\n`);
      }
    });
}

interface ListFlags {
  readonly format?: string;
  readonly quiet?: boolean;
  readonly trunc: boolean;
}

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Service', heading: 'SERVICE' },
  { field: 'Network', heading: 'NETWORK' },
  { field: 'Address', heading: 'ADDRESS' },
  { field: 'Ports', heading: 'PORTS' },
  { field: 'Node', heading: 'NODE' },
  { field: 'Source', heading: 'SOURCE' },
  { field: 'Eligible', heading: 'ELIGIBLE' },
  { field: 'Reason', heading: 'WHY' },
];
const FIELDS = [...COLUMNS.map(({ field }) => field), 'Name', 'State', 'Health', 'Open', 'Total'];

function listCommand(shell: Shell): Command {
  return apiCommand('ls', 'list endpoints', [
    'vipmesh endpoint ls',
    'vipmesh endpoint ls web',
    "vipmesh endpoint ls --format '{{.Address}} {{.Eligible}}' web",
  ])
    .alias('list')
    .argument('[SERVICE]', 'name or id')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Address}}'")
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .action(async (service: string | undefined, flags: ListFlags, command: Command) => {
      const endpoints = await listEndpoints(clientOf(command, shell), service);
      shell.out(
        formatList(
          COLUMNS,
          endpoints.map((endpoint) => endpointRow(endpoint, flags)),
          FIELDS,
          flags,
        ),
      );
    });
}

function endpointRow(endpoint: EndpointListing, flags: ListFlags): Row {
  return {
    ID: shortId(endpoint.TaskID, !flags.trunc),
    Service: endpoint.Service,
    Name: endpoint.Task,
    Network: endpoint.Network,
    Address: endpoint.Address,
    Ports: formatMappings(endpoint.Ports),
    Node: endpoint.Node,
    Source: endpoint.Source,
    State: endpoint.State,
    Health: endpoint.Health,
    Eligible: endpoint.Eligible ? 'yes' : 'no',
    Reason: endpoint.Reason ?? '',
    Open: String(endpoint.OpenConnections),
    Total: String(endpoint.TotalConnections),
  };
}

function listEndpoints(client: ApiClient, service: string | undefined): Promise<EndpointListing[]> {
  return client.get('/vipmesh/endpoints', z.array(endpointListing), { service });
}

/** By id, name, address, or address and port. */
function findEndpoint(listed: readonly EndpointListing[], service: string, wanted: string): EndpointListing {
  const text = wanted.slice(wanted.indexOf('=') + 1);
  const matches = listed.filter(
    (one) =>
      one.TaskID.startsWith(wanted) || one.Task === wanted || one.Address === text || writtenAs(one).includes(text),
  );
  const tasks = new Map(matches.map((one) => [one.TaskID, one]));
  const [only, second] = [...tasks.values()];
  if (only === undefined)
    throw new CliError(
      'FAILED',
      `service ${service} has no endpoint ${wanted}; see \`vipmesh endpoint ls ${service}\``,
    );
  if (second !== undefined)
    throw new CliError('FAILED', `${wanted} fits ${tasks.size} endpoints of ${service}; use the id of one of them`);
  return only;
}

function writtenAs({ Address, Ports }: EndpointListing): string[] {
  const host = Address.includes(':') ? `[${Address}]` : Address;
  return Ports.map(({ Port }) => `${host}:${Port}`);
}
