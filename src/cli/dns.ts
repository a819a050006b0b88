// `vipmesh dns`: what the resolver keeps of upstreams' answers.
import { Command } from 'commander';
import { dnsCache, flushed } from '../api/status-schema.ts';
import { type Column, formatList, type Row } from './format.ts';
import { apiCommand, CliError, clientOf, type Shell, withExamples } from './shell.ts';

export function dnsCommand(shell: Shell): Command {
  const cache = new Command('cache')
    .description('what is kept of answers from outside')
    .addCommand(listCommand(shell))
    .addCommand(flushCommand(shell));
  withExamples(cache, ['vipmesh dns cache ls', 'vipmesh dns cache flush example.com']);
  const command = new Command('dns').description("the resolver's own state").addCommand(cache);
  return withExamples(command, ['vipmesh dns cache ls --below example.com', 'vipmesh dns cache flush']);
}

const COLUMNS: readonly Column[] = [
  { field: 'Name', heading: 'NAME' },
  { field: 'Type', heading: 'TYPE' },
  { field: 'State', heading: 'STATE' },
  { field: 'Left', heading: 'LEFT' },
  { field: 'Rcode', heading: 'RCODE' },
  { field: 'Answers', heading: 'ANSWERS' },
  { field: 'Bytes', heading: 'BYTES' },
  { field: 'Worker', heading: 'WORKER' },
];
const FIELDS = COLUMNS.map(({ field }) => field);

interface ListFlags {
  readonly below?: string;
  readonly limit?: string;
  readonly format?: string;
}

function listCommand(shell: Shell): Command {
  return apiCommand('ls', "what is kept, each worker's newest first", [
    'vipmesh dns cache ls',
    'vipmesh dns cache ls --below example.com --limit 20',
    "vipmesh dns cache ls --format '{{.Name}} {{.Type}} {{.Left}}'",
  ])
    .alias('list')
    .option('--below <DOMAIN>', 'only this name and those below it')
    .option('--limit <N>', 'no more than so many', '1000')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Name}}'")
    .action(async (flags: ListFlags, self: Command) => {
      const { below, limit } = flags;
      if (!/^\d{1,6}$/.test(limit ?? ''))
        throw new CliError('USAGE', `--limit should be a number, such as 20, not "${limit}"`);
      const kept = await clientOf(self, shell).get('/vipmesh/dns/cache', dnsCache, { below, limit });
      const rows = kept.Entries.map(
        ({ Left, ...one }): Row => ({
          ...one,
          Left: `${Left}s`,
          Answers: String(one.Answers),
          Bytes: String(one.Bytes),
          Worker: String(one.Worker),
        }),
      );
      shell.out(formatList(COLUMNS, rows, FIELDS, flags));
      const hidden = kept.Total - kept.Entries.length;
      if (hidden > 0) shell.err(`${hidden} more; --limit ${kept.Total} shows all\n`);
    });
}

function flushCommand(shell: Shell): Command {
  return apiCommand('flush', 'forget what is kept, so that it is asked for anew', [
    'vipmesh dns cache flush',
    'vipmesh dns cache flush example.com',
  ])
    .argument('[DOMAIN]', 'this name and those below it (default: everything)')
    .addHelpText(
      'after',
      `
Only answers from outside are kept, which are the same for every client: they are forgotten for the node and all its containers.`,
    )
    .action(async (domain: string | undefined, _flags: object, self: Command) => {
      const body = domain === undefined ? {} : { Below: domain };
      const { Forgotten } = flushed.parse(await clientOf(self, shell).post('/vipmesh/dns/cache/flush', body));
      shell.out(`${Forgotten} ${Forgotten === 1 ? 'answer' : 'answers'} forgotten\n`);
    });
}
