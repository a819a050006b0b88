// `vipmesh service`: what is reached under one name.
import { Command } from 'commander';
import { z } from 'zod';
import { apiPath } from '../api/client.ts';
import { dockerService, serviceDetail } from '../api/schema.ts';
import { inspect } from './inspect.ts';
import { listOptions } from './list-options.ts';
import { prettyService } from './service-pretty.ts';
import { formatServices, type RowOptions } from './service-rows.ts';
import { createCommand, removeCommand, rollbackCommand, scaleCommand, updateCommand } from './service-write.ts';
import { apiCommand, clientOf, filterQuery, type Shell, withExamples } from './shell.ts';
import { listTasks, type TaskListFlags } from './task-rows.ts';

export function serviceCommand(shell: Shell): Command {
  const command = new Command('service')
    .description('create, change and see services')
    .addCommand(createCommand(shell))
    .addCommand(inspectCommand(shell))
    .addCommand(listCommand(shell))
    .addCommand(tasksCommand(shell))
    .addCommand(removeCommand(shell))
    .addCommand(rollbackCommand(shell))
    .addCommand(scaleCommand(shell))
    .addCommand(updateCommand(shell));
  return withExamples(command, [
    'vipmesh service create --publish 8080:80 web',
    'vipmesh service ls',
    'vipmesh service inspect --pretty web',
  ]);
}

function listCommand(shell: Shell): Command {
  const command = apiCommand('ls', 'list services', [
    'vipmesh service ls',
    'vipmesh service ls --filter label=tier=front',
    "vipmesh service ls --format '{{.Name}} {{.Ports}}'",
  ]).alias('list');
  return listOptions(command, '{{.Name}}', 'id, name, label, mode').action(
    async (flags: RowOptions & { readonly filter?: readonly string[] }, self: Command) => {
      const query = { status: true, filters: filterQuery(flags.filter) };
      shell.out(formatServices(await clientOf(self, shell).get('/services', z.array(dockerService), query), flags));
    },
  );
}

function tasksCommand(shell: Shell): Command {
  const command = apiCommand('ps', 'list the tasks of services', [
    'vipmesh service ps web',
    'vipmesh service ps web db --filter desired-state=running',
    'vipmesh service ps -q web',
  ]).argument('<SERVICE...>', 'names or ids');
  return listOptions(command, '{{.Name}} {{.CurrentState}}', 'id, name, node, desired-state').action(
    async (references: readonly string[], flags: TaskListFlags, self: Command) => {
      const client = clientOf(self, shell);
      const services = await Promise.all(references.map((one) => client.get(apiPath`/services/${one}`, dockerService)));
      const which = services.map(({ ID }) => `service=${ID}`);
      shell.out(await listTasks(client, which, flags, shell.now()));
    },
  );
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
        self: Command,
      ) => {
        const client = clientOf(self, shell);
        await inspect(shell, {
          references,
          format: flags.format,
          get: (reference) => client.get(apiPath`/vipmesh/services/${reference}`, serviceDetail),
          pretty: flags.pretty === true ? prettyService : undefined,
        });
      },
    );
}
