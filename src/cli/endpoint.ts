// `vipmesh endpoint`: addresses that something else serves, and those of all tasks.
import { Command } from 'commander';
import { z } from 'zod';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type EndpointListing, endpointAdded, endpointListing } from '../api/schema.ts';
import { forEach } from './each.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { listOptions } from './list-options.ts';
import { formatMappings } from './service-pretty.ts';
import type { RowOptions } from './service-rows.ts';
import { apiCommand, CliError, clientOf, filterQuery, type Shell, withExamples } from './shell.ts';
import { readWeight, WEIGHT_HELP } from './weight-flag.ts';

export function endpointCommand(shell: Shell): Command {
  const command = new Command('endpoint')
    .description('add, remove, drain and see endpoints')
    .addCommand(addCommand(shell))
    .addCommand(drainCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(removeCommand(shell));
  return withExamples(command, ['vipmesh endpoint add db 10.0.0.5:5432', 'vipmesh endpoint ls db']);
}

function addCommand(shell: Shell): Command {
  return apiCommand('add', 'add what something else serves to a service', [
    'vipmesh endpoint add db 10.0.0.5:5432',
    'vipmesh endpoint add web 10.0.0.5 10.0.0.6        # on the target ports of the service',
    'vipmesh endpoint add web 80=10.0.0.5:8080         # which target port, when there are several',
    'vipmesh endpoint add --weight 3 web 10.0.0.7      # three times the connections; again for another weight',
  ])
    .argument('<SERVICE>', 'name or id')
    .argument('<ENDPOINT...>', 'ADDRESS, ADDRESS:PORT or TARGETPORT=ADDRESS:PORT')
    .option('--weight <N>', `${WEIGHT_HELP}; an endpoint that is there already takes it`, readWeight)
    .action(
      async (service: string, endpoints: readonly string[], flags: { readonly weight?: number }, command: Command) => {
        const client = clientOf(command, shell);
        const weight = flags.weight === undefined ? {} : { Weight: flags.weight };
        await forEach(shell, endpoints, async (endpoint) => {
          const answer = await client.post('/vipmesh/endpoints', { Service: service, Endpoint: endpoint, ...weight });
          return endpointAdded.parse(answer).ID;
        });
      },
    );
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
      await forEach(shell, endpoints, async (endpoint) => {
        const { TaskID } = findEndpoint(listed, service, endpoint);
        await client.delete(apiPath`/vipmesh/endpoints/${TaskID}`);
        return TaskID;
      });
    });
}

function drainCommand(shell: Shell): Command {
  return apiCommand('drain', 'give endpoints no new connections; those that are open may finish', [
    'vipmesh endpoint drain db 10.0.0.5:5432',
    'vipmesh endpoint drain --undo db 10.0.0.5:5432',
    "vipmesh endpoint ls --format '{{.Address}} {{.Open}}' db      # what is still open",
  ])
    .argument('<SERVICE>', 'name or id')
    .argument('<ENDPOINT...>', 'address, ADDRESS:PORT, name of the task, or id')
    .option('--undo', 'give them new connections again; only endpoints that were added, and attached containers')
    .action(
      async (service: string, endpoints: readonly string[], flags: { readonly undo?: true }, command: Command) => {
        const client = clientOf(command, shell);
        const listed = await listEndpoints(client, service);
        await forEach(shell, endpoints, async (endpoint) => {
          const { TaskID } = findEndpoint(listed, service, endpoint);
          const path = apiPath`/vipmesh/endpoints/${TaskID}/drain`;
          if (flags.undo === true) await client.delete(path);
          else await client.post(path);
          return TaskID;
        });
      },
    );
}

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'ID' },
  { field: 'Service', heading: 'SERVICE' },
  { field: 'Network', heading: 'NETWORK' },
  { field: 'Address', heading: 'ADDRESS' },
  { field: 'Ports', heading: 'PORTS' },
  { field: 'Node', heading: 'NODE' },
  { field: 'Source', heading: 'SOURCE' },
  { field: 'Weight', heading: 'WEIGHT' },
  { field: 'Eligible', heading: 'ELIGIBLE' },
  { field: 'Reason', heading: 'WHY' },
];
const FIELDS = [...COLUMNS.map(({ field }) => field), 'Name', 'State', 'Health', 'Open', 'Total'];

function listCommand(shell: Shell): Command {
  const command = apiCommand('ls', 'list endpoints', [
    'vipmesh endpoint ls',
    'vipmesh endpoint ls web --filter eligible=no',
    "vipmesh endpoint ls --format '{{.Address}} {{.Eligible}}' web",
  ])
    .alias('list')
    .argument('[SERVICE]', 'name or id');
  return listOptions(command, '{{.Address}}', FILTERS.join(', ').toLowerCase()).action(
    async (service: string | undefined, flags: EndpointListFlags, self: Command) => {
      const keeps = endpointFilter(flags.filter);
      const endpoints = await listEndpoints(clientOf(self, shell), service);
      const rows = endpoints.map((endpoint) => endpointRow(endpoint, flags)).filter(keeps);
      shell.out(formatList(COLUMNS, rows, FIELDS, flags));
    },
  );
}

interface EndpointListFlags extends RowOptions {
  readonly filter?: readonly string[];
}

const FILTERS = ['Service', 'Network', 'Address', 'Node', 'Source', 'State', 'Health', 'Eligible'] as const;

/** Values of one field are alternatives, fields must all fit, as in Docker's filters. Throws CliError. */
function endpointFilter(filters: readonly string[] | undefined): (row: Row) => boolean {
  const wanted = Object.entries(JSON.parse(filterQuery(filters) ?? '{}') as Record<string, string[]>).map(
    ([key, values]) => {
      const field = FILTERS.find((one) => one.toLowerCase() === key);
      if (field === undefined) {
        const known = FILTERS.join(', ').toLowerCase();
        throw new CliError('FAILED', `invalid filter '${key}'; known ones are ${known}`);
      }
      return { field, values };
    },
  );
  return (row) => wanted.every(({ field, values }) => values.includes(String(row[field])));
}

function endpointRow(endpoint: EndpointListing, flags: RowOptions): Row {
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
    Weight: String(endpoint.Weight),
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
