// PURE: the PROXY protocol towards endpoints (HAProxy's proxy-protocol.txt, versions 1 and 2): what is sent first on a connection, so
// that the endpoint knows the client's address although it sees ours.
import { AF_INET } from '../native/constants.ts';
import { isMapped, readSockaddr } from '../native/sockaddr.ts';
import type { ProxyProtocol } from '../model/service.ts';

/** Section 2.2: the twelve bytes with which version 2 begins. */
export const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const VERSION_2 = 0x20;
const LOCAL = 0;
const PROXY = 1;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
const IPV4_BYTES = 12;
const IPV6_BYTES = 36;

/**
 * For a client's connection. `client` and `local` are the socket addresses of its two ends as the kernel gives them; IPv4 when both
 * are, a mapped address included, else IPv6.
 */
export function proxyHeader(version: ProxyProtocol, client: Buffer, local: Buffer): Buffer {
  const isIpv4 = [client, local].every((one) => one.readUInt16LE(0) === AF_INET || isMapped(one, 8));
  return version === 'v1' ? textHeader(isIpv4, client, local) : binaryHeader(isIpv4, client, local);
}

/** For a connection of the agent's own, such as a health check: there is no client. */
export function ownHeader(version: ProxyProtocol): Buffer {
  if (version === 'v1') return Buffer.from('PROXY UNKNOWN\r\n');
  return Buffer.concat([SIGNATURE, Buffer.from([VERSION_2 | LOCAL, 0, 0, 0])]);
}

function textHeader(isIpv4: boolean, client: Buffer, local: Buffer): Buffer {
  const [from, to] = [readSockaddr(client, 0), readSockaddr(local, 0)];
  const text = (address: string) => (isIpv4 || address.includes(':') ? address : `::ffff:${address}`);
  const family = isIpv4 ? 'TCP4' : 'TCP6';
  return Buffer.from(`PROXY ${family} ${text(from.address)} ${text(to.address)} ${from.port} ${to.port}\r\n`);
}

function binaryHeader(isIpv4: boolean, client: Buffer, local: Buffer): Buffer {
  const length = isIpv4 ? IPV4_BYTES : IPV6_BYTES;
  const header = Buffer.alloc(SIGNATURE.length + 4 + length);
  SIGNATURE.copy(header);
  header[12] = VERSION_2 | PROXY;
  header[13] = isIpv4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6;
  header.writeUInt16BE(length, 14);
  const size = isIpv4 ? 4 : 16;
  for (const [i, one] of [client, local].entries()) {
    copyAddress(one, header, 16 + i * size, isIpv4);
    one.copy(header, 16 + 2 * size + 2 * i, 2, 4);
  }
  return header;
}

/** In sockaddr_in the address is at 4, in sockaddr_in6 at 8, and in its last four bytes when it is mapped. */
function copyAddress(sockaddr: Buffer, target: Buffer, at: number, isIpv4: boolean): void {
  const isPlain = sockaddr.readUInt16LE(0) === AF_INET;
  if (isIpv4) {
    const from = isPlain ? 4 : 20;
    sockaddr.copy(target, at, from, from + 4);
  } else if (isPlain) {
    target.fill(0xff, at + 10, at + 12);
    sockaddr.copy(target, at + 12, 4, 8);
  } else {
    sockaddr.copy(target, at, 8, 24);
  }
}
