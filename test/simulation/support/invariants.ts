// What must be so of everything that is in the store, after every commit.
import type { Snapshot } from '../../../src/catalog/snapshot.ts';
import { subnetContains, subnetsOverlap } from '../../../src/model/address.ts';
import type { NetworkId } from '../../../src/model/network.ts';

/** What two have, as sentences. */
export function collisions(snapshot: Snapshot): readonly string[] {
  const found: string[] = [];
  const claimed = new Map<string, string>();
  const claim = (what: string, owner: string) => {
    const other = claimed.get(what);
    if (other === undefined) claimed.set(what, owner);
    else found.push(`${what} belongs to ${other} and to ${owner}`);
  };
  const claimAddress = (networkId: NetworkId, address: string, owner: string) => {
    const network = snapshot.networks.get(networkId);
    if (network !== undefined && !network.subnets.some((subnet) => subnetContains(subnet, address as never)))
      found.push(`${owner} has ${address} on network ${network.spec.name}, which is ${network.subnets}`);
    claim(`address ${address} of ${networkId}`, owner);
  };

  const networks = [...snapshot.networks.values()];
  for (const [n, network] of networks.entries()) {
    claim(`network name ${network.spec.name}`, network.id);
    if (network.vni !== undefined) claim(`VNI ${network.vni}`, network.spec.name);
    const chosen = network.spec.subnets.length > 0;
    const overlapping = networks
      .slice(n + 1)
      .find((other) => !(chosen || other.spec.subnets.length > 0) && overlap(network.subnets, other.subnets));
    if (overlapping !== undefined) found.push(`${network.spec.name} and ${overlapping.spec.name} share a subnet`);
  }
  for (const service of snapshot.services.values()) {
    const { name } = service.spec;
    claim(`service name ${name}`, service.id);
    for (const { publishedPort, protocol } of service.ports) claim(`published port ${publishedPort}/${protocol}`, name);
    for (const { networkId, address } of service.vips) claimAddress(networkId, address, name);
  }
  for (const task of snapshot.tasks.values()) {
    claim(`slot ${task.slot} of ${task.serviceId}`, task.id);
    if (task.source === 'static') continue;
    for (const { networkId, address } of task.attachments) claimAddress(networkId, address, `task ${task.id}`);
  }
  for (const { id, networkId, addresses } of snapshot.bridges.values())
    for (const address of addresses) claimAddress(networkId, address, `bridge ${id}`);
  return found;
}

/** What leads nowhere, as sentences. */
export function danglers(snapshot: Snapshot): readonly string[] {
  const found: string[] = [];
  const refer = (networkId: NetworkId, owner: string) => {
    if (!snapshot.networks.has(networkId)) found.push(`${owner} is on network ${networkId}, which is not there`);
  };
  for (const { spec, networks } of snapshot.services.values())
    for (const { networkId } of networks) refer(networkId, spec.name);
  for (const { id, serviceId, attachments } of snapshot.tasks.values()) {
    if (!snapshot.services.has(serviceId)) found.push(`task ${id} is of service ${serviceId}, which is not there`);
    for (const { networkId } of attachments) refer(networkId, `task ${id}`);
  }
  for (const { id, networkId } of snapshot.bridges.values()) refer(networkId, `bridge ${id}`);
  return found;
}

function overlap(some: readonly string[], others: readonly string[]): boolean {
  return some.some((one) => others.some((other) => subnetsOverlap(one as never, other as never)));
}
