// `vipmesh resolve`: what a name means, and why.
import { type Command, InvalidArgumentError } from 'commander';
import { type Resolution, resolution } from '../api/schema.ts';
import { formatObjects } from './format.ts';
import { apiCommand, clientOf, type Shell } from './shell.ts';
import { formatTable } from './table.ts';

export function resolveCommand(shell: Shell): Command {
  return apiCommand('resolve', 'what a name means to a client on this node, or on one network', [
    'vipmesh resolve web',
    'vipmesh resolve tasks.web',
    'vipmesh resolve --network backend postgres',
  ])
    .argument('<NAME>', 'as a client would ask for it', readName)
    .option('-n, --network <NETWORK>', 'as a container on this network alone would be answered')
    .option('--format <FORMAT>', "json, table or a template such as '{{.Outcome}}'")
    .action(async (name: string, flags: { readonly network?: string; readonly format?: string }, command: Command) => {
      const answer = await clientOf(command, shell).get('/vipmesh/resolve', resolution, {
        name,
        network: flags.network,
      });
      if (flags.format === 'json') shell.out(`${JSON.stringify(answer)}\n`);
      else if (flags.format === undefined || flags.format === 'table') shell.out(describe(answer));
      else shell.out(formatObjects([answer], flags.format));
      if (answer.Outcome === 'nxdomain' || answer.Outcome === 'refused') shell.fail(1);
    });
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
  return [outcome === '' ? '' : `${answer.Name} ${outcome}\n`, table, ...hidden].join('');
}
