// Tasks whose record was removed while they run (their service was, or somebody removed them): they are told to stop when no node
// sends anything to them any more and what was open has ended.
import type { Change } from '../catalog/change.ts';
import type { Snapshot } from '../catalog/snapshot.ts';
import { DEFAULT_DRAIN_TIMEOUT_MS } from '../model/service.ts';
import type { Task } from '../model/task.ts';
import { type Clock, sleep } from '../runtime/clock.ts';

export interface LeaversOptions {
  readonly clock: Clock;
  /** Whether the task runs on this node. */
  isHere(task: Task): boolean;
  openConnections(task: Task): number;
  /** Resolves when every node that answers has in effect what was committed before. */
  applied(): Promise<void>;
  stop(task: Task): void;
}

/** Addresses rest for 30 s before somebody else may have them; a removed task must not have its own for longer. */
const LONGEST_MS = 25_000;
const POLL_MS = 50;

export function followLeavers(options: LeaversOptions, previous: Snapshot, changes: readonly Change[]): void {
  for (const change of changes) {
    if (change.kind !== 'task' || change.after !== undefined || change.before === undefined) continue;
    if (!options.isHere(change.before)) continue;
    const service = previous.services.get(change.before.serviceId);
    void stopWhenDrained(options, change.before, service?.spec.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS);
  }
}

async function stopWhenDrained(options: LeaversOptions, task: Task, drainMs: number): Promise<void> {
  const { clock, applied, openConnections, stop } = options;
  const deadline = clock.now() + Math.min(drainMs, LONGEST_MS);
  await applied();
  while (openConnections(task) > 0 && clock.now() < deadline) await sleep(clock, POLL_MS);
  stop(task);
}
