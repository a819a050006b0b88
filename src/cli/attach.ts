// `vipmesh attach` and `vipmesh detach`: a container that something else started as a task of a service.
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { z } from 'zod';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type AttachRequest, attached, attachment } from '../api/requests.ts';
import { forEach } from './each.ts';
import { readPort } from './port-flag.ts';
import { PUBLISH_HELP, PUBLISH_NOTE, publishedPorts } from './publish-task.ts';
import { apiCommand, CliError, clientOf, collect, type Shell } from './shell.ts';
import { readWeight, WEIGHT_HELP } from './weight-flag.ts';

interface PlaceFlags {
  readonly netns?: string;
  readonly pid?: number;
}

interface AttachFlags extends PlaceFlags {
  readonly service?: string;
  readonly network?: readonly string[];
  readonly name?: string;
  readonly hostname?: string;
  readonly alias?: readonly string[];
  readonly ip?: readonly string[];
  readonly port?: number;
  readonly publish?: readonly string[];
  readonly weight?: number;
}

export function attachCommand(shell: Shell): Command {
  return placeOptions(
    apiCommand('attach', 'make a container that something else started a task of a service', [
      'vipmesh attach --pid 4711 --service web',
      'vipmesh attach --netns /run/netns/blue --service db --network backend --ip 10.64.0.20',
      'vipmesh attach --pid 4711 --service app --network front --network back --alias app1',
    ]),
  )
    .usage('--pid PID|--netns PATH --service SERVICE [OPTIONS]')
    .option('--service <SERVICE>', 'the service that the task belongs to; needed')
    .option('--network <NETWORK>', "only this one of the service's networks; several in the order of names", collect)
    .option('--name <NAME>', 'name of the task (default: SERVICE.SLOT.ID)')
    .option('--hostname <NAME>', "a further name of the task on its networks; the container's own stays")
    .option('-p, --publish <PORT>', PUBLISH_HELP, collect)
    .option('--alias <NAME>', 'further DNS name of this task alone; may be given several times', collect)
    .option('--ip <ADDRESS>', 'this address instead of the next free one; one for each subnet of the networks', collect)
    .option('--port <PORT>', 'where the container listens, if not on the target port', readPort)
    .option('--weight <N>', WEIGHT_HELP, readWeight)
    .addHelpText('after', ATTACHED)
    .action(async (flags: AttachFlags, command: Command) => {
      const request = await requestOf(flags);
      const answer = attached.parse(await clientOf(command, shell).post('/vipmesh/attachments', request));
      for (const warning of answer.Warnings) shell.err(`warning: ${warning}\n`);
      shell.out(`${answer.ID}\n`);
    });
}

const ATTACHED = `
PID is what "docker inspect --format '{{.State.Pid}}' CONTAINER" prints.

The container gets a link (vm0, vm1, ...) and an address on each network, and a resolver at 127.0.0.11:53; for names it has to ask
there (docker run --dns 127.0.0.11). What it has already, an eth0 and a default route, stays. Without a default route it gets a
way outside, unless all of the networks are internal. Prints the id of the task.
${PUBLISH_NOTE}
The task lasts as long as the process PID runs or PATH exists, or until "vipmesh detach". A check of the service that is a command
cannot run in the container; a tcp check takes its place. Needs an agent that runs as root, and overlay networks that are
attachable (vipmesh network create --attachable, "attachable: true" in a stack file; "default" is).`;

export function detachCommand(shell: Shell): Command {
  return placeOptions(
    apiCommand('detach', 'take attached containers off their networks', [
      'vipmesh detach web.1.k3v9x0q2m1tz',
      'vipmesh detach --pid 4711',
    ]),
  )
    .usage('TASK...|--pid PID|--netns PATH')
    .argument('[TASK...]', 'name or id')
    .addHelpText('after', DETACHED)
    .action(async (tasks: readonly string[], flags: PlaceFlags, command: Command) => {
      if (tasks.length > 0 && hasPlace(flags))
        throw new CliError('USAGE', 'name the tasks, or their container with --pid or --netns, and not both');
      const client = clientOf(command, shell);
      const names = tasks.length > 0 ? tasks : await tasksIn(client, flags);
      await forEach(shell, names, async (name) => {
        await client.delete(apiPath`/vipmesh/attachments/${name}`);
        return name;
      });
    });
}

const DETACHED = `
A task first gets no new connection, its open ones end or the service's drain time is over, then its links are removed. The
container itself goes on, with all that it had before.`;

function placeOptions(command: Command): Command {
  return command
    .option('--netns <PATH>', "path of the container's network namespace, such as /run/netns/NAME")
    .option('--pid <PID>', 'a process of the container, best its first one', readPid);
}

function hasPlace({ netns, pid }: PlaceFlags): boolean {
  return netns !== undefined || pid !== undefined;
}

/** Throws CliError unless there is exactly one. */
function placeOf({ netns, pid }: PlaceFlags): { readonly PID?: number; readonly Netns?: string } {
  if ((netns === undefined) === (pid === undefined))
    throw new CliError('USAGE', 'name the container by --pid PID or by --netns PATH, one of the two');
  return { ...(pid === undefined ? {} : { PID: pid }), ...(netns === undefined ? {} : { Netns: resolve(netns) }) };
}

async function requestOf(flags: AttachFlags): Promise<AttachRequest> {
  const { service, network, name, hostname, alias, ip, port, weight, publish } = flags;
  const place = placeOf(flags);
  if (service === undefined) {
    throw new CliError(
      'USAGE',
      '--service is missing: a container joins networks as a task of a service that is on them; for one that only asks others, create a service without ports (vipmesh service create --network NETWORK --name NAME)',
    );
  }
  return {
    Service: service,
    ...place,
    ...(network === undefined ? {} : { Networks: [...network] }),
    ...(name === undefined ? {} : { Name: name }),
    ...(hostname === undefined ? {} : { Hostname: hostname }),
    ...(alias === undefined ? {} : { Aliases: [...alias] }),
    ...(ip === undefined ? {} : { Addresses: [...ip] }),
    ...(port === undefined ? {} : { Port: port }),
    ...(await publishedPorts(publish)),
    ...(weight === undefined ? {} : { Weight: weight }),
  };
}

async function tasksIn(client: ApiClient, flags: PlaceFlags): Promise<readonly string[]> {
  if (!hasPlace(flags)) throw new CliError('USAGE', 'name a task, or its container with --pid or --netns');
  const { PID, Netns } = placeOf(flags);
  const query = PID === undefined ? { netns: Netns } : { pid: String(PID) };
  const found = await client.get('/vipmesh/attachments', z.array(attachment), query);
  if (found.length > 0) return found.map(({ ID }) => ID);
  const where = PID === undefined ? `the network namespace ${Netns}` : `the container of process ${PID}`;
  throw new CliError('FAILED', `nothing is attached in ${where}; see vipmesh endpoint ls --filter source=attached`);
}

function readPid(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError('It is the number of a process, such as 4711.');
  return Number(text);
}
