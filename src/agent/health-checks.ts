// Which tasks this node probes: its own ones that have a check and run. Follows the catalog; what is found goes back to it as a
// commit, so that every node knows.
import type { Change } from '../catalog/change.ts';
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { checkerOf } from '../catalog/standing.ts';
import type { HealthMonitor } from '../health/monitor.ts';
import { checkOf } from '../health/plan.ts';
import type { NodeId } from '../model/node.ts';
import type { ServiceId } from '../model/service.ts';
import type { Task } from '../model/task.ts';

export function followHealthChecks(
  monitor: HealthMonitor,
  nodeId: NodeId,
  snapshot: Snapshot,
  changes: readonly Change[],
): void {
  // When a node comes or goes, others take its checks of what is on no node, or give them back.
  if (changes.some((change) => change.kind === 'presence')) {
    for (const task of snapshot.tasks.values())
      if (task.source === 'static') watchTask(monitor, nodeId, snapshot, task);
  }
  for (const change of changes) {
    if (change.kind === 'task') {
      if (change.after !== undefined) watchTask(monitor, nodeId, snapshot, change.after);
      else if (change.before !== undefined) monitor.unwatch(change.before.id);
    }
    // A service's check may have become another.
    if (change.kind === 'service' && change.after !== undefined) {
      for (const task of tasksOf(snapshot, change.after.id as ServiceId)) watchTask(monitor, nodeId, snapshot, task);
    }
  }
}

function watchTask(monitor: HealthMonitor, nodeId: NodeId, snapshot: Snapshot, task: Task): void {
  const service = snapshot.services.get(task.serviceId);
  const plan =
    service && checkerOf(snapshot, task) === nodeId && task.state === 'running'
      ? checkOf(service, task, (id) => snapshot.networks.get(id))
      : undefined;
  if (service === undefined || plan === undefined) monitor.unwatch(task.id);
  else monitor.watch({ id: task.id, name: task.name, service: service.spec.name, health: task.health }, plan);
}
