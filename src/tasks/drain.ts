// How a task takes its leave: it gets no new connection, and those that are open may finish.
import { DEFAULT_DRAIN_TIMEOUT_MS, type Service, type ServiceId } from '../model/service.ts';
import type { Task, TaskId, TaskState } from '../model/task.ts';
import { type Clock, sleep } from '../runtime/clock.ts';

export interface Draining {
  readonly clock: Clock;
  readonly registry: {
    task(id: TaskId): Task | undefined;
    service(id: ServiceId): Service | undefined;
    setState(id: TaskId, state: TaskState): Promise<void>;
  };
  /** Connections and flows that this node has open to the task. */
  readonly activeConnections: (id: TaskId) => number;
  /** Resolves when everything that was committed before is in effect in every worker. */
  readonly applied: () => Promise<void>;
}

/** How often a leaving task's connections are counted. */
const DRAIN_POLL_MS = 50;

/**
 * Takes a task out of balancing and DNS. Resolves when it has no connection left, its service's drain time is over, or it has
 * ended. Nothing happens when there is no such task.
 */
export async function drain(
  { clock, registry, applied, activeConnections }: Draining,
  id: TaskId,
  hasEnded: () => boolean,
): Promise<void> {
  const task = registry.task(id);
  if (task === undefined) return;
  const deadline = clock.now() + (registry.service(task.serviceId)?.spec.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS);
  await registry.setState(id, 'draining');
  await applied();
  while (activeConnections(id) > 0 && clock.now() < deadline && !hasEnded()) await sleep(clock, DRAIN_POLL_MS);
}
