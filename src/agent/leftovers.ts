// What an agent that was killed has left in the kernel, removed by somebody who knows that it does not come back.
import { LinuxKernel } from '../netlink/linux-kernel.ts';
import type { NodeId } from '../model/node.ts';
import { OverlayDriver } from '../overlay/driver.ts';
import { SILENT_LOG } from '../runtime/log.ts';
import { kernelInstance } from './identity.ts';

/** All its namespaces, and its links and table in this process's network namespace. Rejects with KernelError. */
export async function removeLeftovers(nodeId: NodeId): Promise<void> {
  const kernel = new LinuxKernel();
  try {
    const options = { instance: kernelInstance(nodeId), node: { id: nodeId }, kernel, log: SILENT_LOG };
    await new OverlayDriver(options).removeAll();
  } finally {
    kernel.close();
  }
}
