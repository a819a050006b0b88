// The commands that a container waits for. Each is loaded without all the others, which would take most of its time.
import type { Command } from 'commander';
import type { CommandRunner } from './run-session.ts';
import { programOf, runCommandLine } from './root.ts';
import type { Shell } from './shell.ts';

export interface QuickParts {
  readonly version: string;
  readonly runner: CommandRunner;
}

type Make = (shell: Shell) => Command;

/** As `runProgram`; undefined when the command line begins with anything else. */
export async function runQuickly(
  words: readonly string[],
  shell: Shell,
  parts: QuickParts,
): Promise<number | undefined> {
  const make = await load(words[0], parts);
  if (make === undefined) return undefined;
  return runCommandLine(words, shell, (counting) => programOf(counting, parts.version, [make(counting)]));
}

async function load(name: string | undefined, { runner }: QuickParts): Promise<Make | undefined> {
  switch (name) {
    case 'run': {
      const { runCommand } = await import('./run.ts');
      return (shell) => runCommand(shell, runner, (exitCode) => shell.fail(exitCode));
    }
    case 'attach':
      return (await import('./attach.ts')).attachCommand;
    case 'detach':
      return (await import('./attach.ts')).detachCommand;
    default:
      return undefined;
  }
}
