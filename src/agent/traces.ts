// How to recognise what an agent has made in the kernel. PURE.
import type { NodeId } from '../model/node.ts';
import { egressBridge, namespacePrefix } from '../overlay/names.ts';
import { kernelInstance } from './identity.ts';

/** What the names of an agent's network namespaces begin with. */
export function namespacesOf(nodeId: NodeId): string {
  return namespacePrefix(kernelInstance(nodeId));
}

/** What the names of the bridges begin with by which containers reach the outside, whichever agent made them. */
export const EGRESS_LINKS = egressBridge('');
