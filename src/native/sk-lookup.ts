// VIPs on any port: an eBPF program of type sk_lookup, attached to an overlay network's namespace, hands every new
// connection and every datagram for a VIP to a group of sockets, one per worker and protocol. See native-notes/sk-lookup.md.
import {
  Assembler,
  ATTACH_TYPE,
  attachToNetns,
  createMap,
  deleteFromMap,
  loadProgram,
  MAP_NO_PREALLOC,
  MAP_TYPE,
  PROGRAM_TYPE,
  updateMap,
} from './bpf.ts';
import { AF_INET, AF_INET6, IPPROTO_UDP } from './constants.ts';
import { bindUdp } from './datagram-socket.ts';
import { close, type Fd } from './libc.ts';
import { closeNetns, OWN_NETNS, openNetns } from './netns.ts';
import { SOCKADDR_BYTES, writeSockaddr } from './sockaddr.ts';
import { listenTcp } from './stream-socket.ts';

/**
 * Where the group's own sockets are bound in an overlay network's namespace. Nobody reaches it: the program refuses this port
 * on every address but VIPs, where it is a port like any other. Any number would do.
 */
export const VIP_GROUP_PORT = 15001;

export type GroupProtocol = 'tcp' | 'udp';

/** The sockets that serve all VIPs of one network: index is the worker. Who made them closes them. */
export interface VipGroup {
  readonly tcp: readonly Fd[];
  readonly udp: readonly Fd[];
}

/**
 * Makes the sockets of a group in a namespace: dual-stack, so that one takes IPv4 too. A datagram brings the address and port
 * that it was sent to; for a connection, getsockname tells them.
 */
export function openVipGroup(netns: Fd, workers: number, port = VIP_GROUP_PORT): VipGroup {
  const tcp: Fd[] = [];
  const udp: Fd[] = [];
  try {
    for (let worker = 0; worker < workers; worker++) {
      tcp.push(listenTcp('::', port, { netns, reusePort: true }));
      // SO_REUSEADDR, so that a flow's own socket can be bound to this port of a VIP beside it.
      udp.push(bindUdp('::', port, { netns, reusePort: true, reuseAddress: true, originalDestination: true }));
    }
    return { tcp, udp };
  } catch (error) {
    closeVipGroup({ tcp, udp });
    throw error;
  }
}

export function closeVipGroup({ tcp, udp }: VipGroup): void {
  for (const fd of [...tcp, ...udp]) close(fd);
}

export interface SkLookupOptions {
  /** The namespace to attach to. */
  readonly netns: Fd;
  /** Where the group is bound: refused on addresses that are no VIPs. */
  readonly ownPort: number;
  readonly workers: number;
  /** Default 4096; more are refused with E2BIG. */
  readonly maxVips?: number;
}

const DEFAULT_MAX_VIPS = 4096;
const ADDRESS_BYTES = 16;
/** Offset of the address in struct sockaddr_in6. */
const SOCKADDR_ADDRESS = 8;
const PROTOCOL_SLOT: Readonly<Record<GroupProtocol, number>> = { tcp: 0, udp: 1 };

/** One attached program with its maps. Another one attached later to the same namespace takes over when this is closed. */
export class SkLookup {
  readonly #vips: Fd;
  readonly #sockets: Fd;
  readonly #program: Fd;
  readonly #link: Fd;
  readonly #key = Buffer.alloc(ADDRESS_BYTES);
  readonly #number = Buffer.alloc(8);
  readonly #scratch = Buffer.alloc(SOCKADDR_BYTES);

  private constructor(vips: Fd, sockets: Fd, program: Fd, link: Fd) {
    this.#vips = vips;
    this.#sockets = sockets;
    this.#program = program;
    this.#link = link;
  }

  /** Needs CAP_BPF and CAP_NET_ADMIN, Linux 5.9. Throws NativeError. */
  static attach({ netns, ownPort, workers, maxVips = DEFAULT_MAX_VIPS }: SkLookupOptions): SkLookup {
    const opened: Fd[] = [];
    const keep = (fd: Fd): Fd => {
      opened.push(fd);
      return fd;
    };
    try {
      const vips = keep(
        createMap('vipmesh_vips', {
          type: MAP_TYPE.hash,
          keyBytes: ADDRESS_BYTES,
          valueBytes: 4,
          maxEntries: maxVips,
          flags: MAP_NO_PREALLOC,
        }),
      );
      const sockets = keep(
        createMap('vipmesh_sockets', { type: MAP_TYPE.sockmap, keyBytes: 4, valueBytes: 8, maxEntries: 2 * workers }),
      );
      const instructions = assembleProgram(vips, sockets, ownPort, workers);
      const program = keep(
        loadProgram('vipmesh_lookup', instructions, { type: PROGRAM_TYPE.skLookup, attachType: ATTACH_TYPE.skLookup }),
      );
      const link = attach(program, netns);
      return new SkLookup(vips, sockets, program, link);
    } catch (error) {
      for (const fd of opened) close(fd);
      throw error;
    }
  }

  /** Puts a worker's socket into the group: bound, and for TCP listening. Closing the socket takes it out. */
  setSocket(protocol: GroupProtocol, worker: number, fd: Fd): void {
    this.#number.writeBigUInt64LE(BigInt(fd));
    updateMap(this.#sockets, this.#slot(protocol, worker), this.#number);
  }

  /** Leaves the worker's share to the others of the group. */
  clearSocket(protocol: GroupProtocol, worker: number): void {
    deleteFromMap(this.#sockets, this.#slot(protocol, worker));
  }

  /** Makes an address a VIP. Not eligible: connections are refused (RST), datagrams answered by "port unreachable". */
  setVip(address: string, eligible: boolean): void {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(eligible ? 1 : 0);
    updateMap(this.#vips, this.#addressKey(address), value);
  }

  /** The address is like any other again. */
  removeVip(address: string): void {
    deleteFromMap(this.#vips, this.#addressKey(address));
  }

  /** Detaches the program and frees the maps. Connections that were made go on. */
  close(): void {
    for (const fd of [this.#link, this.#program, this.#vips, this.#sockets]) close(fd);
  }

  #slot(protocol: GroupProtocol, worker: number): Buffer {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(2 * worker + PROTOCOL_SLOT[protocol]);
    return key;
  }

  /** 16 bytes; IPv4 as ::ffff:a.b.c.d. */
  #addressKey(address: string): Buffer {
    writeSockaddr(this.#scratch, 0, address, 0, true);
    this.#scratch.copy(this.#key, 0, SOCKADDR_ADDRESS, SOCKADDR_ADDRESS + ADDRESS_BYTES);
    return this.#key;
  }
}

function attach(program: Fd, netns: Fd): Fd {
  if (netns !== OWN_NETNS) return attachToNetns(program, netns, ATTACH_TYPE.skLookup);
  const own = openNetns('/proc/thread-self/ns/net');
  try {
    return attachToNetns(program, own, ATTACH_TYPE.skLookup);
  } finally {
    closeNetns(own);
  }
}

const HELPER = { mapLookup: 1, assign: 124, release: 86 } as const;
const VERDICT = { drop: 0, pass: 1 } as const;
/** Offsets in struct bpf_sk_lookup (linux/bpf.h). The port is in host order, addresses are in network order. */
const CONTEXT = { family: 8, protocol: 12, localIp4: 40, localIp6: 44, localPort: 60 } as const;
/** Places in the program's frame: the address asked for, and the slot of the socket map. */
const FRAME = { address: -16, slot: -20 } as const;
/** The middle of an IPv4-mapped address, bytes 8-11: 00 00 ff ff. */
const MAPPED_MARK = 0xffff0000 | 0;

/**
 * The program, for each new connection or datagram in the namespace:
 *   not for a VIP             → pass, so that the kernel looks as ever; but drop when it is for the group's own port
 *   a VIP, nobody eligible    → drop, which tells the client "refused"
 *   a VIP                     → the first socket that is in the map; the kernel then spreads over its SO_REUSEPORT group
 * Every slot is tried, because a socket that is closed leaves the map, and the others must go on.
 * r6 context, r7 0 for TCP and 1 for UDP, r9 the socket.
 */
export function assembleProgram(vips: Fd, sockets: Fd, ownPort: number, workers: number): Buffer {
  const program = new Assembler()
    .move(6, 1)
    .load(4, 2, 6, CONTEXT.family)
    .jumpIf('eq', 2, AF_INET, 'ipv4')
    .jumpIf('ne', 2, AF_INET6, 'pass');
  for (let word = 0; word < ADDRESS_BYTES; word += 4) {
    program.load(4, 2, 6, CONTEXT.localIp6 + word).store(4, 10, FRAME.address + word, 2);
  }
  program
    .jump('look up')
    .label('ipv4')
    .storeConstant(8, 10, FRAME.address, 0)
    .storeConstant(4, 10, FRAME.address + 8, MAPPED_MARK)
    .load(4, 2, 6, CONTEXT.localIp4)
    .store(4, 10, FRAME.address + 12, 2)
    .label('look up')
    .loadMap(1, vips)
    .move(2, 10)
    .add(2, FRAME.address)
    .call(HELPER.mapLookup)
    .jumpIf('eq', 0, 0, 'no VIP')
    .load(4, 2, 0, 0)
    .jumpIf('eq', 2, 0, 'drop')
    .set(7, PROTOCOL_SLOT.tcp)
    .load(4, 2, 6, CONTEXT.protocol)
    .jumpIf('ne', 2, IPPROTO_UDP, 'find')
    .set(7, PROTOCOL_SLOT.udp)
    .label('find');
  for (let worker = 0; worker < workers; worker++) {
    program
      .move(2, 7)
      .add(2, 2 * worker)
      .store(4, 10, FRAME.slot, 2)
      .loadMap(1, sockets)
      .move(2, 10)
      .add(2, FRAME.slot)
      .call(HELPER.mapLookup)
      .jumpIf('ne', 0, 0, 'found');
  }
  return program
    .jump('drop')
    .label('found')
    .move(9, 0)
    .move(1, 6)
    .move(2, 9)
    .set(3, 0)
    .call(HELPER.assign)
    .move(7, 0)
    .move(1, 9)
    .call(HELPER.release)
    .jumpIf('eq', 7, 0, 'pass')
    .jump('drop')
    .label('no VIP')
    .load(4, 2, 6, CONTEXT.localPort)
    .jumpIf('eq', 2, ownPort, 'drop')
    .label('pass')
    .set(0, VERDICT.pass)
    .exit()
    .label('drop')
    .set(0, VERDICT.drop)
    .exit()
    .assemble();
}
