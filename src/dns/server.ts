// The resolver of one worker: its sockets, and what the main thread tells it. UDP is answered here, a batch per system call;
// tcp-server.ts has the connections.
import { AF_INET, AF_INET6, EPOLLIN, MSG_DONTWAIT, MSG_NOSIGNAL } from '../native/constants.ts';
import { DatagramBatch } from '../native/datagram-batch.ts';
import type { EventLoop, Handler } from '../native/event-loop.ts';
import { addressOf, type Fd, sendto } from '../native/libc.ts';
import { isMapped } from '../native/sockaddr.ts';
import type { WorkerEnv } from '../runtime/worker-env.ts';
import type { DnsCommand, Scope } from './command.ts';
import { Forwarder } from './forwarder.ts';
import { ASK_UPSTREAM, NO_REPLY, Responder, UDP_SLOTS } from './responder.ts';
import { TcpServer } from './tcp-server.ts';
import { EDNS_UDP_BYTES } from './wire.ts';

/** A client's datagram is a question; those that are longer are malformed in any case. */
const MESSAGE_BYTES = 1280;
/** Batches of one socket before the others get their turn. */
const BATCHES_PER_EVENT = 4;
const LOOPBACK_NET = 127;

interface UdpSocket {
  readonly fd: Fd;
  readonly scope: number;
}

export class DnsServer {
  readonly #loop: EventLoop;
  readonly #responder: Responder;
  readonly #tcp: TcpServer;
  readonly #udp = new Map<Fd, UdpSocket>();
  readonly #batch = new DatagramBatch({ messages: UDP_SLOTS, messageBytes: MESSAGE_BYTES });
  readonly #outAddress: number;
  readonly #onUdp: Handler = (fd) => this.#serve(fd);

  constructor(loop: EventLoop, env: Pick<WorkerEnv, 'counters' | 'random'>) {
    this.#loop = loop;
    const { totals } = env.counters;
    this.#responder = new Responder(new Forwarder(loop, env.random), totals);
    this.#outAddress = addressOf(this.#responder.out);
    this.#tcp = new TcpServer(loop, this.#responder, totals);
  }

  /** Takes over a command of the main thread, at once and whole. False when it is not for the resolver. */
  handle(command: DnsCommand | { readonly kind: string }): command is DnsCommand {
    const own = command as DnsCommand;
    switch (own.kind) {
      case 'dns-socket-add':
        if (own.protocol === 'tcp') {
          this.#tcp.add(own.fd, own.scope);
        } else {
          this.#udp.set(own.fd, { fd: own.fd, scope: own.scope });
          this.#loop.add(own.fd, EPOLLIN, this.#onUdp);
        }
        return true;
      case 'dns-socket-remove':
        if (this.#udp.delete(own.fd)) this.#loop.remove(own.fd);
        else this.#tcp.remove(own.fd);
        return true;
      default:
        return this.#responder.handle(own);
    }
  }

  #serve(fd: Fd): void {
    const socket = this.#udp.get(fd);
    if (socket === undefined) return;
    const scope = this.#responder.scope(socket.scope);
    for (let round = 0; round < BATCHES_PER_EVENT; round++) {
      // An error is what an earlier answer met on its way; there is nobody to tell.
      const count = this.#batch.receive(fd);
      if (count <= 0) return;
      for (let i = 0; i < count; i++) this.#answer(socket, scope, i);
      this.#batch.flush(fd);
      if (count < UDP_SLOTS) return;
    }
  }

  #answer(socket: UdpSocket, scope: Scope, i: number): void {
    const batch = this.#batch;
    const at = i * EDNS_UDP_BYTES;
    const [start, length] = [batch.offset(i), batch.length(i)];
    const replied = this.#isStranger(scope, batch.sourceOffset(i))
      ? this.#responder.refuse(batch.arena, start, length, false, at)
      : this.#responder.respond(batch.arena, start, length, scope, false, at);
    if (replied > NO_REPLY) batch.queueReply(i, this.#outAddress + at, replied);
    else if (replied === ASK_UPSTREAM) this.#forward(socket, i);
  }

  #forward(socket: UdpSocket, i: number): void {
    const from = this.#batch.sourceOffset(i);
    const source = Uint8Array.from(this.#batch.sources.subarray(from, from + this.#batch.sourceLength(i)));
    this.#responder.forward(false, (message, length) => {
      // Meanwhile the main thread may have closed the socket and its number be somebody else's.
      if (this.#udp.get(socket.fd) !== socket) return;
      sendto(socket.fd, message, length, MSG_DONTWAIT | MSG_NOSIGNAL, source, source.length);
    });
  }

  /**
   * Only who is in the resolver's own network namespace is served: it asks from a loopback address, or from one on the
   * networks of the scope. Others could get here where a host routes 127.0.0.0/8 (sysctl route_localnet).
   */
  #isStranger(scope: Scope, at: number): boolean {
    const { sources } = this.#batch;
    const family = sources[at] as number;
    if (family === AF_INET) {
      return sources[at + 4] !== LOOPBACK_NET && !this.#responder.isInside(scope, sources, at + 4, 4);
    }
    if (family !== AF_INET6) return true;
    if (isMapped(sources, at + 8)) {
      return sources[at + 20] !== LOOPBACK_NET && !this.#responder.isInside(scope, sources, at + 20, 4);
    }
    return !isLoopback6(sources, at + 8) && !this.#responder.isInside(scope, sources, at + 8, 16);
  }
}

function isLoopback6(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 15; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 15] === 1;
}
