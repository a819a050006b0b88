// Where the datagrams of a frontend may go: the backends and VIPs as this worker knows them. Decides nothing by itself and
// makes no system call, except that addresses are kept in the form that the kernel takes.
import { AF_INET, AF_INET6 } from '../native/constants.ts';
import { addressOf, type Fd, type Pointer } from '../native/libc.ts';
import { SOCKADDR_BYTES, writeSockaddr } from '../native/sockaddr.ts';
import type { Backend, BackendEndpoint, BalancerCommand, FrontendTarget } from './command.ts';
import { type Choice, choiceOf } from './selection.ts';

/** An endpoint, ready to be connected to. */
export interface UdpEndpoint {
  readonly slot: number;
  readonly address: string;
  readonly netns: Fd;
  readonly family: typeof AF_INET | typeof AF_INET6;
  /** Its socket address; the port is written before use. */
  readonly sockaddr: Buffer;
  readonly sockaddrAddress: Pointer;
  readonly sockaddrLength: number;
  readonly ports: ReadonlyMap<number, number>;
}

export interface UdpBackend {
  readonly id: number;
  readonly roundRobinSlot: number;
  readonly endpoints: readonly UdpEndpoint[];
  readonly choice: Choice;
}

export class UdpRoutes {
  /** Differs whenever anything here has changed. */
  generation = 1;
  /** As they were told; most backends of a mesh never see a datagram. */
  readonly #told: (Backend | undefined)[] = [];
  /** Made of those when the first datagram comes. */
  readonly #backends: (UdpBackend | undefined)[] = [];
  /** Network → VIP → backend. */
  readonly #vips = new Map<number, Map<string, number>>();

  /** Takes a command that concerns it, and says whether it did. */
  apply(command: BalancerCommand): boolean {
    switch (command.kind) {
      case 'backend-set':
        this.#told[command.backend.id] = command.backend;
        this.#backends[command.backend.id] = undefined;
        break;
      case 'backend-remove':
        this.#told[command.id] = undefined;
        this.#backends[command.id] = undefined;
        break;
      case 'vip-set':
        this.#setVip(command.network, command.address, command.backend);
        break;
      default:
        return false;
    }
    this.changed();
    return true;
  }

  changed(): void {
    this.generation = (this.generation + 1) | 0;
  }

  /** Undefined when the VIP is none, or the backend is gone. `vip` is only looked at for a `vips` target. */
  backend(target: FrontendTarget, vip: string): UdpBackend | undefined {
    const id = target.kind === 'port' ? target.backend : this.#vips.get(target.network)?.get(vip);
    return id === undefined ? undefined : (this.#backends[id] ?? this.#compile(id));
  }

  #compile(id: number): UdpBackend | undefined {
    const told = this.#told[id];
    const compiled = told && compileBackend(told);
    this.#backends[id] = compiled;
    return compiled;
  }

  #setVip(network: number, address: string, backend: number | null): void {
    const vips = this.#vips.get(network) ?? new Map<string, number>();
    if (backend === null) vips.delete(address);
    else vips.set(address, backend);
    if (vips.size === 0) this.#vips.delete(network);
    else this.#vips.set(network, vips);
  }
}

/** The port that the endpoint serves a target port on. */
export function servedPort(endpoint: UdpEndpoint, targetPort: number): number {
  return endpoint.ports.get(targetPort) ?? targetPort;
}

function compileBackend(backend: Backend): UdpBackend {
  return {
    id: backend.id,
    roundRobinSlot: backend.roundRobinSlot,
    endpoints: backend.endpoints.map(compileEndpoint),
    choice: choiceOf(backend),
  };
}

function compileEndpoint(endpoint: BackendEndpoint): UdpEndpoint {
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  const sockaddrLength = writeSockaddr(sockaddr, 0, endpoint.address, 0);
  return {
    slot: endpoint.slot,
    address: endpoint.address,
    netns: endpoint.netns,
    family: endpoint.address.includes(':') ? AF_INET6 : AF_INET,
    sockaddr,
    sockaddrAddress: addressOf(sockaddr),
    sockaddrLength,
    ports: new Map(endpoint.portMap.map(({ targetPort, port }) => [targetPort, port])),
  };
}
