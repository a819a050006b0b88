// Which changes are news: what an agent reads when it starts, and what comes back with a node that was away, was decided long before
// it came here, and says nothing of how long changes take. PURE: time is given by the caller.
import type { Change } from '../catalog/change.ts';
import type { NodeId } from '../model/node.ts';

export class News {
  /** What was decided before was there when this agent began to follow the store. */
  readonly #since: number;
  readonly #wentAt = new Map<NodeId, number>();

  /** Times are of the wall clock, in milliseconds. */
  constructor(now: number) {
    this.#since = now;
  }

  /** When those of these changes were decided that are news. */
  decidedAt(changes: readonly Change[], now: number): readonly number[] {
    const times: number[] = [];
    for (const change of changes) {
      if (change.kind === 'presence' && change.before !== undefined && change.after === undefined)
        this.#wentAt.set(change.before.id, now);
      const { after, before } = change;
      if (after === undefined || !('updatedAt' in after) || after.updatedAt < this.#since) continue;
      if (before !== undefined && 'updatedAt' in before && before.updatedAt === after.updatedAt) continue;
      const wentAt = 'nodeId' in after ? this.#wentAt.get(after.nodeId) : undefined;
      if (wentAt === undefined || after.updatedAt >= wentAt) times.push(after.updatedAt);
    }
    return times;
  }
}
