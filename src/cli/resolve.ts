// `vipmesh resolve`: what a name means, and why.
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Resolution, resolution } from '../api/schema.ts';
import { formatObjects } from './format.ts';
import { apiCommand, clientOf, type Shell } from './shell.ts';
import { formatTable } from './table.ts';

export function resolveCommand(shell: Shell): Command {
  return apiCommand('resolve', 'what a name means to a client on this node, on one network, or to a task', [
    'vipmesh resolve web',
    'vipmesh resolve tasks.web',
    'vipmesh resolve --network backend postgres',
    'vipmesh resolve --explain --as web.1 _postgres._tcp.db',
    'vipmesh resolve 10.64.0.2',
  ])
    .argument(
      '<NAME>',
      'as a client would ask for it; an address asks for its name, _PORT._tcp.NAME for ports',
      readName,
    )
    .option('-n, --network <NETWORK>', 'as a container on this network alone would be answered')
    .addOption(new Option('--as <TASK>', 'as this task would be answered; name or id').conflicts('network'))
    .option('--explain', 'also where was looked, for how long the answer may be kept, and what servers outside say')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Outcome}}'")
    .action(async (name: string, flags: ResolveFlags, command: Command) => {
      const answer = await clientOf(command, shell).get('/vipmesh/resolve', resolution, {
        name,
        network: flags.network,
        task: flags.as,
        explain: flags.explain === true ? 'true' : undefined,
      });
      if (flags.format === 'json') shell.out(`${JSON.stringify(answer)}\n`);
      else if (flags.format === undefined || flags.format === 'table') shell.out(describe(answer));
      else shell.out(formatObjects([answer], flags.format));
      if (answer.Outcome === 'nxdomain' || answer.Outcome === 'refused') shell.fail(1);
    });
}

interface ResolveFlags {
  readonly network?: string;
  readonly as?: string;
  readonly explain?: true;
  readonly format?: string;
}

function readName(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It is empty; a name is wanted, such as web or tasks.web.');
  return text;
}

const OUTCOMES: Readonly<Record<Resolution['Outcome'], string>> = {
  answer: '',
  nodata: 'exists, but has no address (NODATA): no eligible endpoint',
  nxdomain: 'does not exist (NXDOMAIN)',
  forwarded: 'is not a name of ours; outside DNS servers are asked',
  refused: 'is not a name of ours, and this client may not ask outside (REFUSED)',
};

function describe(answer: Resolution): string {
  const outcome = OUTCOMES[answer.Outcome];
  const rows = answer.Answers.map((one) => [one.Network, one.Kind, one.Service ?? '', one.Addresses.join(', ')]);
  const table = rows.length === 0 ? '' : formatTable(['NETWORK', 'KIND', 'SERVICE', 'ADDRESSES'], rows);
  const hidden = answer.Hidden.map(
    (one) => `hidden: ${one.Addresses.join(', ') || one.Service || answer.Name} on ${one.Network} (${one.Reason})\n`,
  );
  const text = [outcome === '' ? '' : `${answer.Name} ${outcome}\n`, table, ...hidden].join('');
  return answer.Explained === undefined ? text : `${text}\n${explain(answer.Explained)}`;
}

function explain({ Client, Networks, Forwards, Steps, TTL }: NonNullable<Resolution['Explained']>): string {
  const rows = Steps.map(({ Where, Found, Milliseconds }) => [
    Where,
    Milliseconds === undefined ? '' : `${Milliseconds} ms`,
    Found,
  ]);
  return [
    `asked by: ${Client}\n`,
    `sees:     ${Networks.join(', ') || 'no network'}; other names ${Forwards ? 'are asked for outside' : 'are refused'}\n`,
    ...(TTL === undefined ? [] : [`TTL:      ${TTL} s\n`]),
    formatTable(['WHERE', 'TIME', 'FOUND'], rows),
  ].join('');
}
