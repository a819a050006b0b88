// PURE: what a user means by a node's name or id, and the names of what ids stand for.
import type { Snapshot } from '../catalog/snapshot.ts';
import type { NetworkId } from '../model/network.ts';
import type { Node } from '../model/node.ts';
import type { ServiceId } from '../model/service.ts';
import { ApiError } from './errors.ts';

/** As in Docker: the exact id or name, else the beginning of one id; `self` is the node that answers. Throws ApiError. */
export function findNode(snapshot: Snapshot, reference: string, self: string): Node {
  const wanted = reference === 'self' ? self : reference;
  const nodes = [...snapshot.nodes.values()];
  const exact = nodes.find((node) => node.id === wanted || node.name === wanted);
  if (exact !== undefined) return exact;
  const [only, ...more] = nodes.filter(({ id }) => wanted !== '' && id.startsWith(wanted));
  if (only === undefined) {
    const names = nodes.map(({ name }) => name).join(', ');
    throw new ApiError('NOT_FOUND', `no node is called "${wanted}"; there is ${names || 'none'}`);
  }
  if (more.length > 0) throw new ApiError('BAD_REQUEST', `the ids of ${more.length + 1} nodes begin with ${wanted}`);
  return only;
}

/** The name of what an id stands for, or the id when it is gone meanwhile. */
export function networkName(snapshot: Snapshot, id: NetworkId): string {
  return snapshot.networks.get(id)?.spec.name ?? id;
}

export function serviceName(snapshot: Snapshot, id: ServiceId): string {
  return snapshot.services.get(id)?.spec.name ?? id;
}
