// /proc/net/udp, tcp and their IPv6 likes: which sockets wait for strangers, and where. PURE. Format: proc_net_tcp(5).
import { type IpAddress, ipFromBytes } from '../../model/address.ts';

export interface WaitingSocket {
  readonly address: IpAddress;
  readonly port: number;
  readonly inode: string;
}

/** TCP_LISTEN, and TCP_CLOSE, which is what a UDP socket without a peer is in. */
const STATE = { tcp: '0A', udp: '07' } as const;

export function waitingSockets(table: string, protocol: 'tcp' | 'udp'): readonly WaitingSocket[] {
  return table.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [, local = '', , state] = fields;
    const [address = '', port = ''] = local.split(':');
    if (state !== STATE[protocol] || !/^(?:[0-9A-F]{8}){1,4}$/.test(address)) return [];
    return [{ address: readAddress(address), port: Number.parseInt(port, 16), inode: fields[9] ?? '0' }];
  });
}

/** Whether a socket is in the way of another one at this address and port. */
export function isInTheWay(socket: WaitingSocket, address: IpAddress, port: number): boolean {
  if (socket.port !== port) return false;
  const isAny = (one: IpAddress) => one === '::' || one === '0.0.0.0';
  // A socket of [::] may be for both families; whether it is, is not to be seen here.
  return socket.address === address || isAny(socket.address) || isAny(address);
}

/** Words of 32 bits in the machine's byte order, which is little-endian on all machines that this program runs on. */
function readAddress(text: string): IpAddress {
  const bytes = Buffer.from(text, 'hex');
  for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
  return ipFromBytes(bytes);
}
