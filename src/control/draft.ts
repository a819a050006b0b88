// A command while it is being decided: the snapshot that it started from, and what it has changed so far. Decisions read from
// it, write to it and throw ControlError; nobody else sees anything until it is committed.
import { AllocationError } from '../allocate/allocation-error.ts';
import { claimAddress, nextAddress, type TakenAddresses } from '../allocate/addresses.ts';
import { isUnderLease } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import { applyChanges, objectOf, type Snapshot } from '../catalog/snapshot.ts';
import type { IpAddress, Subnet } from '../model/address.ts';
import type { Network, NetworkDriver, NetworkId } from '../model/network.ts';
import type { Bridge, BridgeId, Node, NodeId, Presence } from '../model/node.ts';
import type { Protocol } from '../model/port.ts';
import type { Service, ServiceId } from '../model/service.ts';
import type { Task, TaskId } from '../model/task.ts';
import { encodeRecord, recordKey, type StackRecord, type StoredRecord } from '../store/record.ts';
import type { Key, LeaseId, Write } from '../store/store.ts';
import type { AddressMemory } from './address-memory.ts';
import { AddressUse } from './address-use.ts';
import { causedBy } from './errors.ts';

/** What decisions know of this agent. */
export interface Surroundings {
  readonly nodeId: NodeId;
  /** Overlay networks need root. */
  readonly privileged: boolean;
  readonly defaultDriver: NetworkDriver;
  /** Take networks that ask for encryption, although nothing is encrypted. */
  readonly allowPlaintextOverlays: boolean;
  /** Why another program makes a port impossible on this node, as the end of a sentence; undefined when nothing does. */
  portProblem(protocol: Protocol, port: number, address?: string): string | undefined;
}

export interface DraftOptions {
  readonly snapshot: Snapshot;
  readonly surroundings: Surroundings;
  readonly memory: AddressMemory;
  /** Milliseconds since the epoch. */
  readonly wallTime: number;
  /** Milliseconds of the steady clock that the memory goes by. */
  readonly now: number;
  newId(): string;
  /** What this node's own records are put under; undefined on a node that is alone. */
  readonly lease?: LeaseId;
}

type Noun = Network | Service | Task | Node | Presence | Bridge;
type Kind = Exclude<Change['kind'], 'suspicion'>;

export class Draft {
  /** What it started from. */
  readonly base: Snapshot;
  readonly surroundings: Surroundings;
  readonly memory: AddressMemory;
  readonly wallTime: number;
  /** Services whose published ports may be taken over: the same command gives them others, or none. */
  readonly yielding = new Set<ServiceId>();
  readonly #now: number;
  readonly #newId: () => string;
  readonly #touched = new Map<Key, { readonly kind: Kind; readonly id: string }>();
  /** What this command itself puts on networks. */
  readonly #added = new AddressUse();
  readonly #lease: LeaseId | undefined;
  readonly #stacks = new Map<string, StackRecord | null>();
  #snapshot: Snapshot;

  constructor(options: DraftOptions) {
    this.base = options.snapshot;
    this.#snapshot = options.snapshot;
    this.surroundings = options.surroundings;
    this.memory = options.memory;
    this.wallTime = options.wallTime;
    this.#now = options.now;
    this.#newId = options.newId;
    this.#lease = options.lease;
  }

  /** With everything that was decided so far. */
  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  newId<Id extends string>(): Id {
    return this.#newId() as Id;
  }

  putNetwork(network: Network): Network {
    return this.#replace('network', this.#snapshot.networks.get(network.id), network);
  }

  putService(service: Service): Service {
    return this.#replace('service', this.#snapshot.services.get(service.id), service);
  }

  putTask(task: Task): Task {
    return this.#replace('task', this.#snapshot.tasks.get(task.id), task);
  }

  putNode(node: Node): Node {
    return this.#replace('node', this.#snapshot.nodes.get(node.id), node);
  }

  putPresence(presence: Presence): Presence {
    return this.#replace('presence', this.#snapshot.presences.get(presence.id), presence);
  }

  putBridge(bridge: Bridge): Bridge {
    return this.#replace('bridge', this.#snapshot.bridges.get(bridge.id), bridge);
  }

  putStack(record: StackRecord): void {
    this.#stacks.set(record.name, record);
  }

  removeStack(name: string): void {
    this.#stacks.set(name, null);
  }

  removeNetwork(id: NetworkId): void {
    this.#remove('network', this.#snapshot.networks.get(id));
  }

  removeService(id: ServiceId): void {
    this.#remove('service', this.#snapshot.services.get(id));
  }

  removeTask(id: TaskId): void {
    this.#remove('task', this.#snapshot.tasks.get(id));
  }

  removeNode(id: NodeId): void {
    this.#remove('node', this.#snapshot.nodes.get(id));
  }

  removePresence(id: NodeId): void {
    this.#remove('presence', this.#snapshot.presences.get(id));
  }

  removeBridge(id: BridgeId): void {
    this.#remove('bridge', this.#snapshot.bridges.get(id));
  }

  /** A free address of a network's subnet. `whose` is named when there is none. */
  allocateAddress(network: Network, subnet: Subnet, whose: string): IpAddress {
    const taken = new Taken(this.memory.use.on(network.id), this.#added.on(network.id));
    const last = this.memory.last(network.id, subnet);
    const coolingDown = this.memory.coolingDown(network.id, this.#now);
    try {
      const address = nextAddress({ subnet, taken, coolingDown, ...(last === undefined ? {} : { last }) });
      this.#added.add(network.id, address);
      this.memory.handedOut(network.id, subnet, address);
      return address;
    } catch (error) {
      if (!(error instanceof AllocationError)) throw error;
      throw causedBy(error, 'exhausted', `${whose} gets no address on network ${network.spec.name}: ${error.message}`);
    }
  }

  /** An address of a network's subnet that somebody asked for. `whose` is named when it cannot be had. */
  claimAddress(network: Network, subnet: Subnet, address: IpAddress, whose: string): IpAddress {
    try {
      claimAddress(subnet, address, new Taken(this.memory.use.on(network.id), this.#added.on(network.id)));
      this.#added.add(network.id, address);
      return address;
    } catch (error) {
      if (!(error instanceof AllocationError)) throw error;
      const code = error.code === 'address-taken' ? 'conflict' : 'invalid';
      throw causedBy(error, code, `${whose} cannot have ${address} on network ${network.spec.name}: ${error.message}`);
    }
  }

  /** Everything that differs from where it started. */
  writes(): readonly Write[] {
    const writes: Write[] = [];
    for (const [key, { kind, id }] of this.#touched) {
      const before = objectOf(this.base, kind, id);
      const after = objectOf(this.#snapshot, kind, id);
      if (before === after) continue;
      if (after === undefined) {
        writes.push({ key, value: null });
        continue;
      }
      const record = { kind, value: after } as StoredRecord;
      writes.push({ ...encodeRecord(record), ...leaseFor(record, this.surroundings.nodeId, this.#lease) });
    }
    for (const [name, record] of this.#stacks) {
      writes.push(
        record === null
          ? { key: recordKey('stack', name), value: null }
          : encodeRecord({ kind: 'stack', value: record }),
      );
    }
    return writes;
  }

  #replace<T extends Noun>(kind: Kind, before: T | undefined, after: T): T {
    this.#apply(kind, after.id, { kind, ...(before === undefined ? {} : { before }), after } as unknown as Change);
    return after;
  }

  #remove(kind: Kind, before: Noun | undefined): void {
    if (before !== undefined) this.#apply(kind, before.id, { kind, before } as unknown as Change);
  }

  #apply(kind: Kind, id: string, change: Change): void {
    this.#touched.set(recordKey(kind, id), { kind, id });
    this.#snapshot = applyChanges(this.#snapshot, this.#snapshot.revision, [change]);
    // Addresses that a command frees it may give out again only in the next one: what it started from stays taken.
    if (change.kind === 'service' || change.kind === 'task' || change.kind === 'bridge') this.#added.put(change.after);
  }
}

/** The lease that a record is written under: its node's. Of another node's only that node knows which it is. */
export function leaseFor(
  { kind, value }: StoredRecord,
  self: NodeId,
  own: LeaseId | undefined,
): { readonly lease?: LeaseId | 'keep' } {
  if (!isUnderLease(kind, value)) return {};
  const owner = kind === 'presence' ? value.id : (value as Task | Bridge).nodeId;
  if (owner !== self) return { lease: 'keep' };
  return own === undefined ? {} : { lease: own };
}

/** What two uses of a network have taken together. */
class Taken implements TakenAddresses {
  readonly #uses: readonly ReadonlyMap<IpAddress, number>[];

  constructor(...uses: readonly ReadonlyMap<IpAddress, number>[]) {
    this.#uses = uses;
  }

  get size(): number {
    return this.#uses.reduce((sum, use) => sum + use.size, 0);
  }

  has(address: IpAddress): boolean {
    return this.#uses.some((use) => use.has(address));
  }

  *[Symbol.iterator](): Iterator<IpAddress> {
    for (const use of this.#uses) yield* use.keys();
  }
}
