// A data plane with real sockets around it: servers behind it, clients before it, all on loopback.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Backend, BackendEndpoint, FrontendTarget } from '../../src/balancer/command.ts';
import { DataPlane } from '../../src/datapath/plane.ts';
import { close, type Fd } from '../../src/native/libc.ts';
import { listenTcp, localAddress } from '../../src/native/stream-socket.ts';
import type { Log, LogFields } from '../../src/runtime/log.ts';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

export class TcpRig {
  readonly plane: DataPlane;
  readonly lines: LogLine[];
  readonly #replaced: (() => void)[];
  readonly #listeners: Fd[] = [];
  readonly #servers: Server[] = [];
  #nextFrontend = 0;

  private constructor(plane: DataPlane, lines: LogLine[], replaced: (() => void)[]) {
    this.plane = plane;
    this.lines = lines;
    this.#replaced = replaced;
  }

  static async start(workers = 1): Promise<TcpRig> {
    const lines: LogLine[] = [];
    const at = (level: string) => (message: string, fields?: LogFields) => void lines.push({ level, message, fields });
    const log: Log = { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
    const replaced: (() => void)[] = [];
    const plane = await DataPlane.start({
      workers,
      log,
      onWorkerReplaced: () => {
        for (const resolve of replaced.splice(0)) resolve();
      },
    });
    return new TcpRig(plane, lines, replaced);
  }

  async stop(): Promise<void> {
    await this.plane.stop(5000);
    for (const fd of this.#listeners) close(fd);
    for (const server of this.#servers) server.close();
  }

  /** A server; its port. */
  async serve(onConnection: (socket: Socket) => void, host = '127.0.0.1'): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      // A client's reset is what some tests are about; it must not end the process.
      socket.on('error', () => {});
      onConnection(socket);
    });
    this.#servers.push(server);
    server.listen({ port: 0, host, backlog: 4096 });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  backend(id: number, endpoints: readonly BackendEndpoint[], more: Partial<Backend> = {}): void {
    this.plane.post({ kind: 'backend-set', backend: { id, roundRobinSlot: id, endpoints, ...more } });
  }

  /** A frontend with one socket per worker; its number and port. */
  async listen(target: FrontendTarget, address = '127.0.0.1'): Promise<{ id: number; port: number }> {
    const id = this.#nextFrontend++;
    let port = 0;
    for (let worker = 0; worker < this.plane.workers; worker++) {
      const fd = listenTcp(address, port, { reusePort: true });
      port = localAddress(fd).port;
      this.#listeners.push(fd);
      this.plane.postTo(worker, { kind: 'frontend-add', frontend: { id, protocol: 'tcp', fd, target } });
    }
    await this.plane.barrier();
    return { id, port };
  }

  /** A frontend for target port 80 of a new backend with these endpoints. */
  async publish(...endpoints: readonly BackendEndpoint[]): Promise<{ id: number; port: number }> {
    const backend = this.#nextFrontend;
    this.backend(backend, endpoints);
    return this.listen({ kind: 'port', backend, targetPort: 80 });
  }

  /** Waits, letting the workers work on, until something is so. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await this.plane.barrier();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves when the next worker has been replaced. */
  replaced(): Promise<void> {
    return new Promise((resolve) => this.#replaced.push(resolve));
  }
}

/** An endpoint on loopback that serves target port 80 on `port`. */
export function endpoint(slot: number, port: number, more: Partial<BackendEndpoint> = {}): BackendEndpoint {
  return { slot, address: '127.0.0.1', portMap: [{ targetPort: 80, port }], netns: 0, weight: 1, ...more };
}

/** A connected client that may half-close. */
export async function dial(port: number, host = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port, host, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

/** Everything until the end, which must be a clean one. The socket can still be written to. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** What ended the connection: an error's code, or `end`. */
export function ending(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    socket.once('end', () => resolve('end'));
    socket.resume();
  });
}

/** Connects, and tells who answered, by the first bytes, or what went wrong. */
export async function ask(port: number, host = '127.0.0.1'): Promise<string> {
  const socket = connect({ port, host });
  try {
    return (await readAll(socket)).toString();
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  } finally {
    socket.destroy();
  }
}

/** Descriptors that this process has open, by number. */
export function openDescriptors(): readonly string[] {
  return readdirSync('/proc/self/fd');
}
