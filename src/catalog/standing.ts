// What a task's endpoint is worth to one node. PURE.
import { type IpAddress, isLoopback } from '../model/address.ts';
import type { NodeId } from '../model/node.ts';
import type { ServiceId } from '../model/service.ts';
import { isEligible, type Place, placeOf, type Task } from '../model/task.ts';
import type { Change } from './change.ts';
import type { Snapshot } from './snapshot.ts';

/**
 * `last-resort`: on a node of which nothing was heard for a while, or at the address of one that is down, so used only where nothing
 * else is eligible.
 */
export type Standing = 'eligible' | 'last-resort' | 'out';

/** Of a task's endpoint at that address, as `self` sees it. */
export function standingOf(snapshot: Snapshot, task: Task, address: IpAddress, self: NodeId): Standing {
  if (!isEligible(task) || isElsewhere(task, address, self)) return 'out';
  if (isLeaving(snapshot, task)) return 'out';
  const nodeId = nodeOf(snapshot, task);
  if (nodeId === undefined) return 'eligible';
  return isAtDownNode(snapshot, task) || snapshot.suspicions.has(nodeId) ? 'last-resort' : 'eligible';
}

/** It, or its node, was told to take no new connection and let the open ones finish. */
export function isLeaving(snapshot: Snapshot, task: Task): boolean {
  if (task.state === 'draining') return true;
  const nodeId = nodeOf(snapshot, task);
  return nodeId !== undefined && snapshot.nodes.get(nodeId)?.availability === 'drain';
}

/** What something else serves there is on record all the same, and may be well. */
export function isAtDownNode(snapshot: Snapshot, task: Task): boolean {
  const nodeId = task.source === 'static' ? nodeOf(snapshot, task) : undefined;
  return nodeId !== undefined && nodeState(snapshot, nodeId) === 'down';
}

/** A loopback address leads to the node itself, whichever that is; so does one on a bridge that each node has. */
export function isElsewhere(task: Task, address: IpAddress, self: NodeId): boolean {
  return task.nodeId !== self && (isLoopback(address) || task.source === 'bridged');
}

/** The node on which a task runs; undefined for a static one at an address that is no node's. */
export function nodeOf(snapshot: Snapshot, task: Task): NodeId | undefined {
  const place = placeOf(task);
  return place === task.nodeId ? task.nodeId : snapshot.nodeByAddress.get(place as IpAddress);
}

/**
 * Whose checks a task's health comes from: its own node's, or, where it is on none or that is down, one on which all nodes
 * agree without asking each other.
 */
export function checkerOf(snapshot: Snapshot, task: Task): NodeId {
  const own = nodeOf(snapshot, task) ?? task.nodeId;
  if (task.source !== 'static' || snapshot.presences.size === 0 || snapshot.presences.has(own)) return own;
  if (snapshot.presences.has(task.nodeId)) return task.nodeId;
  return [...snapshot.presences.keys()].sort()[0] ?? own;
}

/** In Docker's words; `unknown`: this agent has not heard of it for a while. A node that is alone says nothing of itself. */
export function nodeState(snapshot: Snapshot, id: NodeId): 'ready' | 'unknown' | 'down' {
  if (snapshot.presences.size > 0 && !snapshot.presences.has(id)) return 'down';
  return snapshot.suspicions.has(id) ? 'unknown' : 'ready';
}

/** The services some of whose tasks stand differently because of what became of nodes. */
export function servicesOfChangedNodes(
  snapshot: Snapshot,
  previous: Snapshot,
  changes: readonly Change[],
): ReadonlySet<ServiceId> {
  const places = new Set<Place>();
  for (const change of changes) {
    for (const value of [change.before, change.after]) {
      if (value === undefined) continue;
      if (change.kind === 'suspicion' || change.kind === 'node') {
        places.add(value.id as NodeId);
        const presence = snapshot.presences.get(value.id as NodeId);
        if (presence !== undefined) places.add(presence.address).add(presence.dataAddress);
        if (change.kind === 'node' && change.after === undefined)
          for (const [address, id] of previous.nodeByAddress) if (id === value.id) places.add(address);
      }
      if (change.kind === 'presence' && 'dataAddress' in value)
        places.add(value.id).add(value.address).add(value.dataAddress);
    }
  }
  const services = new Set<ServiceId>();
  for (const place of places) {
    for (const which of [snapshot, previous])
      for (const task of which.tasksByPlace.get(place)?.values() ?? []) services.add(task.serviceId);
  }
  return services;
}
