// How large a packet on an overlay network may be. PURE.
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { Network } from '../model/network.ts';
import type { Observed } from '../netlink/kernel.ts';

/** What a tunnel adds to a packet: outer IPv4 (20) or IPv6 (40) header, UDP (8), VXLAN (8), inner Ethernet (14). */
const OVERHEAD = { 4: 50, 6: 70 } as const;
/** Docker's name for it; bytes. */
const MTU_OPTION = 'com.docker.network.driver.mtu';
/** The least that IPv4 works with (RFC 791), and IPv6, which the kernel switches off below it (RFC 8200 section 5). */
const LEAST = { 4: 68, 6: 1280 } as const;
/** Ethernet's, when nobody knows better. */
const USUAL = 1500;

/** The MTU of the link that carries an address; undefined when none does. */
export function underlayMtu({ addresses, links }: Observed, dataAddress: IpAddress): number | undefined {
  const carrier = addresses.find(({ address }) => address === dataAddress)?.link;
  return links.find(({ name }) => name === carrier)?.mtu;
}

/**
 * The MTU of all links of a network, so that what is sent in one piece arrives in one. The network's option counts as far as it
 * asks for less. Where the underlay has no room for IPv6's least, the tunnel's packets are sent in pieces. Undefined: the
 * kernel's default.
 */
export function networkMtu(
  { spec, subnets }: Network,
  tunnel: { readonly dataAddress: IpAddress; readonly underlay: number | undefined } | undefined,
): number | undefined {
  const least = LEAST[subnets.some((subnet) => ipVersion(subnet) === 6) ? 6 : 4];
  const room = tunnel === undefined ? USUAL : (tunnel.underlay ?? USUAL) - OVERHEAD[ipVersion(tunnel.dataAddress)];
  const asked = Number(spec.options[MTU_OPTION]);
  const smaller = Number.isInteger(asked) && asked > 0 && asked < room ? asked : undefined;
  if (tunnel === undefined && smaller === undefined) return undefined;
  return Math.max(least, smaller ?? room);
}
