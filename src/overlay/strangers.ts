// What an earlier run left that belongs to nothing any more.
import type { Kernel } from '../netlink/kernel.ts';
import { KernelError } from '../netlink/kernel-error.ts';
import type { Log } from '../runtime/log.ts';
import { TUNNEL } from './names.ts';

/**
 * Removes a namespace by its name. Its tunnel goes first: the kernel takes its time over a namespace, and until then nobody
 * could make a tunnel for that network again.
 */
export async function removeStranger(kernel: Kernel, name: string, log: Log): Promise<void> {
  try {
    const namespace = await kernel.ensureNamespace(name);
    await namespace.apply({ kind: 'remove-link', name: TUNNEL });
    namespace.close();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    log.warn('cannot look into a namespace of an earlier run', { namespace: name, error });
  }
  kernel.deleteNamespace(name);
}
