// TCP sockets, made inside a given network namespace. Everything here is non-blocking and closed on exec.
import {
  AF_INET,
  AF_INET6,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  SHUT_RD,
  SO_BINDTODEVICE,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from './constants.ts';
import { check, EINPROGRESS, errno, NativeError } from './errno.ts';
import {
  addressOf,
  bindSocket,
  close,
  connect,
  type Fd,
  getpeername,
  getsockname,
  getsockopt,
  listen,
  setsockopt,
  shutdown,
  socket,
} from './libc.ts';
import { inNetns, OWN_NETNS } from './netns.ts';
import { readSockaddr, SOCKADDR_BYTES, type SocketAddress, writeSockaddr } from './sockaddr.ts';

export interface ListenOptions {
  /** Where the socket lives; OWN_NETNS by default. */
  readonly netns?: Fd;
  /** One of a group on the same address and port, all of the same user. Without it the port is the socket's alone. */
  readonly reusePort?: boolean;
  /** Only what comes in by this interface. Unprivileged since Linux 5.7. */
  readonly device?: string;
  /** Default 4096, which net.core.somaxconn cuts (4096 since Linux 5.4). */
  readonly backlog?: number;
  /** Only for `::`: leave IPv4 alone. Default false: the socket takes both families. */
  readonly ipv6Only?: boolean;
  /** Bound, but not listening: the port is held and clients are refused. resumeListener opens it. */
  readonly paused?: boolean;
}

const BACKLOG = 4096;
/** IFNAMSIZ. */
const DEVICE_BYTES = 16;
/** Idle connections are probed after five minutes: before most firewalls and address translators forget them. */
const KEEP_ALIVE_IDLE_S = 300;

/** Listens; port 0 takes a free one (see localAddress). Throws NativeError naming the address. The caller closes it. */
export function listenTcp(address: string, port: number, options: ListenOptions = {}): Fd {
  const object = `${formatAddress(address, port)}/tcp`;
  return inNetns(options.netns ?? OWN_NETNS, () => {
    const family = address.includes(':') ? AF_INET6 : AF_INET;
    const fd = check(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', object);
    return closingOnError(fd, () => {
      if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.ipv6Only === true ? 1 : 0);
      if (options.device !== undefined) bindToDevice(fd, options.device);
      // Accepted sockets inherit these, which saves a call per connection.
      setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      keepAlive(fd);
      const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
      const length = writeSockaddr(sockaddr, 0, address, port);
      bindExclusively(fd, options.reusePort === true, () => {
        check(bindSocket(fd, sockaddr, length), 'bind', object);
      });
      if (options.paused !== true) startListening(fd, options.backlog ?? BACKLOG, object);
    });
  });
}

/**
 * Clients are refused from now on, those in the queue are reset, and the port stays ours; except when it was bound as port 0,
 * for then the kernel gives the number back with the listening state (it lacks SOCK_BINDPORT_LOCK).
 */
export function pauseListener(fd: Fd): void {
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  check(shutdown(fd, SHUT_RD), 'shutdown', `listener ${fd}`);
}

/** Undoes pauseListener. */
export function resumeListener(fd: Fd, backlog = BACKLOG): void {
  startListening(fd, backlog, `listener ${fd}`);
}

/**
 * Starts a connection; it is made, or has failed with SO_ERROR, when the socket becomes writable. Throws NativeError when it
 * fails at once. Not for hot paths.
 */
export function connectTcp(address: string, port: number, netns: Fd = OWN_NETNS): Fd {
  const object = formatAddress(address, port);
  return inNetns(netns, () => {
    const family = address.includes(':') ? AF_INET6 : AF_INET;
    const fd = check(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'socket', object);
    return closingOnError(fd, () => {
      const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
      const length = writeSockaddr(sockaddr, 0, address, port);
      if (connect(fd, sockaddr, length) < 0 && errno() !== EINPROGRESS) {
        throw new NativeError(errno(), 'connect', object);
      }
    });
  });
}

/** Where a socket is bound. */
export function localAddress(fd: Fd): SocketAddress {
  return nameOf(fd, getsockname, 'getsockname');
}

/** Whom a socket is connected to. */
export function remoteAddress(fd: Fd): SocketAddress {
  return nameOf(fd, getpeername, 'getpeername');
}

const optionValue = new Int32Array(2);
const optionAddress = addressOf(optionValue);

/** Sets an option whose value is an int. */
export function setOption(fd: Fd, level: number, option: number, value: number): void {
  optionValue[0] = value;
  check(setsockopt(fd, level, option, optionAddress, 4), 'setsockopt', `level ${level} option ${option}`);
}

/** Throws NativeError ENODEV when there is no such interface. */
export function bindToDevice(fd: Fd, name: string): void {
  const text = Buffer.from(`${name}\0`, 'latin1');
  check(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, text, text.length), 'setsockopt', `interface ${name}`);
}

/** Of the interface that the socket is bound to, as it is called now; undefined when there is none, or none any more. */
export function boundDevice(fd: Fd): string | undefined {
  const text = Buffer.alloc(DEVICE_BYTES);
  const length = new Uint32Array([DEVICE_BYTES]);
  if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, text, length) < 0 || length[0] === 0) return undefined;
  return text.toString('latin1', 0, text.indexOf(0));
}

/** Lets the kernel find out when the peer is gone without a word, and closes no connection that is merely idle. */
export function keepAlive(fd: Fd, idleS = KEEP_ALIVE_IDLE_S): void {
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, idleS);
}

/** Makes the next close send RST and drop what is unsent (socket(7), SO_LINGER with zero seconds). Never throws. */
export function resetOnClose(fd: Fd): void {
  optionValue[0] = 1;
  optionValue[1] = 0;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, optionAddress, 8);
}

/**
 * Binds so that connections in TIME_WAIT, another program's too, do not hold the port, and yet nobody else can take it before it
 * listens: SO_REUSEADDR left on would let any program's bind in, and this socket could not listen any more.
 */
function bindExclusively(fd: Fd, reusePort: boolean, bindIt: () => void): void {
  if (reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bindIt();
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 0);
}

/**
 * A port that is listened on is nobody else's, so SO_REUSEADDR is on meanwhile: connections inherit it and keep it in TIME_WAIT,
 * where it lets the next program, or the next run of this one, have the port at once.
 */
function startListening(fd: Fd, backlog: number, object: string): void {
  check(listen(fd, backlog), 'listen', object);
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

/** Runs the rest of a socket's set-up; when that throws, the socket is closed and the error goes on. */
export function closingOnError(fd: Fd, setUp: () => void): Fd {
  try {
    setUp();
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function formatAddress(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

function nameOf(fd: Fd, call: typeof getsockname, syscall: string): SocketAddress {
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  const length = new Uint32Array([SOCKADDR_BYTES]);
  check(call(fd, sockaddr, length), syscall, `descriptor ${fd}`);
  return readSockaddr(sockaddr, 0);
}
