// The node's network as it is: its links, addresses and routes, and the tunnels of overlay networks.
import type { IpAddress, Subnet } from '../model/address.ts';
import { reachableAddress } from '../config-cluster.ts';
import { LinuxKernel } from '../netlink/linux-kernel.ts';
import type { Kernel, Link } from '../netlink/kernel.ts';
import { BRIDGE, EGRESS_LINK, TUNNEL } from '../overlay/names.ts';
import { chooseEgressSubnet } from '../overlay/egress.ts';
import { readNamespaceName } from './remains.ts';

export interface NodeNetwork {
  readonly links: readonly {
    readonly name: string;
    readonly kind: string;
    readonly mtu: number;
    readonly up: boolean;
  }[];
  readonly addresses: readonly { readonly link: string; readonly address: IpAddress; readonly prefixLength: number }[];
  /** Without those over links of agents. */
  readonly routes: readonly { readonly link: string; readonly destination: Subnet }[];
  /** Where other nodes send overlay traffic, and the link that has that address. */
  readonly underlay: { readonly address: IpAddress; readonly link: string; readonly mtu: number } | undefined;
  /** No part of the pool for egress is free. */
  readonly egressPoolIsTaken: boolean;
  /** Of overlay networks on this node, of whichever agent; none without root. */
  readonly tunnels: readonly Tunnel[];
}

export interface Tunnel {
  readonly namespace: string;
  readonly port: number;
  readonly local: IpAddress;
  /** Of the network's bridge, and so of its containers. */
  readonly mtu: number;
}

/** `dataAddress`: where other nodes send overlay traffic, where that is known. Rejects with KernelError. */
export async function readNodeNetwork(isRoot: boolean, dataAddress: IpAddress | undefined): Promise<NodeNetwork> {
  const kernel = new LinuxKernel();
  try {
    const { links, addresses } = await kernel.own.observe();
    const routes = (await kernel.own.routed()).filter(({ link }) => !isOfAgents(link));
    const own = addresses.filter(({ link }) => !isOfAgents(link));
    const address = dataAddress ?? reachableAddress(own.map((one) => one.address));
    const carrier = links.find(({ name }) => name === own.find((one) => one.address === address)?.link);
    return {
      links,
      addresses,
      routes,
      underlay:
        address === undefined || carrier === undefined ? undefined : { address, link: carrier.name, mtu: carrier.mtu },
      egressPoolIsTaken: chooseEgressSubnet(routes) === undefined,
      tunnels: isRoot ? await readTunnels(kernel) : [],
    };
  } finally {
    kernel.close();
  }
}

/** Bridges and ports for egress. */
export function isOfAgents(link: string): boolean {
  return /^vmeg-|^vm[a-z0-9]{6}-[0-9a-f]+$/.test(link) || link === EGRESS_LINK;
}

async function readTunnels(kernel: Kernel): Promise<readonly Tunnel[]> {
  const tunnels: Tunnel[] = [];
  for (const name of kernel.listNamespaces('vipmesh-')) {
    const found = readNamespaceName(name);
    if (found === undefined || found.task !== undefined) continue;
    // It may go, or be a name only.
    const namespace = await kernel.openNamespace(`/run/netns/${name}`).catch(() => undefined);
    if (namespace === undefined) continue;
    const { links } = await namespace.observe();
    namespace.close();
    tunnels.push(...tunnelOf(name, links));
  }
  return tunnels;
}

function tunnelOf(namespace: string, links: readonly Link[]): readonly Tunnel[] {
  const tunnel = links.find(({ name }) => name === TUNNEL)?.tunnel;
  const bridge = links.find(({ name }) => name === BRIDGE);
  return tunnel === undefined || bridge === undefined
    ? []
    : [{ namespace, port: tunnel.port, local: tunnel.local, mtu: bridge.mtu }];
}
