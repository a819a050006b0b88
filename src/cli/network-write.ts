// `vipmesh network create|rm`.
import type { Command } from 'commander';
import { apiPath } from '../api/client.ts';
import { type NetworkCreateRequest, networkCreated } from '../api/requests.ts';
import { parseSubnet } from '../model/address.ts';
import { forEach } from './each.ts';
import { parseLabels } from './flag-fields.ts';
import { apiCommand, CliError, clientOf, collect, type Shell } from './shell.ts';

export interface NetworkFlags {
  readonly driver?: string;
  readonly subnet?: readonly string[];
  readonly ipv6?: true;
  readonly internal?: true;
  readonly attachable?: true;
  readonly label?: readonly string[];
  readonly opt?: readonly string[];
}

export function createNetworkCommand(shell: Shell): Command {
  return apiCommand('create', 'create a network', [
    'vipmesh network create backend',
    'vipmesh network create --driver overlay --subnet 10.90.0.0/24 --internal backend',
    'vipmesh network create -d local --subnet 127.90.0.0/16 --label tier=back dev',
  ])
    .argument('<NAME>', 'its name')
    .option('-d, --driver <DRIVER>', 'overlay or local (default: overlay where the agent runs as root, else local)')
    .option('--subnet <SUBNET>', 'ADDRESS/LENGTH; one of each family at most (default: a free one)', collect)
    .option('--ipv6', 'IPv6 addresses too')
    .option('--internal', 'no way out: no route and no DNS of the world outside')
    .option('--attachable', 'containers may be attached by hand (vipmesh attach)')
    .option('--label <KEY=VALUE>', 'label; repeatable', collect)
    .option('-o, --opt <KEY=VALUE>', 'option of the driver, also dns_ttl=SECONDS for its names; repeatable', collect)
    .action(async (name: string, flags: NetworkFlags, self: Command) => {
      const answer = await clientOf(self, shell).post('/networks/create', networkRequest(name, flags));
      const { Id, Warning } = networkCreated.parse(answer);
      if (Warning !== '') shell.err(`Warning: ${Warning}\n`);
      shell.out(`${Id}\n`);
    });
}

export function removeNetworkCommand(shell: Shell): Command {
  return apiCommand('rm', 'remove networks that no service uses', [
    'vipmesh network rm backend',
    'vipmesh network rm backend frontend',
  ])
    .alias('remove')
    .argument('<NETWORK...>', 'names or ids')
    .action(async (references: readonly string[], _flags: object, self: Command) => {
      const client = clientOf(self, shell);
      await forEach(shell, references, async (reference) => {
        await client.delete(apiPath`/networks/${reference}`);
        return reference;
      });
    });
}

/** Throws CliError. */
export function networkRequest(name: string, flags: NetworkFlags): NetworkCreateRequest {
  const subnets = (flags.subnet ?? []).flatMap((text) => text.split(','));
  for (const text of subnets) {
    if (parseSubnet(text) === undefined)
      throw new CliError('USAGE', `--subnet should be ADDRESS/LENGTH, such as 10.90.0.0/24, not "${text}"`);
  }
  return {
    Name: name,
    ...(flags.driver === undefined ? {} : { Driver: flags.driver }),
    EnableIPv6: flags.ipv6 === true,
    IPAM: { Driver: 'default', Config: subnets.map((Subnet) => ({ Subnet })) },
    Internal: flags.internal === true,
    Attachable: flags.attachable === true,
    Options: parseLabels('--opt', flags.opt),
    Labels: parseLabels('--label', flags.label),
  };
}
