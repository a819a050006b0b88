// `--allow`, `--deny` and `--accept-proxy`: who may come to published ports.
import type { Command } from 'commander';
import type { DockerServiceSpec } from '../api/schema.ts';
import { parseSource } from '../model/access.ts';
import { CliError, collect } from './shell.ts';

export interface AccessFlags {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly acceptProxy?: readonly string[];
}

export function accessOptions(command: Command): Command {
  return command
    .option('--allow <CIDR>', 'let in only these clients, also several with commas; "off": everybody', collect)
    .option('--deny <CIDR>', 'never let these clients in, whatever --allow says; "off": nobody is denied', collect)
    .option('--accept-proxy <CIDR>', 'connections from these begin with a PROXY header; "off": from nobody', collect);
}

/** What a flag names replaces what was there; `off` takes it back. Throws CliError. */
export function accessFlags(flags: AccessFlags, before?: DockerServiceSpec['Vipmesh']['Access']) {
  const said = {
    ...(flags.allow === undefined ? {} : { Allow: sources('--allow', flags.allow) }),
    ...(flags.deny === undefined ? {} : { Deny: sources('--deny', flags.deny) }),
    ...(flags.acceptProxy === undefined ? {} : { AcceptProxy: sources('--accept-proxy', flags.acceptProxy) }),
  };
  return Object.keys(said).length === 0 ? {} : { Access: { ...before, ...said } };
}

function sources(flag: string, texts: readonly string[]): string[] {
  const words = texts.flatMap((text) => text.split(',').map((word) => word.trim()));
  if (words.length === 1 && words[0] === 'off') return [];
  const wrong = words.find((word) => parseSource(word) === undefined);
  if (wrong === undefined) return words;
  throw new CliError('USAGE', `${flag} should be subnets such as 10.0.0.0/8, addresses or off, not "${wrong}"`);
}
