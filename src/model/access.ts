// Who may come to the published ports of a service, and who is believed about who its clients are.
import { type IpAddress, ipVersion, parseIp, parseSubnet, type Subnet } from './address.ts';

/** Lists of sources; an absent one says nothing. */
export interface Access {
  /** Only these may come. */
  readonly allow?: readonly Subnet[];
  /** These may not, whatever `allow` says. */
  readonly deny?: readonly Subnet[];
  /** TCP connections from these begin with a PROXY protocol header, which names the client. */
  readonly acceptProxy?: readonly Subnet[];
}

export const ACCESS_LISTS = ['allow', 'deny', 'acceptProxy'] as const;

/** In one list: each new connection is compared with all of them. */
export const MAX_SOURCES = 256;

/** `10.0.0.0/8`, or one address. Host bits are cleared. Undefined when the text is neither. */
export function parseSource(text: string): Subnet | undefined {
  const address = parseIp(text);
  return address === undefined ? parseSubnet(text) : subnetOfOne(address);
}

function subnetOfOne(address: IpAddress): Subnet {
  return `${address}/${ipVersion(address) === 4 ? 32 : 128}` as Subnet;
}
