// Flags that every list takes, spelled once.
import type { Command } from 'commander';
import { collect } from './shell.ts';

/** `--format`, `-q` and `--no-trunc`; `--filter` where `filters` says by what. `example` is a template that fits. */
export function listOptions(command: Command, example: string, filters?: string): Command {
  if (filters !== undefined) command.option('-f, --filter <KEY=VALUE>', `only these: ${filters}; repeatable`, collect);
  return command
    .option('--format <FORMAT>', `json, table or a template such as '${example}'`)
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids and names');
}
