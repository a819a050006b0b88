// What a new TCP connection needs to know: backends with their order of endpoints and ready socket addresses, and which
// backend a VIP stands for. One per worker, changed by commands.
import type { Limits } from '../model/limits.ts';
import type { ProxyProtocol } from '../model/service.ts';
import { AF_INET, AF_INET6 } from '../native/constants.ts';
import { addressOf, type Pointer } from '../native/libc.ts';
import { isMapped, readIpv6, SOCKADDR_BYTES, writeSockaddr } from '../native/sockaddr.ts';
import type { Backend, BackendEndpoint } from './command.ts';
import { type Choice, choiceOf } from './selection.ts';

export interface TcpEndpoint {
  readonly slot: number;
  readonly netns: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  /** Where `port` of it is, as connect(2) takes it; valid until the next call. */
  sockaddr(targetPort: number): Pointer;
  readonly sockaddrLength: number;
  readonly address: string;
}

export interface TcpBackend {
  readonly roundRobinSlot: number;
  readonly choice: Choice;
  readonly proxyProtocol: ProxyProtocol | undefined;
  readonly limits: Limits | undefined;
  readonly endpoints: readonly TcpEndpoint[];
}

export class TcpTargets {
  readonly #backends: (TcpBackend | undefined)[] = [];
  // Per network: IPv4 VIPs by their 32 bits, IPv6 ones by their text.
  readonly #vips: (Map<number | string, number> | undefined)[] = [];

  /** The slots of the endpoints that the backend had and has no more. */
  setBackend(backend: Backend): readonly number[] {
    const before = this.#backends[backend.id]?.endpoints ?? [];
    this.#backends[backend.id] = {
      roundRobinSlot: backend.roundRobinSlot,
      choice: choiceOf(backend),
      proxyProtocol: backend.proxyProtocol,
      limits: backend.limits,
      endpoints: backend.endpoints.map(compileEndpoint),
    };
    const now = new Map(backend.endpoints.map(({ slot, address }) => [slot, address]));
    return before.filter(({ slot, address }) => now.get(slot) !== address).map(({ slot }) => slot);
  }

  removeBackend(id: number): void {
    this.#backends[id] = undefined;
  }

  backend(id: number): TcpBackend | undefined {
    return this.#backends[id];
  }

  /** Throws RangeError when `address` is none. */
  setVip(network: number, address: string, backend: number | null): void {
    const vips = this.#vips[network] ?? new Map<number | string, number>();
    this.#vips[network] = vips;
    const key = vipKeyOfText(address);
    if (backend === null) vips.delete(key);
    else vips.set(key, backend);
  }

  /** The backend of the VIP in this socket address (sockaddr_in6, or sockaddr_in); -1 when it stands for none. */
  vipBackend(network: number, sockaddr: Buffer): number {
    return this.#vips[network]?.get(vipKeyOfSockaddr(sockaddr)) ?? -1;
  }
}

function vipKeyOfText(address: string): number | string {
  const sockaddr = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(sockaddr, 0, address, 0);
  return vipKeyOfSockaddr(sockaddr);
}

function vipKeyOfSockaddr(sockaddr: Buffer): number | string {
  if (sockaddr.readUInt16LE(0) === AF_INET) return sockaddr.readUInt32BE(4);
  return isMapped(sockaddr, 8) ? sockaddr.readUInt32BE(20) : readIpv6(sockaddr, 8);
}

/** Ports of one endpoint whose addresses are kept ready. A VIP takes any port, so clients could otherwise fill memory. */
const READY_PORTS = 64;

interface ReadyAddress {
  readonly pointer: Pointer;
  /** Keeps the memory behind `pointer`. */
  readonly bytes: Buffer;
}

function compileEndpoint(endpoint: BackendEndpoint): TcpEndpoint {
  const family = endpoint.address.includes(':') ? AF_INET6 : AF_INET;
  const served = new Map(endpoint.portMap.map(({ targetPort, port }) => [targetPort, port]));
  const ready = new Map<number, ReadyAddress>();
  const scratch = addressAt(endpoint.address, 0);
  return {
    slot: endpoint.slot,
    netns: endpoint.netns,
    family,
    address: endpoint.address,
    sockaddrLength: family === AF_INET ? 16 : 28,
    sockaddr(targetPort) {
      const known = ready.get(targetPort);
      if (known !== undefined) return known.pointer;
      const port = served.get(targetPort) ?? targetPort;
      if (ready.size >= READY_PORTS) {
        scratch.bytes.writeUInt16BE(port, 2);
        return scratch.pointer;
      }
      const made = addressAt(endpoint.address, port);
      ready.set(targetPort, made);
      return made.pointer;
    },
  };
}

function addressAt(address: string, port: number): ReadyAddress {
  const bytes = Buffer.alloc(SOCKADDR_BYTES);
  writeSockaddr(bytes, 0, address, port);
  return { bytes, pointer: addressOf(bytes) };
}
