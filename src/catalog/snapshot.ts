// What is true at one revision: immutable, indexed. Applying a change costs work in proportion to the change, because the
// maps share structure with their predecessors (`immutable`'s hash tries).
import { Map as Trie } from 'immutable';
import type { IpAddress } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Bridge, BridgeId, Node, NodeId, Presence, Suspicion } from '../model/node.ts';
import type { Service, ServiceId } from '../model/service.ts';
import { type Place, placeOf, type Task, type TaskId } from '../model/task.ts';
import type { Change } from './change.ts';

export interface Snapshot {
  /** The store's revision of the newest change in it. */
  readonly revision: number;
  readonly networks: Trie<NetworkId, Network>;
  readonly services: Trie<ServiceId, Service>;
  readonly tasks: Trie<TaskId, Task>;
  readonly nodes: Trie<NodeId, Node>;
  /** Of the nodes whose agents run. */
  readonly presences: Trie<NodeId, Presence>;
  readonly bridges: Trie<BridgeId, Bridge>;
  /** Nodes of which this agent has not heard for a while. */
  readonly suspicions: Trie<NodeId, Suspicion>;
  readonly networkByName: Trie<string, NetworkId>;
  readonly serviceByName: Trie<string, ServiceId>;
  /** By its name in lower case: DNS does not tell case, so no two services differ in it alone. */
  readonly serviceByFoldedName: Trie<string, ServiceId>;
  readonly tasksByService: Trie<ServiceId, Trie<TaskId, Task>>;
  readonly tasksByPlace: Trie<Place, Trie<TaskId, Task>>;
  /**
   * The nodes whose agents are reached at an address, or whose tunnels end there; of a node that is down, where that was, as far as
   * this agent has seen it.
   */
  readonly nodeByAddress: Trie<IpAddress, NodeId>;
  readonly bridgesByNetwork: Trie<NetworkId, Trie<BridgeId, Bridge>>;
  readonly servicesByNetwork: Trie<NetworkId, Trie<ServiceId, Service>>;
  /** By the number of a published port, whatever its protocol and address. */
  readonly servicesByPort: Trie<number, Trie<ServiceId, Service>>;
}

export const EMPTY_SNAPSHOT: Snapshot = {
  revision: 0,
  networks: Trie(),
  services: Trie(),
  tasks: Trie(),
  nodes: Trie(),
  presences: Trie(),
  bridges: Trie(),
  suspicions: Trie(),
  networkByName: Trie(),
  serviceByName: Trie(),
  serviceByFoldedName: Trie(),
  tasksByService: Trie(),
  tasksByPlace: Trie(),
  nodeByAddress: Trie(),
  bridgesByNetwork: Trie(),
  servicesByNetwork: Trie(),
  servicesByPort: Trie(),
};

/** The snapshot after all changes of one commit. Pure. */
export function applyChanges(snapshot: Snapshot, revision: number, changes: readonly Change[]): Snapshot {
  if (changes.length < MANY) return changes.reduce(applyChange, { ...snapshot, revision });
  const tries = mapTries(snapshot, (trie) => trie.asMutable());
  const applied = changes.reduce(applyChange, { ...tries, revision });
  return { ...mapTries(applied, (trie) => trie.asImmutable()), revision };
}

/** From here on it is cheaper to change copies of the indexes in place; a start and a large stack are like that. */
const MANY = 100;

function mapTries(snapshot: Snapshot, map: (trie: Trie<never, never>) => Trie<never, never>): Snapshot {
  const entries = Object.entries(snapshot).map(([name, value]) => [
    name,
    Trie.isMap(value) ? map(value as never) : value,
  ]);
  return Object.fromEntries(entries) as Snapshot;
}

/** The tasks of a service, in order of slot. */
export function tasksOf(snapshot: Snapshot, serviceId: ServiceId): readonly Task[] {
  const tasks = snapshot.tasksByService.get(serviceId);
  return tasks === undefined ? [] : [...tasks.values()].sort((a, b) => a.slot - b.slot || (a.id < b.id ? -1 : 1));
}

function applyChange(snapshot: Snapshot, change: Change): Snapshot {
  switch (change.kind) {
    case 'network':
      return {
        ...snapshot,
        networks: replace(snapshot.networks, change.before, change.after),
        networkByName: rename(snapshot.networkByName, change.before, change.after, asWritten),
      };
    case 'service':
      return {
        ...snapshot,
        services: replace(snapshot.services, change.before, change.after),
        serviceByName: rename(snapshot.serviceByName, change.before, change.after, asWritten),
        serviceByFoldedName: rename(snapshot.serviceByFoldedName, change.before, change.after, folded),
        servicesByNetwork: regroup(snapshot.servicesByNetwork, change.before, change.after, (service) =>
          service.networks.map((network) => network.networkId),
        ),
        servicesByPort: regroup(snapshot.servicesByPort, change.before, change.after, (service) =>
          service.ports.map((port) => port.publishedPort),
        ),
      };
    case 'task':
      return {
        ...snapshot,
        tasks: replace(snapshot.tasks, change.before, change.after),
        tasksByService: regroup(snapshot.tasksByService, change.before, change.after, (task) => [task.serviceId]),
        tasksByPlace: regroup(snapshot.tasksByPlace, change.before, change.after, (task) => [placeOf(task)]),
      };
    case 'node':
      return {
        ...snapshot,
        nodes: replace(snapshot.nodes, change.before, change.after),
        nodeByAddress:
          change.after === undefined && change.before !== undefined
            ? forget(snapshot.nodeByAddress, change.before.id)
            : snapshot.nodeByAddress,
      };
    case 'presence':
      return {
        ...snapshot,
        presences: replace(snapshot.presences, change.before, change.after),
        nodeByAddress: readdress(snapshot.nodeByAddress, change.after),
      };
    case 'bridge':
      return {
        ...snapshot,
        bridges: replace(snapshot.bridges, change.before, change.after),
        bridgesByNetwork: regroup(snapshot.bridgesByNetwork, change.before, change.after, (bridge) => [
          bridge.networkId,
        ]),
      };
    case 'suspicion':
      return { ...snapshot, suspicions: replace(snapshot.suspicions, change.before, change.after) };
  }
}

interface Identified<Id> {
  readonly id: Id;
}

function replace<Id, T extends Identified<Id>>(
  map: Trie<Id, T>,
  before: T | undefined,
  after: T | undefined,
): Trie<Id, T> {
  const without = before === undefined || before.id === after?.id ? map : map.delete(before.id);
  return after === undefined ? without : without.set(after.id, after);
}

interface Named<Id> extends Identified<Id> {
  readonly spec: { readonly name: string };
}

function rename<Id, T extends Named<Id>>(
  map: Trie<string, Id>,
  before: T | undefined,
  after: T | undefined,
  keyOf: (name: string) => string,
): Trie<string, Id> {
  const [old, now] = [before, after].map((value) => (value === undefined ? undefined : keyOf(value.spec.name)));
  // Within one commit, another object may have taken the name before this one lets go of it.
  const holds = before !== undefined && old !== undefined && old !== now && map.get(old) === before.id;
  const kept = holds ? map.delete(old) : map;
  return after === undefined || now === undefined ? kept : kept.set(now, after.id);
}

/** A node that is down keeps its addresses: what is at them is not for that reason well. */
function readdress(index: Trie<IpAddress, NodeId>, after: Presence | undefined): Trie<IpAddress, NodeId> {
  if (after === undefined) return index;
  return forget(index, after.id).set(after.dataAddress, after.id).set(after.address, after.id);
}

function forget(index: Trie<IpAddress, NodeId>, id: NodeId): Trie<IpAddress, NodeId> {
  return index.filter((nodeId) => nodeId !== id);
}

function asWritten(name: string): string {
  return name;
}

/** As `serviceByFoldedName` has it. */
export function folded(name: string): string {
  return name.toLowerCase();
}

function regroup<Group, Id, T extends Identified<Id>>(
  index: Trie<Group, Trie<Id, T>>,
  before: T | undefined,
  after: T | undefined,
  groupsOf: (value: T) => readonly Group[],
): Trie<Group, Trie<Id, T>> {
  let result = index;
  if (before !== undefined) {
    for (const group of groupsOf(before)) {
      const rest = result.get(group)?.delete(before.id);
      result = rest === undefined || rest.size === 0 ? result.delete(group) : result.set(group, rest);
    }
  }
  if (after !== undefined) {
    for (const group of groupsOf(after))
      result = result.set(group, (result.get(group) ?? Trie<Id, T>()).set(after.id, after));
  }
  return result;
}

/** What is on record under an id; undefined, too, for kinds of record that no snapshot holds. */
export function objectOf(
  snapshot: Snapshot,
  kind: string,
  id: string,
): Network | Service | Task | Node | Presence | Bridge | undefined {
  switch (kind) {
    case 'network':
      return snapshot.networks.get(id as NetworkId);
    case 'service':
      return snapshot.services.get(id as ServiceId);
    case 'task':
      return snapshot.tasks.get(id as TaskId);
    case 'node':
      return snapshot.nodes.get(id as NodeId);
    case 'presence':
      return snapshot.presences.get(id as NodeId);
    case 'bridge':
      return snapshot.bridges.get(id as BridgeId);
    default:
      return undefined;
  }
}
