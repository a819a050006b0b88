// Addresses as netlink has them: MAC addresses as six bytes, IP addresses as four or sixteen. PURE.
import { type IpAddress, ipFromBytes, ipVersion } from '../model/address.ts';
import type { MacAddress } from './kernel.ts';

/** Address families (linux/socket.h). */
export const AF = { unspec: 0, inet: 2, bridge: 7, inet6: 10 } as const;

export function macToBytes(mac: MacAddress): Uint8Array {
  return Uint8Array.from(mac.split(':'), (part) => Number.parseInt(part, 16));
}

export function macFromBytes(bytes: Uint8Array): MacAddress {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':') as MacAddress;
}

/** Undefined when the data is no address. */
export function readIp(data: Buffer | undefined): IpAddress | undefined {
  return data === undefined || (data.length !== 4 && data.length !== 16) ? undefined : ipFromBytes(data);
}

export function familyOf(address: IpAddress): number {
  return ipVersion(address) === 4 ? AF.inet : AF.inet6;
}
