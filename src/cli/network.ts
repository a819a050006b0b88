// `vipmesh network`: where names and addresses mean something.
import { Command } from 'commander';
import { z } from 'zod';
import { apiPath } from '../api/client.ts';
import { type DockerNetwork, dockerNetwork } from '../api/schema.ts';
import { type Column, formatList, type Row, shortId } from './format.ts';
import { inspect } from './inspect.ts';
import { apiCommand, clientOf, collect, filterQuery, type Shell } from './shell.ts';

export function networkCommand(shell: Shell): Command {
  return new Command('network')
    .description('see networks')
    .addCommand(listCommand(shell))
    .addCommand(inspectCommand(shell));
}

interface ListFlags {
  readonly format?: string;
  readonly filter?: readonly string[];
  readonly quiet?: boolean;
  readonly trunc: boolean;
}

const COLUMNS: readonly Column[] = [
  { field: 'ID', heading: 'NETWORK ID' },
  { field: 'Name', heading: 'NAME' },
  { field: 'Driver', heading: 'DRIVER' },
  { field: 'Scope', heading: 'SCOPE' },
];
const FIELDS = ['CreatedAt', 'Driver', 'ID', 'IPv6', 'Internal', 'Labels', 'Name', 'Scope'];

function listCommand(shell: Shell): Command {
  return apiCommand('ls', 'list networks', [
    'vipmesh network ls',
    'vipmesh network ls --filter driver=overlay',
    "vipmesh network ls --format '{{.Name}}: {{.Driver}}'",
  ])
    .alias('list')
    .option('-f, --filter <KEY=VALUE>', 'only these: id, name, driver, scope, label', collect)
    .option('--format <FORMAT>', "json, table or a template such as '{{.Name}}'")
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .action(async (flags: ListFlags, command: Command) => {
      const filters = filterQuery(flags.filter);
      const networks = await clientOf(command, shell).get('/networks', z.array(dockerNetwork), { filters });
      const rows = networks.toSorted((a, b) => a.Name.localeCompare(b.Name, 'en', { numeric: true }));
      shell.out(
        formatList(
          COLUMNS,
          rows.map((network) => networkRow(network, flags)),
          FIELDS,
          flags,
        ),
      );
    });
}

/** Every field is text, `true` and `false` too, as Docker prints them. */
function networkRow(network: DockerNetwork, flags: ListFlags): Row {
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
