// `vipmesh events`: what changes, as it changes.
import type { Command } from 'commander';
import { type DockerEvent, dockerEvent } from '../api/requests.ts';
import { formatObjects } from './format.ts';
import { apiCommand, CliError, clientOf, collect, filterQuery, type Shell } from './shell.ts';
import { formatTimestamp, parseTimestamp } from './timestamp.ts';

interface Flags {
  readonly since?: string;
  readonly until?: string;
  readonly filter?: readonly string[];
  readonly format?: string;
}

export function eventsCommand(shell: Shell): Command {
  return apiCommand('events', 'show what changes, as it changes', [
    'vipmesh events',
    'vipmesh events --since 10m --until 0 --filter type=service',
    "vipmesh events --filter service=web --format '{{.Action}} {{.Actor.Attributes.name}}'",
  ])
    .option('--since <TIME>', 'also what was before: a duration such as 10m, a time, or seconds since the epoch')
    .option('--until <TIME>', 'end at this time; 0: now')
    .option('-f, --filter <KEY=VALUE>', 'only these: type, event, service, network, node, label; repeatable', collect)
    .option('--format <FORMAT>', "json or a template such as '{{.Type}} {{.Action}}'")
    .action(async ({ since, until, filter, format }: Flags, self: Command) => {
      const now = shell.now();
      const query = {
        since: since === undefined ? undefined : parseTimestamp('--since', since, now),
        until: until === undefined ? undefined : parseTimestamp('--until', until === '0' ? '0s' : until, now),
        filters: filterQuery(filter),
      };
      const { events } = await clientOf(self, shell).stream('/events', dockerEvent, query);
      for await (const event of events) shell.out(describe(event, format));
      if (until === undefined) throw new CliError('FAILED', 'the agent has ended, and with it its events');
    });
}

function describe(event: DockerEvent, format: string | undefined): string {
  if (format === 'json') return `${JSON.stringify(event)}\n`;
  if (format !== undefined) return formatObjects([event], format);
  const microseconds = Math.round(event.timeNano / 1000);
  const attributes = Object.entries(event.Actor.Attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const time = formatTimestamp(microseconds, new Date(microseconds / 1000).getTimezoneOffset());
  return `${time} ${event.Type} ${event.Action} ${event.Actor.ID} (${attributes.join(', ')})\n`;
}
