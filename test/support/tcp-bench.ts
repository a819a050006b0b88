// A TcpProxy in the test's own thread, between sockets that the test drives by system calls: every step is visible, and no
// other thread or event loop has a say in when it happens.
import type { Backend } from '../../src/balancer/command.ts';
import { TcpProxy, type TcpProxyOptions } from '../../src/balancer/tcp-proxy.ts';
import { Counters, viewCounters } from '../../src/datapath/counters.ts';
import { EAGAIN, errno } from '../../src/native/errno.ts';
import { EventLoop } from '../../src/native/event-loop.ts';
import { accept4, close, type Fd, recv, send } from '../../src/native/libc.ts';
import { descriptorLimit } from '../../src/native/rlimit.ts';
import { connectTcp, listenTcp, localAddress, resetOnClose } from '../../src/native/stream-socket.ts';
import { seededRandom } from '../../src/runtime/random.ts';
import { endpoint } from './tcp-rig.ts';

const PIECE = Buffer.alloc(64 * 1024);
/** What the streams of a test consist of; long enough to be looked at from any of its 251 phases. */
const PATTERN = Buffer.from(Array.from({ length: PIECE.length + 251 }, (_, i) => i % 251));

export class TcpBench {
  readonly #ledger = new Uint8Array(descriptorLimit());
  readonly loop = new EventLoop({ descriptors: this.#ledger });
  readonly counters = new Counters(1, { frontends: 4, endpoints: 16, backends: 4 });
  readonly proxy: TcpProxy;
  readonly port: number;
  /** What the backend has besides its endpoints, from the next time that they are set. */
  settings: Partial<Backend> = {};
  readonly #open: Fd[] = [];
  #isSo: () => boolean = () => true;

  constructor(options: TcpProxyOptions = {}) {
    const counters = viewCounters(this.counters.buffers(0));
    this.proxy = new TcpProxy(this.loop, { counters, random: seededRandom(1), report: () => {} }, options);
    const front = this.listener();
    this.port = front.port;
    this.proxy.handle({
      kind: 'frontend-add',
      frontend: { id: 0, protocol: 'tcp', fd: front.fd, target: { kind: 'port', backend: 0, targetPort: 80 } },
    });
    this.loop.onBatchEnd(() => {
      if (this.#isSo()) this.loop.stop();
    });
  }

  endpoints(...ports: readonly (number | undefined)[]): void {
    const endpoints = ports.flatMap((port, slot) => (port === undefined ? [] : [endpoint(slot, port)]));
    this.proxy.handle({ kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints, ...this.settings } });
  }

  /** Lets the proxy run until something is so at the end of a batch, the first of which does not wait for events. */
  until(isSo: () => boolean): void {
    this.#isSo = isSo;
    this.loop.again();
    this.loop.run();
  }

  /** Lets the proxy do what can be done now. */
  settle(): void {
    let batches = 0;
    this.until(() => {
      this.loop.again();
      return ++batches === 3;
    });
  }

  /** The proxy's own sockets, listeners not included. */
  proxySockets(): readonly Fd[] {
    return [...this.#ledger.keys()].filter((fd) => this.#ledger[fd] === 1).slice(1);
  }

  listener(backlog?: number): { fd: Fd; port: number } {
    const fd = listenTcp('127.0.0.1', 0, backlog === undefined ? {} : { backlog });
    this.#open.push(fd);
    return { fd, port: localAddress(fd).port };
  }

  /** A client of the proxy, or of `port`. */
  dial(port = this.port): Fd {
    const fd = connectTcp('127.0.0.1', port);
    this.#open.push(fd);
    return fd;
  }

  accept(listener: Fd): Fd {
    const fd = accept4(listener, null, null, 0o4000);
    if (fd >= 0) this.#open.push(fd);
    return fd;
  }

  /** A client and its endpoint's side, tied together by the proxy. */
  pair(server: { fd: Fd; port: number }): { client: Fd; served: Fd } {
    this.endpoints(server.port);
    const client = this.dial();
    let served = -1;
    this.until(() => {
      if (served < 0) served = this.accept(server.fd);
      return served >= 0 && this.counters.endpoint(0).total > 0;
    });
    return { client, served };
  }

  reset(fd: Fd): void {
    resetOnClose(fd);
    this.end(fd);
  }

  end(fd: Fd): void {
    this.#open.splice(this.#open.indexOf(fd), 1);
    close(fd);
  }

  destroy(): void {
    this.closeAll();
    this.until(() => this.proxy.connectionCount === 0);
    this.loop.destroy();
  }

  closeAll(): void {
    for (const fd of this.#open.splice(0)) close(fd);
  }
}

/** Writes until the kernel takes no more; how many bytes. The n-th byte of a stream is n modulo 251. */
export function fill(fd: Fd, from: number, most = Number.POSITIVE_INFINITY): number {
  let written = 0;
  while (written < most) {
    const length = Math.min(PIECE.length, most - written);
    const sent = send(fd, PATTERN.subarray((from + written) % 251), length, 0x4000);
    if (sent < 0) break;
    written += sent;
  }
  return written;
}

/** Reads what is there and checks it: how many bytes, and whether the end was among them. */
export function drain(
  fd: Fd,
  from: number,
  most = Number.POSITIVE_INFINITY,
): { bytes: number; ended: boolean; intact: boolean } {
  let bytes = 0;
  while (bytes < most) {
    const length = recv(fd, PIECE, Math.min(PIECE.length, most - bytes), 0);
    if (length === 0) return { bytes, ended: true, intact: true };
    if (length < 0) {
      if (errno() !== EAGAIN) throw new Error(`recv: errno ${errno()}`);
      return { bytes, ended: false, intact: true };
    }
    for (let i = 0; i < length; i++)
      if (PIECE[i] !== (from + bytes + i) % 251) return { bytes, ended: false, intact: false };
    bytes += length;
  }
  return { bytes, ended: false, intact: true };
}
