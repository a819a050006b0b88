// This node's own record. PURE.
import { nameProblem } from '../model/name.ts';
import type { Availability, Node } from '../model/node.ts';
import type { Draft } from './draft.ts';
import { ControlError } from './errors.ts';
import { sameValue } from './services.ts';

/** Puts this node on record, or brings its record up to date; what others have set (availability, labels) stays. */
export function registerNode(draft: Draft, name: string): Node {
  const { nodeId } = draft.surroundings;
  const problem = nameProblem(name);
  if (problem !== undefined) throw new ControlError('invalid', `the node name ${JSON.stringify(name)} ${problem}`);
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

export function updateNode(draft: Draft, change: NodeChange): Node {
  const node = draft.snapshot.nodes.get(draft.surroundings.nodeId);
  if (node === undefined)
    throw new ControlError('not-found', 'this node is not on record yet; its agent is still starting');
  const after = { ...node, ...change };
  return sameValue(node, after) ? node : draft.putNode({ ...after, updatedAt: draft.wallTime });
}
