// `vipmesh cleanup`: removes what agents that have ended left in the kernel, and nothing that anybody needs.
import type { Command } from 'commander';
import { agentStatus } from '../api/status-schema.ts';
import { labNames, LabRecord } from './lab/record.ts';
import { CliError, clientOf, apiCommand, errorCode, type Shell } from './shell.ts';

/** One thing to remove; containers and networks are namespaces. */
export interface Remnant {
  readonly kind: 'container' | 'network' | 'link' | 'table' | 'socket';
  readonly name: string;
}

/** What of agents is on this machine. */
export interface Survey {
  /** In the order in which they are to be removed. */
  readonly remove: readonly Remnant[];
  readonly kept: readonly { readonly what: string; readonly why: string }[];
  /** Containers in which something runs although their agent has ended. */
  readonly inhabited: readonly string[];
  /** Agents that do not say who they are. */
  readonly silent: readonly number[];
}

export interface CleanupMachine {
  /** `force`: containers in which something runs, too. */
  survey(force: boolean): Promise<Survey>;
  remove(remnant: Remnant): Promise<void>;
}

interface Flags {
  readonly dryRun?: boolean;
  readonly force?: boolean;
}

/** An agent answers in milliseconds; one that does not within this time is found among the processes. */
const ANSWER_TIMEOUT_MS = 2000;

export function cleanupCommand(shell: Shell, machine: CleanupMachine): Command {
  return apiCommand('cleanup', 'remove what agents that have ended left on this machine', [
    'vipmesh cleanup --dry-run',
    'vipmesh cleanup',
    'vipmesh cleanup --force',
  ])
    .option('--dry-run', 'say what would be removed, and remove nothing')
    .option('--force', 'take containers in which something runs off their networks, too; what runs goes on without one')
    .addHelpText(
      'after',
      `
Removed are network namespaces (vipmesh-*), the bridges and links by which containers reach the outside, nftables tables
(vipmesh_*) and sockets below /run/vipmesh on which nobody listens. What other agents that run need stays, and so do the state
directory, labs (vipmesh lab down), and net.ipv4.ip_forward as it is.`,
    )
    .action(async ({ dryRun, force }: Flags, self: Command) => {
      const agent = await runningAgent(self, shell);
      if (agent !== undefined && dryRun !== true) throw new CliError('FAILED', agent);
      if (process.getuid?.() !== 0)
        throw new CliError(
          'FAILED',
          'what agents leave are network namespaces and links, for which this must be root; use sudo',
        );
      const survey = await machine.survey(force === true);
      const [silent] = survey.silent;
      if (silent !== undefined && dryRun !== true)
        throw new CliError(
          'FAILED',
          `the agent with pid ${silent} does not answer (it is starting, was stopped, or hangs), so nobody knows what it needs; wait for it, or end it: kill -9 ${silent}`,
        );
      await carryOut(survey, machine, shell, dryRun === true);
      if (agent !== undefined) shell.err(`vipmesh: without --dry-run: ${agent}\n`);
    });
}

async function carryOut(survey: Survey, machine: CleanupMachine, shell: Shell, dryRun: boolean): Promise<void> {
  for (const remnant of survey.remove) {
    const what = `${remnant.kind} ${remnant.name}`;
    try {
      if (!dryRun) await machine.remove(remnant);
      shell.out(`${dryRun ? 'would remove' : 'removed'} ${what}\n`);
    } catch (error) {
      // One that cannot be removed keeps no other from being removed.
      shell.err(`vipmesh: ${what} is left: ${error instanceof Error ? error.message : String(error)}\n`);
      shell.fail(1);
    }
  }
  for (const { what, why } of survey.kept) shell.out(`${dryRun ? 'would keep' : 'kept'} ${what}: ${why}\n`);
  for (const lab of labNames())
    shell.out(`${dryRun ? 'would keep' : 'kept'} the lab ${lab}: vipmesh lab down --name ${lab}\n`);
  if (survey.remove.length === 0) shell.out('Nothing is there to be removed.\n');
}

/** What to say about the agent at the socket that this command would ask; undefined when there is none. */
async function runningAgent(self: Command, shell: Shell): Promise<string | undefined> {
  const client = clientOf(self, shell);
  let pid: number | undefined;
  try {
    pid = (await Promise.race([client.get('/vipmesh/status', agentStatus), deadline()]))?.PID;
  } catch (error) {
    if (errorCode(error) === 'AGENT_NOT_RUNNING') return undefined;
  }
  if (pid === undefined) return `something is running on ${client.socket} that is not understood; stop it first`;
  const lab = labNames().find((name) => LabRecord.open(name)?.lab.nodes.some(({ agent }) => agent?.pid === pid));
  const how = lab === undefined ? `kill ${pid}` : `vipmesh lab down --name ${lab}`;
  return `an agent is running on ${client.socket} (pid ${pid}); stop it first: ${how}`;
}

function deadline(): Promise<undefined> {
  return new Promise((resolve) => setTimeout(() => resolve(undefined), ANSWER_TIMEOUT_MS).unref());
}
