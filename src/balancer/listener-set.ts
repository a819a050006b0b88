// The node's own listening sockets: one group per frontend, one socket of it for each worker. The main thread makes, pauses
// and closes them; workers only borrow the numbers, so a worker that dies takes no port with it.
import { isDeepStrictEqual } from 'node:util';
import { close, type Fd } from '../native/libc.ts';
import { NativeError } from '../native/errno.ts';
import { bindUdp, pauseUdp } from '../native/datagram-socket.ts';
import { boundDevice, closingOnError, listenTcp, pauseListener, resumeListener } from '../native/stream-socket.ts';
import { interfaceOf } from '../model/publish-place.ts';
import type { Protocol } from '../model/port.ts';
import type { Log } from '../runtime/log.ts';
import type { BalancerCommand } from './command.ts';
import type { FrontendKey, FrontendPlan } from './frontends.ts';
import type { FrontendWanted } from './publisher.ts';
import type { Slots } from './slots.ts';

/** `refusing`: held, but closed, because no endpoint is eligible. `blocked`: not ours; tried again every second. */
export type FrontendState =
  | { readonly state: 'listening' | 'refusing' }
  | { readonly state: 'blocked'; readonly reason: string };

export interface ListenerPort {
  readonly workers: number;
  postTo(worker: number, command: BalancerCommand): void;
  /** Resolves when every worker has carried out what was posted before. */
  barrier(): Promise<void>;
  readonly log: Log;
}

interface Group {
  wanted: FrontendWanted;
  /** Index of the counters. */
  readonly id: number;
  sockets: readonly Fd[];
  state: FrontendState;
}

/** A blocked port is tried again this often: a port that another program gave up is ours within a second (scenario T15). */
const RETRY_MS = 1000;

export class ListenerSet {
  readonly #port: ListenerPort;
  readonly #ids: Slots<string>;
  readonly #groups = new Map<FrontendKey, Group>();
  readonly #retry: NodeJS.Timeout;
  /** Removing waits for the workers, and what follows may want the same port, so changes are made one after another. */
  #tail: Promise<void> = Promise.resolve();
  #closed = false;
  /** Sockets that workers are told to let go of, and what they listened on. */
  readonly #leaving: { readonly fd: Fd; readonly plan: FrontendPlan }[] = [];

  /** `ids` are the numbers of the frontends' counters. */
  constructor(ids: Slots<string>, port: ListenerPort) {
    this.#port = port;
    this.#ids = ids;
    this.#retry = setInterval(() => this.retryBlocked(), RETRY_MS);
    this.#retry.unref();
  }

  /** Drops and sets frontends, after all earlier changes. Resolves when that is in effect. Never rejects. */
  update(remove: readonly FrontendKey[], set: readonly FrontendWanted[]): Promise<void> {
    return this.#inTurn(() => this.#update(remove, set));
  }

  #inTurn(change: () => Promise<void>): Promise<void> {
    this.#tail = this.#tail.then(change).catch((error: unknown) => {
      this.#port.log.error('changing the listening sockets failed', { error });
    });
    return this.#tail;
  }

  /** Other sockets for the same, if they are needed still when it is their turn. */
  #renew(key: FrontendKey): void {
    void this.#inTurn(async () => {
      const group = this.#groups.get(key);
      if (group !== undefined && lostDevice(group)) await this.#update([key], [group.wanted]);
    });
  }

  state(key: FrontendKey): FrontendState | undefined {
    return this.#groups.get(key)?.state;
  }

  /** Where the data path counts for a frontend. */
  id(key: FrontendKey): number | undefined {
    return this.#groups.get(key)?.id;
  }

  /**
   * Whether that is bound by sockets of these frontends, also of one that is about to go: a change that comes after its removal
   * finds it free. `address` undefined: every one of the node.
   */
  holds(protocol: Protocol, port: number, address: string | undefined): boolean {
    const isIt = (plan: FrontendPlan) => plan.protocol === protocol && plan.port === port && plan.address === address;
    return (
      this.#leaving.some(({ plan }) => isIt(plan)) ||
      [...this.#groups.values()].some(({ wanted, sockets }) => sockets.length > 0 && isIt(wanted.plan))
    );
  }

  /** Every frontend with what became of it. */
  all(): readonly { readonly plan: FrontendPlan; readonly state: FrontendState; readonly id: number }[] {
    return [...this.#groups.values()].map(({ wanted, state, id }) => ({ plan: wanted.plan, state, id }));
  }

  /** Refuses new connections on every port at once; what is open goes on. For the agent's own drain. */
  async refuseAll(): Promise<void> {
    clearInterval(this.#retry);
    this.#closed = true;
    await this.update([...this.#groups.keys()], []);
  }

  async #update(remove: readonly FrontendKey[], set: readonly FrontendWanted[]): Promise<void> {
    const gone = [...remove, ...set.filter((wanted) => this.#differs(wanted)).map((wanted) => wanted.plan.key)];
    for (const key of gone) this.#withdraw(key);
    await this.#closeLeaving();
    if (this.#closed) return;
    for (const wanted of set) this.#set(wanted);
    await this.#closeLeaving();
  }

  /** A number may only be closed, and so used again, when no worker still has it in its loop. */
  async #closeLeaving(): Promise<void> {
    const count = this.#leaving.length;
    if (count === 0) return;
    await this.#port.barrier();
    for (const { fd } of this.#leaving.splice(0, count)) close(fd);
  }

  /** The same port for something else: the sockets are made anew, so that nothing of the old one's queue reaches the new. */
  #differs(wanted: FrontendWanted): boolean {
    const group = this.#groups.get(wanted.plan.key);
    return group !== undefined && group.wanted.plan.serviceId !== wanted.plan.serviceId;
  }

  #withdraw(key: FrontendKey): void {
    const group = this.#groups.get(key);
    if (group === undefined) return;
    if (group.wanted.plan.protocol === 'tcp' && group.state.state === 'listening')
      for (const fd of group.sockets) pauseListener(fd);
    this.#lend(group, false);
    this.#groups.delete(key);
    this.#ids.release(key);
    this.#leave(group);
  }

  #leave({ sockets, wanted: { plan } }: Group): void {
    this.#leaving.push(...sockets.map((fd) => ({ fd, plan })));
  }

  #set(wanted: FrontendWanted): void {
    const { key } = wanted.plan;
    const known = this.#groups.get(key);
    const id = this.#ids.take(key);
    if (id === undefined) {
      this.#port.log.error('no number is left for a frontend; restart the agent to raise the limit', { frontend: key });
      return;
    }
    const group = known ?? {
      wanted,
      id,
      sockets: [],
      state: { state: 'blocked', reason: 'not tried yet' } satisfies FrontendState,
    };
    const { plan, backend } = group.wanted;
    const moved =
      backend !== wanted.backend ||
      plan.targetPort !== wanted.plan.targetPort ||
      !isDeepStrictEqual(plan.access, wanted.plan.access);
    group.wanted = wanted;
    this.#groups.set(key, group);
    if (group.state.state === 'blocked') this.#open(group);
    else if (moved && group.state.state === 'listening') this.#lend(group, true);
    this.#openOrRefuse(group);
  }

  #open(group: Group): void {
    const { plan } = group.wanted;
    try {
      group.sockets = this.#makeGroup(plan, true);
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.#blocked(group, blockedBy(error, plan));
      return;
    }
    if (group.state.state === 'blocked' && group.state.reason !== 'not tried yet') {
      this.#port.log.info('the port can be had now, and is ours', { frontend: plan.key });
    }
    group.state = { state: 'refusing' };
  }

  /** Without an eligible endpoint the kernel refuses clients, and the port stays held. */
  #openOrRefuse(group: Group): void {
    if (group.state.state === 'blocked') return;
    if (group.wanted.hasEligible === (group.state.state === 'listening')) return;
    if (group.wanted.plan.protocol === 'udp') {
      this.#exchangeDatagramSockets(group);
      return;
    }
    for (const fd of group.sockets) {
      if (group.wanted.hasEligible) resumeListener(fd);
      else pauseListener(fd);
    }
    // A paused listener is always "hung up" for epoll, so the workers must not watch it.
    this.#lend(group, group.wanted.hasEligible);
    group.state = { state: group.wanted.hasEligible ? 'listening' : 'refusing' };
  }

  /**
   * A UDP socket refuses while it is connected, and connecting takes it out of its SO_REUSEPORT group for good. So one socket of its
   * own holds a port that refuses, and those of the workers are made anew each time.
   */
  #exchangeDatagramSockets(group: Group): void {
    const { wanted, sockets: before } = group;
    const { hasEligible } = wanted;
    let sockets: readonly Fd[];
    try {
      sockets = this.#makeGroup(wanted.plan, !hasEligible);
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      this.#blocked(group, blockedBy(error, wanted.plan));
      sockets = [];
    }
    if (hasEligible) {
      // No worker ever had the one that refused.
      for (const fd of before) close(fd);
    } else {
      this.#lend(group, false);
      this.#leave({ ...group, sockets: before });
    }
    group.sockets = sockets;
    if (group.state.state === 'blocked') return;
    if (hasEligible) this.#lend(group, true);
    group.state = { state: hasEligible ? 'listening' : 'refusing' };
  }

  #lend(group: Group, lend: boolean): void {
    const { plan, backend } = group.wanted;
    group.sockets.forEach((fd, worker) => {
      this.#port.postTo(
        worker,
        lend
          ? {
              kind: 'frontend-add',
              frontend: {
                id: group.id,
                protocol: plan.protocol,
                fd,
                target: { kind: 'port', backend, targetPort: plan.targetPort },
                ...(plan.access === undefined ? {} : { access: plan.access }),
              },
            }
          : { kind: 'frontend-remove', id: group.id },
      );
    });
  }

  #blocked(group: Group, reason: string): void {
    if (group.state.state !== 'blocked' || group.state.reason !== reason) {
      this.#port.log.warn('cannot listen; trying again every second', { frontend: group.wanted.plan.key, reason });
    }
    group.state = { state: 'blocked', reason };
  }

  /** Tries the blocked ports again now; otherwise that happens every second. */
  retryBlocked(): void {
    for (const group of this.#groups.values()) {
      if (lostDevice(group)) this.#renew(group.wanted.plan.key);
      if (group.state.state !== 'blocked') continue;
      this.#open(group);
      this.#openOrRefuse(group);
    }
  }

  /**
   * One socket per worker on the same address, or the one that holds a refusing UDP port; none stays when one fails. Throws
   * NativeError.
   */
  #makeGroup(plan: FrontendPlan, refusing: boolean): readonly Fd[] {
    const addresses = addressesOf(plan.address);
    for (const [index, address] of addresses.entries()) {
      try {
        return this.#makeGroupOn(plan, address, refusing);
      } catch (error) {
        // A kernel without IPv6 has only the second.
        const noFamily = error instanceof NativeError && error.code === 'EAFNOSUPPORT';
        if (!noFamily || index === addresses.length - 1) throw error;
      }
    }
    return [];
  }

  #makeGroupOn(plan: FrontendPlan, address: string, refusing: boolean): readonly Fd[] {
    if (!this.#holdsPort(plan)) close(makeSocket(plan, address, { reusePort: false, refusing }));
    const sockets: Fd[] = [];
    const count = plan.protocol === 'udp' && refusing ? 1 : this.#port.workers;
    try {
      for (let i = 0; i < count; i++) sockets.push(makeSocket(plan, address, { reusePort: true, refusing }));
    } catch (error) {
      for (const fd of sockets) close(fd);
      throw error;
    }
    return sockets;
  }

  /**
   * SO_REUSEPORT shares a port with every process of this user that has set it too, another agent included; so a port is first
   * bound alone, for a moment. Where sockets of our own are on it already (a VIP beside a published port) that cannot be done,
   * and is not needed.
   */
  #holdsPort(plan: FrontendPlan): boolean {
    for (const { wanted, sockets } of this.#groups.values()) {
      if (sockets.length > 0 && wanted.plan.port === plan.port && wanted.plan.protocol === plan.protocol) return true;
    }
    return false;
  }
}

/** Why a port is not ours now, as a sentence for the user. */
function blockedBy(error: NativeError, { address }: FrontendPlan): string {
  if (address === undefined || !isAbsent(error)) return error.message;
  const device = interfaceOf(address);
  if (device !== undefined && error.code === 'ENETUNREACH')
    return `the interface ${device} of this node is down; it is listened on as soon as it is up`;
  if (device !== undefined) return `this node has no interface ${device}; it is listened on as soon as there is one`;
  return `no interface of this node has the address ${address}; it is listened on as soon as one has`;
}

/** An address or interface that is not there yet, or (for UDP) not up. */
function isAbsent({ code }: NativeError): boolean {
  return code === 'EADDRNOTAVAIL' || code === 'ENODEV' || code === 'ENETUNREACH';
}

/** The first that the kernel has the family of. */
function addressesOf(place: string | undefined): readonly string[] {
  return place === undefined || interfaceOf(place) !== undefined ? ['::', '0.0.0.0'] : [place];
}

/** A socket stays with the interface that it was bound to, and hears nothing of another that is called the same later. */
function lostDevice({ sockets: [fd], wanted }: Group): boolean {
  const device = interfaceOf(wanted.plan.address ?? '');
  return device !== undefined && fd !== undefined && boundDevice(fd) !== device;
}

/**
 * Why a published port could not be had on this node now; undefined when it could. Nothing stays bound. An address or
 * interface that is not here is no problem: it may be another node's, or come later.
 */
export function portProblem(protocol: 'tcp' | 'udp', port: number, address?: string): string | undefined {
  for (const candidate of addressesOf(address)) {
    try {
      const plan = { protocol, port, ...(address === undefined ? {} : { address }) };
      close(makeSocket(plan, candidate, { reusePort: false, refusing: true }));
      return undefined;
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      if (isAbsent(error)) return undefined;
      if (error.code !== 'EAFNOSUPPORT') return error.message;
    }
  }
  return 'this kernel has neither IPv4 nor IPv6';
}

function makeSocket(
  plan: Pick<FrontendPlan, 'protocol' | 'port' | 'address'>,
  address: string,
  { reusePort, refusing }: { readonly reusePort: boolean; readonly refusing: boolean },
): Fd {
  const device = interfaceOf(plan.address ?? '');
  const options = { reusePort, ...(device === undefined ? {} : { device }) };
  if (plan.protocol === 'tcp') return listenTcp(address, plan.port, { ...options, paused: refusing });
  const fd = bindUdp(address, plan.port, { ...options, packetInfo: true });
  return closingOnError(fd, () => {
    if (refusing) pauseUdp(fd);
  });
}
