// What a node keeps on record under its lease: that it is there, its tasks, and its places on overlay networks. It is written as
// a whole with each new lease. PURE.
import { isUnderLease } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { IpAddress } from '../model/address.ts';
import { type Bridge, bridgeId, type NodeId, type Presence } from '../model/node.ts';
import type { NetworkId } from '../model/network.ts';
import type { ServiceId } from '../model/service.ts';
import { hasContainer, type Task } from '../model/task.ts';
import { encodeRecord } from '../store/record.ts';
import type { LeaseId, Write } from '../store/store.ts';
import type { AddressUse } from './address-use.ts';
import type { Draft } from './draft.ts';

/** A store's transaction has room for this many writes, whatever its configuration (etcd: 128 operations with comparisons). */
export const WRITES_PER_COMMIT = 50;

export interface OwnRecords {
  readonly writes: readonly Write[];
  /** What cannot come back: its service or network is gone, or somebody else has its address now. */
  readonly lost: readonly { readonly change: Change; readonly reason: string }[];
}

/** `use`: who has which address, this node's own included. */
export function ownRecords(
  snapshot: Snapshot,
  self: NodeId,
  presence: Presence,
  lease: LeaseId,
  use: Pick<AddressUse, 'on'>,
): OwnRecords {
  const writes: Write[] = [{ ...encodeRecord({ kind: 'presence', value: presence }), lease }];
  const lost: { change: Change; reason: string }[] = [];
  for (const bridge of snapshot.bridges.values()) {
    if (bridge.nodeId !== self) continue;
    const reason = placeProblem(snapshot, bridge.networkId, bridge.addresses, use);
    if (reason === undefined) writes.push({ ...encodeRecord({ kind: 'bridge', value: bridge }), lease });
    else lost.push({ change: { kind: 'bridge', before: bridge }, reason });
  }
  const slots = new Map<ServiceId, Map<number, number>>();
  for (const task of snapshot.tasksByPlace.get(self)?.values() ?? []) {
    if (!isUnderLease('task', task)) continue;
    const reason = taskProblem(snapshot, task, use);
    if (reason === undefined) {
      const inUse = slots.get(task.serviceId) ?? slotsOf(snapshot, task.serviceId);
      slots.set(task.serviceId, inUse);
      writes.push({ ...encodeRecord({ kind: 'task', value: { ...task, slot: slotFor(task.slot, inUse) } }), lease });
    } else lost.push({ change: { kind: 'task', before: task }, reason });
  }
  return { writes, lost };
}

/** How many tasks of a service have each slot: while this node was away, one of its slots may have been given out again. */
function slotsOf(snapshot: Snapshot, serviceId: ServiceId): Map<number, number> {
  const inUse = new Map<number, number>();
  for (const { slot } of snapshot.tasksByService.get(serviceId)?.values() ?? [])
    inUse.set(slot, (inUse.get(slot) ?? 0) + 1);
  return inUse;
}

/** The same, or the first free one when another task has it too. Changes `inUse` accordingly. */
function slotFor(slot: number, inUse: Map<number, number>): number {
  const count = inUse.get(slot) ?? 0;
  if (count <= 1) return slot;
  let free = 1;
  while (inUse.has(free)) free++;
  inUse.set(slot, count - 1);
  inUse.set(free, 1);
  return free;
}

/** This node's place on a network: the address that a network's first node has, or another. */
export function claimBridge(draft: Draft, networkId: NetworkId): Bridge | undefined {
  const { nodeId } = draft.surroundings;
  const id = bridgeId(networkId, nodeId);
  const network = draft.snapshot.networks.get(networkId);
  const present = draft.snapshot.bridges.get(id);
  // A node that is alone needs no record: nobody else could take the first address.
  if (network?.spec.driver !== 'overlay' || present !== undefined || draft.snapshot.presences.size === 0)
    return present;
  const addresses = network.subnets.map((subnet) => draft.allocateAddress(network, subnet, 'this node'));
  return draft.putBridge({ id, networkId, nodeId, addresses });
}

export function releaseBridge(draft: Draft, networkId: NetworkId): void {
  draft.removeBridge(bridgeId(networkId, draft.surroundings.nodeId));
}

function taskProblem(snapshot: Snapshot, task: Task, use: Pick<AddressUse, 'on'>): string | undefined {
  if (!snapshot.services.has(task.serviceId)) return 'its service was removed';
  for (const { networkId, address, moreAddresses } of task.attachments) {
    // What was not handed out may well be another node's too.
    const addresses = hasContainer(task) ? [address, ...(moreAddresses ?? [])] : [];
    const problem = placeProblem(snapshot, networkId, addresses, use);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function placeProblem(
  snapshot: Snapshot,
  networkId: NetworkId,
  addresses: readonly IpAddress[],
  use: Pick<AddressUse, 'on'>,
): string | undefined {
  if (!snapshot.networks.has(networkId)) return 'its network was removed';
  const taken = addresses.find((address) => (use.on(networkId).get(address) ?? 0) > 1);
  return taken === undefined ? undefined : `somebody else has its address ${taken} by now`;
}
