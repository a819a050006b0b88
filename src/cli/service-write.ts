// `vipmesh service create|update|scale|rollback|rm`: services as commands change them.
import { BALANCE_METHODS } from '../model/service.ts';
import { type Command, Option } from 'commander';
import { type ApiClient, apiPath } from '../api/client.ts';
import { type ServiceSpecRequest, serviceCreated, serviceUpdated } from '../api/requests.ts';
import { type DockerService, dockerNetwork, dockerService } from '../api/schema.ts';
import { accessOptions } from './access-flags.ts';
import { forEach } from './each.ts';
import {
  type CreateFlags,
  createdSpec,
  namedNetworks,
  parseReplicas,
  scaled,
  type UpdateFlags,
  updatedSpec,
} from './service-spec.ts';
import { limitOptions } from './limit-flags.ts';
import { apiCommand, CliError, clientOf, collect, errorCode, type Shell } from './shell.ts';

export function createCommand(shell: Shell): Command {
  const command = apiCommand('create', 'create a service', [
    'vipmesh service create --publish 8080:80 --health-http /up web',
    'vipmesh service create --name db --network name=backend,alias=postgres --expose 5432',
    'vipmesh service create -p 53:53/udp -p published=8443,target=443,mode=host dns',
    'vipmesh service create --endpoint 10.0.0.5:5432 --endpoint 10.0.0.6:5432 --health-tcp --expose 5432 db',
  ])
    .usage('[OPTIONS] [NAME]')
    .argument('[NAME]', 'the name of the service; or by --name, as for Docker. There is no image: vipmesh runs none')
    .allowExcessArguments()
    .option('--name <NAME>', 'the name of the service')
    .option(
      '--network <NETWORK>',
      'NETWORK or name=NETWORK,alias=NAME; repeatable (default: the network default)',
      collect,
    )
    .option('-p, --publish <PORT>', `${PUBLISH_HELP}; repeatable`, collect)
    .option(
      '--expose <PORT>',
      'target port that is not published: 80, 53/udp, 8000-8010, target=80,name=http; repeatable',
      collect,
    )
    .addOption(new Option('--mode <MODE>', 'how many tasks are wanted').choices(['replicated', 'global']))
    .option('-l, --label <KEY=VALUE>', 'label; repeatable', collect)
    .option(
      '--endpoint <ENDPOINT>',
      'ADDRESS[:PORT] or TARGETPORT=ADDRESS:PORT that something else serves, then ,weight=N; repeatable',
      collect,
    );
  return limitOptions(commonOptions(command))
    .addHelpText('after', PUBLISH_NOTE)
    .action(async (_name: string | undefined, flags: CreateFlags, self: Command) => {
      const spec = createdSpec(self.args, flags);
      const answer = serviceCreated.parse(await clientOf(self, shell).post('/services/create', spec));
      warn(shell, answer.Warnings);
      shell.out(`${answer.ID}\n`);
    });
}

export function updateCommand(shell: Shell): Command {
  const command = apiCommand('update', 'change a service; connections that are not concerned stay open', [
    'vipmesh service update --publish-rm 80 --publish-add 8081:80 web',
    'vipmesh service update --replicas 5 --label-add tier=front web',
    'vipmesh service update --network-add name=backend,alias=api --health-interval 5s web',
    'vipmesh service update --rollback web',
  ])
    .argument('<SERVICE>', 'name or id')
    .option('--network-add <NETWORK>', 'NETWORK or name=NETWORK,alias=NAME; repeatable', collect)
    .option('--network-rm <NETWORK>', 'network to leave; repeatable', collect)
    .option('--publish-add <PORT>', `${PUBLISH_HELP}; repeatable`, collect)
    .option('--publish-rm <PORT>', 'port not to publish any more, by its target port: 80, 53/udp; repeatable', collect)
    .option('--expose-add <PORT>', 'further target port that is not published; repeatable', collect)
    .option('--expose-rm <PORT>', 'target port to take back; repeatable', collect)
    .option('--label-add <KEY=VALUE>', 'label to add or replace; repeatable', collect)
    .option('--label-rm <KEY>', 'label to remove; repeatable', collect)
    .option('--rollback', 'go back to the spec before the last update');
  return limitOptions(commonOptions(command))
    .addHelpText('after', PUBLISH_NOTE)
    .action(async (reference: string, flags: UpdateFlags & { readonly rollback?: boolean }, self: Command) => {
      const client = clientOf(self, shell);
      if (flags.rollback === true) await rollBack(shell, client, reference);
      else await update(shell, client, reference, flags);
      shell.out(`${reference}\n`);
    });
}

export function scaleCommand(shell: Shell): Command {
  return apiCommand('scale', 'say how many tasks are wanted; they are started with `vipmesh run`', [
    'vipmesh service scale web=5',
    'vipmesh service scale web=5 api=3',
  ])
    .argument('<SERVICE=REPLICAS...>', 'name or id, and how many')
    .action(async (words: readonly string[], _flags: object, self: Command) => {
      const wanted = words.map(parseScale);
      const client = clientOf(self, shell);
      await forEach(shell, wanted, async ({ service, replicas }) => {
        await change(shell, client, service, ({ Spec }) => ({ ...Spec, Mode: scaled(Spec, replicas) }));
        return `${service} scaled to ${replicas}`;
      });
    });
}

export function rollbackCommand(shell: Shell): Command {
  return apiCommand('rollback', 'go back to the spec before the last update; a second time, forth again', [
    'vipmesh service rollback web',
  ])
    .argument('<SERVICE>', 'name or id')
    .action(async (reference: string, _flags: object, self: Command) => {
      await rollBack(shell, clientOf(self, shell), reference);
      shell.out(`${reference}\n`);
    });
}

export function removeCommand(shell: Shell): Command {
  return apiCommand('rm', 'remove services; their tasks end', ['vipmesh service rm web', 'vipmesh service rm web api'])
    .alias('remove')
    .argument('<SERVICE...>', 'names or ids')
    .action(async (references: readonly string[], _flags: object, self: Command) => {
      const client = clientOf(self, shell);
      await forEach(shell, references, async (reference) => {
        await client.delete(apiPath`/services/${reference}`);
        return reference;
      });
    });
}

const PUBLISH_HELP = '[[ADDRESS:]PUBLISHED:]TARGET[/udp], also ranges FIRST-LAST';

const PUBLISH_NOTE = `
Ports are written as for Docker, the long form included: published=8443,target=443,protocol=tcp,mode=host,host_ip=10.0.0.1.
-p 80 publishes on a free port of 30000-32767. mode=ingress, the default, listens on every node, mode=host only where there is
a task. %eth1 for an address means what comes in by that interface. name=https gives the target port a name for SRV,
_https._tcp.SERVICE; its number is one too.
Docker's flags for what runs (images, mounts, secrets, placement) have no meaning here.`;

function commonOptions(command: Command): Command {
  return accessOptions(command)
    .addOption(
      new Option('--endpoint-mode <MODE>', 'the name gives the VIP, or the addresses of the tasks').choices([
        'vip',
        'dnsrr',
      ]),
    )
    .option('--replicas <NUMBER>', 'how many tasks are wanted; shown, starts none')
    .option('--health-cmd <COMMAND>', 'check by a command inside the task; empty: no longer')
    .option('--health-tcp [PORT]', 'check by connecting, to the target port or this one')
    .option('--health-http <[:PORT]/PATH[ STATUS]>', 'check by a GET; 200 to 399 is healthy unless a status is given')
    .option('--health-interval <DURATION>', 'time between checks (default: 1s, of commands 30s)')
    .option('--health-timeout <DURATION>', 'how long one check may take (default: 1s, of commands 30s)')
    .option('--health-retries <NUMBER>', 'failures in a row that make a task unhealthy (default: 2, of commands 3)')
    .option('--health-start-period <DURATION>', 'failures this long after the start do not count (default: 0s)')
    .option('--no-healthcheck', 'no checks, not even those of static endpoints')
    .option('--on-unhealthy <keep|close>', 'connections to a task that becomes unhealthy (default: keep)')
    .option('--balance <METHOD>', `who is next: ${BALANCE_METHODS.join(', ')} (default: the first)`)
    .option(
      '--affinity <DURATION>',
      'a client comes back to its endpoint for this long after its last connection; "off"',
    )
    .option(
      '--proxy-protocol <v1|v2|off>',
      "tell tasks the client's address at the begin of each TCP connection (default: off)",
    )
    .option('--local-first', "on each node its own tasks before all others'")
    .option('--no-local-first', 'all alike (the default)')
    .option('--drain-timeout <DURATION>', 'how long open connections of a leaving endpoint may take (default: 10s)')
    .option('--dns-ttl <SECONDS>', 'how long clients may keep its addresses; "network": as the network says (5s)')
    .addOption(
      new Option('--update-order <ORDER>', 'kept and shown, for who replaces the tasks').choices([
        'start-first',
        'stop-first',
      ]),
    )
    .option('-d, --detach', 'accepted for scripts: there is nothing to wait for')
    .option('-q, --quiet', 'accepted for scripts: there is no progress to show');
}

async function update(shell: Shell, client: ApiClient, reference: string, flags: UpdateFlags): Promise<void> {
  const ids = new Map<string, string>();
  for (const network of namedNetworks(flags)) {
    ids.set(network, (await client.get(apiPath`/networks/${network}`, dockerNetwork)).Id);
  }
  let said: readonly string[] = [];
  await change(shell, client, reference, (service) => {
    const { spec, notes } = updatedSpec(service, flags, (network) => ids.get(network) ?? network);
    said = notes;
    return spec;
  });
  warn(shell, said);
}

async function rollBack(shell: Shell, client: ApiClient, reference: string): Promise<void> {
  await change(shell, client, reference, ({ Spec, PreviousSpec }) => PreviousSpec ?? Spec, 'previous');
}

/** How often a change is decided anew because somebody else's came first. */
const ATTEMPTS = 5;

/** A change is relative to what the service is, so it is simply decided again when that has changed meanwhile. */
async function change(
  shell: Shell,
  client: ApiClient,
  reference: string,
  decide: (service: DockerService) => ServiceSpecRequest,
  rollback?: 'previous',
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const service = await client.get(apiPath`/services/${reference}`, dockerService);
    const query = { version: String(service.Version.Index), rollback };
    try {
      const answer = await client.post(apiPath`/services/${service.ID}/update`, decide(service), query);
      warn(shell, serviceUpdated.parse(answer).Warnings ?? []);
      return;
    } catch (error) {
      if (errorCode(error) !== 'OUT_OF_SEQUENCE' || attempt === ATTEMPTS) throw error;
    }
  }
}

function parseScale(word: string): { readonly service: string; readonly replicas: number } {
  const equals = word.lastIndexOf('=');
  if (equals < 1) throw new CliError('USAGE', `"${word}" should be SERVICE=REPLICAS, such as web=3`);
  return { service: word.slice(0, equals), replicas: parseReplicas(word, word.slice(equals + 1)) };
}

function warn(shell: Shell, warnings: readonly string[] | undefined): void {
  for (const warning of warnings ?? []) shell.err(`Warning: ${warning}\n`);
}
