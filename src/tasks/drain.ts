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
 * What is open at the end of the drain time is reset by each node that balances it, counted from when that heard of it. A task that
 * goes before that takes its connections along in silence, so it waits a moment.
 */
const RESETS_WITHIN_MS = 500;

/**
 * Takes a task out of balancing and DNS. Resolves when it has no connection left, which is soon after its service's drain time at the
 * latest, or it has ended. Nothing happens when there is no such task.
 */
export async function drain(
  { clock, registry, applied, activeConnections }: Draining,
  id: TaskId,
  hasEnded: () => boolean,
): Promise<void> {
  const task = registry.task(id);
  if (task === undefined) return;
  const drainMs = registry.service(task.serviceId)?.spec.drainTimeoutMs ?? DEFAULT_DRAIN_TIMEOUT_MS;
  await registry.setState(id, 'draining');
  await applied();
  const deadline = clock.now() + drainMs + RESETS_WITHIN_MS;
  while (activeConnections(id) > 0 && clock.now() < deadline && !hasEnded()) await sleep(clock, DRAIN_POLL_MS);
}
