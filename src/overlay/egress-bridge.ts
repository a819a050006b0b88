// The node-local bridge through which containers reach the outside, in the node's own namespace, with its nftables table. It
// is made for the first container that needs it, and stays until the driver removes everything.
import { type IpAddress, parseSubnet, type Subnet } from '../model/address.ts';
import { gatewayOf } from '../model/network.ts';
import type { TaskId } from '../model/task.ts';
import type { Kernel, Namespace, Notice, Observed, Operation } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { Log } from '../runtime/log.ts';
import {
  chooseEgressSubnet,
  clashOf,
  egressPlace,
  egressRuleset,
  egressSubnetProblem,
  nextEgressNumber,
  observedEgressPlace,
  planEgress,
  planEgressPorts,
} from './egress.ts';
import { EGRESS_LINK, egressBridge, egressPort, type Instance, isEgressLink, macOf, tableName } from './names.ts';
import { OverlayError } from './overlay-error.ts';
import type { EgressPlace } from './plan.ts';
import { addLinks, areAsPlanned, type Outcome, reconcile, throwUnlessPort } from './reconciler.ts';

export interface EgressOptions {
  /** IPv4, /8 to /29. Absent: the first of a pool that is not in use on this node. */
  readonly egressSubnet?: Subnet;
}

interface Options extends EgressOptions {
  readonly instance: Instance;
  readonly kernel: Kernel;
  readonly log: Log;
}

export interface Egress {
  readonly subnet: Subnet;
  readonly gateway: IpAddress;
  readonly place: EgressPlace;
  /** The bridge, and the container's port of it, in the node's own namespace. */
  readonly bridge: string;
  readonly port: string;
}

export class EgressBridge {
  readonly #options: Options;
  readonly #changed: (notice: Notice) => void;
  readonly #places = new Map<TaskId, EgressPlace>();
  #subnet: Subnet | undefined;
  #lastNumber: number | undefined;
  /** The bridge and the table are as planned, as far as is known. */
  #isUp = false;
  #isWatching = false;

  /** `changed` is called after something changed the node's links, addresses or routes. Throws OverlayError. */
  constructor(options: Options, changed: (notice: Notice) => void) {
    const { egressSubnet } = options;
    const problem = egressSubnet === undefined ? undefined : egressSubnetProblem(egressSubnet);
    if (problem !== undefined) throw new OverlayError('bad-setting', `the egress subnet ${egressSubnet} ${problem}`);
    this.#options = options;
    this.#changed = changed;
  }

  /** Gives a container its place, the one that it had when its namespace shows one. Rejects with OverlayError. */
  async admit(taskId: TaskId, namespace: Namespace): Promise<void> {
    if (this.#places.has(taskId)) return;
    const subnet = await this.#ensureSubnet();
    const observed = await namespace.observe();
    const place = await this.#placeFor(subnet, observed);
    await this.#removeBrokenPair(place, namespace, observed);
    this.#places.set(taskId, { ...place, namespace: namespace.name });
    this.#lastNumber = place.number;
  }

  /** Makes the bridge and the container's link be there. Rejects with KernelError. */
  async settle(taskId: TaskId): Promise<Egress> {
    const place = this.#places.get(taskId);
    const subnet = this.#subnet;
    if (place === undefined || subnet === undefined) throw new RangeError(`container ${taskId} was not admitted`);
    const { instance } = this.#options;
    const names = { bridge: egressBridge(instance), port: egressPort(instance, place.number) };
    const { own } = this.#options.kernel;
    const plan = planEgressPorts(instance, [[taskId, place]]);
    // Only what is the container's own, where that is all that is missing.
    const isDone = this.#isUp && (await addLinks(own, plan)).failures.length === 0;
    if (!isDone) await throwUnlessPort(own, await this.#reconcile(subnet), names);
    return { subnet, gateway: gatewayOf(subnet), place, ...names };
  }

  /** Takes a container's place and link away. */
  async dismiss(taskId: TaskId): Promise<void> {
    const place = this.#places.get(taskId);
    if (place === undefined || this.#subnet === undefined) return;
    this.#places.delete(taskId);
    const { kernel, instance, log } = this.#options;
    const { address, number } = place;
    const neighbour = { address, mac: macOf(address) };
    try {
      await kernel.own.apply({ kind: 'remove-link', name: egressPort(instance, number) });
      await kernel.own.apply({ kind: 'remove-neighbour', link: egressBridge(instance), neighbour });
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      log.warn('cannot remove a container from the egress bridge', { taskId, error });
      this.#changed({ kind: 'any' });
    }
  }

  /** After all containers that live on were admitted: removes everything when there is none. */
  async adopt(): Promise<void> {
    if (this.#places.size === 0) await this.remove();
  }

  /** Undefined when there is no bridge to look after. */
  async repair(): Promise<Outcome | undefined> {
    return this.#isUp && this.#subnet !== undefined ? this.#reconcile(this.#subnet) : undefined;
  }

  /** A link of the node that is the bridge or a port of it. */
  isOurs(link: string): boolean {
    return isEgressLink(this.#options.instance, link);
  }

  /** The same where only some of these links may have been changed. */
  async repairLinks(links: ReadonlySet<string>): Promise<Outcome | undefined> {
    const { kernel, instance } = this.#options;
    if (!this.#isUp || this.#subnet === undefined) return undefined;
    const places = [...this.#places].filter(([, { number }]) => links.has(egressPort(instance, number)));
    const plan = planEgress(instance, this.#subnet, new Map(places));
    return (await areAsPlanned(kernel.own, plan, links)) ? undefined : this.repair();
  }

  /** The same when only nftables has been changed. */
  async repairTable(): Promise<Outcome | undefined> {
    const { kernel, instance } = this.#options;
    return this.#isUp && (await kernel.own.hasRuleset(tableName(instance))) ? undefined : this.repair();
  }

  /** The bridge with all its ports, and the table. net.ipv4.ip_forward stays: others may have come to rely on it. */
  async remove(): Promise<void> {
    const { kernel, instance } = this.#options;
    const bridge = egressBridge(instance);
    this.#isUp = false;
    // Something else may have removed the bridge alone.
    await kernel.own.apply({ kind: 'remove-ruleset', name: tableName(instance) });
    for (const { name, master } of await kernel.own.observeLinks())
      if (master === bridge) await kernel.own.apply({ kind: 'remove-link', name });
    await kernel.own.apply({ kind: 'remove-link', name: bridge });
    this.#places.clear();
    this.#subnet = undefined;
  }

  async #placeFor(subnet: Subnet, observed: Observed): Promise<EgressPlace> {
    const { kernel, instance } = this.#options;
    const taken = new Set([...this.#places.values()].map(({ number }) => number));
    const held = observedEgressPlace(subnet, observed);
    if (held !== undefined && !taken.has(held.number)) return held;
    let number = nextEgressNumber(subnet, taken, this.#lastNumber);
    while (number !== undefined) {
      // After a restart a container that runs may not have been admitted yet: its port tells that its place is its own.
      if ((await kernel.own.observeLinks([egressPort(instance, number)])).length === 0)
        return egressPlace(subnet, number);
      taken.add(number);
      number = nextEgressNumber(subnet, taken, number);
    }
    throw new OverlayError(
      'egress-full',
      `all ${taken.size} addresses of the egress subnet ${subnet} are taken; stop containers, or start the agent with a larger one`,
    );
  }

  async #reconcile(subnet: Subnet): Promise<Outcome> {
    const { kernel, instance, log } = this.#options;
    const { own } = kernel;
    const outcome = await reconcile(own, planEgress(instance, subnet, this.#places));
    if (outcome.applied.some((operation) => operation.kind === 'set-sysctl' && operation.path === 'ipv4/ip_forward')) {
      log.info('switched on net.ipv4.ip_forward, without which containers do not reach the outside');
    }
    const table = tableName(instance);
    // What an earlier run left may be an older version's, so the first time it is replaced.
    if (outcome.failures.length > 0 || (this.#isUp && (await own.hasRuleset(table)))) return outcome;
    const operation: Operation = { kind: 'set-ruleset', name: table, ruleset: egressRuleset(instance, subnet) };
    await own.apply(operation);
    this.#isUp = true;
    if (!this.#isWatching) own.watch(this.#changed);
    this.#isWatching = true;
    return { ...outcome, applied: [...outcome.applied, operation] };
  }

  /** The subnet that the bridge has already, or the one asked for, or a free one; never one that leads elsewhere. */
  async #ensureSubnet(): Promise<Subnet> {
    if (this.#subnet !== undefined) return this.#subnet;
    const { kernel, instance, egressSubnet } = this.#options;
    const bridge = egressBridge(instance);
    const { addresses } = await kernel.own.observe();
    const routed = await kernel.own.routed();
    const left = addresses.find(({ link, address }) => link === bridge && !address.includes(':'));
    const present = left === undefined ? undefined : parseSubnet(`${left.address}/${left.prefixLength}`);
    const subnet = egressSubnet ?? present ?? chooseEgressSubnet(routed);
    if (subnet === undefined) {
      throw new OverlayError(
        'egress-clash',
        'each subnet of 100.127.0.0/16, the pool for egress, is routed elsewhere on this node; give the agent an egress subnet that is free',
      );
    }
    const clash = clashOf(subnet, routed, bridge);
    if (clash !== undefined) {
      throw new OverlayError(
        'egress-clash',
        `the egress subnet ${subnet} is routed over ${clash} on this node already; give the agent one that is free`,
      );
    }
    this.#subnet = subnet;
    return subnet;
  }

  /** As for networks: an end whose other end is gone is in the way of a new pair. */
  async #removeBrokenPair(place: EgressPlace, namespace: Namespace, observed: Observed): Promise<void> {
    const { kernel, instance } = this.#options;
    const port = egressPort(instance, place.number);
    const hasPort = (await kernel.own.observeLinks([port])).length > 0;
    const hasEnd = observed.links.some(({ name, mac }) => name === EGRESS_LINK && mac === macOf(place.address));
    if (hasPort && hasEnd) return;
    if (hasPort) await kernel.own.apply({ kind: 'remove-link', name: port });
    await namespace.apply({ kind: 'remove-link', name: EGRESS_LINK });
  }
}
