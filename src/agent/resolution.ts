// What `vipmesh resolve` shows: what the node's own clients, or those of one network, would be told about a name, which
// network it came from, and what that network hid. PURE: `lookup` is the names' table of the resolver.
import type { Resolution } from '../api/schema.ts';
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { shortName } from '../model/name.ts';
import type { Network, NetworkId } from '../model/network.ts';
import { serviceNames } from '../model/service.ts';

export type Lookup = (network: NetworkId, name: string) => readonly string[] | undefined;

type Kind = Resolution['Answers'][number]['Kind'];

/** `network`: as a container on that one alone. Undefined: as a process on the node, which sees the `local` networks. */
export function resolveName(
  snapshot: Snapshot,
  lookup: Lookup,
  name: string,
  network: NetworkId | undefined,
): Resolution {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  const seen =
    network === undefined ? nodeNetworks(snapshot) : [snapshot.networks.get(network)].flatMap((one) => one ?? []);
  const found = findOn(snapshot, lookup, wanted, seen);
  const [first, ...later] = found;
  const others = [...snapshot.networks.values()].filter((one) => !seen.includes(one));
  const unseen = network === undefined ? findOn(snapshot, lookup, wanted, others) : [];
  return {
    Name: name,
    Outcome: first === undefined ? outsideOutcome(wanted, seen) : first.addresses.length === 0 ? 'nodata' : 'answer',
    Answers:
      first === undefined || first.addresses.length === 0
        ? []
        : [{ Network: first.network.spec.name, ...describe(first) }],
    Hidden: [
      ...later.map((one) => hidden(one, `${first?.network.spec.name} is older and answers first`)),
      ...unseen.map((one) => hidden(one, 'an overlay network: only its containers see it')),
    ],
  };
}

interface Found {
  readonly network: Network;
  readonly addresses: readonly string[];
  readonly kind: Kind;
  readonly service: string | undefined;
}

function nodeNetworks(snapshot: Snapshot): readonly Network[] {
  return [...snapshot.networks.values()]
    .filter((network) => network.spec.driver === 'local')
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
}

/** A name that ends in a network's own name means that network only. */
function findOn(snapshot: Snapshot, lookup: Lookup, name: string, networks: readonly Network[]): readonly Found[] {
  return networks.flatMap((network) => {
    const bare = [
      name,
      ...suffixes(network).flatMap((suffix) =>
        name.endsWith(`.${suffix}`) ? [name.slice(0, -suffix.length - 1)] : [],
      ),
    ];
    for (const candidate of bare) {
      const addresses = lookup(network.id, candidate);
      if (addresses !== undefined) return [{ network, addresses, ...ownerOf(snapshot, network, candidate) }];
    }
    return [];
  });
}

function suffixes(network: Network): readonly string[] {
  const short = shortName(network.spec.name, network.spec.labels);
  return [network.spec.name, ...(short === undefined ? [] : [short])].map((name) => name.toLowerCase());
}

function ownerOf(snapshot: Snapshot, network: Network, name: string): Pick<Found, 'kind' | 'service'> {
  const bare = name.replace(/^tasks\./, '');
  for (const service of snapshot.servicesByNetwork.get(network.id)?.values() ?? []) {
    if (serviceNames(service, network.id).includes(bare)) {
      const byVip = bare === name && service.spec.endpointMode === 'vip';
      return { kind: byVip ? 'vip' : 'endpoints', service: service.spec.name };
    }
    if (tasksOf(snapshot, service.id).some((task) => task.name.toLowerCase() === name))
      return { kind: 'task', service: service.spec.name };
  }
  return { kind: 'task', service: undefined };
}

/** Single labels are never asked for outside, nor is what ends in a network's own name. */
function outsideOutcome(name: string, seen: readonly Network[]): Resolution['Outcome'] {
  if (!name.includes('.') || seen.some((network) => suffixes(network).some((suffix) => name.endsWith(`.${suffix}`))))
    return 'nxdomain';
  return seen.length > 0 && seen.every((network) => network.spec.internal) ? 'refused' : 'forwarded';
}

function describe(found: Found): { Kind: Kind; Addresses: string[]; Service?: string } {
  const described = { Kind: found.kind, Addresses: [...found.addresses] };
  return found.service === undefined ? described : { ...described, Service: found.service };
}

function hidden(found: Found, reason: string): Resolution['Hidden'][number] {
  const { Kind: _, ...rest } = describe(found);
  return { Network: found.network.spec.name, ...rest, Reason: reason };
}
