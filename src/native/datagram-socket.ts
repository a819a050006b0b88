// UDP sockets, made inside a given network namespace. Everything here is non-blocking and closed on exec.
import {
  AF_INET,
  AF_INET6,
  IP_PKTINFO,
  IP_RECVORIGDSTADDR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_RECVORIGDSTADDR,
  IPV6_RECVPKTINFO,
  IPV6_V6ONLY,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  UDP_GRO,
} from './constants.ts';
import { check } from './errno.ts';
import { bindSocket, connect, type Fd, setsockopt, socket } from './libc.ts';
import { inNetns, OWN_NETNS } from './netns.ts';
import { SOCKADDR_BYTES, writeSockaddr } from './sockaddr.ts';
import { bindToDevice, boundDevice, closingOnError, formatAddress, localAddress, setOption } from './stream-socket.ts';

const DISCARD_PORT = 9;
const ONE = new Int32Array([1]);
/** Of the call that is being made: a resolver connects for every question that it passes on. */
const peerAddress = Buffer.alloc(SOCKADDR_BYTES);

export interface BindUdpOptions {
  /** Where the socket lives; OWN_NETNS by default. */
  readonly netns?: Fd;
  /** Only what comes in by this interface. Unprivileged since Linux 5.7. */
  readonly device?: string;
  /** One of a group on the same address and port. */
  readonly reusePort?: boolean;
  /** Bind although another socket is bound there (a reply socket beside the one that listens). */
  readonly reuseAddress?: boolean;
  /** Only for `::`: leave IPv4 alone. Default false: the socket takes both families. */
  readonly ipv6Only?: boolean;
  /** Each datagram brings the address and port it was sent to (IP_ORIGDSTADDR, IPV6_ORIGDSTADDR). */
  readonly originalDestination?: boolean;
  /** Each datagram brings the local address it was sent to (IP_PKTINFO, IPV6_PKTINFO), to answer from. */
  readonly packetInfo?: boolean;
  /** Then connect there: only this peer's datagrams come, ahead of any other socket on the port. */
  readonly peer?: { readonly address: string; readonly port: number };
}

/** Binds a socket; port 0 takes a free one. Throws NativeError naming the address. The caller closes it. */
export function bindUdp(address: string, port: number, options: BindUdpOptions = {}): Fd {
  const object = `${formatAddress(address, port)}/udp`;
  const family = address.includes(':') ? AF_INET6 : AF_INET;
  return inNetns(options.netns ?? OWN_NETNS, () => {
    const fd = check(socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', object);
    return closingOnError(fd, () => {
      if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6Only === true ? 1 : 0);
      if (options.device !== undefined) bindToDevice(fd, options.device);
      if (options.reusePort === true) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (options.reuseAddress === true) setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      askForControl(fd, family, options);
      const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
      check(bindSocket(fd, sockaddr, writeSockaddr(sockaddr, 0, address, port)), 'bind', object);
      if (options.peer !== undefined) connectDatagram(fd, options.peer.address, options.peer.port, family);
    });
  });
}

/** A socket that talks to one peer; ICMP errors come back from send and recv. Throws NativeError naming the peer. */
export function connectUdp(address: string, port: number, netns: Fd = OWN_NETNS): Fd {
  const family = address.includes(':') ? AF_INET6 : AF_INET;
  return inNetns(netns, () => {
    const fd = check(
      socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
      'socket',
      formatAddress(address, port),
    );
    return closingOnError(fd, () => connectDatagram(fd, address, port, family));
  });
}

/**
 * Room for what comes while nobody reads: about one datagram for every 400 bytes that are asked for, since the kernel gives twice
 * as many and counts what it needs itself. Without CAP_NET_ADMIN net.core.rmem_max is the limit (socket(7)).
 */
export function enlargeReceiveBuffer(fd: Fd, bytes: number): void {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, new Int32Array([bytes]), 4) < 0)
    setOption(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

/**
 * From now on datagrams of one sender that have come through the kernel together are handed over together, as one message with control
 * data that tells their size (UDP_GRO, udp(7), Linux 5.0): only a DatagramBatch with `coalesced` may read this socket. False
 * when the kernel cannot do that, and then every datagram comes for itself.
 */
export function coalesce(fd: Fd): boolean {
  return setsockopt(fd, IPPROTO_UDP, UDP_GRO, ONE, 4) === 0;
}

/**
 * Senders are refused from now on (ICMP port unreachable), and the port stays ours. For good: a socket that is connected takes
 * datagrams of its peer only, so it gets one that never sends, the discard port (RFC 863) of its own address; and connecting
 * takes it out of its SO_REUSEPORT group, into which no later call brings it back (udp_lib_rehash).
 */
export function pauseUdp(fd: Fd): void {
  const { address } = localAddress(fd);
  // The kernel has no way to ::1 by an interface, but takes 127.0.0.1 for a neighbour.
  const everywhere = boundDevice(fd) === undefined ? '::1' : '127.0.0.1';
  const self = address === '::' ? everywhere : address === '0.0.0.0' ? '127.0.0.1' : address;
  connectDatagram(fd, self, DISCARD_PORT, address.includes(':') ? AF_INET6 : AF_INET);
}

function connectDatagram(fd: Fd, address: string, port: number, family: number): void {
  const length = writeSockaddr(peerAddress, 0, address, port, family === AF_INET6);
  check(connect(fd, peerAddress, length), 'connect', `${formatAddress(address, port)}/udp`);
}

function askForControl(fd: Fd, family: number, options: BindUdpOptions): void {
  // A dual-stack socket reports IPv4 datagrams by the IPv4 option.
  if (options.originalDestination === true) {
    setOption(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
    if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
  }
  if (options.packetInfo === true) {
    setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
    if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
}
