// What this node had on record before its agent stopped, out of its own copy of the store: an agent that was away for longer than
// its lease finds its tasks gone from the store, and yet they may still run here.
import { isUnderLease } from '../catalog/catalog.ts';
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import type { NodeId } from '../model/node.ts';
import type { CopyDisk } from '../store/copy-disk.ts';
import { CopyReader } from '../store/copy-format.ts';
import { decodeRecord } from '../store/record.ts';

/** Tasks and places on networks; empty when there is no copy, or none that can be used, which its owner says. */
export async function formerRecords(disk: CopyDisk, identity: string, self: NodeId): Promise<readonly Change[]> {
  const reader = new CopyReader(identity);
  try {
    for await (const piece of disk.read()) if (!reader.take(piece)) break;
  } catch {
    return [];
  }
  const reading = reader.end();
  if (reading.kind !== 'state') return [];
  return reading.content.entries.flatMap(({ key, value }): Change[] => {
    if (!/^(task|bridge)\//.test(key)) return [];
    try {
      const record = decodeRecord(key, value);
      if (record?.kind === 'bridge' && record.value.nodeId === self) return [{ kind: 'bridge', after: record.value }];
      if (record?.kind !== 'task' || record.value.nodeId !== self || !isUnderLease('task', record.value)) return [];
      return [{ kind: 'task', after: record.value }];
    } catch {
      return [];
    }
  });
}

/** The same of a snapshot. */
export function recordsOf({ bridges, tasksByPlace }: Snapshot, self: NodeId): readonly Change[] {
  return [
    ...[...bridges.values()].flatMap((after): readonly Change[] =>
      after.nodeId === self ? [{ kind: 'bridge', after }] : [],
    ),
    ...[...(tasksByPlace.get(self)?.values() ?? [])].flatMap((after): readonly Change[] =>
      isUnderLease('task', after) ? [{ kind: 'task', after }] : [],
    ),
  ];
}

/** Those that the store has not, but has what they belong to. */
export function missingFrom(snapshot: Snapshot, former: readonly Change[]): readonly Change[] {
  return former.filter((change) => {
    if (change.kind === 'bridge')
      return change.after && !snapshot.bridges.has(change.after.id) && snapshot.networks.has(change.after.networkId);
    if (change.kind !== 'task' || change.after === undefined) return false;
    const { attachments, id, serviceId } = change.after;
    return (
      !snapshot.tasks.has(id) &&
      snapshot.services.has(serviceId) &&
      attachments.every(({ networkId }) => snapshot.networks.has(networkId))
    );
  });
}
