// Creating and removing networks. PURE.
import { AllocationError } from '../allocate/allocation-error.ts';
import { nextSubnet, SUBNET_POOLS, ulaSubnet } from '../allocate/subnets.ts';
import { nextVni } from '../allocate/vnis.ts';
import { ipVersion, prefixLength, type Subnet, subnetContains, subnetsOverlap } from '../model/address.ts';
import { DNS_TTL_OPTION, MAX_DNS_TTL_S, parseDnsTtl } from '../model/dns-ttl.ts';
import { nameProblem } from '../model/name.ts';
import type { Network, NetworkDriver, NetworkId, NetworkSpec } from '../model/network.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { findNetwork } from './lookup.ts';

/** Where services go that name no network. */
export const DEFAULT_NETWORK = 'default';

export function createNetwork(draft: Draft, spec: NetworkSpec): Network {
  const { snapshot } = draft;
  refuseSpec(draft, spec);
  const twin = [...snapshot.networks.values()].find((other) => sameName(other.spec.name, spec.name));
  if (twin !== undefined) {
    throw new ControlError(
      'conflict',
      `network ${spec.name} exists already (${twin.spec.name}, ${twin.id.slice(0, 12)}); choose another name`,
    );
  }
  const id = draft.newId<NetworkId>();
  const subnets = subnetsFor(draft, id, spec);
  const vni = spec.driver === 'overlay' ? vniFor(draft) : undefined;
  return draft.putNetwork({
    id,
    spec,
    subnets,
    ...(vni === undefined ? {} : { vni }),
    createdAt: draft.wallTime,
    updatedAt: draft.wallTime,
  });
}

/** What may change while services use the network; anything else is another network. Gives the same object when nothing does. */
export function updateNetwork(draft: Draft, network: Network, spec: NetworkSpec): Network {
  refuseSpec(draft, spec);
  const was = network.spec;
  const fixed: readonly (readonly [string, boolean])[] = [
    ['name', was.name === spec.name],
    ['driver', was.driver === spec.driver],
    ['IPv6', was.ipv6 === spec.ipv6],
    [
      'subnets',
      sameList(was.subnets, spec.subnets) || (spec.subnets.length > 0 && sameList(network.subnets, spec.subnets)),
    ],
  ];
  const changed = fixed.filter(([, same]) => !same).map(([what]) => what);
  if (changed.length > 0) {
    throw new ControlError(
      'conflict',
      `network ${was.name} exists with other ${changed.join(' and ')}, which cannot change; remove it first, or use another name`,
    );
  }
  return draft.putNetwork({ ...network, spec, updatedAt: draft.wallTime });
}

export function removeNetwork(draft: Draft, text: string): Network {
  const network = findNetwork(draft.snapshot, text);
  const services = [...(draft.snapshot.servicesByNetwork.get(network.id)?.values() ?? [])].map(
    (service) => service.spec.name,
  );
  if (services.length > 0) {
    const listed =
      services.length > 5
        ? `${services.slice(0, 5).join(', ')} and ${services.length - 5} more`
        : services.sort().join(', ');
    throw new ControlError(
      'in-use',
      `network ${network.spec.name} is used by ${listed}; remove ${services.length === 1 ? 'that service' : 'those services'} first`,
    );
  }
  draft.removeNetwork(network.id);
  return network;
}

/** The network for services that name none; made when it is not there. */
export function defaultNetwork(draft: Draft): Network {
  const id = draft.snapshot.networkByName.get(DEFAULT_NETWORK);
  const found = id === undefined ? undefined : draft.snapshot.networks.get(id);
  if (found !== undefined) return found;
  return createNetwork(draft, {
    name: DEFAULT_NETWORK,
    driver: draft.surroundings.defaultDriver,
    subnets: [],
    ipv6: false,
    internal: false,
    attachable: true,
    labels: {},
    options: {},
  });
}

/** DNS does not tell case. */
export function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function refuseSpec(draft: Draft, spec: NetworkSpec): void {
  const { name, driver, subnets } = spec;
  const problem = nameProblem(name);
  if (problem !== undefined) throw new ControlError('invalid', `the network name ${JSON.stringify(name)} ${problem}`);
  if (driver === 'overlay' && !draft.surroundings.privileged) {
    throw new ControlError(
      'forbidden',
      `network ${name}: the driver overlay needs an agent that runs as root; use the driver local, or start the agent as root`,
    );
  }
  if (encryptionWanted(spec) && !draft.surroundings.allowPlaintextOverlays) {
    throw new ControlError(
      'forbidden',
      `network ${name} asks to be encrypted, which the agent does not do yet; leave the option out, or start the agent with --allow-plaintext-overlays`,
    );
  }
  const ttl = spec.options[DNS_TTL_OPTION];
  if (ttl !== undefined && parseDnsTtl(ttl) === undefined) {
    throw new ControlError(
      'invalid',
      `network ${name}: its option ${DNS_TTL_OPTION} is ${JSON.stringify(ttl)}; give whole seconds from 0 to ${MAX_DNS_TTL_S}, such as 30s`,
    );
  }
  for (const version of [4, 6] as const) {
    if (subnets.filter((subnet) => ipVersion(subnet) === version).length > 1) {
      throw new ControlError('invalid', `network ${name}: more than one IPv${version} subnet; give one`);
    }
  }
  for (const subnet of subnets) refuseSubnet(name, driver, subnet);
  if (driver === 'local' && spec.ipv6) {
    throw new ControlError(
      'invalid',
      `network ${name}: the driver local has no IPv6, because ::1 is the only address of its loopback; use the driver overlay`,
    );
  }
}

function refuseSubnet(name: string, driver: NetworkDriver, subnet: Subnet): void {
  const loopback = '127.0.0.0/8' as Subnet;
  const length = prefixLength(subnet);
  // A subnet keeps three addresses back, so a /30 still has one.
  const longest = ipVersion(subnet) === 4 ? 30 : 126;
  if (length > longest)
    throw new ControlError('invalid', `network ${name}: subnet ${subnet} has no room; give a /${longest} or larger`);
  const [base = ''] = subnet.split('/');
  const inside = ipVersion(subnet) === 4 && length >= 8 && subnetContains(loopback, base as never);
  if (driver === 'local' && !inside) {
    throw new ControlError(
      'invalid',
      `network ${name}: subnet ${subnet} is not in ${loopback}, where the networks of the driver local live; leave it out, or use the driver overlay`,
    );
  }
  if (driver === 'overlay' && subnetsOverlap(subnet, loopback)) {
    throw new ControlError(
      'invalid',
      `network ${name}: subnet ${subnet} is loopback, which no container can reach; choose another`,
    );
  }
}

/** `local` networks share the node's loopback; each overlay has a namespace of its own, so theirs may overlap when asked for. */
function subnetsFor(draft: Draft, id: NetworkId, spec: NetworkSpec): readonly Subnet[] {
  const others = [...draft.snapshot.networks.values()].filter((network) => network.spec.driver === spec.driver);
  const taken = others.flatMap((network) => network.subnets);
  if (spec.driver === 'local') {
    for (const wanted of spec.subnets) {
      const other = others.find((network) => network.subnets.some((subnet) => subnetsOverlap(subnet, wanted)));
      if (other === undefined) continue;
      throw new ControlError(
        'conflict',
        `network ${spec.name}: subnet ${wanted} overlaps network ${other.spec.name} (${other.subnets.join(', ')}); choose another, or leave it out`,
      );
    }
  }
  const of = (version: 4 | 6) => spec.subnets.find((subnet) => ipVersion(subnet) === version);
  try {
    const v4 = of(4) ?? nextSubnet(SUBNET_POOLS[spec.driver], taken);
    const v6 = of(6) ?? (spec.ipv6 ? ulaSubnet(id, taken) : undefined);
    return v6 === undefined ? [v4] : [v4, v6];
  } catch (error) {
    throw exhausted(`network ${spec.name}`, error);
  }
}

function vniFor(draft: Draft): number {
  const taken = new Set([...draft.snapshot.networks.values()].flatMap(({ vni }) => vni ?? []));
  try {
    const vni = nextVni(taken, draft.memory.lastVni ?? Math.max(0, ...taken));
    draft.memory.handedOutVni(vni);
    return vni;
  } catch (error) {
    throw exhausted('an overlay network', error);
  }
}

/** Docker takes the option's presence for a yes, whatever it is set to but "false". */
export function encryptionWanted(spec: NetworkSpec): boolean {
  const value = spec.options.encrypted;
  return value !== undefined && value !== 'false';
}

export function exhausted(whose: string, error: unknown): unknown {
  return error instanceof AllocationError
    ? new ControlError('exhausted', `${whose}: ${error.message}`, { cause: error })
    : error;
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one, n) => one === b[n]);
}
