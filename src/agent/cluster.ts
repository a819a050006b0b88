// This agent as one of several: which node it is, what lies under its lease, which of the others answer, and what they have in
// effect.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ID_BYTES, idFromBytes } from '../allocate/ids.ts';
import { Catalog } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { nodeState } from '../catalog/standing.ts';
import type { ClusterStatus } from '../api/status-schema.ts';
import { Convergence } from '../cluster/convergence.ts';
import { LEASE_MS, Membership, waitUntilGone } from '../cluster/membership.ts';
import { News } from '../cluster/news.ts';
import type { AppliedState } from '../cluster/probe-message.ts';
import { Prober } from '../cluster/prober.ts';
import type { Config } from '../config.ts';
import type { ClusterConfig } from '../config-cluster.ts';
import type { OwnLease } from '../control/commit.ts';
import type { Control } from '../control/control.ts';
import type { IpAddress } from '../model/address.ts';
import type { NodeId, Presence } from '../model/node.ts';
import { Neighbours } from '../native/neighbours.ts';
import { LinuxKernel } from '../netlink/linux-kernel.ts';
import { systemClock } from '../runtime/clock.ts';
import type { Log } from '../runtime/log.ts';
import { makeDirectory } from '../runtime/directory.ts';
import { systemRandom } from '../runtime/random.ts';
import { programVersion } from '../runtime/version.ts';
import { type EtcdStore, openEtcdStore } from '../store/etcd/store.ts';
import { CopyDirectory } from '../store/copy-disk.ts';
import { acquireLock } from '../store/lock-file.ts';
import { LastKnownStore } from '../store/last-known.ts';
import type { LeaseId, Revision, Store } from '../store/store.ts';
import { formerRecords, missingFrom, recordsOf } from './former-self.ts';
import { type Identity, readIdentity, writeIdentity } from './identity.ts';
import { findAddress, OwnAddress } from './own-address.ts';
import type { Teardown } from './teardown.ts';

/** Under this key the store holds what all agents of a cluster share: JSON with `probeKey`, 32 random bytes as base64. */
const SHARED_KEY = 'cluster';
/** How long another agent of this name has to say that it is there. */
const ANSWER_MS = 1500;
/** An agent that is started again and again while the store is away has so many runs to remember at most. The first counts most. */
const MOST_EARLIER = 100;
/** Whoever has not confirmed a drain by then does not hold it up: a node that is gone would do so until its lease ends. */
const CONFIRM_MS = 5000;

interface Parts {
  readonly config: Config;
  readonly settings: ClusterConfig;
  readonly log: Log;
  readonly opened: Teardown;
}

export class Cluster implements OwnLease {
  readonly nodeId: NodeId;
  readonly store: Store;
  readonly catalog: Catalog;
  readonly convergence = new Convergence();
  readonly #news = new News(systemClock.wallTime());
  readonly etcd: EtcdStore;
  readonly prober: Prober;
  readonly #settings: ClusterConfig;
  readonly #lastKnown: LastKnownStore;
  #presence: Presence;
  /** No earlier run is on record any more. */
  #onRecord: (() => void) | undefined;
  #addresses: OwnAddress | undefined;
  readonly #log: Log;
  #membership: Membership | undefined;
  /** The newest commit that is in effect here. */
  applied: () => number = () => 0;
  /** The tunnels are to end elsewhere from now on. */
  moveTunnels: (dataAddress: IpAddress) => Promise<void> = async () => {};

  /** Reads the store, or what is known of it, and finds out which node this is. Rejects when another agent is that. */
  static async enter({ config, settings, log, opened }: Parts): Promise<Cluster> {
    makeDirectory(config.stateDir, 0o700);
    const lock = acquireLock(join(config.stateDir, 'lock'));
    opened.add('state directory', async () => lock.release());
    const saved = readIdentity(config.stateDir);
    const kernel = new LinuxKernel();
    opened.add('addresses of the machine', () => kernel.close());
    const address = settings.advertise ?? (await ownAddress(kernel));
    const etcd = openEtcdStore({
      address: settings.store,
      ...(settings.ca === undefined ? {} : { ca: settings.ca }),
      ...(settings.cert === undefined ? {} : { cert: settings.cert }),
      ...(settings.key === undefined ? {} : { key: settings.key }),
      ...(settings.passwordFile === undefined ? {} : { passwordFile: settings.passwordFile }),
      log,
    });
    const disk = new CopyDirectory(join(config.stateDir, 'last-known'));
    const identity = storeIdentity(settings);
    const former = saved === undefined ? [] : await formerRecords(disk, identity, saved.nodeId);
    const lastKnown = new LastKnownStore(etcd, { disk, identity, absence: absenceOf(etcd), log });
    opened.add('store', () => lastKnown.close());
    const catalog = await Catalog.open(lastKnown, { log });
    opened.add('catalog', () => catalog.close());
    for (const change of missingFrom(catalog.snapshot, former)) catalog.applyOwn(change);
    const begun = catalog.snapshot;
    // A store that has just not answered is not waited for again.
    const probeKey =
      (lastKnown.state.servingCopy ? saved?.probeKey : undefined) ?? (await sharedProbeKey(lastKnown, saved));
    const nodeId = nodeIdFor(catalog.snapshot, config.nodeName, saved);
    const presence: Presence = {
      id: nodeId,
      instance: randomBytes(8).toString('hex'),
      address,
      dataAddress: settings.dataAddress ?? address,
      probePort: settings.probePort,
      version: programVersion(),
      startedAt: Date.now(),
    };
    let cluster: Cluster | undefined;
    const neighbours = new Neighbours();
    opened.add('neighbours', () => neighbours.close());
    const prober = await Prober.open({
      nodeId,
      instance: presence.instance,
      key: Buffer.from(probeKey, 'base64'),
      bind: { address, port: settings.probePort },
      clock: systemClock,
      random: systemRandom,
      log,
      applied: () => cluster?.appliedState() ?? { revision: 0, p50Ms: 0, p99Ms: 0, changes: 0, storeAgeMs: 0 },
      onAnswer: (from) => neighbours.confirm(from),
      onSuspicion: (id, isSuspected) => {
        const node = nameOf(catalog.snapshot, id);
        if (isSuspected) log.warn('a node does not answer', { node });
        else if (catalog.snapshot.presences.has(id)) log.info('a node answers again', { node });
        catalog.suspect(id, isSuspected);
      },
    });
    opened.add('probes', () => prober.close());
    const earlier = saved === undefined ? [] : [...saved.earlier, saved.instance].slice(0, MOST_EARLIER);
    await refuseTwin(catalog, prober, config.nodeName, nodeId, earlier, log);
    // The lease of the run before may have ended meanwhile, and may still do so: what runs here stays this node's all the same.
    for (const change of missingFrom(catalog.snapshot, recordsOf(begun, nodeId))) catalog.applyOwn(change);
    catalog.keepOwn(nodeId, () => cluster?.lostLease());
    const self: Identity = { nodeId, instance: presence.instance, earlier, probeKey };
    writeIdentity(config.stateDir, self);
    const onRecord = () => writeIdentity(config.stateDir, { ...self, earlier: [] });
    cluster = new Cluster(settings, etcd, lastKnown, catalog, prober, presence, onRecord, log);
    await cluster.#followAddresses(kernel, opened);
    return cluster;
  }

  private constructor(
    settings: ClusterConfig,
    etcd: EtcdStore,
    lastKnown: LastKnownStore,
    catalog: Catalog,
    prober: Prober,
    presence: Presence,
    onRecord: () => void,
    log: Log,
  ) {
    this.nodeId = presence.id;
    this.#settings = settings;
    this.etcd = etcd;
    this.#lastKnown = lastKnown;
    this.store = lastKnown;
    this.catalog = catalog;
    this.prober = prober;
    this.#presence = presence;
    this.#onRecord = onRecord;
    this.#log = log;
  }

  /** What of this machine's addresses is not as other nodes are told, as whole sentences. */
  get addressProblems(): readonly string[] {
    return this.#addresses?.problems ?? [];
  }

  /** What is known is the copy, and the store has not answered since the start. */
  get servesCopy(): boolean {
    return this.#lastKnown.state.servingCopy;
  }

  /** Where this node's tunnels end. */
  get dataAddress(): IpAddress {
    return this.#presence.dataAddress;
  }

  get current(): LeaseId | undefined {
    return this.#membership?.current;
  }

  async renew(): Promise<void> {
    await this.#membership?.renew();
  }

  /** Whatever is on record by then is put there when this node joins, if it has not yet. */
  lostLease(): void {
    this.#membership?.lost();
  }

  /** Puts this node on record, now or as soon as the store answers, and begins to ask the others. */
  async join(control: Control, nodeName: string, opened: Teardown): Promise<void> {
    const { catalog } = this;
    const membership = new Membership({
      store: this.store,
      clock: systemClock,
      log: this.#log,
      presence: () => this.#presence,
      announce: async (presence, lease) => {
        if (catalog.snapshot.nodes.get(this.nodeId)?.name !== nodeName) await control.register(nodeName);
        const lost = await control.announce(presence, lease);
        this.#forgetEarlier();
        return lost;
      },
      hasUnsaid: () => control.hasUnsaid,
    });
    this.#membership = membership;
    // What runs here is found again by those that come back soon; a node without tasks has nothing to come back to.
    opened.add('membership', () => membership.close(!this.#hasTasks()));
    const joining = membership.join();
    // A store that is away is not waited for: this node goes on record when it is back.
    if (!this.servesCopy) await joining;
    this.#followPeers(catalog.snapshot);
    catalog.subscribe((snapshot, _previous, changes) => {
      if (changes.some((change) => change.kind === 'presence')) this.#followPeers(snapshot);
    });
  }

  /** Resolves when all nodes that answer have this commit in effect, or after a while. */
  async confirmed(revision: number): Promise<void> {
    const { presences, suspicions } = this.catalog.snapshot;
    const others = [...presences.keys()].filter((id) => id !== this.nodeId && !suspicions.has(id));
    const late = await this.prober.waitApplied(others, revision, CONFIRM_MS);
    if (late.length === 0) return;
    const nodes = late.map((id) => nameOf(this.catalog.snapshot, id));
    this.#log.warn('nodes have not confirmed a change in time', { revision, nodes });
  }

  /** Each change carries the time at which it was decided. */
  inEffect(changes: readonly Change[]): void {
    const now = systemClock.wallTime();
    for (const decidedAt of this.#news.decidedAt(changes, now))
      this.convergence.record(systemClock.now(), now - decidedAt);
  }

  appliedState(): AppliedState {
    const { p50Ms, p99Ms, changes } = this.convergence.quantiles(systemClock.now());
    const { connected, since } = this.etcd.state;
    const storeAgeMs = connected ? 0 : Math.max(0, systemClock.wallTime() - since);
    return { revision: this.applied(), p50Ms, p99Ms, changes, storeAgeMs };
  }

  status(): ClusterStatus {
    const { snapshot } = this.catalog;
    const { connected, since, lastError } = this.etcd.state;
    const views = this.prober.peers();
    const own = this.appliedState();
    return {
      Store: {
        Endpoints: this.#settings.store.endpoints.map(({ host, port }) => `${host}:${port}`),
        Prefix: this.#settings.store.prefix,
        Connected: connected,
        Since: new Date(since).toISOString(),
        ...(connected || lastError === undefined ? {} : { Error: lastError }),
        ServingCopy: this.#lastKnown.state.servingCopy,
      },
      Nodes: [...snapshot.nodes.values()]
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map((node) => {
          const view = views.get(node.id);
          const state = node.id === this.nodeId ? own : view?.answer?.applied;
          return {
            ID: node.id,
            Name: node.name,
            Self: node.id === this.nodeId,
            State: nodeState(snapshot, node.id),
            Availability: node.availability,
            Address: snapshot.presences.get(node.id)?.address ?? '',
            ...(state === undefined
              ? {}
              : {
                  Revision: state.revision,
                  Behind: Math.max(0, own.revision - state.revision),
                  P50: state.p50Ms,
                  P99: state.p99Ms,
                }),
            ...(view?.rttMs === undefined ? {} : { RoundTrip: view.rttMs }),
          };
        }),
    };
  }

  #forgetEarlier(): void {
    try {
      this.#onRecord?.();
    } catch (error) {
      // It does no harm to remember them.
      this.#log.warn('which run of this agent is on record could not be written down', { error });
    }
    this.#onRecord = undefined;
  }

  async #followAddresses({ own: namespace }: LinuxKernel, opened: Teardown): Promise<void> {
    const { advertise, dataAddress } = this.#settings;
    const given = {
      ...(advertise === undefined ? {} : { advertise }),
      ...(dataAddress === undefined ? {} : { dataAddress }),
    };
    const moved = async (address: IpAddress): Promise<void> => {
      await this.prober.moveTo(address);
      this.#presence = { ...this.#presence, address, dataAddress: dataAddress ?? address };
      await this.moveTunnels(this.#presence.dataAddress);
      this.#membership?.changed();
    };
    this.#addresses = new OwnAddress({ namespace, given, log: this.#log, moved }, this.#presence.address);
    opened.add('watch of addresses', () => this.#addresses?.close());
    await this.#addresses.start();
  }

  #hasTasks(): boolean {
    const here = this.catalog.snapshot.tasksByPlace.get(this.nodeId);
    return here !== undefined && [...here.values()].some((task) => task.source !== 'static');
  }

  #followPeers({ presences }: Snapshot): void {
    const peers = [...presences.values()].filter((presence) => presence.id !== this.nodeId);
    this.prober.setPeers(new Map(peers.map(({ id, address, probePort }) => [id, { address, port: probePort }])));
  }
}

/** Resolves, if at all, with why etcd is known to be nowhere. */
function absenceOf(etcd: EtcdStore): Promise<string> {
  return new Promise((resolve) => {
    const look = () => {
      const { connected, absent, lastError = '' } = etcd.state;
      if (!connected && absent !== true) return;
      stop();
      if (!connected) resolve(lastError);
    };
    const stop = etcd.onState(look);
    look();
  });
}

/** The first agent of a cluster makes the key. */
async function sharedProbeKey(store: Store, saved: Identity | undefined): Promise<string> {
  try {
    const found = await store.get(SHARED_KEY);
    if (found !== undefined) return (JSON.parse(found.value) as { readonly probeKey: string }).probeKey;
    const probeKey = randomBytes(32).toString('base64');
    await store.commit(
      [{ key: SHARED_KEY, value: JSON.stringify({ probeKey }) }],
      [{ key: SHARED_KEY, revision: 0 as Revision }],
    );
    const made = await store.get(SHARED_KEY);
    return made === undefined ? probeKey : (JSON.parse(made.value) as { readonly probeKey: string }).probeKey;
  } catch (error) {
    if (saved !== undefined) return saved.probeKey;
    throw error;
  }
}

/** A node is who it was; one that was wiped is who its name says. */
function nodeIdFor(snapshot: Snapshot, name: string, saved: Identity | undefined): NodeId {
  if (saved !== undefined) return saved.nodeId;
  const named = [...snapshot.nodes.values()].find((node) => node.name === name);
  return named?.id ?? (idFromBytes(randomBytes(ID_BYTES)) as NodeId);
}

/** Two agents of one name would take each other's tasks for their own. */
async function refuseTwin(
  catalog: Catalog,
  prober: Prober,
  name: string,
  nodeId: NodeId,
  own: readonly string[],
  log: Log,
): Promise<void> {
  const twins = () =>
    [...catalog.snapshot.presences.values()].filter(
      ({ id, instance }) => !own.includes(instance) && (id === nodeId || catalog.snapshot.nodes.get(id)?.name === name),
    );
  const [twin] = twins();
  if (twin === undefined) return;
  const inUse = `the node name ${name} is in use: an agent at ${twin.address} has it; give this one another by --node-name`;
  if (await prober.askAddress(twin.address, twin.probePort, ANSWER_MS)) throw new Error(inUse);
  log.info('another agent of this name is on record and does not answer; waiting for its lease to end', {
    name,
    address: twin.address,
  });
  if (await waitUntilGone(() => twins().length > 0, systemClock, LEASE_MS + ANSWER_MS)) return;
  throw new Error(`${inUse}, or wait until \`vipmesh node ls\` shows it as down`);
}

async function ownAddress(kernel: LinuxKernel): Promise<IpAddress> {
  const address = await findAddress(kernel.own);
  if (address !== undefined) return address;
  throw new Error('this machine has no address that other nodes could reach; say which by --advertise');
}

function storeIdentity({ store }: ClusterConfig): string {
  return `etcd ${store.endpoints.map(({ host, port }) => `${host}:${port}`).join()} ${store.prefix}`;
}

function nameOf(snapshot: Snapshot, id: NodeId): string {
  return snapshot.nodes.get(id)?.name ?? id;
}
