// Which endpoint a flow has, and what is done when it cannot have it. Sockets are udp-flows'; the traffic is udp-proxy's.
import { bindUdp } from '../native/datagram-socket.ts';
import { EAGAIN, EMFILE, ENFILE, errnoName, NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { OWN_NETNS } from '../native/netns.ts';
import type { SocketAddress } from '../native/sockaddr.ts';
import { ENDPOINT, TOTAL, type WorkerEnv } from '../runtime/worker-env.ts';
import type { Frontend } from './command.ts';
import { afterFailure, afterReturn, type Ejection, ejectionMs, isForgotten, UNKNOWN } from './ejection.ts';
import { EndpointChooser } from './endpoint-chooser.ts';
import { NO_FLOW } from './flow-table.ts';
import { hashAddress } from './selection.ts';
import type { UdpFlows } from './udp-flows.ts';
import type { UdpKeyReader } from './udp-key.ts';
import { servedPort, type UdpBackend, type UdpEndpoint, type UdpRoutes } from './udp-routes.ts';

/** Ports of endpoints that are known to have refused: a VIP takes datagrams for any port, so clients could otherwise fill memory. */
const MOST_REFUSALS = 4096;
/** Endpoints that are tried when the kernel says at once that one cannot be reached. */
const CONNECT_ATTEMPTS = 3;
/** Flows ended when descriptors or ports have run out: enough for the rest of a batch to get on. */
const MAKE_ROOM = 16;
/** At most one line of log in this time about sockets that could not be made. */
const REPORT_MS = 10_000;

interface Refusal {
  readonly slot: number;
  readonly targetPort: number;
  state: Ejection;
}

export interface UdpPlacementPort {
  readonly loop: EventLoop;
  readonly env: WorkerEnv;
  readonly flows: UdpFlows;
  readonly routes: UdpRoutes;
  readonly reader: UdpKeyReader;
  /** What the flow came in by. */
  frontendOf(flow: number): Frontend | undefined;
  /** Ends a flow in favour of others. */
  end(flow: number): void;
}

export class UdpPlacement {
  readonly #port: UdpPlacementPort;
  /** Ports of endpoints that refused: avoided for as long as for TCP, wherever there is another. */
  readonly #refusals = new Map<number, Refusal>();
  readonly #chooser: EndpointChooser;
  #nextReportAt = 0;

  constructor(port: UdpPlacementPort) {
    this.#port = port;
    this.#chooser = new EndpointChooser(port.env);
  }

  /** Gives a flow the endpoint whose turn it is. False when none can be had. */
  place(flow: number, backend: UdpBackend): boolean {
    return this.#pin(flow, backend, true);
  }

  /** True when the flow's endpoint is still one of its backend, or another could be had instead. */
  keep(flow: number): boolean {
    const { flows, routes } = this.#port;
    if (flows.generations[flow] === routes.generation && flows.endpointFds[flow] !== 0) return true;
    const backend = this.#backendOf(flow);
    if (backend === undefined) return false;
    const same = backend.endpoints.find((endpoint) => endpoint.slot === flows.endpoints[flow]?.slot);
    if (same === undefined || !this.#isSame(flow, same)) return this.#pin(flow, backend, true);
    flows.endpoints[flow] = same;
    flows.generations[flow] = routes.generation;
    return true;
  }

  /** Another endpoint instead of one that refused; false when there is none that did not. */
  move(flow: number): boolean {
    const backend = this.#backendOf(flow);
    return backend !== undefined && this.#pin(flow, backend, false);
  }

  /** The flow's endpoint refused. */
  avoid(flow: number): void {
    const { flows, loop, env } = this.#port;
    const slot = flows.endpoints[flow]?.slot;
    if (slot === undefined) return;
    this.#noteRefusal(slot, this.#targetPort(flow), loop.now());
    const { endpoints } = env.counters;
    const index = slot * ENDPOINT.stride + ENDPOINT.failures;
    endpoints[index] = (endpoints[index] as number) + 1;
  }

  /** Makes the socket by which a VIP answers the flow's client. False when it cannot be made. */
  attachClient(flow: number, frontend: Frontend, vip: SocketAddress, client: SocketAddress): boolean {
    const netns = frontend.target.kind === 'vips' ? frontend.target.netns : OWN_NETNS;
    try {
      this.#port.flows.attachClient(flow, bindUdp(vip.address, vip.port, { netns, reuseAddress: true, peer: client }));
      return true;
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.#failed(flow, error.errno, error.message);
      return false;
    }
  }

  /** `lastResort`: when every endpoint refused lately, one of them is better than none. */
  #pin(flow: number, backend: UdpBackend, lastResort: boolean): boolean {
    const { flows, routes } = this.#port;
    const client = () => this.#clientOf(flow);
    const targetPort = this.#targetPort(flow);
    const tried = this.#refusals.size === 0 ? [] : this.#avoidedSlots(targetPort);
    for (let attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
      let index = this.#chooser.choose(backend, client, tried);
      if (index < 0 && attempt === 0 && lastResort) index = this.#chooser.choose(backend, client, []);
      const endpoint = backend.endpoints[index];
      if (endpoint === undefined) return false;
      const error = flows.pin(flow, endpoint, servedPort(endpoint, targetPort));
      if (error === 0) {
        flows.generations[flow] = routes.generation;
        return true;
      }
      this.#failed(flow, error, `connect ${endpoint.address}: ${errnoName(error)}`);
      tried.push(endpoint.slot);
    }
    return false;
  }

  /** Slots are used again, so the same slot may be another endpoint. */
  #isSame(flow: number, endpoint: UdpEndpoint): boolean {
    const current = this.#port.flows.endpoints[flow];
    return (
      endpoint.address === current?.address &&
      endpoint.netns === current.netns &&
      servedPort(endpoint, this.#targetPort(flow)) === this.#port.flows.ports[flow]
    );
  }

  #backendOf(flow: number): UdpBackend | undefined {
    const { flows, reader, routes } = this.#port;
    const target = this.#port.frontendOf(flow)?.target;
    if (target === undefined) return undefined;
    const vip = target.kind === 'port' ? '' : reader.localAddressOf((word) => flows.table.keyWord(flow, word));
    return routes.backend(target, vip);
  }

  /** By address alone: the ports of a client are many. */
  #clientOf(flow: number): number {
    const { table } = this.#port.flows;
    return hashAddress(table.keyWord(flow, 0), table.keyWord(flow, 1), table.keyWord(flow, 2), table.keyWord(flow, 3));
  }

  #targetPort(flow: number): number {
    const target = this.#port.frontendOf(flow)?.target;
    return target?.kind === 'port' ? target.targetPort : this.#port.flows.table.keyWord(flow, 5) & 0xffff;
  }

  /** What other flows hear of the same refusal tells nothing new. */
  #noteRefusal(slot: number, targetPort: number, now: number): void {
    this.#review(now);
    const key = slot * 65_536 + targetPort;
    const before = this.#refusals.get(key)?.state ?? UNKNOWN;
    if (before.isOut || (before === UNKNOWN && this.#refusals.size >= MOST_REFUSALS)) return;
    this.#refusals.set(key, { slot, targetPort, state: afterFailure(before, 'refused', now) });
  }

  #avoidedSlots(targetPort: number): number[] {
    this.#review(this.#port.loop.now());
    return [...this.#refusals.values()].flatMap((one) =>
      one.state.isOut && one.targetPort === targetPort ? [one.slot] : [],
    );
  }

  /** Who was avoided for long enough may be chosen again. */
  #review(now: number): void {
    for (const [key, one] of this.#refusals) {
      const { state } = one;
      if (isForgotten(state, now)) this.#refusals.delete(key);
      else if (state.isOut && now - state.since >= ejectionMs(state)) one.state = afterReturn(state, now);
    }
  }

  /** A socket could not be had. Where descriptors or ports have run out, flows that seem to be over make room. */
  #failed(flow: number, error: number, message: string): void {
    const { env, flows, loop } = this.#port;
    const now = loop.now();
    if (error === EMFILE || error === ENFILE || error === EAGAIN) {
      for (let room = 0; room < MAKE_ROOM; room++) {
        const evicted = flows.table.evictable(now);
        if (evicted === NO_FLOW || evicted === flow) break;
        this.#port.end(evicted);
      }
    }
    if (error === EMFILE || error === ENFILE) {
      const { totals } = env.counters;
      totals[TOTAL.descriptorsExhausted] = (totals[TOTAL.descriptorsExhausted] as number) + 1;
    }
    if (now < this.#nextReportAt) return;
    this.#nextReportAt = now + REPORT_MS;
    env.report('warn', 'a UDP flow got no socket', { reason: message });
  }
}
