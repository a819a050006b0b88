// All commands together.
import type { Command } from 'commander';
import { type AgentFlag, agentCommand, type FlagValues } from './agent.ts';
import { attachCommand, detachCommand } from './attach.ts';
import { cleanupCommand } from './cleanup.ts';
import { completionCommand } from './completion.ts';
import { connCommand } from './conn.ts';
import { demoCommand } from './demo.ts';
import { dnsCommand } from './dns.ts';
import { type DoctorParts, doctorCommand } from './doctor.ts';
import { endpointCommand } from './endpoint.ts';
import { eventsCommand } from './events.ts';
import { labCommand } from './lab.ts';
import type { LabMachine } from './lab/world.ts';
import { networkCommand } from './network.ts';
import { nodeCommand } from './node.ts';
import { resolveCommand } from './resolve.ts';
import { runCommand } from './run.ts';
import type { CommandRunner } from './run-session.ts';
import { programOf, runCommandLine } from './root.ts';
import { serviceCommand } from './service.ts';
import type { Shell } from './shell.ts';
import { stackCommand } from './stack.ts';
import { statusCommand } from './status.ts';
import { type ScreenLines, topCommand } from './top.ts';

/** What a command cannot make itself. */
export interface ProgramParts extends DoctorParts {
  readonly version: string;
  readonly agentFlags: readonly AgentFlag[];
  startAgent(flags: FlagValues): Promise<number>;
  readonly runner: CommandRunner;
  readonly lab: LabMachine;
  readonly screenLines: ScreenLines;
}

/** Runs one command line (without node and script); resolves with the exit status. Never rejects. */
export function runProgram(words: readonly string[], shell: Shell, parts: ProgramParts): Promise<number> {
  return runCommandLine(words, shell, (counting) => buildProgram(counting, parts));
}

/** All commands, ready to be parsed or walked. */
export function buildProgram(shell: Shell, parts: ProgramParts): Command {
  return programOf(shell, parts.version, [
    agentCommand(shell, parts.agentFlags, (flags) => parts.startAgent(flags)),
    demoCommand(shell, parts.lab),
    runCommand(shell, parts.runner, (exitCode) => shell.fail(exitCode)),
    attachCommand(shell),
    detachCommand(shell),
    serviceCommand(shell),
    stackCommand(shell),
    networkCommand(shell),
    nodeCommand(shell),
    endpointCommand(shell),
    resolveCommand(shell),
    dnsCommand(shell),
    connCommand(shell),
    topCommand(shell, parts.screenLines),
    eventsCommand(shell),
    statusCommand(shell),
    doctorCommand(shell, parts),
    cleanupCommand(shell, parts.cleanup),
    labCommand(shell, parts),
    completionCommand(shell),
  ]);
}
