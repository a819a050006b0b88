// The way outside for containers: one node-local bridge, masquerading, and who may talk to whom across it. PURE.
import {
  type IpAddress,
  parseSubnet,
  prefixLength,
  type Subnet,
  subnetAddress,
  subnetRange,
  subnetsOverlap,
} from '../model/address.ts';
import { gatewayOf } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { Observed, RoutedSubnet } from '../netlink/kernel.ts';
import type { Match } from '../netlink/nft-rule.ts';
import type { Ruleset } from '../netlink/nftables.ts';
import { containerNamespace, EGRESS_LINK, egressBridge, egressPort, type Instance, macOf } from './names.ts';
import { type EgressPlace, linkIpv6, type Plan } from './plan.ts';

/**
 * The addresses from which an agent takes its egress subnet unless it is told one: the last /16 of the shared address space
 * (RFC 6598), which is neither routed on the Internet nor used for private networks, nor by Docker's pools. It is cut so that
 * several agents of one machine, and one other user of a part of it, get along.
 */
const EGRESS_POOL = Array.from({ length: 16 }, (_, i) => subnetOf(`100.127.${i * 16}.0/20`));

/** The subnet's base, the node's own address, and the broadcast address are not handed out. */
const FIRST_NUMBER = 2;
/** Interface names hold a number of six hexadecimal digits. */
const SHORTEST_PREFIX = 8;
const LONGEST_PREFIX = 29;

/** Why a subnet cannot be the egress subnet, as the end of a sentence that began with it; undefined when it can. */
export function egressSubnetProblem(subnet: Subnet): string | undefined {
  if (subnet.includes(':')) return 'is IPv6; containers reach the outside over IPv4';
  const length = prefixLength(subnet);
  if (length < SHORTEST_PREFIX || length > LONGEST_PREFIX) {
    return `has a prefix of ${length} bits; ${SHORTEST_PREFIX} to ${LONGEST_PREFIX} are possible`;
  }
  return undefined;
}

/** The first subnet of the pool that leads nowhere yet on this node; undefined when each is in use. */
export function chooseEgressSubnet(routed: readonly RoutedSubnet[]): Subnet | undefined {
  return EGRESS_POOL.find((candidate) => clashOf(candidate, routed, '') === undefined);
}

/** The link over which (a part of) the subnet is routed already, other than the agent's own bridge. */
export function clashOf(subnet: Subnet, routed: readonly RoutedSubnet[], bridge: string): string | undefined {
  return routed.find(
    ({ destination, link }) => link !== bridge && prefixLength(destination) > 0 && subnetsOverlap(destination, subnet),
  )?.link;
}

/**
 * The next free number after `last`, going round, so that an address rests as long as it can before it is used again (the
 * kernel may still track connections of it). Undefined when all are taken.
 */
export function nextEgressNumber(
  subnet: Subnet,
  taken: ReadonlySet<number>,
  last: number | undefined,
): number | undefined {
  const end = Number(subnetRange(subnet).size) - 1;
  const count = end - FIRST_NUMBER;
  const start = last === undefined ? 0 : last - FIRST_NUMBER + 1;
  for (let i = 0; i < count; i++) {
    const number = FIRST_NUMBER + ((start + i) % count);
    if (!taken.has(number)) return number;
  }
  return undefined;
}

export function egressPlace(subnet: Subnet, number: number): EgressPlace {
  return { number, address: subnetAddress(subnet, BigInt(number)) };
}

/** The place that a container holds already, read from its namespace. */
export function observedEgressPlace(subnet: Subnet, observed: Observed): EgressPlace | undefined {
  const { base, size } = subnetRange(subnet);
  for (const { link, address } of observed.addresses) {
    if (link !== EGRESS_LINK || address.includes(':')) continue;
    const number = toNumber(address) - Number(base);
    if (number >= FIRST_NUMBER && number < Number(size) - 1) return { number, address };
  }
  return undefined;
}

/** What egress needs in the node's own namespace. Bridge ports are isolated: containers meet on their networks, not here. */
export function planEgress(instance: Instance, subnet: Subnet, places: ReadonlyMap<TaskId, EgressPlace>): Plan {
  const bridge = egressBridge(instance);
  const gateway = gatewayOf(subnet);
  const ports = planEgressPorts(instance, places);
  return {
    links: [{ name: bridge, make: { kind: 'bridge' }, mac: macOf(gateway) }, ...ports.links],
    addresses: [{ address: gateway, prefixLength: prefixLength(subnet), deprecated: false, link: bridge }],
    routes: [],
    neighbours: ports.neighbours,
    forwarding: [],
    sysctls: [{ path: 'ipv4/ip_forward', value: '1' }, ...linkIpv6(bridge, false), ...ports.sysctls],
  };
}

/** Of that, what is some containers'. */
export function planEgressPorts(instance: Instance, places: Iterable<readonly [TaskId, EgressPlace]>): Plan {
  const bridge = egressBridge(instance);
  const all = [...places];
  const links = all.map(([taskId, { number, address, namespace }]) => ({
    name: egressPort(instance, number),
    make: {
      kind: 'veth',
      peer: {
        namespace: namespace ?? containerNamespace(instance, taskId),
        name: EGRESS_LINK,
        mac: macOf(address),
      },
    } as const,
    master: bridge,
    port: { isolated: true },
  }));
  return {
    links,
    addresses: [],
    routes: [],
    // As on overlay networks: nobody answers for another's address.
    neighbours: all.map(([, { address }]) => ({ address, mac: macOf(address), link: bridge })),
    forwarding: [],
    sysctls: links.flatMap(({ name }) => linkIpv6(name, false)),
  };
}

/** The agent's nftables table. */
export function egressRuleset(instance: Instance, subnet: Subnet): Ruleset {
  const bridge = egressBridge(instance);
  const fromContainer: Match = { kind: 'in', link: bridge };
  const toContainer: Match = { kind: 'out', link: bridge };
  return {
    chains: [
      {
        name: 'forward',
        type: 'filter',
        hook: 'forward',
        priority: 0,
        rules: [
          { when: [fromContainer, toContainer], verdict: 'drop' },
          { when: [fromContainer, { kind: 'source', subnet, not: true }], verdict: 'drop' },
          { when: [toContainer, { kind: 'known-connection' }], verdict: 'accept' },
          { when: [toContainer], verdict: 'drop' },
        ],
      },
      {
        name: 'postrouting',
        type: 'nat',
        hook: 'postrouting',
        priority: 100,
        rules: [
          {
            when: [
              { kind: 'source', subnet },
              { kind: 'out', link: bridge, not: true },
            ],
            verdict: 'masquerade',
          },
        ],
      },
    ],
  };
}

function toNumber(address: IpAddress): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function subnetOf(text: string): Subnet {
  const subnet = parseSubnet(text);
  if (subnet === undefined) throw new RangeError(`${text} is no subnet`);
  return subnet;
}
