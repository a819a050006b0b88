// The overlay networks of this node: what each is to be like, and making it so.
import type { Snapshot } from '../catalog/snapshot.ts';
import { type IpAddress, ipVersion } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Kernel, Namespace, Operation, Tunnel } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import { networkMtu, underlayMtu } from './mtu.ts';
import { BRIDGE, type Instance, macOf, networkNamespace, portLink, TUNNEL } from './names.ts';
import { OverlayError } from './overlay-error.ts';
import { type ContainerSpec, planNetwork, planPort } from './plan.ts';
import { PortGuard } from './port-guard.ts';
import { senderElements } from './port-rules.ts';
import {
  addLinks,
  areAsPlanned,
  NOTHING_DONE,
  type Outcome,
  reconcile,
  throwFirst,
  throwUnlessPort,
} from './reconciler.ts';
import { isAsPlanned, portsOn } from './notice.ts';
import { type Remote, type RemoteId, RemoteTable, remoteOf, remoteOperations, remotesOn } from './remotes.ts';
import type { Suspect } from './suspects.ts';
import { TunnelGuard } from './tunnel-guard.ts';
import { type OverlayNode, type WantedNetwork, wantedNetwork } from './wanted.ts';

/** RFC 7348 section 8. */
const VXLAN_PORT = 4789;

export interface NetworkState {
  readonly namespace: Namespace;
  network: Network;
  own: readonly IpAddress[];
  vips: readonly IpAddress[];
  remotes: RemoteTable;
  readonly ports: PortGuard;
  /** This node needs it for more than the containers that it has on it. */
  isWanted: boolean;
}

/**
 * `stranger`: from an address that is no node's; `forged-by-node`: from a node, in the name of what is not on it; `forged-by-container`:
 * likewise, of a container here; `unknown-network`: from a node, and no network here has that number.
 */
export type FramesDropped = Readonly<
  Record<'stranger' | 'forged-by-node' | 'forged-by-container' | 'unknown-network', number>
>;

interface Options {
  readonly instance: Instance;
  readonly kernel: Kernel;
  readonly node: OverlayNode;
  /** The containers of this node, as they are now. */
  readonly containers: () => readonly ContainerSpec[];
  /** Called after something was changed in a network's namespace that is not as planned, or may not be. */
  readonly suspect: (what: Suspect) => void;
}

export class Networks {
  readonly #options: Options;
  readonly #states = new Map<NetworkId, NetworkState>();
  readonly #problems = new Map<NetworkId, KernelError>();
  readonly guard: TunnelGuard | undefined;
  #underlayMtu: number | undefined;
  #cluster: { readonly dataAddress: IpAddress; readonly port: number } | undefined;
  /** Of networks that are here no longer. */
  #forgedBefore = 0;

  constructor(options: Options) {
    this.#options = options;
    const { kernel, instance, node } = options;
    if (node.cluster === undefined) return;
    const { dataAddress, vxlanPort: port = VXLAN_PORT } = node.cluster;
    this.#cluster = { dataAddress, port };
    this.guard = new TunnelGuard({ kernel, instance, port }, ipVersion(dataAddress));
  }

  get problems(): ReadonlyMap<NetworkId, KernelError> {
    return this.#problems;
  }

  get all(): readonly NetworkState[] {
    return [...this.#states.values()];
  }

  get ids(): Iterable<NetworkId> {
    return this.#states.keys();
  }

  get(id: NetworkId): NetworkState | undefined {
    return this.#states.get(id);
  }

  /** Of one that was opened before. */
  require(id: NetworkId): NetworkState {
    const state = this.#states.get(id);
    if (state === undefined) throw new RangeError(`network ${id} was not ensured before it was used`);
    return state;
  }

  /** Makes the namespace be there; what is in it comes by `settle`. Rejects with KernelError. */
  async open(wanted: WantedNetwork, snapshot: Snapshot): Promise<NetworkState> {
    const { network, own, vips } = wanted;
    const remotes = this.#remotesOn(snapshot, network);
    const known = this.#states.get(network.id);
    if (known !== undefined) return Object.assign(known, { network, own, vips, remotes });
    const { kernel, instance, containers, suspect } = this.#options;
    const namespace = await kernel.ensureNamespace(networkNamespace(instance, network.id));
    const ports = new PortGuard(namespace);
    const state: NetworkState = { namespace, network, own, vips, remotes, ports, isWanted: false };
    this.#states.set(network.id, state);
    namespace.watch((notice) => {
      if (notice.kind === 'rules') suspect(`rules of ${network.id}`);
      else if (notice.kind === 'link') suspect(`link ${notice.name} of ${network.id}`);
      else if (!isAsPlanned(notice, state, containers())) suspect(network.id);
    });
    return state;
  }

  /** As `open`, for a network of which only the snapshot says more. Rejects with OverlayError `no-address`. */
  async ensure(network: Network, snapshot: Snapshot): Promise<NetworkState> {
    const known = this.#states.get(network.id);
    if (known !== undefined) {
      known.network = network;
      return known;
    }
    const wanted = wantedNetwork(snapshot, network, this.#options.node);
    if (wanted !== undefined) return this.open(wanted, snapshot);
    throw new OverlayError(
      'no-address',
      `this node has no address of its own on network ${network.spec.name} yet; is the store reachable?`,
    );
  }

  /** Rejects with the first KernelError; all that could be done is done. */
  async settle(state: NetworkState): Promise<void> {
    throwFirst(await this.reconcile(state));
  }

  /** Rejects when the namespace cannot be read. */
  async reconcile(state: NetworkState): Promise<Outcome> {
    const { instance, containers } = this.#options;
    const tunnel = this.#tunnelOf(state.network);
    if (tunnel !== undefined) await this.guard?.admit(tunnel.vni, state.remotes.all());
    const senders = senderElements(state.network.id, containers());
    const admitted = await attempted(() => state.ports.admit(senders));
    const connected = { ...state, tunnel, mtu: this.mtuOf(state.network), remotes: state.remotes.all() };
    const outcome = await reconcile(state.namespace, planNetwork(instance, connected, containers()));
    const retained = await attempted(() => state.ports.retain(senders));
    return this.#noted(state, {
      applied: [...admitted.applied, ...outcome.applied, ...retained.applied],
      failures: [...admitted.failures, ...outcome.failures, ...retained.failures],
    });
  }

  /** Only these links, and all of it where one of them is not as it should be. Rejects when the namespace cannot be read. */
  async reconcileLinks(state: NetworkState, links: ReadonlySet<string>): Promise<Outcome> {
    const { instance, containers } = this.#options;
    const here = containers().filter(({ taskId }) => links.has(portLink(taskId)));
    const connected = { ...state, tunnel: this.#tunnelOf(state.network), mtu: this.mtuOf(state.network), remotes: [] };
    const isFine = await areAsPlanned(state.namespace, planNetwork(instance, connected, here), links);
    return isFine ? NOTHING_DONE : this.reconcile(state);
  }

  /** Only who may send there, which is not to be seen by looking at links. */
  async reconcileRules(state: NetworkState): Promise<Outcome> {
    const outcome = await attempted(() => state.ports.repair());
    return outcome.failures.length === 0 ? outcome : this.#noted(state, outcome);
  }

  #noted({ network }: NetworkState, outcome: Outcome): Outcome {
    const [problem] = outcome.failures;
    if (problem === undefined) this.#problems.delete(network.id);
    else this.#problems.set(network.id, problem);
    return outcome;
  }

  /** Makes a container's port be there, at a price that does not depend on how many others there are. Rejects with KernelError. */
  async addPort(state: NetworkState, container: ContainerSpec): Promise<void> {
    const { namespace, network, ports, remotes } = state;
    const plan = planPort(this.#options.instance, network, container, this.mtuOf(network));
    // What is here has been elsewhere until now, or is still told of as being there.
    const hasMoved = plan.forwarding.some(({ mac }) => remotes.withMac(mac) !== undefined);
    const senders = senderElements(network.id, [container]);
    const isAdded = async () => (await ports.add(senders)) && (await addLinks(namespace, plan)).failures.length === 0;
    if (!hasMoved && (await succeeds(isAdded))) return;
    // Or something else has changed what it builds on. What then fails may be another container's.
    const port = portLink(container.taskId);
    await throwUnlessPort(namespace, await this.reconcile(state), { port, bridge: BRIDGE });
  }

  /** Takes the port of a former container away, likewise. Resolves with what failed. */
  async removePort(state: NetworkState, container: ContainerSpec): Promise<readonly KernelError[]> {
    const { network, remotes } = state;
    const addresses = addressesOn(network.id, container);
    const here = this.#options.containers().flatMap((one) => addressesOn(network.id, one));
    // Where somebody else has them by now, they stay.
    if (!addresses.some((address) => here.includes(address) || remotes.withAddress(address) !== undefined)) {
      const operations: readonly Operation[] = [
        { kind: 'remove-link', name: portLink(container.taskId) },
        ...addresses.map((address): Operation => {
          return { kind: 'remove-neighbour', link: BRIDGE, neighbour: { address, mac: macOf(address) } };
        }),
      ];
      const isRemoved = async () => {
        for (const operation of operations) await state.namespace.apply(operation);
        await state.ports.remove(senderElements(network.id, [container]));
        return true;
      };
      if (await succeeds(isRemoved)) return [];
    }
    return (await this.reconcile(state)).failures;
  }

  /** Of a network that could not even be opened or read. */
  setProblem(id: NetworkId, problem: KernelError): void {
    this.#problems.set(id, problem);
  }

  /** Takes over what has become of some of a network's remotes, for a price that does not depend on how many there are. */
  async moveRemotes(state: NetworkState, snapshot: Snapshot, ids: Iterable<RemoteId>): Promise<void> {
    const { node, containers } = this.#options;
    const [before, after]: [Remote[], Remote[]] = [[], []];
    for (const id of ids) {
      const [was, is] = [state.remotes.get(id), remoteOf(snapshot, state.network.id, id, node.id)];
      if (was !== undefined) before.push(was);
      if (is !== undefined) after.push(is);
      state.remotes.set(id, is);
    }
    const here = portsOn(state.network.id, containers());
    const isElsewhere = ({ mac }: Remote): boolean => !here.has(mac);
    const operations = remoteOperations(before.filter(isElsewhere), after.filter(isElsewhere));
    const tunnel = this.#tunnelOf(state.network);
    // Another may have the place of one that is gone.
    const there = [...after, ...before.flatMap(({ mac }) => state.remotes.withMac(mac) ?? [])];
    const hasMoved = async () => {
      if (tunnel !== undefined) await this.guard?.move(tunnel.vni, before, there);
      for (const operation of operations) await state.namespace.apply(operation);
      return true;
    };
    // Something else may have changed what they build on.
    if (!(await succeeds(hasMoved))) await this.settle(state);
  }

  /** Everything of a network. */
  async remove(state: NetworkState): Promise<void> {
    const { network, namespace, ports } = state;
    this.#states.delete(network.id);
    this.#problems.delete(network.id);
    this.#forgedBefore += await ports.dropped();
    // The kernel takes its time over a namespace, and until then nobody could make a tunnel for that network again.
    await namespace.apply({ kind: 'remove-link', name: TUNNEL });
    namespace.close();
    this.#options.kernel.deleteNamespace(namespace.name);
    const tunnel = this.#tunnelOf(network);
    if (tunnel !== undefined) await this.guard?.dismiss(tunnel.vni);
  }

  /** True when the underlay has changed how large packets may be. */
  async readUnderlay(): Promise<boolean> {
    if (this.#cluster === undefined) return false;
    const mtu = underlayMtu(await this.#options.kernel.own.observe(), this.#cluster.dataAddress);
    if (mtu === undefined || mtu === this.#underlayMtu) return false;
    this.#underlayMtu = mtu;
    return true;
  }

  mtuOf(network: Network): number | undefined {
    const cluster = this.#cluster;
    return networkMtu(
      network,
      cluster === undefined ? undefined : { dataAddress: cluster.dataAddress, underlay: this.#underlayMtu },
    );
  }

  /** The tunnels are as wanted once all networks are settled. Rejects with KernelError when the node cannot be read. */
  async moveTunnels(dataAddress: IpAddress): Promise<void> {
    if (this.#cluster === undefined) return;
    this.#cluster = { ...this.#cluster, dataAddress };
    this.guard?.useVersion(ipVersion(dataAddress));
    await this.readUnderlay();
  }

  /** Rejects with KernelError. */
  async framesDropped(): Promise<FramesDropped> {
    const counts = await this.guard?.counts();
    let forged = this.#forgedBefore;
    for (const { ports } of this.#states.values()) forged += await ports.dropped();
    return {
      stranger: counts?.strangers ?? 0,
      'forged-by-node': counts?.forged ?? 0,
      'forged-by-container': forged,
      'unknown-network': counts?.unknown ?? 0,
    };
  }

  close(): void {
    for (const { namespace } of this.#states.values()) namespace.close();
    this.#states.clear();
  }

  #remotesOn(snapshot: Snapshot, network: Network): RemoteTable {
    const { node } = this.#options;
    return node.cluster === undefined ? new RemoteTable() : remotesOn(snapshot, network, node.id);
  }

  #tunnelOf({ vni }: Network): Tunnel | undefined {
    if (this.#cluster === undefined || vni === undefined) return undefined;
    return { vni, port: this.#cluster.port, local: this.#cluster.dataAddress };
  }
}

function addressesOn(id: NetworkId, { attachments }: ContainerSpec): readonly IpAddress[] {
  return attachments.flatMap(({ network, addresses }) => (network.id === id ? addresses : []));
}

/** False also when it ended with a KernelError. */
async function succeeds(work: () => Promise<boolean>): Promise<boolean> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return false;
  }
}

/** What was done, or the KernelError that it ended with. */
async function attempted(work: () => Promise<readonly Operation[]>): Promise<Outcome> {
  try {
    return { applied: await work(), failures: [] };
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    return { applied: [], failures: [error] };
  }
}
