// `vipmesh run`: a command as a task of a service.
import type { Command } from 'commander';
import type { RunTaskRequest } from '../api/requests.ts';
import { systemClock } from '../runtime/clock.ts';
import { readPort } from './port-flag.ts';
import { PUBLISH_HELP, PUBLISH_NOTE, publishedPorts } from './publish-task.ts';
import { type CommandRunner, runTask } from './run-session.ts';
import { apiCommand, clientOf, collect, type Shell } from './shell.ts';
import { readWeight, WEIGHT_HELP } from './weight-flag.ts';

interface RunOptions {
  readonly service: string;
  readonly network?: readonly string[];
  readonly name?: string;
  readonly hostname?: string;
  readonly port?: number;
  readonly weight?: number;
  readonly alias?: readonly string[];
  readonly ip?: readonly string[];
  readonly publish?: readonly string[];
}

/**
 * `done` gets the exit code (the command's own, or 1 when it never began) and is to end the process: a request that nobody waits
 * for any more, such as the drain that a second signal cut short, may still be open.
 */
export function runCommand(shell: Shell, runner: CommandRunner, done: (exitCode: number) => void): Command {
  return apiCommand('run', 'run a command as a task of a service', EXAMPLES)
    .usage('--service SERVICE [OPTIONS] -- COMMAND [ARG...]')
    .requiredOption('--service <SERVICE>', 'the service that the task belongs to')
    .option('--network <NETWORK>', "only this one of the service's networks; several in their order of names", collect)
    .option('--name <NAME>', 'name of the task (default: SERVICE.SLOT.ID)')
    .option('--hostname <NAME>', 'what the command takes for the name of its machine (overlay networks)')
    .option('--port <PORT>', 'where the command listens, if not on the target port', readPort)
    .option('-p, --publish <PORT>', PUBLISH_HELP, collect)
    .option('--weight <N>', WEIGHT_HELP, readWeight)
    .option('--alias <NAME>', 'further DNS name of this task alone; may be given several times', collect)
    .option('--ip <ADDRESS>', 'this address instead of the next free one; one for each subnet of the networks', collect)
    .argument('<COMMAND...>', 'the command and its arguments, after -- or as the first word that is no option')
    .passThroughOptions()
    .addHelpText('after', EXPLANATION)
    .action(async (command: readonly string[], options: RunOptions, self: Command) => {
      const say = (line: string) => shell.err(`${line}\n`);
      try {
        const client = clientOf(self, shell);
        const world = { client, runner, signals: process, clock: systemClock, env: shell.env, say };
        done(await runTask(world, await requestOf(options), command));
      } catch (error) {
        say(`vipmesh run: ${error instanceof Error ? error.message : String(error)}`);
        done(1);
      }
    });
}

const EXAMPLES = [
  'vipmesh run --service web -- ./server.js',
  'vipmesh run --service postgres --network backend -- postgres -D /srv/data',
  'vipmesh run --service app --network front --network back -- ./server.js',
  'vipmesh run --service web --network front -p 8080:80 -- ./server.js',
  "vipmesh run --service app -- psql -h postgres -c 'select 1'",
];

const EXPLANATION = `
The command finds its address in $VIPMESH_ADDR and the port to listen on in $PORT. On an overlay network it runs in a network
namespace of its own. Its exit code is kept; 127: it was not found, 126: it could not be run.
${PUBLISH_NOTE}
On SIGTERM or SIGINT the task leaves its service, its connections end or the service's drain time is over, then the command
gets the signal, and SIGKILL after 10 s. A second signal does not wait. A command in the foreground of a terminal gets
ctrl-C directly, so that interactive programs work: use "kill" for a stop that drains.`;

async function requestOf(options: RunOptions): Promise<RunTaskRequest> {
  const { service, network, name, hostname, port, weight, alias, ip, publish } = options;
  return {
    Service: service,
    ...(network === undefined ? {} : { Networks: [...network] }),
    ...(name === undefined ? {} : { Name: name }),
    ...(hostname === undefined ? {} : { Hostname: hostname }),
    ...(port === undefined ? {} : { Port: port }),
    ...(weight === undefined ? {} : { Weight: weight }),
    ...(alias === undefined ? {} : { Aliases: [...alias] }),
    ...(ip === undefined ? {} : { Addresses: [...ip] }),
    ...(await publishedPorts(publish)),
  };
}
