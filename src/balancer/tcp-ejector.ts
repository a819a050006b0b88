// Passive health of TCP endpoints in one worker: remembers which port of which endpoint fails, and brings it back in time, after a
// connection of its own where a client's would be lost time.
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  SO_ERROR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../native/constants.ts';
import { EINPROGRESS, errno, NativeError } from '../native/errno.ts';
import type { EventLoop } from '../native/event-loop.ts';
import { addressOf, close, connect, type Fd, getsockopt, socket } from '../native/libc.ts';
import { inNetns } from '../native/netns.ts';
import { resetOnClose } from '../native/stream-socket.ts';
import { ENDPOINT, type WorkerEnv } from '../runtime/worker-env.ts';
import {
  afterAnswer,
  afterFailedProbe,
  afterFailure,
  afterReturn,
  type Ejection,
  ejectionMs,
  type Failure,
  isForgotten,
  mostEjected,
  UNKNOWN,
} from './ejection.ts';
import type { TcpBackend, TcpEndpoint, TcpTargets } from './tcp-targets.ts';

interface Entry {
  state: Ejection;
  readonly endpoint: TcpEndpoint;
  readonly backend: number;
  readonly targetPort: number;
}

/** Ports of endpoints that are remembered at once: a VIP takes any port, so clients could otherwise fill memory. */
const MOST_ENTRIES = 4096;
const PROBE_TIMEOUT_MS = 2000;
const NONE: readonly number[] = [];

export class TcpEjector {
  readonly #loop: EventLoop;
  readonly #env: WorkerEnv;
  readonly #targets: TcpTargets;
  readonly #entries = new Map<number, Entry>();
  #out = 0;
  readonly #value = new Int32Array(1);
  readonly #valueAddress = addressOf(this.#value);
  readonly #valueLength = new Uint32Array(1);

  constructor(loop: EventLoop, env: WorkerEnv, targets: TcpTargets) {
    this.#loop = loop;
    this.#env = env;
    this.#targets = targets;
  }

  /** Nothing is ejected: the usual case, in which nobody has to look. */
  get isIdle(): boolean {
    return this.#out === 0;
  }

  /** Nothing is remembered of any endpoint. */
  get isEmpty(): boolean {
    return this.#entries.size === 0;
  }

  isOut({ slot, address }: TcpEndpoint, targetPort: number): boolean {
    if (this.#out === 0) return false;
    const entry = this.#entries.get(keyOf(slot, targetPort));
    return entry?.state.isOut === true && entry.endpoint.address === address;
  }

  /** Slots of a backend that are not to be chosen for this port; none when they are too many of it. */
  outOf(backend: TcpBackend, targetPort: number): readonly number[] {
    const out = backend.endpoints.filter((endpoint) => this.isOut(endpoint, targetPort));
    return out.length > mostEjected(backend.endpoints.length) ? NONE : out.map((endpoint) => endpoint.slot);
  }

  failed(backend: number, endpoint: TcpEndpoint, targetPort: number, failure: Failure): void {
    const key = keyOf(endpoint.slot, targetPort);
    const entry = this.#entryOf(key, backend, endpoint, targetPort);
    // Connections that were begun before it was ejected tell nothing new.
    if (entry === undefined || entry.state.isOut) return;
    entry.state = afterFailure(entry.state, failure, this.#loop.now());
    if (!entry.state.isOut) return;
    this.#out++;
    this.#count(endpoint.slot, 1);
    if (entry.state.times === 1)
      this.#report('warn', 'an endpoint takes no connections: others get them for a while', entry, failure);
    this.#wait(key, entry);
  }

  /** It has sent something to a client. */
  answered(slot: number, targetPort: number): void {
    const entry = this.#entries.get(keyOf(slot, targetPort));
    if (entry !== undefined) entry.state = afterAnswer(entry.state);
  }

  /** Undefined when there is no room to remember it. */
  #entryOf(key: number, backend: number, endpoint: TcpEndpoint, targetPort: number): Entry | undefined {
    const known = this.#entries.get(key);
    if (known?.endpoint.address === endpoint.address) return known;
    // The slot was another's.
    if (known !== undefined) this.#forget(key, known);
    else if (!this.#hasRoom()) return undefined;
    const entry = { state: UNKNOWN, endpoint, backend, targetPort };
    this.#entries.set(key, entry);
    return entry;
  }

  #wait(key: number, entry: Entry): void {
    this.#loop.setTimer(ejectionMs(entry.state), () => {
      if (this.#entries.get(key) !== entry) return;
      const endpoint = this.#current(entry);
      if (endpoint === undefined) this.#forget(key, entry);
      else if (entry.state.needsProbe) this.#probe(key, entry, endpoint);
      else this.#return(entry);
    });
  }

  /** The endpoint as its backend has it now, which may serve the port elsewhere meanwhile; undefined when it has left. */
  #current({ backend, endpoint }: Entry): TcpEndpoint | undefined {
    const endpoints = this.#targets.backend(backend)?.endpoints;
    return endpoints?.find((one) => one.slot === endpoint.slot && one.address === endpoint.address);
  }

  #probe(key: number, entry: Entry, endpoint: TcpEndpoint): void {
    const over = (gotThrough: boolean) => {
      if (this.#entries.get(key) !== entry) return;
      if (gotThrough) {
        this.#return(entry);
        return;
      }
      entry.state = afterFailedProbe(entry.state, this.#loop.now());
      this.#wait(key, entry);
    };
    const fd = beginConnect(endpoint, entry.targetPort);
    if (fd < 0) {
      over(false);
      return;
    }
    this.#loop.own(fd);
    const end = (gotThrough: boolean) => {
      this.#loop.clearTimer(timer);
      resetOnClose(fd);
      this.#loop.close(fd);
      over(gotThrough);
    };
    const timer = this.#loop.setTimer(PROBE_TIMEOUT_MS, () => end(false));
    this.#loop.add(fd, EPOLLOUT, (_, events) => end((events & (EPOLLERR | EPOLLHUP)) === 0 || this.#isConnected(fd)));
  }

  #return(entry: Entry): void {
    entry.state = afterReturn(entry.state, this.#loop.now());
    this.#out--;
    this.#count(entry.endpoint.slot, -1);
    if (entry.state.needsProbe) this.#report('info', 'an endpoint takes connections again', entry);
  }

  #forget(key: number, entry: Entry): void {
    this.#entries.delete(key);
    if (!entry.state.isOut) return;
    this.#out--;
    this.#count(entry.endpoint.slot, -1);
  }

  #hasRoom(): boolean {
    if (this.#entries.size < MOST_ENTRIES) return true;
    const now = this.#loop.now();
    for (const [key, { state }] of this.#entries) if (isForgotten(state, now)) this.#entries.delete(key);
    return this.#entries.size < MOST_ENTRIES;
  }

  #count(slot: number, by: 1 | -1): void {
    const { endpoints } = this.#env.counters;
    const ejected = slot * ENDPOINT.stride + ENDPOINT.ejected;
    endpoints[ejected] = (endpoints[ejected] as number) + by;
    if (by < 0) return;
    const ejections = slot * ENDPOINT.stride + ENDPOINT.ejections;
    endpoints[ejections] = (endpoints[ejections] as number) + 1;
  }

  #report(level: 'info' | 'warn', message: string, { endpoint, targetPort, state }: Entry, failure?: Failure): void {
    const why = failure === undefined ? {} : { failure, forMs: ejectionMs(state) };
    this.#env.report(level, message, { endpoint: endpoint.address, targetPort, ...why });
  }

  #isConnected(fd: Fd): boolean {
    this.#valueLength[0] = 4;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#valueAddress, this.#valueLength);
    return this.#value[0] === 0;
  }
}

function keyOf(slot: number, targetPort: number): number {
  return slot * 65_536 + targetPort;
}

/** -1 when it fails at once. */
function beginConnect(endpoint: TcpEndpoint, targetPort: number): Fd {
  try {
    return inNetns(endpoint.netns, () => {
      const fd = socket(endpoint.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd < 0) return -1;
      if (connect(fd, endpoint.sockaddr(targetPort), endpoint.sockaddrLength) === 0 || errno() === EINPROGRESS)
        return fd;
      close(fd);
      return -1;
    });
  } catch (error) {
    // The namespace is gone.
    if (error instanceof NativeError) return -1;
    throw error;
  }
}
