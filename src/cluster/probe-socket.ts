// One UDP socket for asking and answering, on the main thread: some dozens of small datagrams a second.
import { createSocket, type Socket } from 'node:dgram';
import { type IpAddress, ipVersion, parseIp } from '../model/address.ts';
import type { PortNumber } from '../model/port.ts';
import { bindError } from './errors.ts';

export interface Place {
  readonly address: IpAddress;
  readonly port: PortNumber;
}

export interface ProbeSocketHandlers {
  onMessage(bytes: Buffer, source: Place): void;
  /** A datagram could not be sent, or the socket says that something is wrong with it. It is used on. */
  onError(error: Error): void;
}

export class ProbeSocket {
  readonly place: Place;
  readonly #socket: Socket;
  readonly #handlers: ProbeSocketHandlers;
  #closed = false;

  /** Port 0: any. Rejects with ClusterError. */
  static async open(address: IpAddress, port: number, handlers: ProbeSocketHandlers): Promise<ProbeSocket> {
    // Every address is given as one, so there is no name to look up, and nothing to wait for.
    const socket = createSocket({
      type: ipVersion(address) === 6 ? 'udp6' : 'udp4',
      lookup: (host, _options, callback) => callback(null, host, ipVersion(address)),
    });
    await new Promise<void>((resolve, reject) => {
      const refused = (cause: Error) => {
        socket.close();
        reject(bindError(address, port, cause));
      };
      socket.once('error', refused);
      socket.bind({ port, address, exclusive: true }, () => {
        socket.removeListener('error', refused);
        resolve();
      });
    });
    return new ProbeSocket(socket, handlers);
  }

  private constructor(socket: Socket, handlers: ProbeSocketHandlers) {
    const own = socket.address();
    this.#socket = socket;
    this.#handlers = handlers;
    this.place = { address: own.address as IpAddress, port: own.port as PortNumber };
    socket.on('error', (error) => handlers.onError(error));
    socket.on('message', (bytes, source) => {
      const address = parseIp(source.address);
      if (address !== undefined && !this.#closed)
        handlers.onMessage(bytes, { address, port: source.port as PortNumber });
    });
  }

  send(bytes: Buffer, to: Place): void {
    if (this.#closed) return;
    const address =
      ipVersion(this.place.address) === 6 && ipVersion(to.address) === 4 ? `::ffff:${to.address}` : to.address;
    this.#socket.send(bytes, to.port, address, (error) => {
      if (error !== null && !this.#closed) this.#handlers.onError(error);
    });
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return new Promise((resolve) => this.#socket.close(() => resolve()));
  }
}
