// A worker thread with nothing but the UDP proxy, real sockets around it, and what tests say to it.
import type { Test } from 'tap';
import { AFFINITY_BYTES } from '../../src/balancer/affinity.ts';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import {
  isMainThread,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';
import type { Backend, BackendEndpoint, BalancerCommand, FrontendTarget } from '../../src/balancer/command.ts';
import { UdpProxy, type UdpProxyOptions } from '../../src/balancer/udp-proxy.ts';
import { bindUdp, type BindUdpOptions } from '../../src/native/datagram-socket.ts';
import { createEventfd, EventLoop, wake } from '../../src/native/event-loop.ts';
import { close, type Fd } from '../../src/native/libc.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { ENDPOINT, FRONTEND, SERVICE, TOTAL, type WorkerCounters } from '../../src/runtime/worker-env.ts';

type Order =
  | BalancerCommand
  | { readonly kind: 'barrier' }
  | { readonly kind: 'hold'; readonly gate: Int32Array<SharedArrayBuffer> }
  | { readonly kind: 'stop' };
interface Start {
  readonly wakeFd: Fd;
  readonly counters: WorkerCounters;
  readonly options: UdpProxyOptions;
}

const MOST = 32;

/** The proxy in a thread of its own. Everything it holds is closed by `stop`. */
export class ProxyThread {
  readonly #endpoints = shared(MOST * ENDPOINT.stride);
  readonly counters: WorkerCounters = {
    frontends: shared(MOST * FRONTEND.stride),
    endpoints: this.#endpoints,
    services: shared(MOST * SERVICE.stride),
    allEndpoints: [this.#endpoints],
    affinity: new SharedArrayBuffer(AFFINITY_BYTES),
    totals: shared(TOTAL.count),
    roundRobin: new Int32Array(new SharedArrayBuffer(MOST * 4)),
    openConnections: new SharedArrayBuffer(0),
    ownOpenConnections: new SharedArrayBuffer(0),
  };
  readonly #wakeFd = createEventfd();
  readonly #listeners = new Map<number, Fd>();
  readonly #worker: Worker;

  constructor(options: UdpProxyOptions = {}) {
    const start: Start = { wakeFd: this.#wakeFd, counters: this.counters, options };
    this.#worker = new Worker(new URL(import.meta.url), { workerData: start });
  }

  /** Resolves when everything posted before has taken effect. */
  async post(...commands: readonly BalancerCommand[]): Promise<void> {
    const applied = once(this.#worker, 'message');
    for (const command of [...commands, { kind: 'barrier' } as const]) this.#worker.postMessage(command);
    wake(this.#wakeFd);
    await applied;
  }

  /** The commands take effect before the worker sees anything that comes in while `meanwhile` runs. */
  async postBefore(meanwhile: () => Promise<void>, ...commands: readonly BalancerCommand[]): Promise<void> {
    const gate = new Int32Array(new SharedArrayBuffer(4));
    const held = once(this.#worker, 'message');
    this.#worker.postMessage({ kind: 'hold', gate });
    wake(this.#wakeFd);
    await held;
    const applied = this.post(...commands);
    await meanwhile();
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    await applied;
  }

  /** Makes a listening socket for frontend `id`; returns its port. */
  async listen(id: number, address: string, target: FrontendTarget, options: BindUdpOptions = {}): Promise<number> {
    const fd = bindUdp(address, 0, target.kind === 'port' ? { packetInfo: true, ...options } : options);
    this.#listeners.set(id, fd);
    await this.post({ kind: 'frontend-add', frontend: { id, protocol: 'udp', fd, target } });
    return localAddress(fd).port;
  }

  async setEndpoints(backend: number, ...endpoints: readonly BackendEndpoint[]): Promise<void> {
    await this.setBackend({ id: backend, endpoints });
  }

  async setBackend(backend: Omit<Backend, 'roundRobinSlot'>): Promise<void> {
    await this.post({ kind: 'backend-set', backend: { roundRobinSlot: backend.id, ...backend } });
  }

  total(total: number): number {
    return this.counters.totals[total] as number;
  }

  endpoint(slot: number, counter: number): number {
    return this.counters.endpoints[slot * ENDPOINT.stride + counter] as number;
  }

  /** Lets the thread go round its loop until something is so. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await this.post();
  }

  async stop(): Promise<void> {
    await this.post(...[...this.#listeners.keys()].map((id) => ({ kind: 'frontend-remove' as const, id })));
    const ended = once(this.#worker, 'exit');
    this.#worker.postMessage({ kind: 'stop' });
    wake(this.#wakeFd);
    await ended;
    for (const fd of [this.#wakeFd, ...this.#listeners.values()]) close(fd);
  }
}

/** A server that answers `NAME:DATAGRAM` as often as `answers` says, or as `reply` does. */
export class Server {
  readonly seen: { readonly data: Buffer; readonly from: RemoteInfo }[] = [];
  readonly #socket: Socket;
  readonly #slot: number;
  port = 0;
  reply: (data: Buffer) => readonly Buffer[];

  private constructor(name: string, slot: number, socket: Socket) {
    this.#slot = slot;
    this.#socket = socket;
    this.reply = (data) => [Buffer.concat([Buffer.from(`${name}:`), data])];
    socket.on('message', (data, from) => {
      this.seen.push({ data, from });
      for (const answer of this.reply(data)) socket.send(answer, from.port, from.address);
    });
  }

  static async start(name: string, slot: number, address = '127.0.0.1', port = 0): Promise<Server> {
    const server = new Server(name, slot, createSocket(address.includes(':') ? 'udp6' : 'udp4'));
    server.#socket.bind(port, address);
    await once(server.#socket, 'listening');
    server.port = server.#socket.address().port;
    return server;
  }

  /** The server as an endpoint that serves `targetPort` where it listens. */
  endpoint(targetPort = 53, weight = 1): BackendEndpoint {
    const { address, port } = this.#socket.address();
    return { slot: this.#slot, address, portMap: [{ targetPort, port }], netns: 0, weight };
  }

  /** Sends something to whoever was heard last, unasked. */
  push(data: string): void {
    const from = this.seen.at(-1)?.from;
    if (from !== undefined) this.#socket.send(data, from.port, from.address);
  }

  async close(): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}

/** A client connected to one address, so that answers from any other never reach it. */
export class Client {
  readonly #socket: Socket;
  readonly #answers: Buffer[] = [];
  #arrived: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (data) => {
      this.#answers.push(data);
      this.#arrived();
    });
    // A refused port is told by an error; tests look at what came instead.
    socket.on('error', () => {});
  }

  static async connect(address: string, port: number): Promise<Client> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.connect(port, address);
    await once(socket, 'connect');
    return new Client(socket);
  }

  send(data: string | Buffer): void {
    this.#socket.send(data);
  }

  /** Sends, and resolves when the kernel has it. */
  sent(data: string): Promise<void> {
    return new Promise((resolve) => this.#socket.send(data, () => resolve()));
  }

  async receive(): Promise<Buffer> {
    while (this.#answers.length === 0) await new Promise<void>((resolve) => (this.#arrived = resolve));
    return this.#answers.shift() as Buffer;
  }

  async ask(data: string): Promise<string> {
    this.send(data);
    return String(await this.receive());
  }

  /** Answers that came and were not asked for. */
  get pending(): number {
    return this.#answers.length;
  }

  close(): void {
    this.#socket.close();
  }
}

/** What a test has open, closed at its end. */
export class Rig {
  readonly proxy: ProxyThread;
  readonly #t: Test;

  constructor(t: Test, options: UdpProxyOptions = {}) {
    this.#t = t;
    this.proxy = new ProxyThread(options);
    t.teardown(() => this.proxy.stop());
  }

  async server(name: string, slot: number, address = '127.0.0.1', port = 0): Promise<Server> {
    const server = await Server.start(name, slot, address, port);
    this.#t.teardown(() => server.close().catch(() => {}));
    return server;
  }

  async client(port: number, address = '127.0.0.1'): Promise<Client> {
    const client = await Client.connect(address, port);
    this.#t.teardown(() => client.close());
    return client;
  }
}

function shared(count: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(count * 8));
}

function runProxy(port: MessagePort, { wakeFd, counters, options }: Start): void {
  const loop = new EventLoop({ wakeFd });
  const proxy = new UdpProxy(loop, { counters, random: seededRandom(1), report: () => {} }, options);
  loop.onWake(() => {
    for (let order = take(port); order !== undefined; order = take(port)) {
      if (order.kind === 'stop') loop.stop();
      else if (order.kind === 'barrier') port.postMessage('applied');
      else if (order.kind === 'hold') {
        port.postMessage('held');
        Atomics.wait(order.gate, 0, 0);
      } else proxy.handle(order);
    }
  });
  loop.run();
  loop.destroy();
  port.close();
}

function take(port: MessagePort): Order | undefined {
  return receiveMessageOnPort(port)?.message as Order | undefined;
}

if (!isMainThread && parentPort !== null) runProxy(parentPort, workerData as Start);
