// Whether addresses of the mesh are somebody else's. PURE.
import { type IpAddress, prefixLength, type Subnet, subnetContains, subnetsOverlap } from '../../model/address.ts';
import { type Finding, findingsOf } from './finding.ts';

export interface AddressFacts {
  readonly networks: readonly MeshNetwork[];
  /** An agent of root makes overlay networks. */
  readonly isRoots: boolean;
  readonly addresses: readonly { readonly link: string; readonly address: IpAddress; readonly prefixLength: number }[];
  /** Without those of agents. */
  readonly routes: readonly { readonly link: string; readonly destination: Subnet }[];
  /** As set, or undefined: a free part of the pool. */
  readonly egressSubnet: Subnet | undefined;
  readonly egressPoolIsTaken: boolean;
}

export interface MeshNetwork {
  readonly name: string;
  readonly driver: string;
  readonly internal: boolean;
  readonly subnets: readonly Subnet[];
}

/** Where `local` networks have their addresses: on the loopback, one /16 each. */
const LOCAL = '127.64.0.0/10' as Subnet;

export function checkAddresses(facts: AddressFacts): readonly Finding[] {
  const { ok } = findingsOf('addresses');
  const problems = [...checkOverlays(facts), ...checkLocal(facts), ...checkEgress(facts)];
  if (problems.length > 0) return problems;
  const number = facts.networks.length;
  const what =
    number === 0 ? 'addresses for networks' : `addresses of ${number === 1 ? 'the network' : `all ${number} networks`}`;
  return [ok(`${what}: the node has no route of its own for them`)];
}

/** Overlay networks are namespaces, so nothing breaks; but containers look for these addresses on their network only. */
function checkOverlays({ networks, routes }: AddressFacts): readonly Finding[] {
  const { warn } = findingsOf('addresses');
  return networks.flatMap(({ name, driver, internal, subnets }) => {
    if (driver !== 'overlay' || internal) return [];
    const clash = firstClash(subnets, routes);
    if (clash === undefined) return [];
    return [
      warn(
        `network ${name} has ${clash.subnet}, and the node reaches ${clash.destination} over ${clash.link}: containers of ${name} cannot reach that`,
        `if they should, make the network anew with another --subnet`,
      ),
    ];
  });
}

function checkLocal({ addresses, routes }: AddressFacts): readonly Finding[] {
  const { bad } = findingsOf('addresses');
  const taken = addresses.find(({ address, link }) => link !== 'lo' && subnetContains(LOCAL, address));
  if (taken !== undefined)
    return [
      bad(
        `${taken.link} has ${taken.address}, of the addresses of local networks (${LOCAL})`,
        'give that link another address',
      ),
    ];
  const clash = firstClash(
    [LOCAL],
    routes.filter(({ link }) => link !== 'lo'),
  );
  if (clash === undefined) return [];
  return [
    bad(
      `${clash.destination}, of the addresses of local networks (${LOCAL}), is routed over ${clash.link}`,
      `remove that route: ip route del ${clash.destination}`,
    ),
  ];
}

function checkEgress({ isRoots, routes, egressSubnet, egressPoolIsTaken }: AddressFacts): readonly Finding[] {
  const { bad } = findingsOf('addresses');
  if (!isRoots) return [];
  const advice = 'give the agent a subnet that is free, by --egress-subnet';
  if (egressSubnet !== undefined) {
    const clash = firstClash([egressSubnet], routes);
    return clash === undefined
      ? []
      : [bad(`the egress subnet ${egressSubnet} is routed over ${clash.link} already (${clash.destination})`, advice)];
  }
  return egressPoolIsTaken
    ? [bad('each part of 100.127.0.0/16, the pool for egress, is routed elsewhere', advice)]
    : [];
}

/** Routes to everywhere lead nowhere in particular. */
function firstClash(subnets: readonly Subnet[], routes: AddressFacts['routes']) {
  for (const subnet of subnets) {
    const route = routes.find(
      ({ destination }) => prefixLength(destination) > 0 && subnetsOverlap(destination, subnet),
    );
    if (route !== undefined) return { subnet, ...route };
  }
  return undefined;
}
