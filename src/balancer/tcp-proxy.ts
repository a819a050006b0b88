// The TCP proxy of one worker: takes connections on the listeners lent to it and ties each to an endpoint. What happens to
// their bytes is tcp-relay's; where connections go is tcp-targets'.
//
// A batch of the event loop goes in phases: clients are accepted and received data is read while events are handled; then
// endpoints are chosen and connected to, what was read is sent, and what has ended is closed. The phases keep the kernel's
// and our own code for each step in the processor's caches, which is worth some 10 % of a short connection.
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../native/constants.ts';
import { descriptorLimit, nextDescriptor } from '../native/rlimit.ts';
import { EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno, errnoName } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { accept4, close, type Fd, getsockname } from '../native/libc.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK } from '../native/constants.ts';
import { TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import { Admission } from './admission.ts';
import type { Backend, BalancerCommand, Frontend } from './command.ts';
import { type ConnectionPage, listTcp, type PageWanted } from './connection-listing.ts';
import { TcpConnections } from './tcp-connections.ts';
import { TcpConnector } from './tcp-connector.ts';
import { EndpointChooser } from './endpoint-chooser.ts';
import { TcpEjector } from './tcp-ejector.ts';
import { TcpEntrance } from './tcp-entrance.ts';
import { TcpJournal } from './tcp-journal.ts';
import { isCounted, TcpLimits } from './tcp-limits.ts';
import { type EndpointWatcher, TcpRelay } from './tcp-relay.ts';
import { TcpTargets } from './tcp-targets.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';

export interface TcpProxyOptions {
  /** How long one endpoint may take to accept, default 5 s: three SYNs (RFC 6298: at 0, 1 and 3 s). */
  readonly connectTimeoutMs?: number;
}

interface Listener {
  readonly frontend: Frontend;
  /** Undefined: everybody may come in. */
  readonly admission: Admission | undefined;
  /** How many to accept at once: as many as came last time. Level-triggered, so what is left over is told again. */
  burst: number;
}

const DEFAULT_CONNECT_TIMEOUT_MS = 5000;
/** So that one busy port does not hold up everybody else's bytes. */
const LARGEST_BURST = 64;
/** While descriptors are short: how often to look whether some are free again that another part of the process closed. */
const SHORTAGE_RETRY_MS = 100;
/**
 * Clients leave so many descriptors, of which a process has few with a small limit, to checks of health, to commands and to the
 * endpoints of those who are in: a crowd must neither make tasks look dead nor keep out who would end it.
 */
const LARGEST_RESERVE = 64;
const RESERVED_SHARE = 1 / 16;
/** Looks at the kernel's queue this often before sleeping after a batch that opened or closed connections: about 10 µs. */
const POLLS_AFTER_CHANGE = 40;
/** And this often after a batch that brought at least so many events of open connections: more are about to come. */
const POLLS_WHEN_BUSY = 20;
const BUSY_EVENTS = 4;

/** Told at most this often. */
const SHORTAGE_REPORT_MS = 10_000;
/** Errors that stay until something else in the process, or on the machine, ends. */
const SHORTAGES: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOBUFS, ENOMEM]);

const ACCEPT_FLAGS = SOCK_NONBLOCK | SOCK_CLOEXEC;
const SIDE_EVENTS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

export class TcpProxy {
  readonly #loop: EventLoop;
  readonly #env: WorkerEnv;
  readonly #targets = new TcpTargets();
  readonly #connections: TcpConnections;
  readonly #journal: TcpJournal;
  readonly #relay: TcpRelay;
  readonly #connector: TcpConnector;
  readonly #limits: TcpLimits;
  readonly #entrance: TcpEntrance;
  readonly #listeners = new Map<Fd, Listener>();
  readonly #listenerOf = new Map<number, Fd>();
  #accepted: Fd[] = [];
  /** Of open connections, in this batch. */
  #events = 0;
  /** Descriptors ran out: listeners are not watched until some are free again. */
  #short = false;
  #nextReportAt = 0;
  #nextPortReportAt = 0;
  #clientsWhenShort = 0;
  /** Clients whose descriptor has this number or a higher one are the last for now. */
  readonly #ceiling = descriptorLimit() - Math.min(LARGEST_RESERVE, Math.floor(descriptorLimit() * RESERVED_SHARE));
  /** From this number on each worker takes one client at a time, so that none is let in whose endpoint would find nothing left. */
  readonly #careful: number;
  #shortageTimer = 0;
  readonly #name = Buffer.alloc(SOCKADDR_BYTES);
  readonly #nameLength = new Uint32Array(1);
  readonly #onListener = (fd: Fd): void => this.#accept(fd);
  readonly #onSide = (fd: Fd, events: number): void => this.#side(fd, events);

  constructor(loop: EventLoop, env: WorkerEnv, options: TcpProxyOptions = {}) {
    this.#loop = loop;
    this.#env = env;
    this.#careful = this.#ceiling - 2 * LARGEST_BURST * env.counters.allEndpoints.length;
    this.#connections = new TcpConnections(descriptorLimit(), env.counters);
    this.#journal = new TcpJournal(this.#connections, env.random);
    const ejector = new TcpEjector(loop, env, this.#targets);
    const { slot, targetPort } = this.#connections;
    this.#limits = new TcpLimits({
      loop,
      connections: this.#connections,
      counters: env.counters,
      end: (client, why) => this.#relay.reset(client, why),
    });
    const watcher: EndpointWatcher = {
      get isWatching() {
        return !ejector.isEmpty;
      },
      answered: (client) => ejector.answered((slot[client] as number) - 1, targetPort[client] as number),
      endpointReset: (fd) => this.#connector.endpointReset(fd),
    };
    this.#relay = new TcpRelay(loop, this.#connections, env.counters, {
      endpoints: watcher,
      journal: this.#journal,
      limits: this.#limits,
    });
    this.#connector = new TcpConnector({
      loop,
      targets: this.#targets,
      connections: this.#connections,
      chooser: new EndpointChooser(env),
      ejector,
      journal: this.#journal,
      limits: this.#limits,
      timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      watch: (fd) => loop.add(fd, SIDE_EVENTS, this.#onSide),
      established: (client) => this.#relay.start(client),
      refuse: (client) => this.#refuse(client),
      abort: (client, why) => this.#relay.reset(client, why),
      short: (error) => this.#runShort(error),
      portless: (endpoint) => this.#countPortless(endpoint.address),
    });
    this.#entrance = new TcpEntrance({
      loop,
      counters: env.counters,
      take: (client, frontend, introduced) => {
        if (introduced !== undefined) this.#connections.introduced.set(client, introduced);
        this.#take(client, frontend);
      },
      turnedAway: (client, { target }, introduced, why) => {
        const service = target.kind === 'port' ? this.#targets.backend(target.backend)?.roundRobinSlot : undefined;
        this.#journal.turnedAway(client, service ?? -1, introduced?.client, why);
      },
    });
    loop.onBatchEnd(() => this.#endBatch());
  }

  /** Connections open now, as clients count them. */
  get connectionCount(): number {
    return this.#connections.clients;
  }

  /** Bytes kept in user space for readers that are slow. */
  get heldBytes(): number {
    return this.#relay.heldBytes;
  }

  /** A page of what is open. */
  list(wanted: PageWanted): ConnectionPage {
    return listTcp(this.#connections, this.#targets, this.#loop.now(), wanted);
  }

  /** Carries out a command that concerns TCP, and returns whether it did. Throws when the command is malformed. */
  handle(command: BalancerCommand): boolean {
    switch (command.kind) {
      case 'backend-set':
        this.#setBackend(command.backend);
        return true;
      case 'backend-remove':
        this.#targets.removeBackend(command.id);
        return true;
      case 'vip-set':
        this.#targets.setVip(command.network, command.address, command.backend);
        return true;
      case 'frontend-add':
        if (command.frontend.protocol !== 'tcp') return false;
        this.#addFrontend(command.frontend);
        return true;
      case 'frontend-remove':
        return this.#removeFrontend(command.id);
      case 'endpoint-close':
        for (const fd of this.#connections.toSlots(command.slots))
          this.#relay.reset(fd, command.isUnhealthy === true ? 'endpoint unhealthy' : 'drain deadline');
        return true;
      case 'connection-log':
        this.#journal.set(command.share, command.queue);
        return true;
    }
  }

  /** Ends what is open with RST: a plain close would look to clients like the proper end of what they were being sent. */
  close(): void {
    this.#entrance.close();
    for (const client of this.#connections.openClients()) this.#relay.reset(client);
  }

  #setBackend(backend: Backend): void {
    const left = this.#targets.setBackend(backend);
    // The last one to leave may still answer who is waiting for it.
    if (left.length > 0 && backend.endpoints.length > 0) this.#connector.endpointsLeft(backend.id, left);
    const { limits, roundRobinSlot } = backend;
    if (limits === undefined || !isCounted(limits)) return;
    const clients = this.#connections
      .openClients()
      .filter((fd) => this.#connections.service[fd] === roundRobinSlot + 1);
    this.#limits.adopt(clients, roundRobinSlot);
  }

  #addFrontend(frontend: Frontend): void {
    const known = this.#listenerOf.get(frontend.id);
    if (known !== undefined && known !== frontend.fd) this.#removeFrontend(frontend.id);
    if (known !== frontend.fd) this.#loop.add(frontend.fd, this.#short ? 0 : EPOLLIN, this.#onListener);
    const admission = frontend.access && new Admission(frontend.access);
    this.#listeners.set(frontend.fd, { frontend, admission, burst: 1 });
    this.#listenerOf.set(frontend.id, frontend.fd);
  }

  #removeFrontend(id: number): boolean {
    const fd = this.#listenerOf.get(id);
    if (fd === undefined) return false;
    this.#listenerOf.delete(id);
    this.#listeners.delete(fd);
    this.#loop.remove(fd);
    return true;
  }

  #accept(fd: Fd): void {
    const listener = this.#listeners.get(fd);
    if (listener === undefined) return;
    let taken = 0;
    for (; taken < listener.burst && !this.#short; taken++) {
      const client = accept4(fd, null, null, ACCEPT_FLAGS);
      if (client < 0) {
        // Everything else has passed when the next event comes: nobody there any more, a client that gave up, a pause.
        if (SHORTAGES.has(errno())) this.#runShort(errno());
        break;
      }
      if (client >= this.#connections.capacity) {
        // The limit was raised since the tables were made.
        close(client);
        this.#runShort(EMFILE);
        break;
      }
      this.#loop.own(client);
      this.#connector.forget(client);
      if (listener.admission === undefined) this.#take(client, listener.frontend);
      else this.#entrance.admit(client, listener.frontend, listener.admission);
      // The kernel gives the lowest free number, so this one tells how few are left. Each client accepted in this batch needs
      // another for its endpoint, and the other workers may hold as many that do: rather leave the next in the kernel's queue
      // than have them all wait here.
      if (client >= this.#ceiling) this.#runShort(EMFILE);
      if (client >= this.#careful) break;
    }
    listener.burst = taken === listener.burst ? Math.min(2 * taken, LARGEST_BURST) : Math.max(1, taken);
  }

  #take(client: Fd, { id, target }: Frontend): void {
    if (target.kind === 'port') {
      this.#connections.openClient(client, id, target.backend, target.targetPort, this.#loop.now());
    } else {
      this.#nameLength[0] = SOCKADDR_BYTES;
      getsockname(client, this.#name, this.#nameLength);
      const backend = this.#targets.vipBackend(target.network, this.#name);
      this.#connections.openClient(client, id, backend, this.#name.readUInt16BE(2), this.#loop.now());
      if (backend < 0) this.#add(TOTAL.strayConnections, 1);
    }
    this.#journal.begin(client);
    this.#accepted.push(client);
  }

  #side(fd: Fd, events: number): void {
    this.#events++;
    if (this.#connector.isConnecting(fd)) {
      if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return;
      if (!this.#connector.finish(fd, events)) return;
    }
    this.#relay.onEvents(fd, events);
  }

  #endBatch(): void {
    const accepted = this.#accepted;
    if (accepted.length > 0) {
      this.#accepted = [];
      this.#connector.connectAll(accepted);
    }
    this.#connector.endBatch();
    this.#relay.flush();
    if (this.#short) this.#watchShortage();
    if (accepted.length > 0) this.#loop.pollBeforeSleep(POLLS_AFTER_CHANGE);
    else if (this.#events >= BUSY_EVENTS) this.#loop.pollBeforeSleep(POLLS_WHEN_BUSY);
    this.#events = 0;
  }

  #refuse(client: Fd): void {
    this.#connections.clientFailed(client);
    this.#relay.reset(client, 'no endpoint took it');
  }

  /** Stops accepting: clients wait in the kernel's queue, and the loop does not spin on listeners it cannot serve. */
  #runShort(error: number): void {
    if (this.#short) return;
    this.#short = true;
    this.#add(TOTAL.descriptorsExhausted, 1);
    if (this.#loop.now() >= this.#nextReportAt) {
      this.#nextReportAt = this.#loop.now() + SHORTAGE_REPORT_MS;
      this.#env.report('warn', 'out of descriptors or memory: new connections wait until others end', {
        limit: descriptorLimit(),
        error: errnoName(error),
      });
    }
    for (const fd of this.#listeners.keys()) this.#loop.modify(fd, 0);
    this.#clientsWhenShort = this.#connections.clients;
    this.#shortageTimer = this.#loop.setTimer(SHORTAGE_RETRY_MS, () => this.#tryAgain());
  }

  /** As soon as connections have ended, which the loop closes after this batch, there is no need to wait for the timer. */
  #watchShortage(): void {
    if (this.#connections.clients >= this.#clientsWhenShort) return;
    this.#loop.clearTimer(this.#shortageTimer);
    this.#shortageTimer = this.#loop.setTimer(0, () => this.#tryAgain());
  }

  #tryAgain(): void {
    this.#short = false;
    this.#connector.retryStarved();
    if (this.#short) return;
    // Who has no clients would wait for nobody to go.
    if (this.#connections.clients > 0 && this.#isCrowded()) {
      this.#short = true;
      this.#clientsWhenShort = this.#connections.clients;
      this.#shortageTimer = this.#loop.setTimer(SHORTAGE_RETRY_MS, () => this.#tryAgain());
      return;
    }
    for (const fd of this.#listeners.keys()) this.#loop.modify(fd, EPOLLIN);
  }

  #isCrowded(): boolean {
    const next = nextDescriptor();
    return next < 0 || next >= this.#ceiling;
  }

  #countPortless(endpoint: string): void {
    this.#add(TOTAL.portsExhausted, 1);
    if (this.#loop.now() < this.#nextPortReportAt) return;
    this.#nextPortReportAt = this.#loop.now() + SHORTAGE_REPORT_MS;
    const message =
      'the kernel has no source port left for connections to an endpoint: new ones go to others or are refused until some end; a wider net.ipv4.ip_local_port_range, or more endpoints, give more';
    this.#env.report('error', message, { endpoint, error: errnoName(EADDRNOTAVAIL) });
  }

  #add(total: number, by: number): void {
    const { totals } = this.#env.counters;
    totals[total] = (totals[total] as number) + by;
  }
}
