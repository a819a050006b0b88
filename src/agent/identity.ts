// How this agent's namespaces, links and tables are called in the kernel. PURE.
import { createHash } from 'node:crypto';
import type { NodeId } from '../model/node.ts';

/** Six letters and digits, the same at every start of one agent (the id is kept in its store), another for every other. */
export function kernelInstance(nodeId: NodeId): string {
  return createHash('sha256').update(nodeId).digest('hex').slice(0, 6);
}
