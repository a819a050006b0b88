// `vipmesh stack`: services and networks declared together by one Compose file.
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { z } from 'zod';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type StackDeployed, stackDeployed, type StackListing, stackListing } from '../api/requests.ts';
import { dockerNetwork, dockerService } from '../api/schema.ts';
import { STACK_LABEL } from '../model/name.ts';
import { forEach } from './each.ts';
import { type Column, formatList } from './format.ts';
import { listOptions } from './list-options.ts';
import { formatServices, natural, type RowOptions } from './service-rows.ts';
import { apiCommand, CliError, clientOf, collect, errorCode, filterQuery, type Shell, withExamples } from './shell.ts';
import { listTasks, type TaskListFlags } from './task-rows.ts';

export function stackCommand(shell: Shell): Command {
  const command = new Command('stack')
    .description('services and networks declared together by one Compose file')
    .addCommand(deployCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(tasksCommand(shell))
    .addCommand(removeCommand(shell))
    .addCommand(servicesCommand(shell));
  return withExamples(command, ['vipmesh stack deploy -c compose.yaml shop', 'vipmesh stack services shop']);
}

interface DeployFlags {
  readonly composeFile?: readonly string[];
  readonly prune?: boolean;
}

function deployCommand(shell: Shell): Command {
  return apiCommand('deploy', 'make a stack what a Compose file says, all or nothing', [
    'vipmesh stack deploy -c compose.yaml shop',
    'vipmesh stack deploy -c compose.yaml --prune shop',
    'TAG=2 vipmesh stack deploy -c - shop < compose.yaml',
  ])
    .alias('up')
    .argument('<STACK>', 'name of the stack; the names of its objects begin with it')
    .option('-c, --compose-file <FILE>', 'the Compose file; - is standard input', collect)
    .option('--prune', 'remove what the stack had and the file does not name')
    .option('-d, --detach', 'accepted for scripts: there is nothing to wait for')
    .option('-q, --quiet', 'accepted for scripts: there is no progress to show')
    .action(async (name: string, flags: DeployFlags, self: Command) => {
      const [file, second] = flags.composeFile ?? [];
      if (file === undefined)
        throw new CliError('USAGE', 'a stack needs its file: --compose-file FILE, or - for standard input');
      if (second !== undefined) throw new CliError('USAGE', 'one --compose-file, please; several are not merged');
      const content = await readCompose(file);
      const request = {
        File: file === '-' ? 'stdin' : file,
        Text: content,
        Environment: environmentOf(content, shell.env),
        Prune: flags.prune === true,
      };
      const client = clientOf(self, shell);
      report(shell, stackDeployed.parse(await client.post(apiPath`/vipmesh/stacks/${name}`, request)));
    });
}

/** The variables that a Compose file names, `$NAME` and `${NAME…}`, as far as they are set. PURE. */
export function environmentOf(
  content: string,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const names = new Set([...content.matchAll(/\$\{?([A-Za-z_][A-Za-z0-9_]*)/g)].map(([, name]) => name ?? ''));
  return Object.fromEntries(
    [...names].flatMap((name) => {
      const value = env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

async function readCompose(file: string): Promise<string> {
  if (file === '-') return text(process.stdin);
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): CliError {
  const code = errorCode(cause);
  const why =
    code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : `it cannot be read (${code})`;
  return new CliError('FAILED', `${file}: ${why}`, { cause });
}

function report(shell: Shell, deployed: StackDeployed): void {
  for (const warning of deployed.Warnings) shell.err(`Warning: ${warning}\n`);
  for (const unused of deployed.Unused) shell.err(`Note: ${unused}\n`);
  const overridden = new Set(deployed.Overridden);
  for (const object of deployed.Removed) shell.out(`Removing ${object}\n`);
  for (const object of deployed.Created) shell.out(`Creating ${object}\n`);
  for (const object of deployed.Updated) {
    shell.out(`Updating ${object}${overridden.has(object) ? ' (over an edit made by hand)' : ''}\n`);
  }
  for (const object of deployed.Unchanged) shell.out(`Unchanged ${object}\n`);
  for (const object of deployed.Kept) shell.err(`Warning: ${object} stays, because services of others use it\n`);
}

const COLUMNS: readonly Column[] = [
  { field: 'Name', heading: 'NAME' },
  { field: 'Services', heading: 'SERVICES' },
  { field: 'Networks', heading: 'NETWORKS' },
  { field: 'File', heading: 'KEPT BY FILE' },
];
const FIELDS = COLUMNS.map(({ field }) => field);

function listCommand(shell: Shell): Command {
  return apiCommand('ls', 'list stacks', [
    'vipmesh stack ls',
    "vipmesh stack ls --format '{{.Name}}: {{.Services}}'",
    'vipmesh stack ls -q',
  ])
    .alias('list')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Name}}'")
    .option('-q, --quiet', 'names only')
    .action(async (flags: { readonly format?: string; readonly quiet?: boolean }, self: Command) => {
      const stacks = await listStacks(clientOf(self, shell));
      if (flags.quiet === true && flags.format === undefined) {
        shell.out(stacks.map(({ Name }) => `${Name}\n`).join(''));
        return;
      }
      const rows = stacks.map((stack) => ({
        Name: stack.Name,
        Services: String(stack.Services),
        Networks: String(stack.Networks),
        File: stack.File ?? '',
      }));
      shell.out(formatList(COLUMNS, rows, FIELDS, flags));
    });
}

function tasksCommand(shell: Shell): Command {
  const command = apiCommand('ps', 'list the tasks of a stack', [
    'vipmesh stack ps shop',
    'vipmesh stack ps --filter desired-state=running shop',
  ]).argument('<STACK>', 'name of the stack');
  return listOptions(command, '{{.Name}} {{.CurrentState}}', 'id, name, node, desired-state').action(
    async (name: string, flags: TaskListFlags, self: Command) => {
      const client = clientOf(self, shell);
      await requireStack(client, name);
      shell.out(await listTasks(client, [`label=${STACK_LABEL}=${name}`], flags, shell.now()));
    },
  );
}

function servicesCommand(shell: Shell): Command {
  const command = apiCommand('services', 'list the services of a stack', [
    'vipmesh stack services shop',
    "vipmesh stack services --format '{{.Name}} {{.Replicas}}' shop",
  ]).argument('<STACK>', 'name of the stack');
  return listOptions(command, '{{.Name}}', 'id, name, label, mode').action(
    async (name: string, flags: RowOptions & { readonly filter?: readonly string[] }, self: Command) => {
      const client = clientOf(self, shell);
      await requireStack(client, name);
      const filters = filterQuery([...(flags.filter ?? []), `label=${STACK_LABEL}=${name}`]);
      const services = await client.get('/services', z.array(dockerService), { status: true, filters });
      shell.out(formatServices(services, flags));
    },
  );
}

function removeCommand(shell: Shell): Command {
  return apiCommand('rm', 'remove stacks with all their services and networks', [
    'vipmesh stack rm shop',
    'vipmesh stack rm shop blog',
  ])
    .alias('remove')
    .alias('down')
    .argument('<STACK...>', 'names of stacks')
    .option('-d, --detach', 'accepted for scripts: there is nothing to wait for')
    .action(async (names: readonly string[], _flags: object, self: Command) => {
      const client = clientOf(self, shell);
      await forEach(shell, names, async (name) => {
        const filters = filterQuery([`label=${STACK_LABEL}=${name}`]);
        const services = await client.get('/services', z.array(dockerService), { filters });
        const networks = await client.get('/networks', z.array(dockerNetwork), { filters });
        await client.delete(apiPath`/vipmesh/stacks/${name}`);
        return [
          ...services.map(({ Spec }) => `Removing service ${Spec.Name}`).sort(natural),
          ...networks.map(({ Name }) => `Removing network ${Name}`).sort(natural),
        ].join('\n');
      });
    });
}

async function requireStack(client: ApiClient, name: string): Promise<void> {
  const stacks = await listStacks(client);
  if (stacks.some(({ Name }) => Name === name)) return;
  const there = stacks.map(({ Name }) => Name).join(', ') || 'none';
  throw new CliError('FAILED', `no stack is called "${name}"; there is ${there}`);
}

function listStacks(client: ApiClient): Promise<StackListing[]> {
  return client.get('/vipmesh/stacks', z.array(stackListing));
}
