// The resolver's sockets: one UDP and one TCP socket for each worker in every namespace whose processes may ask, made by the
// main thread and lent to the workers.
import type { DnsCommand } from '../dns/command.ts';
import { bindUdp } from '../native/datagram-socket.ts';
import { close, type Fd } from '../native/libc.ts';
import { OWN_NETNS } from '../native/netns.ts';
import { listenTcp } from '../native/stream-socket.ts';

/** Where every container looks for its resolver: Docker's address, so that images and habits fit. */
export const RESOLVER_ADDRESS = '127.0.0.11';
export const RESOLVER_PORT = 53;

/** Clients that have gone and may still be in the log's queue. */
const REMEMBERED = 1000;

export interface ResolverPlane {
  readonly workers: number;
  post(command: DnsCommand): void;
  postTo(worker: number, command: DnsCommand): void;
  barrier(): Promise<void>;
}

export interface ResolverPlace {
  readonly netns: Fd;
  readonly address: string;
  readonly port: number;
}

/** In the container's own namespace. */
export function containerPlace(netns: Fd): ResolverPlace {
  return { netns, address: RESOLVER_ADDRESS, port: RESOLVER_PORT };
}

/** In the node's namespace. */
export function nodePlace(address: string, port: number): ResolverPlace {
  return { netns: OWN_NETNS, address, port };
}

export class ResolverSockets {
  readonly #plane: ResolverPlane;
  /** Numbers of clients that were given out. */
  #clients = 0;
  /** Who has which number; also those that have gone, for a while. */
  readonly #numbered = new Map<number, string>();
  readonly #sockets = new Map<string, readonly { readonly worker: number; readonly fd: Fd }[]>();

  constructor(plane: ResolverPlane) {
    this.#plane = plane;
  }

  /** Listens for one client, whose scope the workers know already. Throws NativeError; then nothing stays open. */
  open(client: string, scope: number, place: ResolverPlace): void {
    const opened: { worker: number; fd: Fd; protocol: 'tcp' | 'udp' }[] = [];
    const options = { netns: place.netns, reusePort: true };
    try {
      // SO_REUSEPORT would share the port with another agent of this user without a word, so it is had alone first.
      close(listenTcp(place.address, place.port, { netns: place.netns, paused: true }));
      close(bindUdp(place.address, place.port, { netns: place.netns }));
      for (let worker = 0; worker < this.#plane.workers; worker++) {
        opened.push({ worker, fd: bindUdp(place.address, place.port, options), protocol: 'udp' });
        opened.push({ worker, fd: listenTcp(place.address, place.port, options), protocol: 'tcp' });
      }
    } catch (error) {
      for (const { fd } of opened) close(fd);
      throw error;
    }
    const number = this.#clients++;
    this.#numbered.set(number, client);
    for (const { worker, fd, protocol } of opened)
      this.#plane.postTo(worker, { kind: 'dns-socket-add', fd, protocol, scope, client: number });
    this.#sockets.set(client, opened);
  }

  /** Who was given a number; undefined when that was too long ago. */
  clientOf(number: number): string | undefined {
    return this.#numbered.get(number);
  }

  /** Resolves when no worker has the sockets any more and they are closed. */
  async close(client: string): Promise<void> {
    const sockets = this.#sockets.get(client);
    if (sockets === undefined) return;
    this.#sockets.delete(client);
    for (const { worker, fd } of sockets) this.#plane.postTo(worker, { kind: 'dns-socket-remove', fd });
    await this.#plane.barrier();
    for (const { fd } of sockets) close(fd);
    for (const [number, one] of this.#numbered) {
      if (this.#numbered.size <= this.#sockets.size + REMEMBERED) break;
      if (!this.#sockets.has(one)) this.#numbered.delete(number);
    }
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#sockets.keys()].map((client) => this.close(client)));
  }
}
