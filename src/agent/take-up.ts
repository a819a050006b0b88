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
  readonly containers: Pick<Containers, 'specOf' | 'adopted' | 'attach' | 'detach'>;
  /** Absent where the agent may not make namespaces. */
  readonly overlay: Pick<OverlayDriver, 'adopt' | 'verify'> | undefined;
  readonly tasks: Pick<ProcessTasks, 'recover'>;
  readonly attached: Pick<AttachedTasks, 'resume' | 'recover' | 'removed'>;
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
  // What has gone is not made anew where it was not this agent that made it, and otherwise last.
  for (const task of own) if (task.source === 'attached' && there.has(task.id)) await attached.resume(task);
  const processes = own.filter(({ source }) => source === 'process');
  for (const task of processes) if (there.has(task.id)) await containers.attach(task);
  for (const task of processes) if (!there.has(task.id)) await containers.attach(task);
  await mesh.settled();
  followHealthChecks(monitor, nodeId, catalog.snapshot, allOf(catalog.snapshot));
  await tasks.recover(own);
  await attached.recover(own);
  // Everybody is served by now, so that this may take its time.
  void verified(options).catch((error: unknown) =>
    options.log.error('containers of a former run could not all be looked at', { error }),
  );
}

/** What could not be made as it should be is no longer there: what this agent runs is given a new place, other containers are let go. */
async function verified({ attached, catalog, containers, log, overlay }: TakeUpOptions): Promise<void> {
  for (const id of (await overlay?.verify()) ?? []) {
    await containers.detach(id);
    const task = catalog.snapshot.tasks.get(id);
    if (task?.source === 'attached') attached.removed(id, 'container cannot be taken over');
    else if (task !== undefined) await containers.attach(task);
    log.warn('the links of a container of a former run were lost', { task: task?.name ?? id });
  }
}

/** The tasks whose namespaces are still there. */
async function adopted(
  { catalog, containers, log, overlay }: TakeUpOptions,
  own: readonly Task[],
): Promise<ReadonlySet<TaskId>> {
  if (overlay === undefined) return new Set();
  const specs = own.flatMap((task) => containers.specOf(task) ?? []);
  const found = await overlay.adopt(catalog.snapshot, specs);
  containers.adopted(found.containers);
  if (found.removed.length > 0) log.info('namespaces of a former run are removed', { namespaces: found.removed });
  return new Set(found.containers.map(({ taskId }) => taskId));
}
