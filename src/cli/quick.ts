// The commands that a container waits for, and the agent, for which all of them do. Each is loaded without all the others, which
// would take much of its time.
import type { Command } from 'commander';
import type { AgentFlag, FlagValues } from './agent.ts';
import type { CommandRunner } from './run-session.ts';
import { programOf, runCommandLine } from './root.ts';
import type { Shell } from './shell.ts';

export interface AgentParts {
  readonly flags: readonly AgentFlag[];
  start(values: FlagValues): Promise<number>;
}

export interface QuickParts {
  readonly version: string;
  readonly runner: CommandRunner;
  agent(): Promise<AgentParts>;
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

async function load(name: string | undefined, { agent, runner }: QuickParts): Promise<Make | undefined> {
  switch (name) {
    case 'agent': {
      const { agentCommand } = await import('./agent.ts');
      const { flags, start } = await agent();
      return (shell) => agentCommand(shell, flags, start);
    }
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
