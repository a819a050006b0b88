// Tells the kernel that a neighbour is there, because it has just answered us (RFC 4861 section 7.3.1, send(2) on MSG_CONFIRM).
// Without it the kernel asks by ARP or neighbour discovery about every half minute, and where packets are lost that may fail for
// seconds, in which nothing reaches the neighbour. See native-notes/probes.md.
import { AF_INET, AF_INET6, MSG_CONFIRM, MSG_PROBE, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from './constants.ts';
import { close, type Fd, sendto, socket } from './libc.ts';
import { SOCKADDR_BYTES, writeSockaddr } from './sockaddr.ts';

/** UDP refuses port 0, though nothing is sent. */
const ANY_PORT = 9;

export class Neighbours {
  readonly #fds = new Map<number, Fd>();
  readonly #sockaddr = Buffer.alloc(SOCKADDR_BYTES);

  /**
   * Whichever neighbour packets to that address go to has just brought one. Sends nothing, and needs no privilege. An address
   * that no route leads to is passed over, and so is any as long as there is no descriptor for a socket: the next answer tells it.
   */
  confirm(address: string): void {
    const family = address.includes(':') ? AF_INET6 : AF_INET;
    const fd = this.#fdOf(family);
    if (fd < 0) return;
    const length = writeSockaddr(this.#sockaddr, 0, address, ANY_PORT);
    sendto(fd, null, 0, MSG_CONFIRM | MSG_PROBE, this.#sockaddr, length);
  }

  close(): void {
    for (const fd of this.#fds.values()) close(fd);
    this.#fds.clear();
  }

  /** Negative when there is none to be had. */
  #fdOf(family: number): Fd {
    const known = this.#fds.get(family);
    if (known !== undefined) return known;
    const fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) this.#fds.set(family, fd);
    return fd;
  }
}
