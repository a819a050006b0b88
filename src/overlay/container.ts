// Containers, as `vipmesh run` and `vipmesh attach` get them.
import type { IpAddress } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { MacAddress, Namespace, Link } from '../netlink/kernel.ts';
import type { Egress } from './egress-bridge.ts';
import { BRIDGE, EGRESS_LINK, macOf, portLink } from './names.ts';
import { type ContainerSpec, linkOf } from './plan.ts';
import { linksReady } from './reconciler.ts';

/** A container's namespace, ready for processes and for the resolver's sockets. */
export interface Container {
  readonly taskId: TaskId;
  readonly netnsPath: string;
  /** Open until the container is detached. */
  readonly netnsFd: number;
  readonly interfaces: readonly ContainerInterface[];
  /** The node's address on the bridge that leads outside; published ports are reachable at it. Absent: no way outside. */
  readonly egressGateway?: IpAddress;
}

export interface ContainerInterface {
  /** `eth0`, or `vm0` in a container that something else made. */
  readonly name: string;
  readonly networkId: NetworkId;
  readonly mac: MacAddress | undefined;
  readonly addresses: readonly IpAddress[];
  /** The node's own addresses on that network. */
  readonly gateways: readonly IpAddress[];
}

export function describeContainer(
  spec: ContainerSpec,
  namespace: Namespace,
  links: readonly Link[],
  { gateways, egress }: { readonly gateways: readonly (readonly IpAddress[])[]; readonly egress: Egress | undefined },
): Container {
  return {
    taskId: spec.taskId,
    netnsPath: namespace.path,
    netnsFd: namespace.fd,
    interfaces: spec.attachments.map(({ network, addresses }, i) => ({
      name: linkOf(spec, i),
      networkId: network.id,
      mac: links.find(({ name }) => name === linkOf(spec, i))?.mac,
      addresses,
      gateways: gateways[i] ?? [],
    })),
    ...(egress === undefined ? {} : { egressGateway: egress.gateway }),
  };
}

/** The namespaces that a container's links are in. */
export interface Places {
  readonly container: Namespace;
  /** Of its networks, in their order. */
  readonly networks: readonly Namespace[];
  readonly node: Namespace;
}

/** Links are ready some milliseconds after they were made; this long means that the machine is overloaded. */
const LINKS_READY_MS = 3000;

/**
 * Waits until the container can be reached, and can reach, over all its links. Resolves with those that are still not ready
 * after LINKS_READY_MS; the container is usable all the same, if slow at first.
 */
export async function awaitLinks(
  spec: ContainerSpec,
  { container, networks, node }: Places,
  egress: Egress | undefined,
): Promise<readonly string[]> {
  const own = spec.attachments.map((_, i) => linkOf(spec, i));
  const waits: readonly (readonly [Namespace, readonly string[]])[] = [
    ...networks.map((network) => [network, [BRIDGE, portLink(spec.taskId)]] as const),
    [container, egress === undefined ? own : [...own, EGRESS_LINK]],
    ...(egress === undefined ? [] : [[node, [egress.bridge, egress.port]] as const]),
  ];
  const slow: string[] = [];
  for (const [namespace, links] of waits) {
    if (!(await linksReady(namespace, links, LINKS_READY_MS)))
      slow.push(...links.map((link) => `${link} in ${namespace.path}`));
  }
  return slow;
}

/**
 * Removes the link between a container and a network when it is not whole: the two ends come and go together, so an end
 * whose other end is not where it belongs is in the way of a new pair.
 */
export async function removeBrokenPairs(
  spec: ContainerSpec,
  networkId: NetworkId,
  network: Namespace,
  container: Namespace,
): Promise<void> {
  const port = portLink(spec.taskId);
  const hasPort = (await network.observeLinks([port])).length > 0;
  const position = spec.attachments.findIndex((attachment) => attachment.network.id === networkId);
  const first = spec.attachments[position]?.addresses[0];
  const end = (await container.observeLinks()).find(({ name }) => name === linkOf(spec, position));
  const hasEnd = end !== undefined && (first === undefined || end.mac === macOf(first));
  if (hasPort && hasEnd) return;
  if (hasPort) await network.apply({ kind: 'remove-link', name: port });
  if (end !== undefined) await container.apply({ kind: 'remove-link', name: end.name });
}
