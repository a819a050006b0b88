// From the catalog to the data plane: takes each commit in turn, and makes namespaces, sockets, backends and names agree with
// it. Nothing here waits for the store, so what is in effect stays in effect while the store is gone.
import { ListenerSet } from '../balancer/listener-set.ts';
import { BalancerPublisher } from '../balancer/publisher.ts';
import { ServiceTraffic } from '../balancer/service-traffic.ts';
import { Slots } from '../balancer/slots.ts';
import type { Change } from '../catalog/change.ts';
import { EMPTY_SNAPSHOT, type Snapshot } from '../catalog/snapshot.ts';
import type { DataPlane } from '../datapath/plane.ts';
import { Zones } from '../dns/zone.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import type { TaskId } from '../model/task.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import type { Log } from '../runtime/log.ts';
import { ForeignNames } from './foreign-names.ts';
import { OverlaySockets } from './overlay-sockets.ts';
import { containerPlace, nodePlace, ResolverSockets } from './resolver-sockets.ts';
import { type ScopeAnswers, Scopes } from './scopes.ts';

export interface MeshOptions {
  readonly nodeId: NodeId;
  readonly plane: DataPlane;
  /** Absent where the agent may not make namespaces. */
  readonly overlay?: OverlayDriver;
  readonly log: Log;
  /** A commit is in effect in every worker. */
  readonly onApplied?: (snapshot: Snapshot, changes: readonly Change[]) => void;
}

interface Unconfirmed {
  readonly snapshot: Snapshot;
  readonly changes: readonly Change[];
}

/** How many networks the data path has room for. What is counted there has the data plane's capacity. */
const MAX_NETWORKS = 4096;

const NODE_CLIENT = 'node';

export class Mesh {
  readonly listeners: ListenerSet;
  readonly publisher: BalancerPublisher;
  readonly overlaySockets: OverlaySockets;
  /** What services have moved. */
  readonly traffic: ServiceTraffic;
  readonly foreignNames: ForeignNames;
  readonly #options: MeshOptions;
  readonly #zones: Zones;
  readonly #networkNumbers = new Slots<NetworkId>(MAX_NETWORKS);
  readonly #scopes: Scopes;
  readonly #resolvers: ResolverSockets;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Commits are carried out one after another: each may have to wait for the kernel. */
  #tail: Promise<void> = Promise.resolve();
  #listening: Promise<void> = Promise.resolve();
  #socketProblem: string | undefined;
  #unconfirmed: Unconfirmed[] = [];
  #appliedRevision = 0;
  /** Commits that were taken over and are not known to be in effect. */
  #pending = 0;
  /** What the data path had no room for, since it was last told. */
  readonly #leftOut: Readonly<Record<'backend' | 'endpoint', string[]>> = { backend: [], endpoint: [] };

  constructor(options: MeshOptions) {
    const { plane, log } = options;
    this.#options = options;
    const frontends = new Slots<string>(
      plane.capacity.frontends,
      // What is still open to the one before is not its successor's.
      (id) => plane.frontendCounters(id).active === 0,
      (id) => plane.beginCounting('frontends', id),
    );
    this.listeners = new ListenerSet(frontends, {
      workers: plane.workers,
      postTo: (worker, command) => plane.postTo(worker, command),
      barrier: () => plane.barrier(),
      log,
    });
    this.traffic = new ServiceTraffic((slot) => plane.endpointCounters(slot));
    this.overlaySockets = new OverlaySockets(plane, new Slots(MAX_NETWORKS), frontends);
    this.#scopes = new Scopes(plane);
    this.#resolvers = new ResolverSockets(plane);
    this.foreignNames = new ForeignNames({
      post: (command) => plane.post(command),
      takeNumber: (key) => this.#numberOf(key as NetworkId),
      releaseNumber: (key) => this.#networkNumbers.release(key as NetworkId),
      setScope: (client, networks, forward) => this.#scopes.takeOwn(client, networks, forward),
    });
    this.#zones = new Zones(options.nodeId, (id) => this.#numberOf(id));
    this.publisher = new BalancerPublisher(options.nodeId, plane.capacity, {
      post: (command) => plane.post(command),
      listen: (remove, set) => {
        this.#listening = this.listeners.update(remove, set);
      },
      overlayVip: (id, address, backend, eligible) => this.overlaySockets.setVip(id, address, backend, eligible),
      netnsOf: (id) => this.overlaySockets.netnsOf(id),
      openCount: (slot) => {
        const { active, flows } = plane.endpointCounters(slot);
        return active + flows;
      },
      beginCounting: (slot, serviceId) => {
        this.traffic.begin(slot, serviceId);
        plane.beginCounting('endpoints', slot);
      },
      beginService: (slot) => plane.beginCounting('services', slot),
      openOfService: (slot) => plane.serviceCounters(slot).open,
      later: (delayMs, action) => this.#later(delayMs, action),
      exhausted: (what, name) => this.#leftOut[what].push(name),
    });
  }

  /** Why overlay networks are not as they should be on this node; empty when they are. */
  get overlayProblems(): readonly string[] {
    const own = this.#socketProblem === undefined ? [] : [this.#socketProblem];
    const ofNetworks = [...(this.#options.overlay?.problems.values() ?? [])].map((error) => error.message);
    return [...own, ...ofNetworks];
  }

  /** Everything up to this commit is in effect in every worker; undefined: everything that was ever taken over. */
  get appliedRevision(): number | undefined {
    return this.#pending === 0 ? undefined : this.#appliedRevision;
  }

  /** What names mean, as the resolver answers them. */
  get names(): Pick<Zones, 'name' | 'address'> {
    return this.#zones;
  }

  /** Begins with everything that a snapshot holds. */
  start(snapshot: Snapshot): void {
    this.apply(snapshot, EMPTY_SNAPSHOT, allOf(snapshot));
  }

  /** Takes over one commit. Returns at once; `settled` tells when it is in effect. */
  apply(snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]): void {
    this.#tail = this.#tail
      .then(() => this.#apply(snapshot, previous, changes))
      .catch((error: unknown) =>
        this.#options.log.error('a change could not be carried out', { error, revision: snapshot.revision }),
      )
      .then(() => this.#confirm({ snapshot, changes }));
    this.#pending++;
  }

  /** Removes overlay networks that this node needs no longer, once their last container here has gone. */
  refreshOverlay(snapshot: Snapshot): void {
    this.#tail = this.#tail
      .then(() => this.#removeIdle(snapshot, this.#options.overlay?.idleNetworks ?? []))
      .catch((error: unknown) => this.#options.log.error('cannot remove overlay networks', { error }));
  }

  /** Resolves when the kernel agrees with everything that was applied before. */
  caughtUp(): Promise<void> {
    return this.#tail;
  }

  /** Resolves when everything that was applied before is in effect in every worker. */
  async settled(): Promise<void> {
    await this.#tail;
    await this.#listening;
    await this.#options.plane.barrier();
  }

  /** Opens the resolver of the node itself. Throws NativeError. */
  openNodeResolver(address: string, port: number, snapshot: Snapshot): void {
    this.#resolvers.open(NODE_CLIENT, this.#nodeScope(snapshot), nodePlace(address, port));
  }

  /** Opens a container's resolver in its namespace. It sees these networks, in this order, and where wanted what else is told. */
  async openContainerResolver(
    taskId: TaskId,
    netns: number,
    networks: readonly Network[],
    seesForeign = false,
  ): Promise<void> {
    await this.#tail;
    const forward = networks.some((network) => !network.spec.internal);
    const numbers = networks.map((network) => this.#numberOf(network.id));
    const scope = seesForeign
      ? this.foreignNames.open(taskId, numbers, forward)
      : this.#scopes.take(taskId, numbers, forward);
    try {
      this.#resolvers.open(taskId, scope, containerPlace(netns));
    } catch (error) {
      this.foreignNames.close(taskId);
      this.#scopes.release(taskId);
      throw error;
    }
  }

  /** Who asked with this number: a task's id, or `node`; undefined when it went too long ago. */
  resolverClient(number: number): string | undefined {
    return this.#resolvers.clientOf(number);
  }

  /** What the resolver answered, by the names of the networks that those who asked see: `node` for the node itself. */
  *answersByScope({ networks }: Snapshot): Generator<ScopeAnswers & { readonly scope: string }> {
    const names = new Map<number | undefined, string>();
    for (const { id, spec } of networks.values()) names.set(this.#networkNumbers.get(id), spec.name);
    for (const one of this.#scopes.answers()) {
      const seen = one.networks.flatMap((number) => names.get(number) ?? []).join(',');
      yield { ...one, scope: one.isNode ? NODE_CLIENT : seen };
    }
  }

  async closeContainerResolver(taskId: TaskId): Promise<void> {
    await this.#resolvers.close(taskId);
    this.foreignNames.close(taskId);
    this.#scopes.release(taskId);
  }

  /** Refuses new connections everywhere; open ones go on. */
  async refuseNew(): Promise<void> {
    await this.#tail;
    await Promise.all([this.listeners.refuseAll(), this.overlaySockets.closeAll()]);
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#resolvers.closeAll();
  }

  /** Asks the workers once for all commits that have come meanwhile; the next commit does not wait for their answer. */
  #confirm(one: Unconfirmed): void {
    this.#unconfirmed.push(one);
    if (this.#unconfirmed.length === 1) void this.#confirmAll();
  }

  async #confirmAll(): Promise<void> {
    while (this.#unconfirmed.length > 0) {
      const count = this.#unconfirmed.length;
      await this.#listening;
      await this.#options.plane.barrier();
      // What was pushed during the wait stays for the next turn; the first of them must not find the list empty.
      const confirmed = this.#unconfirmed.slice(0, count);
      this.#appliedRevision = confirmed.at(-1)?.snapshot.revision ?? this.#appliedRevision;
      for (const { snapshot, changes } of confirmed) this.#options.onApplied?.(snapshot, changes);
      this.#unconfirmed = this.#unconfirmed.slice(count);
      this.#pending -= count;
    }
  }

  async #apply(snapshot: Snapshot, previous: Snapshot, changes: readonly Change[]): Promise<void> {
    const removed = changes.flatMap((change) =>
      change.kind === 'network' && change.after === undefined && change.before !== undefined ? [change.before] : [],
    );
    const { opened, idle } = await this.#applyOverlay(snapshot, previous, changes);
    // Whose endpoints could not be reached before has to be told again.
    this.publisher.apply(snapshot, previous, [...changes, ...opened.map(touched)]);
    this.traffic.forgetRemoved(changes);
    this.#reportLeftOut();
    // A name leads to nobody before its ports are open.
    await this.#listening;
    for (const command of this.#zones.apply(changes, snapshot, previous)) this.#options.plane.post(command);
    if (changes.some((change) => change.kind === 'network')) this.#nodeScope(snapshot);
    for (const network of removed) await this.#forget(network.id);
    await this.#removeIdle(snapshot, idle);
  }

  /** Resolves with the networks that this node has from now on, and those that it needs no longer. */
  async #applyOverlay(
    snapshot: Snapshot,
    previous: Snapshot,
    changes: readonly Change[],
  ): Promise<{ readonly opened: readonly Network[]; readonly idle: readonly NetworkId[] }> {
    const { overlay, log } = this.#options;
    const opened: Network[] = [];
    if (overlay === undefined) return { opened, idle: [] };
    try {
      const { places, idle } = await overlay.applyChanges(snapshot, previous, changes);
      for (const [id, place] of places) {
        const network = snapshot.networks.get(id);
        if (network === undefined || this.overlaySockets.has(id)) continue;
        this.overlaySockets.open(network, place.netnsFd);
        opened.push(network);
      }
      this.#socketProblem = undefined;
      return { opened, idle };
    } catch (error) {
      this.#socketProblem = error instanceof Error ? error.message : String(error);
      log.error('overlay networks are not as they should be', { error });
      return { opened, idle: [] };
    }
  }

  /** A network's namespace goes after all that is in it, and after all that leads into it. */
  async #removeIdle(snapshot: Snapshot, ids: readonly NetworkId[]): Promise<void> {
    const { overlay, plane } = this.#options;
    if (overlay === undefined || ids.length === 0) return;
    for (const id of ids) await this.overlaySockets.close(id);
    const kept = ids.flatMap((id) => snapshot.networks.get(id) ?? []);
    this.publisher.apply(snapshot, snapshot, kept.map(touched));
    await plane.barrier();
    for (const id of ids) await overlay.removeNetwork(id);
  }

  async #forget(id: NetworkId): Promise<void> {
    await this.overlaySockets.close(id);
    this.#networkNumbers.release(id);
  }

  /** The node itself sees the `local` networks, oldest first; names outside are forwarded. */
  #nodeScope(snapshot: Snapshot): number {
    const local = [...snapshot.networks.values()]
      .filter((network) => network.spec.driver === 'local')
      .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
    return this.#scopes.setNode(local.map((network) => this.#numberOf(network.id)));
  }

  /** One line for each kind and commit: a mesh that has grown too large leaves out thousands. */
  #reportLeftOut(): void {
    for (const [what, names] of Object.entries(this.#leftOut)) {
      if (names.length === 0) continue;
      const [first] = names;
      this.#options.log.error('no number is left in the data path; these are left out', {
        what,
        count: names.length,
        first,
      });
      names.length = 0;
    }
  }

  #numberOf(id: NetworkId): number {
    const number = this.#networkNumbers.take(id);
    if (number === undefined) throw new RangeError(`more than ${MAX_NETWORKS} networks`);
    return number;
  }

  #later(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delayMs);
    this.#timers.add(timer);
  }
}

/** What refers to the network is to be compared again. */
function touched(network: Network): Change {
  return { kind: 'network', before: network, after: network };
}

/** A snapshot as the changes that lead to it from nothing. */
export function allOf(snapshot: Snapshot): readonly Change[] {
  return [
    ...[...snapshot.presences.values()].map((after) => ({ kind: 'presence', after }) as const),
    ...[...snapshot.networks.values()].map((after) => ({ kind: 'network', after }) as const),
    ...[...snapshot.bridges.values()].map((after) => ({ kind: 'bridge', after }) as const),
    ...[...snapshot.services.values()].map((after) => ({ kind: 'service', after }) as const),
    ...[...snapshot.tasks.values()].map((after) => ({ kind: 'task', after }) as const),
  ];
}
