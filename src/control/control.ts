// The only writer of the store: every command that changes something.
import { randomBytes } from 'node:crypto';
import { ID_BYTES, idFromBytes } from '../allocate/ids.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { parseStaticEndpoint } from '../compose/static-endpoint.ts';
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId, NetworkSpec } from '../model/network.ts';
import type { Bridge, Node, NodeId, Presence } from '../model/node.ts';
import type { Service, ServiceSpec, StaticEndpoint } from '../model/service.ts';
import type { Health, Task, TaskId, TaskState } from '../model/task.ts';
import { type Clock, systemClock } from '../runtime/clock.ts';
import { type Log, SILENT_LOG } from '../runtime/log.ts';
import { decodeRecord, recordKey, type StackRecord } from '../store/record.ts';
import type { LeaseId, Store } from '../store/store.ts';
import { AddressMemory } from './address-memory.ts';
import { Committer, type OwnLease } from './commit.ts';
import { Draft, type Surroundings } from './draft.ts';
import { ControlError } from './errors.ts';
import { findService } from './lookup.ts';
import { createNetwork, removeNetwork } from './networks.ts';
import { type NodeChange, registerNode, removeNode, updateNode } from './nodes.ts';
import {
  addEndpoint,
  createService,
  removeEndpointsAt,
  removeService,
  removeStaticTask,
  rollbackService,
  updateService,
} from './services.ts';
import { claimBridge, releaseBridge } from './own-records.ts';
import { type SubnetUse, subnetUses } from './pools.ts';
import { applyStack, removeStack, type StackChange, type StackContent } from './stacks.ts';
import { type TaskRegistry, taskRegistry } from './task-registry.ts';
import { addTask, type NewTask, removeOwnTasks, type TaskNames, withHealth, withNames, withState } from './tasks.ts';

export interface ControlOptions {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly nodeName: string;
  /** Absent: the store is this node's alone and remembers it. */
  readonly nodeId?: NodeId;
  readonly privileged: boolean;
  readonly allowPlaintextOverlays: boolean;
  readonly portProblem: Surroundings['portProblem'];
  /** In a cluster: what this node's own records lie under. The node is then put on record by `announce`. */
  readonly lease?: OwnLease;
  readonly log?: Log;
  readonly clock?: Clock;
  /** A new id each time; from the kernel's random numbers unless a test says otherwise. */
  readonly newId?: () => string;
}

/**
 * Every method rejects with ControlError, and has then changed nothing. When one resolves, the catalog shows what it did.
 * Objects are named as users name them: by whole name, name within a stack, id, or the beginning of an id.
 */
export class Control {
  readonly nodeId: NodeId;
  /** The record of tasks, for those who run them. */
  readonly tasks: TaskRegistry;
  readonly #store: Store;
  readonly #catalog: Catalog;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #memory: AddressMemory;
  readonly #committer: Committer;
  readonly #unsubscribe: () => void;

  /** Puts this node on record. */
  static async open(options: ControlOptions): Promise<Control> {
    const nodeId = options.nodeId ?? (await ownNodeId(options.store, options.newId ?? randomId));
    const control = new Control(options, nodeId);
    if (options.lease === undefined) await control.register(options.nodeName);
    return control;
  }

  private constructor(options: ControlOptions, nodeId: NodeId) {
    const { store, catalog, privileged, allowPlaintextOverlays, portProblem } = options;
    const { log = SILENT_LOG, clock = systemClock, newId = randomId } = options;
    const memory = new AddressMemory(catalog.snapshot);
    const defaultDriver = privileged ? 'overlay' : 'local';
    const surroundings: Surroundings = { nodeId, privileged, defaultDriver, allowPlaintextOverlays, portProblem };
    this.nodeId = nodeId;
    this.tasks = taskRegistry(this, catalog);
    this.#store = store;
    this.#catalog = catalog;
    this.#log = log;
    this.#clock = clock;
    this.#unsubscribe = catalog.subscribe((_, __, changes) => memory.observe(changes, clock.now()));
    this.#memory = memory;
    this.#committer = new Committer({
      store,
      catalog,
      nodeId,
      ...(options.lease === undefined ? {} : { lease: options.lease }),
      newDraft: () =>
        new Draft({
          snapshot: catalog.snapshot,
          surroundings,
          memory,
          wallTime: clock.wallTime(),
          now: clock.now(),
          newId,
          ...(options.lease?.current === undefined ? {} : { lease: options.lease.current }),
        }),
    });
  }

  /** Puts this node on record, by its name; what others have set (availability, labels) stays. */
  register(nodeName: string): Promise<Node> {
    return this.#committer.urgent((draft) => registerNode(draft, nodeName));
  }

  /**
   * Puts this node's presence, tasks and places on networks under a new lease. Resolves with what cannot come back, as sentences.
   */
  announce(presence: Presence, lease: LeaseId): Promise<readonly string[]> {
    return this.#committer.announce(presence, lease, this.#memory.use);
  }

  /** How full the networks' subnets are. */
  get subnetUses(): readonly SubnetUse[] {
    return subnetUses(this.#catalog.snapshot, this.#memory.use);
  }

  /** Something of this node was changed that the store has not been told. */
  get hasUnsaid(): boolean {
    return this.#committer.hasUnsaid;
  }

  /** This node's place on an overlay network; undefined when there is no such network. */
  claimBridge(network: NetworkId): Promise<Bridge | undefined> {
    return this.#command((draft) => claimBridge(draft, network));
  }

  releaseBridge(network: NetworkId): Promise<void> {
    return this.#command((draft) => releaseBridge(draft, network));
  }

  createNetwork(spec: NetworkSpec): Promise<Network> {
    return this.#command((draft) => createNetwork(draft, spec));
  }

  /** Rejects with `in-use`, naming the services, when there are any. */
  removeNetwork(network: string): Promise<Network> {
    return this.#command((draft) => removeNetwork(draft, network));
  }

  /** Without networks in its spec, the service goes to the network `default`, which is made when it is not there. */
  createService(spec: ServiceSpec): Promise<Service> {
    return this.#command((draft) => createService(draft, spec));
  }

  /** `expectedVersion`: the revision (Catalog.revisionOf) of the service that the caller has seen. */
  updateService(service: string, spec: ServiceSpec, expectedVersion?: number): Promise<Service> {
    return this.#command((draft) => {
      const found = findService(draft.snapshot, service);
      const actual = this.#catalog.revisionOf('service', found.id);
      return updateService(
        draft,
        found,
        spec,
        expectedVersion === undefined ? undefined : { expected: expectedVersion, actual },
      );
    });
  }

  rollbackService(service: string): Promise<Service> {
    return this.#command((draft) => rollbackService(draft, service));
  }

  removeService(service: string): Promise<Service> {
    return this.#command((draft) => removeService(draft, service));
  }

  /**
   * By hand: it stays until it is removed, also when the service's stack is applied again. As text: ADDR, ADDR:PORT or
   * TARGET=ADDR:PORT. One that is there already takes `weight`, if given. Resolves with the task that stands for it.
   */
  addEndpoint(service: string, endpoint: StaticEndpoint | string, weight?: number): Promise<Task> {
    return this.#command((draft) =>
      addEndpoint(draft, service, { ...endpointOf(endpoint), ...(weight === undefined ? {} : { weight }) }),
    );
  }

  /** The endpoints that a static task stands for; also those of the spec, which a stack that is applied again brings back. */
  removeEndpoint(task: TaskId): Promise<void> {
    return this.#command((draft) => {
      const found = draft.snapshot.tasks.get(task);
      if (found === undefined) throw new ControlError('not-found', `there is no task ${task}; it has been removed`);
      removeStaticTask(draft, found);
    });
  }

  /** The same by address; without a port, all at that address. */
  removeEndpointsAt(service: string, address: IpAddress, port?: number): Promise<readonly StaticEndpoint[]> {
    return this.#command((draft) => removeEndpointsAt(draft, service, address, port));
  }

  /** For a process: its state is `starting`; its addresses are its own. */
  addTask(task: NewTask): Promise<Task> {
    return this.#command((draft) => addTask(draft, task));
  }

  setTaskState(id: TaskId, state: TaskState, pid?: number): Promise<void> {
    return this.#committer.task(id, (task) => withState(task, state, pid, this.#clock.wallTime()));
  }

  /** What its container is called by now. Whether somebody else is called that is for the caller to see. */
  setTaskNames(id: TaskId, names: TaskNames): Promise<void> {
    return this.#committer.task(id, (task) => withNames(task, names, this.#clock.wallTime()));
  }

  setTaskHealth(id: TaskId, health: Health): Promise<void> {
    return this.#committer.task(id, (task) => withHealth(task, health, this.#clock.wallTime()));
  }

  /** A static task goes with the endpoints that it stands for. */
  removeTask(id: TaskId): Promise<void> {
    if (this.#catalog.snapshot.tasks.get(id)?.source === 'static') return this.removeEndpoint(id);
    return this.#committer.task(id, () => undefined);
  }

  /** After a start: the tasks of this node's commands of before, but for those that `except` names, are gone. */
  removeOwnTasks(except: ReadonlySet<TaskId> = new Set()): Promise<readonly Task[]> {
    return this.#command((draft) => removeOwnTasks(draft, except));
  }

  /** All or nothing; applied again, the same content changes and writes nothing. */
  async applyStack(
    name: string,
    content: StackContent,
    options: { readonly prune: boolean } = { prune: true },
  ): Promise<StackChange> {
    const change = await this.#committer.command(
      (draft, record) => applyStack(draft, name, content, { ...options, record }),
      () => this.#stackRecord(name),
    );
    for (const object of change.overridden)
      this.#log.warn('stack applied over an edit made by hand', { stack: name, object });
    for (const object of change.kept) this.#log.warn('stack keeps what others use', { stack: name, object });
    return change;
  }

  removeStack(name: string): Promise<StackChange> {
    return this.#committer.command(
      (draft, record) => removeStack(draft, name, record),
      () => this.#stackRecord(name),
    );
  }

  /** Named as users name it; absent: this one. */
  updateNode(change: NodeChange, node?: string): Promise<Node> {
    return this.#command((draft) => updateNode(draft, change, node));
  }

  /** Forgets a node that is down. Rejects with `in-use` while its agent runs. */
  removeNode(node: string): Promise<Node> {
    return this.#command((draft) => removeNode(draft, node));
  }

  /** Commands that were begun go on. The store and the catalog are their openers' to close. */
  close(): void {
    this.#unsubscribe();
  }

  #command<T>(decide: (draft: Draft) => T): Promise<T> {
    return this.#committer.command(decide, async () => undefined);
  }

  async #stackRecord(name: string): Promise<StackRecord | undefined> {
    const key = recordKey('stack', name);
    const entry = await this.#store.get(key);
    const record = entry && decodeRecord(key, entry.value);
    return record?.kind === 'stack' ? record.value : undefined;
  }
}

/** Under this key the store of a single node remembers whose it is. */
const OWN_NODE_KEY = 'self';

async function ownNodeId(store: Store, newId: () => string): Promise<NodeId> {
  const found = await store.get(OWN_NODE_KEY);
  if (found !== undefined) return found.value as NodeId;
  const id = newId() as NodeId;
  await store.commit([{ key: OWN_NODE_KEY, value: id }]);
  return id;
}

function randomId(): string {
  return idFromBytes(randomBytes(ID_BYTES));
}

function endpointOf(endpoint: StaticEndpoint | string): StaticEndpoint {
  if (typeof endpoint !== 'string') return endpoint;
  const parsed = parseStaticEndpoint(endpoint.trim());
  if (typeof parsed === 'string') throw new ControlError('invalid', `endpoint ${JSON.stringify(endpoint)} ${parsed}`);
  return parsed;
}
