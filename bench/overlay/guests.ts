// Containers that something else made: empty network namespaces, attached to one network over the API.
import { attached } from '../../src/api/requests.ts';
import { apiPath } from '../../src/api/client.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import type { Node } from './lab.ts';

const NETWORK = 'guests';
/** Whose tasks they are. */
export const GUEST_SERVICE = 'guest';
/** Room for many, and for what is attached and detached meanwhile: an address is not given out again at once. */
const SUBNET = '10.200.0.0/20';

/** While `work` runs, there are that many, and the service on its network; none is attached yet. */
export async function withGuests<T>(
  node: Node,
  count: number,
  work: (names: readonly string[]) => Promise<T>,
): Promise<T> {
  const kernel = new LinuxKernel();
  try {
    const names = Array.from({ length: count }, (_, index) => `guest-${index}`);
    for (const name of names) (await kernel.ensureNamespace(name)).close();
    await node.cli('network', 'create', '--attachable', '--subnet', SUBNET, NETWORK);
    await node.cli('service', 'create', '--name', GUEST_SERVICE, '--network', NETWORK);
    return await work(names);
  } finally {
    for (const name of kernel.listNamespaces('guest-')) kernel.deleteNamespace(name);
    kernel.close();
  }
}

/** Resolves with the task's id. */
export async function attachGuest({ client }: Node, name: string): Promise<string> {
  const request = { Service: GUEST_SERVICE, Netns: guestPath(name) };
  return attached.parse(await client.post('/vipmesh/attachments', request)).ID;
}

export async function detachGuest({ client }: Node, id: string): Promise<void> {
  await client.delete(apiPath`/vipmesh/attachments/${id}`);
}

export function guestPath(name: string): string {
  return `/run/netns/${name}`;
}

export function guestVip(node: Node): Promise<string> {
  return node.vipOf(GUEST_SERVICE, NETWORK);
}
