// PURE: what a user means by a name or an id. As in Docker: the exact id, else the exact name, else the beginning of one id.
import type { Map as Trie } from 'immutable';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { Node } from '../model/node.ts';
import type { Service, ServiceId } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import { ApiError } from './errors.ts';

/** Each throws ApiError NOT_FOUND with the closest name, or BAD_REQUEST when an id's beginning fits several. */
export function findService(snapshot: Snapshot, reference: string): Service {
  const named = snapshot.serviceByName.get(reference);
  return find('service', snapshot.services, reference, named, (service) => service.spec.name);
}

export function findNetwork(snapshot: Snapshot, reference: string): Network {
  const named = snapshot.networkByName.get(reference);
  return find('network', snapshot.networks, reference, named, (network) => network.spec.name);
}

export function findTask(snapshot: Snapshot, reference: string): Task {
  const named = [...snapshot.tasks.values()].find((task) => task.name === reference)?.id;
  return find('task', snapshot.tasks, reference, named, (task) => task.name);
}

/** `self`: the node that answers. */
export function findNode(snapshot: Snapshot, reference: string, self: string): Node {
  const wanted = reference === 'self' ? self : reference;
  const named = [...snapshot.nodes.values()].find((node) => node.name === wanted)?.id;
  return find('node', snapshot.nodes, wanted, named, (node) => node.name);
}

/** The name of what an id stands for, or the id when it is gone meanwhile. */
export function networkName(snapshot: Snapshot, id: NetworkId): string {
  return snapshot.networks.get(id)?.spec.name ?? id;
}

export function serviceName(snapshot: Snapshot, id: ServiceId): string {
  return snapshot.services.get(id)?.spec.name ?? id;
}

/** The candidate that a typing error most likely meant; undefined when none is near. */
export function nearest(text: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - text.length) >= bestDistance) continue;
    const distance = editDistance(text.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function find<Id extends string, T extends { readonly id: Id }>(
  noun: string,
  objects: Trie<Id, T>,
  reference: string,
  named: Id | undefined,
  nameOf: (value: T) => string,
): T {
  const exact = objects.get(reference as Id) ?? (named === undefined ? undefined : objects.get(named));
  if (exact !== undefined) return exact;
  const begins = reference === '' ? [] : [...objects.values()].filter(({ id }) => id.startsWith(reference));
  const [only, second] = begins;
  if (only !== undefined && second === undefined) return only;
  if (only !== undefined) {
    throw new ApiError('BAD_REQUEST', `${noun} ${reference} is ambiguous: ${begins.length} ids begin like that`);
  }
  const near = nearest(reference, [...objects.values()].map(nameOf));
  throw new ApiError(
    'NOT_FOUND',
    `no such ${noun}: ${reference}${near === undefined ? '' : ` (did you mean ${near}?)`}`,
  );
}

/** Insertions, deletions, substitutions and exchanges of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const first = Array.from({ length: b.length + 1 }, (_, index) => index);
  let [before, row] = [first, first];
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      const exchanged = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      next.push(
        Math.min(
          (row[j - 1] ?? 0) + (same ? 0 : 1),
          (row[j] ?? 0) + 1,
          (next[j - 1] ?? 0) + 1,
          exchanged ? (before[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    [before, row] = [row, next];
  }
  return row[b.length] ?? 0;
}
