// What the agent consists of once everything serves, and before anybody can talk with it.
import type { Catalog } from '../catalog/catalog.ts';
import type { Control } from '../control/control.ts';
import type { DataPlane } from '../datapath/plane.ts';
import type { HealthMonitor } from '../health/monitor.ts';
import type { NodeId } from '../model/node.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import type { AttachedTasks } from '../tasks/attached.ts';
import type { ProcessTasks } from '../tasks/process.ts';
import type { Cluster } from './cluster.ts';
import type { Containers } from './containers.ts';
import type { Mesh } from './mesh.ts';
import type { WorkerLog } from './worker-log.ts';

export interface Core {
  readonly nodeId: NodeId;
  readonly catalog: Catalog;
  readonly control: Control;
  readonly plane: DataPlane;
  readonly mesh: Mesh;
  readonly tasks: ProcessTasks;
  readonly attached: AttachedTasks;
  readonly containers: Containers;
  readonly monitor: HealthMonitor;
  readonly cluster: Cluster | undefined;
  readonly overlay: OverlayDriver | undefined;
  readonly logs: readonly WorkerLog[];
  /** Resolves when every node that answers has in effect what was committed before. */
  applied(): Promise<void>;
}
