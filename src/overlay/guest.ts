// Containers that something else made: what of ours is in their namespace, and what is in the way. PURE.
import { prefixLength } from '../model/address.ts';
import type { Observed, RoutedSubnet } from '../netlink/kernel.ts';
import { clashOf } from './egress.ts';
import { EGRESS_LINK, guestLink, isGuestLink, macOf } from './names.ts';
import type { ContainerSpec, Guest } from './plan.ts';

/** The container's link to each of its networks; undefined where it has none yet. */
export function foundLinks(spec: ContainerSpec, { links }: Pick<Observed, 'links'>): readonly (string | undefined)[] {
  return spec.attachments.map(({ addresses: [first] }) => {
    const mac = first === undefined ? undefined : macOf(first);
    return links.find((link) => link.kind === 'veth' && isGuestLink(link.name) && link.mac === mac)?.name;
  });
}

/**
 * How the container is to be fitted out. What was made before is found again by its MAC address; other links get the first
 * numbers that nobody has. It is led outside where one of its networks leads there and it has no default route of its own.
 */
export function planGuest(
  spec: ContainerSpec,
  namespace: string,
  observed: Pick<Observed, 'links' | 'addresses'>,
  routed: readonly RoutedSubnet[],
): Guest {
  const taken = new Set(observed.links.map(({ name }) => name));
  const links = foundLinks(spec, observed).map((found) => {
    if (found !== undefined) return found;
    let number = 0;
    while (taken.has(guestLink(number))) number++;
    taken.add(guestLink(number));
    return guestLink(number);
  });
  const leadsOut = spec.attachments.some(({ network }) => !network.spec.internal);
  const hasOwnWay = routed.some(({ destination }) => prefixLength(destination) === 0 && !destination.includes(':'));
  return { namespace, links, egress: leadsOut && (hasEgressLink(observed) || !hasOwnWay) };
}

/** What keeps the container from being fitted out, as the end of a sentence; undefined when nothing does. */
export function guestProblem(
  spec: ContainerSpec,
  { links, egress }: Guest,
  observed: Observed,
  routed: readonly RoutedSubnet[],
): string | undefined {
  const ours = new Set(links);
  const elsewhere = routed.filter(({ link }) => !ours.has(link));
  for (const { network } of spec.attachments) {
    for (const subnet of network.subnets) {
      const link = clashOf(subnet, elsewhere, '');
      if (link !== undefined) {
        return `routes (a part of) ${subnet}, the subnet of network ${network.spec.name}, over its ${link} already; make the network with another subnet`;
      }
    }
  }
  if (egress && !hasEgressLink(observed) && observed.links.some(({ name }) => name === EGRESS_LINK)) {
    return `has a link ${EGRESS_LINK} of its own and no default route; rename that link, or give the container a default route`;
  }
  return undefined;
}

/** The link that leads outside is there, and it is ours: its MAC address is made of its address. */
function hasEgressLink({ links, addresses }: Pick<Observed, 'links' | 'addresses'>): boolean {
  const mac = links.find(({ name, kind }) => name === EGRESS_LINK && kind === 'veth')?.mac;
  return mac !== undefined && addresses.some(({ link, address }) => link === EGRESS_LINK && macOf(address) === mac);
}
