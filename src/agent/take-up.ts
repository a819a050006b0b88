// What a former run of this agent left, in the store and in the kernel, becomes what this one serves; and what is committed from
// then on is followed.
import type { Catalog } from '../catalog/catalog.ts';
import type { HealthMonitor } from '../health/monitor.ts';
import type { NodeId } from '../model/node.ts';
import type { Task, TaskId } from '../model/task.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import type { Log } from '../runtime/log.ts';
import type { AttachedTasks } from '../tasks/attached.ts';
import type { ProcessTasks } from '../tasks/process.ts';
import type { Containers } from './containers.ts';
import { followHealthChecks } from './health-checks.ts';
import { followLeavers, type LeaversOptions } from './leavers.ts';
import { allOf, type Mesh } from './mesh.ts';

export interface TakeUpOptions {
  readonly nodeId: NodeId;
  readonly log: Log;
  readonly catalog: Pick<Catalog, 'snapshot' | 'subscribe'>;
  readonly mesh: Pick<Mesh, 'start' | 'apply' | 'openNodeResolver' | 'settled'>;
  /** Where the node's own resolver listens. */
  readonly dns: { readonly address: string; readonly port: number };
  readonly monitor: HealthMonitor;
  readonly containers: Pick<Containers, 'specOf' | 'attach'>;
  /** Absent where the agent may not make namespaces. */
  readonly overlay: Pick<OverlayDriver, 'adopt'> | undefined;
  readonly tasks: Pick<ProcessTasks, 'recover'>;
  readonly attached: Pick<AttachedTasks, 'resume' | 'recover'>;
  readonly leavers: LeaversOptions;
}

export async function takeUp(options: TakeUpOptions): Promise<void> {
  const { attached, catalog, containers, dns, leavers, mesh, monitor, nodeId, tasks } = options;
  const own = [...catalog.snapshot.tasks.values()].filter((task) => task.nodeId === nodeId);
  const there = await adopted(options, own);
  // Other nodes may have committed meanwhile: what is begun with is what the changes to come lead on from.
  const begun = catalog.snapshot;
  catalog.subscribe((after, before, changes) => {
    mesh.apply(after, before, changes);
    followHealthChecks(monitor, nodeId, after, changes);
    followLeavers(leavers, before, changes);
  });
  mesh.start(begun);
  mesh.openNodeResolver(dns.address, dns.port, begun);
  for (const task of own) if (task.source === 'process') await containers.attach(task);
  // What has gone is not made anew: it was not this agent that made it.
  for (const task of own) if (task.source === 'attached' && there.has(task.id)) await attached.resume(task);
  await mesh.settled();
  followHealthChecks(monitor, nodeId, catalog.snapshot, allOf(catalog.snapshot));
  await tasks.recover(own);
  await attached.recover(own);
}

/** The tasks whose namespaces are still there. */
async function adopted(
  { catalog, containers, log, overlay }: TakeUpOptions,
  own: readonly Task[],
): Promise<ReadonlySet<TaskId>> {
  if (overlay === undefined) return new Set();
  const specs = own.flatMap((task) => containers.specOf(task) ?? []);
  const found = await overlay.adopt(catalog.snapshot, specs);
  if (found.removed.length > 0) log.info('namespaces of a former run are removed', { namespaces: found.removed });
  return new Set(found.containers.map(({ taskId }) => taskId));
}
