// `vipmesh lab`: a cluster on one machine, with real agents and a real etcd.
import { Command, InvalidArgumentError } from 'commander';
import { fileURLToPath } from 'node:url';
import { commandLines } from './demo/text.ts';
import { environment, inNode, PROGRAM } from './lab/agents.ts';
import { takeDown } from './lab/down.ts';
import { execInNode } from './lab/exec.ts';
import { DEFAULT_LAB, DEFAULT_NODES, labNameProblem, MAX_NODES } from './lab/plan.ts';
import { type Lab, labNames, LabRecord } from './lab/record.ts';
import { bringUp } from './lab/up.ts';
import { describeLab, LAB_COLUMNS, labRow, viewLab } from './lab/view.ts';
import { type LabMachine, type LabWorld, needPrograms, needRoot } from './lab/world.ts';
import { formatList, formatObjects, type ListOptions } from './format.ts';
import { listOptions } from './list-options.ts';
import type { CommandRunner } from './run-session.ts';
import { CliError, localCommand, type Shell, withExamples } from './shell.ts';

const WEB_SERVER = fileURLToPath(new URL('./demo/web-server.js', import.meta.url));

/** What the commands about labs cannot make themselves. */
export interface LabParts {
  readonly runner: CommandRunner;
  readonly lab: LabMachine;
}

interface Named {
  readonly name: string;
}

/** Of a lab that is there. */
interface MaybeNamed {
  readonly name?: string;
}

export function labCommand(shell: Shell, parts: LabParts): Command {
  const command = new Command('lab')
    .description('a cluster on this machine: nodes as network namespaces, an agent in each, and an etcd')
    .enablePositionalOptions()
    .addCommand(upCommand(shell, parts))
    .addCommand(downCommand(shell, parts))
    .addCommand(listCommand(shell, parts))
    .addCommand(statusCommand(shell, parts))
    .addCommand(execCommand(shell, parts));
  return withExamples(command, ['vipmesh lab up', 'vipmesh lab exec node2 -- vipmesh status', 'vipmesh lab down']);
}

interface UpFlags extends Named {
  readonly nodes?: number;
  readonly json?: boolean;
}

function upCommand(shell: Shell, { lab: machine }: LabParts): Command {
  return localCommand('up', 'start a lab, or what is missing of it, and say what to try', [
    'vipmesh lab up',
    'vipmesh lab up --nodes 5 --json',
    'vipmesh lab up -- --log-level debug --drain 2s',
  ])
    .option('--name <NAME>', 'name of the lab', labName, DEFAULT_LAB)
    .usage('[OPTIONS] [-- AGENT_FLAG...]')
    .argument('[AGENT_FLAG...]', 'further flags of the agents that are started')
    .option('--nodes <N>', `how many nodes, this machine among them (default: ${DEFAULT_NODES})`, nodeCount)
    .option('--json', 'print what `lab status --format json` does')
    .action(async (agentFlags: readonly string[], { name, nodes, json }: UpFlags) => {
      needRoot();
      needPrograms();
      const wanted = { name, agentFlags, ...(nodes === undefined ? {} : { nodes }) };
      const lab = await stoppable((stop) => bringUp({ machine, env: shell.env, stop }, wanted));
      const view = await viewLab(machine.processes, lab);
      shell.out(json === true ? `${JSON.stringify(view)}\n` : `${describeLab(view)}\n${whatToTry(lab)}`);
    });
}

function downCommand(shell: Shell, { lab: machine }: LabParts): Command {
  return named('down', 'end a lab and everything that runs in its nodes, and remove what it was made of', [
    'vipmesh lab down',
  ]).action(async (flags: MaybeNamed) => {
    needRoot();
    const name = nameOf(flags);
    const world: LabWorld = { machine, env: shell.env, stop: new AbortController().signal };
    if (!(await takeDown(world, name))) shell.out(`There is no lab "${name}".\n`);
  });
}

function listCommand(shell: Shell, { lab: machine }: LabParts): Command {
  const command = localCommand('ls', 'list the labs of this machine', ['vipmesh lab ls', 'vipmesh lab ls -q']);
  return listOptions(command.alias('list'), '{{.Name}} {{.Ready}}').action(async (flags: ListOptions) => {
    needRoot();
    const labs = labNames().flatMap((name) => LabRecord.open(name)?.lab ?? []);
    const rows = await Promise.all(labs.map(async (lab) => labRow(await viewLab(machine.processes, lab))));
    const fields = LAB_COLUMNS.map(({ field }) => field);
    shell.out(
      formatList(
        LAB_COLUMNS,
        rows.map((row) => ({ ID: String(row.Name), ...row })),
        fields,
        flags,
      ),
    );
  });
}

function statusCommand(shell: Shell, { lab: machine }: LabParts): Command {
  return named('status', 'how the nodes of a lab are', [
    'vipmesh lab status',
    "vipmesh lab status --format '{{json .Nodes}}'",
  ])
    .option('--format <FORMAT>', "json or a template such as '{{.Etcd.State}}'")
    .action(async ({ format, ...flags }: MaybeNamed & { readonly format?: string }) => {
      const view = await viewLab(machine.processes, existing(flags).lab);
      if (format === undefined) shell.out(describeLab(view));
      else if (format === 'json') shell.out(`${JSON.stringify(view)}\n`);
      else shell.out(formatObjects([view], format));
    });
}

function execCommand(shell: Shell, { runner }: LabParts): Command {
  return named('exec', 'run a command on a node, with its network and its agent', [
    'vipmesh lab exec node2 -- vipmesh service ls',
    'vipmesh lab exec node3 -- bash',
  ])
    .usage('[OPTIONS] NODE -- COMMAND [ARG...]')
    .argument('<NODE>', 'node1 is this machine')
    .argument('<COMMAND...>', 'the command and its arguments, after -- or as the first word that is no option')
    .passThroughOptions()
    .addHelpText('after', "\nThe word vipmesh is this program, wherever it is. The command's exit code is kept.")
    .action(async (name: string, command: readonly string[], flags: MaybeNamed) => {
      const node = existing(flags).node(name);
      // Behind an operand, -- is a word like any other.
      const [program = '', ...words] = command[0] === '--' ? command.slice(1) : command;
      const own = program === 'vipmesh' ? [process.execPath, PROGRAM, ...words] : [program, ...words];
      const env = { ...environment(shell.env), VIPMESH_HOST: `unix://${node.socket}`, VIPMESH_NODE: node.name };
      shell.fail(await execInNode(runner, [...inNode(node), ...own], env));
    });
}

/** A command about a lab that is there. */
function named(name: string, description: string, examples: readonly string[]): Command {
  const which = `name of the lab (default: ${DEFAULT_LAB}, or else the only one there is)`;
  return localCommand(name, description, examples).option('--name <NAME>', which, labName);
}

function nameOf({ name }: MaybeNamed): string {
  if (name !== undefined) return name;
  const [only = DEFAULT_LAB, ...others] = labNames();
  return others.length === 0 ? only : DEFAULT_LAB;
}

function existing(flags: MaybeNamed): LabRecord {
  needRoot();
  const name = nameOf(flags);
  const record = LabRecord.open(name);
  if (record === undefined) {
    const others = labNames().join(', ');
    throw new CliError(
      'FAILED',
      `there is no lab "${name}"${others === '' ? '; start it with: vipmesh lab up' : `, but ${others}`}`,
    );
  }
  return record;
}

function labName(text: string): string {
  const problem = labNameProblem(text);
  if (problem !== undefined) throw new InvalidArgumentError(`It ${problem}.`);
  return text;
}

function nodeCount(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > MAX_NODES) throw new InvalidArgumentError(`It should be a number from 1 to ${MAX_NODES}.`);
  return count;
}

/** ctrl-C while a lab is being made takes it down again, and does not leave half of it. */
async function stoppable<T>(work: (stop: AbortSignal) => Promise<T>): Promise<T> {
  const stopping = new AbortController();
  const stop = (signal: NodeJS.Signals) => stopping.abort(new CliError('FAILED', `stopped by ${signal}`));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  try {
    return await work(stopping.signal);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, stop);
  }
}

/** Lines that can be copied as they are. */
function whatToTry({ name, nodes }: Lab): string {
  const own = name === DEFAULT_LAB ? '' : ` --name ${name}`;
  const servers = nodes.length === 1 ? nodes : nodes.slice(1, 3);
  const lines = commandLines([
    ['vipmesh node ls'],
    ['vipmesh network create --driver overlay back'],
    ['vipmesh service create --name web --network back --publish 8080:8000'],
    ...servers.map((node): readonly [string] => [
      `vipmesh lab exec${own} ${node.name} -- vipmesh run --service web --network back -- node ${WEB_SERVER} &`,
    ]),
    ['curl http://localhost:8080', 'again and again: each container in turn, and so on every node'],
    ['vipmesh service create --name app --network back'],
    ['vipmesh run --service app --network back -- curl -s http://web:8000', 'by name and VIP, from this node'],
    ['vipmesh status', 'who is there, and who is behind'],
    [`vipmesh lab down${own}`, 'stops everything and leaves nothing behind'],
  ]);
  return `Try:\n\n${lines.join('\n')}\n`;
}
