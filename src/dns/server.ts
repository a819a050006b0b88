// The resolver of one worker, and what the main thread tells it.
import type { EventLoop } from '../native/event-loop.ts';
import type { WorkerEnv } from '../runtime/worker-env.ts';
import type { KeptAnswers } from './cache-listing.ts';
import type { DnsCommand } from './command.ts';
import { Forwarder } from './forwarder.ts';
import { QueryJournal } from './query-journal.ts';
import { Responder } from './responder.ts';
import { TCP_LIMITS, type TcpLimits, TcpServer } from './tcp-server.ts';
import { UdpServer } from './udp-server.ts';

export class DnsServer {
  readonly #forwarder: Forwarder;
  readonly #responder: Responder;
  readonly #udp: UdpServer;
  readonly #tcp: TcpServer;

  constructor(loop: EventLoop, env: Pick<WorkerEnv, 'counters' | 'random'>, limits: TcpLimits = TCP_LIMITS) {
    const { totals } = env.counters;
    this.#forwarder = new Forwarder(loop, env.random, totals);
    this.#responder = new Responder(this.#forwarder, totals, new QueryJournal(env.random));
    this.#udp = new UdpServer(loop, this.#responder);
    this.#tcp = new TcpServer(loop, this.#responder, totals, limits);
  }

  /** What is kept of upstreams' answers about this name and those below it, or about all; at most so many. */
  kept(below: string | undefined, atMost: number): KeptAnswers {
    return this.#forwarder.list(below, atMost);
  }

  /** Takes over a command of the main thread, at once and whole. False when it is not for the resolver. */
  handle(command: DnsCommand | { readonly kind: string }): command is DnsCommand {
    const own = command as DnsCommand;
    switch (own.kind) {
      case 'dns-socket-add':
        if (own.protocol === 'tcp') this.#tcp.add(own.fd, own.scope, own.client);
        else this.#udp.add(own.fd, own.scope, own.client);
        return true;
      case 'dns-socket-remove':
        if (!this.#udp.remove(own.fd)) this.#tcp.remove(own.fd);
        return true;
      default:
        return this.#responder.handle(own);
    }
  }
}
