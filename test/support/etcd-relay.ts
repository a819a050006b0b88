// A network between a store and an etcd that can be slow, silent or cut, on loopback.
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class Relay {
  readonly endpoint: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** What waits to be carried while the network is silent. */
  #held: (() => void)[] = [];
  #silent = false;
  /** Milliseconds that everything takes, each way. */
  delayMs = 0;

  private constructor(server: Server, target: string) {
    this.#server = server;
    this.endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    const [host, port] = target.split(':');
    server.on('connection', (near) => this.#join(near, connect(Number(port), host)));
  }

  static async to(t: { teardown(action: () => unknown): void }, target: string): Promise<Relay> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const relay = new Relay(server, target);
    t.teardown(() => relay.close());
    return relay;
  }

  /** Nothing is carried any more, and nothing says so. */
  silence(): void {
    this.#silent = true;
  }

  /** What was held back arrives. */
  resume(): void {
    this.#silent = false;
    for (const carry of this.#held.splice(0)) carry();
  }

  /** Every connection is reset; new ones are made as before. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  close(): void {
    this.#server.close();
    this.reset();
  }

  #join(near: Socket, far: Socket): void {
    this.#carry(near, far);
    this.#carry(far, near);
  }

  #carry(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    from.setNoDelay(true);
    from.on('data', (data) => this.#later(() => to.write(data)));
    from.on('end', () => this.#later(() => to.end()));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      this.#sockets.delete(from);
      if (!this.#silent) to.destroy();
    });
  }

  #later(action: () => void): void {
    const carry = () => {
      if (this.#silent) this.#held.push(action);
      else action();
    };
    if (this.delayMs === 0) carry();
    else setTimeout(carry, this.delayMs);
  }
}
