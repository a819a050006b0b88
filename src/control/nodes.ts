// The records of nodes. PURE.
import { nameProblem } from '../model/name.ts';
import type { Availability, Node } from '../model/node.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { findNode } from './lookup.ts';
import { sameValue } from './services.ts';

/** Puts this node on record, or brings its record up to date; what others have set (availability, labels) stays. */
export function registerNode(draft: Draft, name: string): Node {
  const { nodeId } = draft.surroundings;
  const problem = nameProblem(name);
  if (problem !== undefined) throw new ControlError('invalid', `the node name ${JSON.stringify(name)} ${problem}`);
  // A node of that name that is down was this one before its state was lost, or is another that has made room.
  for (const other of draft.snapshot.nodes.values())
    if (other.name === name && other.id !== nodeId && !draft.snapshot.presences.has(other.id))
      draft.removeNode(other.id);
  const before = draft.snapshot.nodes.get(nodeId);
  if (before?.name === name) return before;
  const now = draft.wallTime;
  return draft.putNode(
    before === undefined
      ? { id: nodeId, name, availability: 'active', labels: {}, createdAt: now, updatedAt: now }
      : { ...before, name, updatedAt: now },
  );
}

export interface NodeChange {
  readonly availability?: Availability;
  /** All of them. */
  readonly labels?: Readonly<Record<string, string>>;
}

export function updateNode(draft: Draft, change: NodeChange, name?: string): Node {
  const node =
    name === undefined ? draft.snapshot.nodes.get(draft.surroundings.nodeId) : findNode(draft.snapshot, name);
  if (node === undefined)
    throw new ControlError('not-found', 'this node is not on record yet; its agent is still starting');
  const after = { ...node, ...change };
  return sameValue(node, after) ? node : draft.putNode({ ...after, updatedAt: draft.wallTime });
}

/** Refuses a node whose agent runs: it would put itself on record again at once. */
export function removeNode(draft: Draft, name: string): Node {
  const node = findNode(draft.snapshot, name);
  if (node.id === draft.surroundings.nodeId || draft.snapshot.presences.has(node.id)) {
    const why = draft.snapshot.suspicions.has(node.id)
      ? 'is not down yet: it does not answer, but is on record until its lease ends;'
      : 'is not down: its agent runs; stop that first, and';
    throw new ControlError('in-use', `node ${node.name} ${why} try again when \`vipmesh node ls\` shows it as down`);
  }
  for (const task of draft.snapshot.tasksByPlace.get(node.id)?.values() ?? []) draft.removeTask(task.id);
  draft.removeNode(node.id);
  return node;
}
