// Opens the namespace of a container that something else made, and looks whether it can be one of ours.
import type { Network } from '../model/network.ts';
import type { Kernel, Namespace } from '../netlink/kernel.ts';
import type { Log } from '../runtime/log.ts';
import { foundLinks, guestProblem, planGuest } from './guest.ts';
import { OverlayError } from './overlay-error.ts';
import type { ContainerSpec } from './plan.ts';

/** A container whose namespace something else made. */
export type GuestSpec = ContainerSpec & { readonly netns: string };

export function isGuest(spec: ContainerSpec): spec is GuestSpec {
  return spec.netns !== undefined;
}

/** The namespaces that no container may bring along. */
export interface InUse {
  readonly networks: readonly { readonly network: Network; readonly namespace: Namespace }[];
  readonly containers: readonly { readonly spec: ContainerSpec; readonly namespace: Namespace }[];
}

/** The caller closes it. Rejects with OverlayError `container-not-found` or `namespace-taken`, or KernelError. */
export async function openGuest(kernel: Kernel, { netns }: GuestSpec, inUse: InUse): Promise<Namespace> {
  const namespace = await kernel.openNamespace(netns);
  if (namespace === undefined) throw notFound(netns);
  const whose = ownerOf(namespace.identity, kernel, inUse);
  if (whose === undefined) return namespace;
  namespace.close();
  throw new OverlayError('namespace-taken', `the network namespace ${netns} is ${whose}`);
}

/** The container as it is to be fitted out. Rejects with OverlayError `container-clash`. */
export async function fitOut(spec: GuestSpec, namespace: Namespace): Promise<ContainerSpec> {
  const [observed, routed] = [await namespace.observe(), await namespace.routed()];
  const guest = planGuest(spec, namespace.name, observed, routed);
  const problem = guestProblem(spec, guest, observed, routed);
  if (problem === undefined) return { ...spec, guest };
  throw new OverlayError('container-clash', `the container in ${spec.netns} ${problem}`);
}

/** Whether the namespace at the path is the one in which an earlier run made the container's links. Never rejects. */
export async function isStillThere(kernel: Kernel, spec: GuestSpec, log: Log): Promise<boolean> {
  let namespace: Namespace | undefined;
  try {
    namespace = await kernel.openNamespace(spec.netns);
    return namespace !== undefined && foundLinks(spec, await namespace.observe()).some((link) => link !== undefined);
  } catch (error) {
    log.error('cannot look for a container of an earlier run', { taskId: spec.taskId, error });
    return false;
  } finally {
    namespace?.close();
  }
}

function notFound(path: string): OverlayError {
  return new OverlayError('container-not-found', `there is no network namespace at ${path}; has the container ended?`);
}

function ownerOf(identity: string, kernel: Kernel, { networks, containers }: InUse): string | undefined {
  if (identity === kernel.own.identity)
    return "the node's own; what listens there needs no attaching: use vipmesh endpoint add";
  const network = networks.find(({ namespace }) => namespace.identity === identity)?.network.spec.name;
  if (network !== undefined) return `that of network ${network}`;
  const spec = containers.find(({ namespace }) => namespace.identity === identity)?.spec;
  if (spec === undefined) return undefined;
  const task = `task ${spec.taskId.slice(0, 12)}`;
  return isGuest(spec) ? `attached already, as ${task}; detach that first` : `that of ${task}, which vipmesh run runs`;
}
