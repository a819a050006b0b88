// PURE: what the shapes of all kinds of objects have in common.
import type { Snapshot } from '../catalog/snapshot.ts';
import { type IpAddress, prefixLength, type Subnet, subnetContains } from '../model/address.ts';
import type { Network } from '../model/network.ts';
import type { Task } from '../model/task.ts';

/** What a shape needs besides the object itself. */
export interface ShapeSource {
  readonly snapshot: Snapshot;
  revisionOf(id: string): number;
}

export function rfc3339(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** `10.64.0.2/24`: the address with the length of the network's subnet that holds it. */
export function cidr(address: IpAddress, network: Network | undefined): string {
  const subnet: Subnet | undefined = network?.subnets.find((one) => subnetContains(one, address));
  return `${address}/${subnet === undefined ? (address.includes(':') ? 128 : 32) : prefixLength(subnet)}`;
}

/** Docker has no health in a task's state: a task is `starting` until its first healthy check. */
export function shapeTaskState(task: Task): 'starting' | 'running' {
  return task.state === 'starting' || task.health === 'starting' ? 'starting' : 'running';
}
