// Whether what the kernel tells of a change is as planned, so that what the driver does itself need not be looked at again. PURE.
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { MacAddress, Notice } from '../netlink/kernel.ts';
import { BRIDGE, macOf, portLink, TUNNEL } from './names.ts';
import type { ContainerSpec } from './plan.ts';
import type { RemoteTable } from './remotes.ts';

export interface NetworkContent {
  readonly network: Network;
  readonly remotes: RemoteTable;
}

/** False also where that cannot be told. A link without a name is a new one, of which another notice tells. */
export function isAsPlanned(
  notice: Notice,
  { network, remotes }: NetworkContent,
  containers: readonly ContainerSpec[],
): boolean {
  switch (notice.kind) {
    case 'any':
    case 'link':
    case 'rules':
      return false;
    case 'neighbour': {
      const { address, mac, link } = notice;
      const planned = remotes.withAddress(address)?.mac ?? macHere(network.id, containers, address);
      return link === BRIDGE || link === undefined ? mac === planned : mac === undefined;
    }
    case 'forwarding': {
      const { entry, link, isThere } = notice;
      const port = portsOn(network.id, containers).get(entry.mac);
      const remote = port === undefined ? remotes.withMac(entry.mac) : undefined;
      if (entry.kind === 'tunnel') return isThere === (entry.vtep === remote?.vtep);
      const planned = port ?? (remote === undefined ? undefined : TUNNEL);
      return isThere === (planned !== undefined && (link === undefined || link === planned));
    }
  }
}

/** The bridge's ports that lead to containers here, by the MAC addresses behind them. */
export function portsOn(id: NetworkId, containers: readonly ContainerSpec[]): ReadonlyMap<MacAddress, string> {
  const ports = new Map<MacAddress, string>();
  for (const { taskId, attachments } of containers) {
    for (const { network, addresses } of attachments) {
      const [first] = addresses;
      if (network.id === id && first !== undefined) ports.set(macOf(first), portLink(taskId));
    }
  }
  return ports;
}

function macHere(id: NetworkId, containers: readonly ContainerSpec[], address: IpAddress): MacAddress | undefined {
  for (const { attachments } of containers) {
    const found = attachments.find(({ network, addresses }) => network.id === id && addresses.includes(address));
    const first = found?.addresses[0];
    if (first !== undefined) return macOf(first);
  }
  return undefined;
}
