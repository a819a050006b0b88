// `vipmesh network`: where names and addresses mean something.
import { Command } from 'commander';
import { z } from 'zod';
import { apiPath } from '../api/client.ts';
import { type DockerNetwork, dockerNetwork } from '../api/schema.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { inspect } from './inspect.ts';
import { listOptions } from './list-options.ts';
import { createNetworkCommand, removeNetworkCommand } from './network-write.ts';
import { natural, type RowOptions } from './service-rows.ts';
import { apiCommand, clientOf, filterQuery, type Shell, withExamples } from './shell.ts';

export function networkCommand(shell: Shell): Command {
  const command = new Command('network')
    .description('create, remove and see networks')
    .addCommand(createNetworkCommand(shell))
    .addCommand(inspectCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(removeNetworkCommand(shell));
  return withExamples(command, ['vipmesh network create backend', 'vipmesh network ls']);
}

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'NETWORK ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Driver', heading: 'DRIVER' },
  { field: 'Scope', heading: 'SCOPE' },
];
const FIELDS = ['CreatedAt', 'Driver', 'ID', 'IPv6', 'Internal', 'Labels', 'Name', 'Scope'];

function listCommand(shell: Shell): Command {
  const command = apiCommand('ls', 'list networks', [
    'vipmesh network ls',
    'vipmesh network ls --filter driver=overlay',
    "vipmesh network ls --format '{{.Name}}: {{.Driver}}'",
  ]).alias('list');
  return listOptions(command, '{{.Name}}', 'id, name, driver, scope, label').action(
    async (flags: RowOptions & { readonly filter?: readonly string[] }, self: Command) => {
      const filters = filterQuery(flags.filter);
      const networks = await clientOf(self, shell).get('/networks', z.array(dockerNetwork), { filters });
      const rows = networks.toSorted((a, b) => natural(a.Name, b.Name));
      shell.out(
        formatList(
          COLUMNS,
          rows.map((network) => networkRow(network, flags)),
          FIELDS,
          flags,
        ),
      );
    },
  );
}

/** Every field is text, `true` and `false` too, as Docker prints them. */
function networkRow(network: DockerNetwork, flags: RowOptions): Row {
  return {
    CreatedAt: network.Created,
    Driver: network.Driver,
    ID: shortId(network.Id, !flags.trunc),
    IPv6: String(network.EnableIPv6),
    Internal: String(network.Internal),
    Labels: Object.entries(network.Labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    Name: network.Name,
    Scope: network.Scope,
  };
}

function inspectCommand(shell: Shell): Command {
  return apiCommand('inspect', 'everything about networks', [
    'vipmesh network inspect default',
    "vipmesh network inspect --format '{{json .IPAM}}' default",
  ])
    .argument('<NETWORK...>', 'names or ids')
    .option('--format <FORMAT>', "json or a template such as '{{.Name}}'")
    .action(async (references: readonly string[], flags: { readonly format?: string }, command: Command) => {
      const client = clientOf(command, shell);
      await inspect(shell, {
        references,
        format: flags.format,
        get: (reference) => client.get(apiPath`/networks/${reference}`, dockerNetwork),
      });
    });
}
