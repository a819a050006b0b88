// `--network` and `--network-add`: a network and the service's further names on it. PURE.
import { aliasProblem } from '../model/name.ts';
import { parseFields } from './flag-fields.ts';
import { CliError } from './shell.ts';

export interface NetworkTarget {
  readonly Target: string;
  readonly Aliases?: string[] | undefined;
}

/** `backend`, or `name=backend,alias=db,alias=postgres`. Throws CliError. */
export function parseNetwork(flag: string, text: string): NetworkTarget {
  if (!text.includes('=')) {
    if (text.trim() === '') throw new CliError('USAGE', `${flag} has no name of a network`);
    return { Target: text };
  }
  const fields = parseFields(flag, text, ['name', 'alias']);
  const [name, ...more] = fields.get('name') ?? [];
  if (name === undefined || more.length > 0) {
    throw new CliError('USAGE', `${flag} "${text}" should have one name=NETWORK`);
  }
  const aliases = fields.get('alias') ?? [];
  for (const alias of aliases) {
    const problem = aliasProblem(alias);
    if (problem !== undefined) throw new CliError('USAGE', `${flag} "${text}": the alias "${alias}" ${problem}`);
  }
  return { Target: name, ...(aliases.length === 0 ? {} : { Aliases: [...aliases] }) };
}
