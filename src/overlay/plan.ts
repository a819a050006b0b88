// What each namespace of this node should hold. PURE.
import { type IpAddress, ipVersion, prefixLength, type Subnet, subnetContains } from '../model/address.ts';
import { gatewayOf, type Network, type NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type {
  Address,
  FdbEntry,
  MacAddress,
  Neighbour,
  OnLink,
  Peer,
  PortSettings,
  Route,
  Tunnel,
} from '../netlink/kernel.ts';
import {
  BRIDGE,
  containerLink,
  containerNamespace,
  EGRESS_LINK,
  type Instance,
  macOf,
  portLink,
  TUNNEL,
} from './names.ts';
import { type Remote, remoteEntries } from './remotes.ts';
import type { WantedNetwork } from './wanted.ts';

export interface PlannedLink {
  readonly name: string;
  /** How it is made when it is not there; `given` links are made by something else. */
  readonly make:
    | { readonly kind: 'bridge' }
    | { readonly kind: 'veth'; readonly peer: Peer }
    | { readonly kind: 'vxlan'; readonly tunnel: Tunnel }
    | { readonly kind: 'given' };
  readonly mac?: MacAddress;
  /** Bytes; absent: as it is. */
  readonly mtu?: number;
  readonly master?: string;
  readonly port?: Partial<PortSettings>;
}

export interface PlannedSysctl {
  readonly path: string;
  readonly value: string;
  /** The link that the setting is of: it exists only with it. */
  readonly link?: string;
}

/**
 * All that the agent wants in one namespace. Its links, and the ports of its bridges, are the agent's: whatever else is
 * found on them is removed. Other links are not touched.
 */
export interface Plan {
  readonly links: readonly PlannedLink[];
  readonly addresses: readonly OnLink<Address>[];
  readonly routes: readonly OnLink<Route>[];
  readonly neighbours: readonly OnLink<Neighbour>[];
  readonly forwarding: readonly OnLink<FdbEntry>[];
  readonly sysctls: readonly PlannedSysctl[];
}

/** An overlay network with what of it is on other nodes. */
export interface ConnectedNetwork extends WantedNetwork {
  /** Of all its links. Absent: the kernel's default. */
  readonly mtu?: number | undefined;
  /** Absent: the node is alone. */
  readonly tunnel?: Tunnel | undefined;
  readonly remotes?: Iterable<Remote>;
}

/** A container's place on one network. */
export interface ContainerAttachment {
  readonly network: Network;
  /** At most one of each family, from the network's subnets. */
  readonly addresses: readonly IpAddress[];
}

export interface ContainerSpec {
  readonly taskId: TaskId;
  /** In the order of eth0, eth1, … */
  readonly attachments: readonly ContainerAttachment[];
  /** Path of the namespace, where something else made it; absent: the driver makes one. */
  readonly netns?: string;
  /** What the driver found in that namespace. */
  readonly guest?: Guest;
}

/** How a container that something else made is fitted out: what it has already is left as it is. */
export interface Guest {
  /** As `Peer.namespace`. */
  readonly namespace: string;
  /** The names of its links, in the order of the attachments. */
  readonly links: readonly string[];
  /** It gets a link that leads outside. */
  readonly egress: boolean;
}

/** A container's way outside: its number and address in the node's egress subnet. */
export interface EgressPlace {
  readonly number: number;
  readonly address: IpAddress;
  /** Where the container's end of the link is, as `Peer.namespace`; absent: in a namespace that the driver made. */
  readonly namespace?: string;
}

/** True when one of the networks leads outside, and nothing else does. */
export function hasEgress(spec: ContainerSpec): boolean {
  return spec.guest?.egress ?? spec.attachments.some(({ network }) => !network.spec.internal);
}

/** The name of a container's link to the network at this place among its attachments. */
export function linkOf(spec: ContainerSpec, position: number): string {
  return spec.guest?.links[position] ?? containerLink(position);
}

/**
 * The namespace of an overlay network: a bridge with this node's address, a port for each container here, the VIPs, and in a
 * cluster the tunnel to the other nodes.
 *
 * An IPv4 VIP is a local route: the kernel answers ARP for it and never takes it as a source address. For IPv6 that would not
 * answer neighbour solicitations, so there it is a deprecated address on the bridge. Both are there whether the service has
 * endpoints or not.
 */
export function planNetwork(
  instance: Instance,
  { network, own, vips, mtu, tunnel, remotes = [] }: ConnectedNetwork,
  containers: readonly ContainerSpec[],
): Plan {
  const ports = containers.flatMap((container) => portsOf(instance, network, container));
  const planned = planPorts(ports, mtu);
  const ipv6 = network.subnets.some((subnet) => ipVersion(subnet) === 6);
  const mac = own[0] === undefined ? undefined : macOf(own[0]);
  const here = new Set(ports.map(({ mac }) => mac));
  // A container that has just moved here may still be told of as being there.
  const elsewhere = remoteEntries([...remotes].filter((remote) => !here.has(remote.mac)));
  const sized = mtu === undefined ? {} : { mtu };
  return {
    links: [
      { name: 'lo', make: { kind: 'given' } },
      { name: BRIDGE, make: { kind: 'bridge' }, ...sized, ...(mac === undefined ? {} : { mac }) },
      ...(tunnel === undefined ? [] : [{ ...tunnelLink(tunnel), ...sized }]),
      ...planned.links,
    ],
    addresses: [
      ...own.map((address) => ({
        address,
        prefixLength: lengthFor(network, address),
        deprecated: false,
        link: BRIDGE,
      })),
      ...vips
        .filter((vip) => ipVersion(vip) === 6)
        .map((address) => ({ address, prefixLength: 128, deprecated: true, link: BRIDGE })),
    ],
    routes: vips
      .filter((vip) => ipVersion(vip) === 4)
      .map((destination) => ({ kind: 'local', destination, prefixLength: 32, link: 'lo' })),
    neighbours: [...planned.neighbours, ...elsewhere.neighbours],
    forwarding: [...planned.forwarding, ...elsewhere.forwarding],
    sysctls: [
      // A new namespace takes this over from the machine's first one, where egress switches it on.
      { path: 'ipv4/ip_forward', value: '0' },
      // The VIPs are not addresses of the bridge, and yet it has to answer for them; IPVS machines often say 1 or 2.
      { path: 'ipv4/conf/all/arp_ignore', value: '0' },
      { path: `ipv4/conf/${BRIDGE}/arp_ignore`, value: '0', link: BRIDGE },
      ...linkIpv6(BRIDGE, ipv6),
      ...(tunnel === undefined ? [] : linkIpv6(TUNNEL, false)),
      ...planned.sysctls,
    ],
  };
}

/** Of all that a network's namespace should hold, what is one container's. */
export function planPort(
  instance: Instance,
  network: Network,
  container: ContainerSpec,
  mtu: number | undefined,
): Plan {
  return { addresses: [], routes: [], ...planPorts(portsOf(instance, network, container), mtu) };
}

function planPorts(ports: readonly Port[], mtu: number | undefined): Omit<Plan, 'addresses' | 'routes'> {
  return {
    links: ports.map(({ link }) => ({ ...link, ...(mtu === undefined ? {} : { mtu }) })),
    // Set for good, so that no container can answer for another's address.
    neighbours: ports.flatMap(({ addresses, mac }) => addresses.map((address) => ({ address, mac, link: BRIDGE }))),
    forwarding: ports.map(({ link, mac }) => ({ kind: 'port', mac, link: link.name })),
    // Ports only carry frames; addresses of their own would be noise.
    sysctls: ports.flatMap(({ link }) => linkIpv6(link.name, false)),
  };
}

/** Nothing is learned from the tunnel, and nothing is sent into it that has no entry: no question and no broadcast either. */
function tunnelLink(tunnel: Tunnel): PlannedLink {
  return {
    name: TUNNEL,
    make: { kind: 'vxlan', tunnel },
    master: BRIDGE,
    port: {
      learning: false,
      unicastFlood: false,
      multicastFlood: false,
      broadcastFlood: false,
      suppressNeighbours: true,
    },
  };
}

/** A container's own namespace. */
export function planContainer(
  spec: ContainerSpec,
  egress: { place: EgressPlace; subnet: Subnet } | undefined,
  mtuOf: (network: NetworkId) => number | undefined = () => undefined,
): Plan {
  const links = spec.attachments.map(({ network, addresses }, i) => {
    const mtu = mtuOf(network.id);
    return { name: linkOf(spec, i), ...optionalMac(addresses), ...(mtu === undefined ? {} : { mtu }) };
  });
  return {
    links: [
      { name: 'lo', make: { kind: 'given' } },
      ...links.map((link): PlannedLink => ({ ...link, make: { kind: 'given' } })),
      ...(egress === undefined ? [] : [{ name: EGRESS_LINK, make: { kind: 'given' } } as const]),
    ],
    addresses: [
      ...spec.attachments.flatMap(({ network, addresses }, i) =>
        addresses.map((address) => ({
          address,
          prefixLength: lengthFor(network, address),
          deprecated: false,
          link: linkOf(spec, i),
        })),
      ),
      ...(egress === undefined
        ? []
        : [
            {
              address: egress.place.address,
              prefixLength: prefixLength(egress.subnet),
              deprecated: false,
              link: EGRESS_LINK,
            },
          ]),
    ],
    routes: egress === undefined ? [] : [defaultRoute(gatewayOf(egress.subnet))],
    neighbours: [],
    forwarding: [],
    sysctls: [
      ...(spec.guest === undefined ? OWN_CONTAINER_SYSCTLS : []),
      ...spec.attachments.flatMap(({ addresses }, i) =>
        linkIpv6(
          linkOf(spec, i),
          addresses.some((address) => ipVersion(address) === 6),
        ),
      ),
      ...(egress === undefined ? [] : linkIpv6(EGRESS_LINK, false)),
    ],
  };
}

/** Settings of a whole namespace are for whoever made it. */
const OWN_CONTAINER_SYSCTLS: readonly PlannedSysctl[] = [
  { path: 'ipv4/ip_forward', value: '0' },
  // Nobody else is here to be kept from the low ports; Docker does the same.
  { path: 'ipv4/ip_unprivileged_port_start', value: '0' },
];

interface Port {
  readonly link: PlannedLink;
  readonly addresses: readonly IpAddress[];
  readonly mac: MacAddress;
}

function portsOf(instance: Instance, network: Network, container: ContainerSpec): readonly Port[] {
  return container.attachments.flatMap(({ network: { id }, addresses }, i) => {
    const [first] = addresses;
    if (id !== network.id || first === undefined) return [];
    const mac = macOf(first);
    const namespace = container.guest?.namespace ?? containerNamespace(instance, container.taskId);
    const peer = { namespace, name: linkOf(container, i), mac };
    return [
      {
        // Its MAC address is known and set: whatever else it sends as its source does not lead anybody to it.
        link: {
          name: portLink(container.taskId),
          make: { kind: 'veth', peer },
          master: BRIDGE,
          port: { learning: false, unicastFlood: false },
        },
        addresses,
        mac,
      },
    ];
  });
}

/**
 * Router advertisements are never taken: whoever is on the network could redirect its traffic by one. The address that the link gives
 * itself is made of its MAC address (IN6_ADDR_GEN_MODE_EUI64), so that all nodes know it.
 */
export function linkIpv6(link: string, enabled: boolean): readonly PlannedSysctl[] {
  return [
    ...(enabled ? [{ path: `ipv6/conf/${link}/addr_gen_mode`, value: '0', link }] : []),
    { path: `ipv6/conf/${link}/accept_ra`, value: '0', link },
    { path: `ipv6/conf/${link}/disable_ipv6`, value: enabled ? '0' : '1', link },
  ];
}

function optionalMac(addresses: readonly IpAddress[]): { readonly mac?: MacAddress } {
  return addresses[0] === undefined ? {} : { mac: macOf(addresses[0]) };
}

function defaultRoute(via: IpAddress): OnLink<Route> {
  return { kind: 'unicast', destination: '0.0.0.0' as IpAddress, prefixLength: 0, via, link: EGRESS_LINK };
}

/** The prefix length of the subnet that an address is in; an address of none is alone. */
function lengthFor(network: Network, address: IpAddress): number {
  const subnet = network.subnets.find((one) => subnetContains(one, address));
  if (subnet === undefined) return ipVersion(address) === 4 ? 32 : 128;
  return prefixLength(subnet);
}
