// Opens the namespace of a container that something else made, and looks whether it can be one of ours.
import type { Network } from '../model/network.ts';
import type { Kernel, Namespace } from '../netlink/kernel.ts';
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

/**
 * The namespace in which an earlier run made the container's links, and the links as far as they are there; the caller closes it.
 * Undefined when that is not what is at the path. Rejects like `openGuest`.
 */
export async function reopenGuest(
  kernel: Kernel,
  spec: GuestSpec,
  inUse: InUse,
): Promise<{ readonly namespace: Namespace; readonly spec: ContainerSpec } | undefined> {
  const namespace = await kernel.openNamespace(spec.netns);
  if (namespace === undefined) return undefined;
  const links = await namespace.observeLinks();
  const isThere = foundLinks(spec, { links }).some((link) => link !== undefined);
  if (isThere && ownerOf(namespace.identity, kernel, inUse) === undefined) {
    return { namespace, spec: { ...spec, guest: planGuest(spec, namespace.name, { links, addresses: [] }, []) } };
  }
  namespace.close();
  return undefined;
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
