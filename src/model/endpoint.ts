// Endpoints: a task's address on one network, and how the agent reaches it.
import type { IpAddress } from './address.ts';
import type { Network, NetworkId } from './network.ts';
import { hasContainer, type PortMapping, type Task, type TaskId } from './task.ts';
import { weightOf } from './weight.ts';

export interface Endpoint {
  readonly taskId: TaskId;
  readonly networkId: NetworkId;
  readonly address: IpAddress;
  readonly portMap: readonly PortMapping[];
  readonly weight: number;
  /** `node`: from the node's own namespace. `network`: from inside the overlay network's namespace. */
  readonly reach: 'node' | 'network';
}

/** The endpoint of a task on a network; undefined when it has none there. */
export function endpointOf(task: Task, network: Network): Endpoint | undefined {
  const attachment = task.attachments.find((one) => one.networkId === network.id);
  if (attachment === undefined) return undefined;
  return {
    taskId: task.id,
    networkId: network.id,
    address: attachment.address,
    portMap: task.portMap,
    weight: weightOf(task),
    reach: network.spec.driver === 'overlay' && hasContainer(task) ? 'network' : 'node',
  };
}
