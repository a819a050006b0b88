// A worker's UDP balancing. A client that sends to a frontend gets a flow: one socket of its own, connected to an endpoint,
// through which all its datagrams go and by which the answers are known. How answers go back differs:
// - a published port answers by the listening socket, from the local address that the client used, so that socket must have
//   been made with `packetInfo`;
// - a VIP answers by a second socket of the flow, bound to VIP:port and connected to the client, because no control message
//   can set a source port; the kernel then also delivers the client's later datagrams there. The listening socket must have
//   been made with `originalDestination`.
// See native-notes/udp.md.
import { EPOLLIN } from '../native/constants.ts';
import { DatagramBatch, WHOLE_MESSAGE_BYTES } from '../native/datagram-batch.ts';
import { coalesce, enlargeReceiveBuffer } from '../native/datagram-socket.ts';
import type { EventLoop } from '../native/event-loop.ts';
import type { Fd } from '../native/libc.ts';
import { descriptorLimit } from '../native/rlimit.ts';
import { FRONTEND, TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import { Admission } from './admission.ts';
import type { BalancerCommand, Frontend } from './command.ts';
import { type ConnectionPage, listUdp, type PageWanted } from './connection-listing.ts';
import { flowCapacity, NO_FLOW } from './flow-table.ts';
import { UdpAnswers } from './udp-answers.ts';
import { addTo, UdpFlows } from './udp-flows.ts';
import { UdpForwarding } from './udp-forwarding.ts';
import { UdpKeyReader } from './udp-key.ts';
import { UdpPlacement } from './udp-placement.ts';
import { UdpRoutes } from './udp-routes.ts';

/** Messages per system call. More gains nothing measurable; fewer costs. */
const BATCH = 64;
/** Control data of one received message: its datagrams' size, and ORIGDSTADDR or PKTINFO of both families. */
const CONTROL_BYTES = 192;
/** How often idle flows are looked for: a flow lives at most this much longer than it should. */
const SWEEP_MS = 1_000;
/** A burst must fit while the worker is busy elsewhere. */
const LISTENER_BUFFER_BYTES = 4 << 20;

export interface UdpProxyOptions {
  /** Flows of this worker at once, default an eighth of the descriptor limit (a VIP's flow takes two), at most 65,536. */
  readonly maxFlows?: number;
  /** Default 30,000 and 120,000: see flow-table. */
  readonly briefIdleMs?: number;
  readonly lastingIdleMs?: number;
}

export class UdpProxy {
  readonly #loop: EventLoop;
  readonly #env: WorkerEnv;
  readonly #routes = new UdpRoutes();
  readonly #flows: UdpFlows;
  readonly #placement: UdpPlacement;
  readonly #frontends = new Map<number, Frontend>();
  readonly #listeners = new Map<Fd, Frontend>();
  readonly #inbox = new DatagramBatch({
    messages: BATCH,
    messageBytes: WHOLE_MESSAGE_BYTES,
    controlBytes: CONTROL_BYTES,
    segments: true,
    coalesced: true,
  });
  readonly #reader = new UdpKeyReader(this.#inbox);
  /** Of frontends that do not let everybody in. */
  readonly #admissions = new Map<number, Admission>();
  readonly #forwarding: UdpForwarding;
  readonly #answers: UdpAnswers;
  readonly #sweepMs: number;
  #sweeping = false;

  constructor(loop: EventLoop, env: WorkerEnv, options: UdpProxyOptions = {}) {
    this.#loop = loop;
    this.#env = env;
    const capacity = options.maxFlows ?? flowCapacity(descriptorLimit(), env.counters.allEndpoints.length);
    const seed = [env.random.unit() * 2 ** 32, env.random.unit() * 2 ** 32] as const;
    const { briefIdleMs, lastingIdleMs } = options;
    this.#sweepMs = Math.min(SWEEP_MS, briefIdleMs ?? SWEEP_MS);
    this.#flows = new UdpFlows(
      loop,
      env,
      { endpoint: this.#onEndpoint, client: this.#onClient },
      {
        capacity,
        seed,
        ...(briefIdleMs === undefined ? {} : { briefIdleMs }),
        ...(lastingIdleMs === undefined ? {} : { lastingIdleMs }),
      },
    );
    this.#placement = new UdpPlacement({
      loop,
      env,
      flows: this.#flows,
      routes: this.#routes,
      reader: this.#reader,
      frontendOf: (flow) => this.#frontends.get(this.#flows.frontends[flow] as number),
      end: (flow) => this.#end(flow),
    });
    const now = () => loop.now();
    const end = (flow: number) => this.#end(flow);
    const flows = this.#flows;
    const placement = this.#placement;
    this.#forwarding = new UdpForwarding({ env, flows, placement, inbox: this.#inbox, capacity, now, end });
    this.#answers = new UdpAnswers({
      env,
      flows,
      batch: BATCH,
      datagramBytes: WHOLE_MESSAGE_BYTES,
      now,
      refused: (flow) => {
        placement.avoid(flow);
        this.#leave(flow);
      },
      end,
    });
    loop.onBatchEnd(() => this.#answers.endBatch());
  }

  /** A page of what is open. */
  list(wanted: PageWanted): ConnectionPage {
    return listUdp(this.#flows, this.#loop.now(), wanted);
  }

  /** Carries out a command, and says whether it meant anything here. */
  handle(command: BalancerCommand): boolean {
    switch (command.kind) {
      case 'frontend-add':
        if (command.frontend.protocol !== 'udp') return false;
        this.#addFrontend(command.frontend);
        return true;
      case 'frontend-remove':
        return this.#removeFrontend(command.id);
      case 'endpoint-close':
        for (const flow of this.#flows.table.flows()) {
          if (command.slots.includes(this.#flows.endpoints[flow]?.slot ?? -1)) this.#leave(flow);
        }
        return true;
      default:
        return this.#routes.apply(command);
    }
  }

  #addFrontend(frontend: Frontend): void {
    const known = this.#frontends.get(frontend.id);
    if (known !== undefined && known.fd !== frontend.fd) this.#removeFrontend(frontend.id);
    if (known?.fd !== frontend.fd) {
      enlargeReceiveBuffer(frontend.fd, LISTENER_BUFFER_BYTES);
      coalesce(frontend.fd);
      this.#loop.add(frontend.fd, EPOLLIN, this.#onListener);
    }
    this.#frontends.set(frontend.id, frontend);
    this.#setAdmission(frontend);
    this.#listeners.set(frontend.fd, frontend);
    this.#routes.changed();
  }

  /** Flows of those who may no longer come end. */
  #setAdmission({ id, access }: Frontend): void {
    this.#admissions.delete(id);
    if (access === undefined) return;
    const admission = new Admission(access);
    this.#admissions.set(id, admission);
    const word = (flow: number, i: number) => this.#flows.table.keyWord(flow, i);
    this.#endWhere(
      (flow) =>
        this.#flows.frontends[flow] === id &&
        admission.isDeniedAt(word(flow, 0), word(flow, 1), word(flow, 2), word(flow, 3)),
    );
  }

  /** Whether the client whose key was just read may not come in. */
  #isDenied({ id }: Frontend): boolean {
    const admission = this.#admissions.size === 0 ? undefined : this.#admissions.get(id);
    const { key } = this.#reader;
    if (admission?.isDeniedAt(key[0] as number, key[1] as number, key[2] as number, key[3] as number) !== true)
      return false;
    addTo(this.#env.counters.frontends, id * FRONTEND.stride + FRONTEND.denied, 1);
    return true;
  }

  /** Its flows end with it: the socket by which they answer is about to be closed. */
  #removeFrontend(id: number): boolean {
    const frontend = this.#frontends.get(id);
    if (frontend === undefined) return false;
    this.#endWhere((flow) => this.#flows.frontends[flow] === id);
    this.#frontends.delete(id);
    this.#admissions.delete(id);
    this.#listeners.delete(frontend.fd);
    this.#loop.remove(frontend.fd);
    return true;
  }

  #endWhere(condition: (flow: number) => boolean): void {
    for (const flow of this.#flows.table.flows()) if (condition(flow)) this.#end(flow);
  }

  /** Datagrams of any clients, known and new. */
  readonly #onListener = (fd: Fd): void => {
    const frontend = this.#listeners.get(fd);
    if (frontend === undefined) return;
    const count = this.#inbox.receive(fd);
    let flow = NO_FLOW;
    for (let i = 0; i < count; i++) {
      if (flow === NO_FLOW || !this.#inbox.continues(i)) flow = this.#flowFor(i, frontend);
      if (flow !== NO_FLOW) this.#forwarding.add(flow, i);
    }
    this.#forwarding.flush();
  };

  /** The flow of received datagram i, which may be new; NO_FLOW when the datagram is lost. */
  #flowFor(i: number, frontend: Frontend): number {
    if (frontend.target.kind !== 'vips') this.#reader.readPublished(i, frontend.id);
    else if (!this.#reader.readVip(i, frontend.id)) {
      this.#drop(1);
      return NO_FLOW;
    }
    const flow = this.#flows.table.find(this.#reader.key);
    return flow === NO_FLOW ? this.#open(frontend, i) : flow;
  }

  /** Datagrams of one client of a VIP, or the news that it is gone. */
  readonly #onClient = (fd: Fd): void => {
    const flow = this.#flows.flowOf(fd);
    if (flow === NO_FLOW) return;
    const count = this.#inbox.receive(fd);
    if (count < 0) this.#end(flow);
    for (let i = 0; i < count; i++) this.#forwarding.add(flow, i);
    this.#forwarding.flush();
  };

  readonly #onEndpoint = (fd: Fd): void => {
    const flow = this.#flows.flowOf(fd);
    if (flow !== NO_FLOW) this.#answers.take(fd, flow);
  };

  /** A new flow for the key just read from datagram i; NO_FLOW when it cannot be, and then the datagram is lost. */
  #open(frontend: Frontend, i: number): number {
    if (this.#isDenied(frontend)) {
      this.#drop(1);
      return NO_FLOW;
    }
    // Another flow may have to make room.
    this.#forwarding.flush();
    const vip = frontend.target.kind === 'vips' ? this.#reader.localAddress() : '';
    const backend = this.#routes.backend(frontend.target, vip);
    if (backend === undefined) this.#count(TOTAL.strayConnections, 1);
    const flow = backend === undefined || backend.endpoints.length === 0 ? NO_FLOW : this.#insert();
    if (backend === undefined || flow === NO_FLOW) {
      this.#drop(1);
      return NO_FLOW;
    }
    this.#flows.begin(flow, frontend, backend.roundRobinSlot);
    const answerable =
      vip === ''
        ? this.#flows.rememberClient(flow, this.#inbox, i, this.#reader)
        : this.#placement.attachClient(
            flow,
            frontend,
            { address: vip, port: this.#reader.localPort() },
            this.#inbox.source(i),
          );
    if (!answerable || !this.#placement.place(flow, backend)) {
      this.#countFrontend(flow, FRONTEND.failed);
      this.#drop(1);
      this.#end(flow);
      return NO_FLOW;
    }
    this.#keepSweeping();
    return flow;
  }

  #insert(): number {
    const { table } = this.#flows;
    const now = this.#loop.now();
    const flow = table.insert(this.#reader.key, now);
    if (flow !== NO_FLOW) return flow;
    const evicted = table.evictable(now);
    if (evicted === NO_FLOW) return NO_FLOW;
    this.#end(evicted);
    return table.insert(this.#reader.key, now);
  }

  /** The flow's endpoint is gone. In a VIP's socket towards the client something may be waiting: that goes to another endpoint. */
  #leave(flow: number): void {
    if (this.#flows.clientFds[flow] === 0) this.#end(flow);
    else this.#flows.unpin(flow);
  }

  #end(flow: number): void {
    // What is queued points to this flow's client, or goes through its socket.
    this.#forwarding.forget(flow);
    this.#answers.flush();
    this.#flows.end(flow);
  }

  #keepSweeping(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#loop.setTimer(this.#sweepMs, () => {
      const { table } = this.#flows;
      const now = this.#loop.now();
      for (let flow = table.expired(now); flow !== NO_FLOW; flow = table.expired(now)) this.#end(flow);
      this.#sweeping = false;
      if (table.size > 0) this.#keepSweeping();
    });
  }

  #drop(datagrams: number): void {
    this.#count(TOTAL.udpDatagramsDropped, datagrams);
  }

  #count(total: number, by: number): void {
    addTo(this.#env.counters.totals, total, by);
  }

  #countFrontend(flow: number, counter: number): void {
    const { frontends } = this.#env.counters;
    const index = (this.#flows.frontends[flow] as number) * FRONTEND.stride + counter;
    frontends[index] = (frontends[index] as number) + 1;
  }
}
