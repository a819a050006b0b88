// Clients of a frontend that does not let everybody in: looks where they come from, and hears who they are from those who speak for
// others. A frontend that lets everybody in has nothing to do with this.
import type { EventLoop } from '../native/event-loop.ts';
import { type Fd, getpeername } from '../native/libc.ts';
import { SOCKADDR_BYTES } from '../native/sockaddr.ts';
import { resetOnClose } from '../native/stream-socket.ts';
import { FRONTEND, TOTAL, type WorkerCounters } from '../runtime/worker-env.ts';
import type { Admission } from './admission.ts';
import type { Frontend } from './command.ts';
import type { ConnectionEnd } from './connection-record.ts';
import { ProxyIntake } from './proxy-intake.ts';
import type { Introduced } from './proxy-introduction.ts';

export interface TcpEntrancePort {
  readonly loop: EventLoop;
  readonly counters: WorkerCounters;
  /** The client may come in. `introduced`: who it is, where somebody else's connection brought it. */
  take(client: Fd, frontend: Frontend, introduced: Introduced | undefined): void;
  /** It may not, and is about to be reset. */
  turnedAway(client: Fd, frontend: Frontend, introduced: Introduced | undefined, why: ConnectionEnd): void;
}

export class TcpEntrance {
  readonly #port: TcpEntrancePort;
  readonly #intake: ProxyIntake;
  readonly #name = Buffer.alloc(SOCKADDR_BYTES);
  readonly #nameLength = new Uint32Array(1);

  constructor(port: TcpEntrancePort) {
    this.#port = port;
    this.#intake = new ProxyIntake({
      loop: port.loop,
      introduced: (client, { frontend, admission }, introduced) => {
        const isKnown = introduced !== undefined || this.#readPeer(client);
        if (isKnown && admission.ofClient(introduced?.client ?? this.#name) === 'admitted')
          port.take(client, frontend, introduced);
        else this.#turnAway(client, frontend, introduced, 'denied');
      },
      refused: (client, { frontend }) => {
        const { totals } = port.counters;
        totals[TOTAL.proxyHeadersRefused] = (totals[TOTAL.proxyHeadersRefused] as number) + 1;
        this.#turnAway(client, frontend, undefined, 'no PROXY header');
      },
      gone: (client) => port.loop.close(client),
    });
  }

  /** A client has just been accepted. */
  admit(client: Fd, frontend: Frontend, admission: Admission): void {
    if (!this.#readPeer(client)) {
      this.#port.loop.close(client);
      return;
    }
    switch (admission.ofPeer(this.#name)) {
      case 'admitted':
        this.#port.take(client, frontend, undefined);
        return;
      case 'introduced':
        this.#intake.take(client, { frontend, admission });
        return;
      case 'denied':
        this.#turnAway(client, frontend, undefined, 'denied');
    }
  }

  /** Nobody is waited for any longer. */
  close(): void {
    for (const client of this.#intake.dismiss()) this.#reset(client);
  }

  #turnAway(client: Fd, frontend: Frontend, introduced: Introduced | undefined, why: ConnectionEnd): void {
    const { frontends } = this.#port.counters;
    const index = frontend.id * FRONTEND.stride + FRONTEND.denied;
    frontends[index] = (frontends[index] as number) + 1;
    this.#port.turnedAway(client, frontend, introduced, why);
    this.#reset(client);
  }

  #reset(client: Fd): void {
    resetOnClose(client);
    this.#port.loop.close(client);
  }

  /** False when the client has gone. */
  #readPeer(client: Fd): boolean {
    this.#nameLength[0] = SOCKADDR_BYTES;
    return getpeername(client, this.#name, this.#nameLength) === 0;
  }
}
