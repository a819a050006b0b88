// What `vipmesh resolve` shows: what the node's own clients, those of one network or a container would be told about a name,
// which network it came from, what that network hid, and where was looked. PURE: `Names` is what the resolver was told.
import type { NameQuestion } from '../api/context.ts';
import type { Resolution } from '../api/schema.ts';
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { ANSWER_TTL_S } from '../dns/answer-table.ts';
import type { Meaning } from '../dns/claims.ts';
import { parseIp, subnetContains } from '../model/address.ts';
import { networkDnsTtl } from '../model/dns-ttl.ts';
import { shortName } from '../model/name.ts';
import type { Network, NetworkId } from '../model/network.ts';
import { serviceNames } from '../model/service.ts';
import { hasContainer } from '../model/task.ts';
import { addressOfReverseName } from './reverse-name.ts';

export interface Names {
  /** What a name means on a network. */
  name(network: NetworkId, name: string): Meaning | undefined;
  /** Which name an address has there. */
  address(network: NetworkId, address: string): Meaning | undefined;
}

type Kind = Resolution['Answers'][number]['Kind'];
type Step = NonNullable<Resolution['Explained']>['Steps'][number];

/** With `Explained`, which who did not ask for it leaves out. */
export function resolveName(snapshot: Snapshot, names: Names, question: Omit<NameQuestion, 'explain'>): Resolution {
  const wanted = question.name.toLowerCase().replace(/\.$/, '');
  const client = clientOf(snapshot, question.as);
  const look = (network: Network) => findOn(snapshot, names, wanted, network);
  const found = client.networks.flatMap((network) => look(network) ?? []);
  const [first, ...later] = found;
  const others = [...snapshot.networks.values()].filter((one) => !client.networks.includes(one));
  const elsewhere = others.flatMap((network) => look(network) ?? []);
  const outside = outsideOf(wanted, client, elsewhere);
  const hasData = first !== undefined && first.values.length > 0;
  return {
    Name: question.name,
    Outcome: first === undefined ? outside.outcome : hasData ? 'answer' : 'nodata',
    Answers: hasData ? [{ Network: first.network.spec.name, ...describe(first) }] : [],
    Hidden: [
      ...later.map((one) => hidden(one, `${first?.network.spec.name} ${client.order} and answers first`)),
      ...(client.isNode ? elsewhere : []).map((one) => hidden(one, 'an overlay network: only its containers see it')),
    ],
    Explained: {
      Client: client.text,
      Networks: client.networks.map((network) => network.spec.name),
      Forwards: client.forwards,
      Steps: [
        ...client.networks
          .slice(0, first === undefined ? undefined : client.networks.indexOf(first.network) + 1)
          .map((network): Step => ({ Where: network.spec.name, Found: stepText(wanted, first, network) })),
        ...(first === undefined ? [{ Where: 'elsewhere', Found: outside.reason }] : []),
      ],
      ...(first === undefined ? {} : { TTL: first.ttl }),
    },
  };
}

interface Client {
  readonly text: string;
  /** In the order in which they are asked. */
  readonly networks: readonly Network[];
  readonly forwards: boolean;
  /** Why one network goes before another, behind its name. */
  readonly order: string;
  readonly isNode: boolean;
}

function clientOf(snapshot: Snapshot, as: NameQuestion['as']): Client {
  const known = (ids: readonly NetworkId[]) => ids.flatMap((id) => snapshot.networks.get(id) ?? []);
  const contained = (text: string, networks: readonly Network[]): Client => {
    const forwards = networks.length === 0 || networks.some((network) => !network.spec.internal);
    return { text, networks, forwards, order: 'comes first', isNode: false };
  };
  if (as.kind === 'network') {
    const networks = known([as.id]);
    return contained(`a container on ${networks[0]?.spec.name ?? as.id} alone`, networks);
  }
  const task = as.kind === 'task' ? snapshot.tasks.get(as.id) : undefined;
  const places = known(task?.attachments.map(({ networkId }) => networkId) ?? []);
  if (task !== undefined && hasContainer(task) && places.some(({ spec }) => spec.driver === 'overlay'))
    return contained(`the container of ${task.name}`, places);
  const text = task === undefined ? 'a process on this node' : `${task.name}, a process on its node`;
  return { text, networks: nodeNetworks(snapshot), forwards: true, order: 'is older', isNode: true };
}

function nodeNetworks(snapshot: Snapshot): readonly Network[] {
  return [...snapshot.networks.values()]
    .filter((network) => network.spec.driver === 'local')
    .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
}

interface Found {
  readonly network: Network;
  /** Addresses; of an address its name; of a port its targets, as NAME.NETWORK:PORT. */
  readonly values: readonly string[];
  readonly kind: Kind;
  readonly service: string | undefined;
  /** Seconds. */
  readonly ttl: number;
}

/** A name that ends in a network's own name means that network only. */
function findOn(snapshot: Snapshot, names: Names, name: string, network: Network): Found | undefined {
  const ttlOf = (meaning: Meaning) => meaning.ttl ?? networkDnsTtl(network) ?? ANSWER_TTL_S;
  const address = parseIp(name) ?? addressOfReverseName(name);
  if (address !== undefined) {
    const meaning = names.address(network.id, address);
    const values = meaning?.values.map((one) => `${one}.${network.spec.name}`) ?? [];
    return meaning && { network, values, kind: 'name', service: undefined, ttl: ttlOf(meaning) };
  }
  for (const candidate of candidates(name, network)) {
    const meaning = names.name(network.id, candidate);
    if (meaning !== undefined)
      return { network, values: meaning.values, ttl: ttlOf(meaning), ...ownerOf(snapshot, network, candidate) };
    const { port, protocol, rest } = SERVICE_NAME.exec(candidate)?.groups ?? {};
    const served = rest === undefined ? undefined : names.name(network.id, rest);
    if (served === undefined || rest === undefined) continue;
    const targets =
      served.ports?.find((one) => one.protocol === protocol && one.labels.includes(port ?? ''))?.targets ?? [];
    const values = targets.map((target) => `${target.name}.${network.spec.name}:${target.port}`);
    const { service } = ownerOf(snapshot, network, rest);
    return { network, values, kind: 'port', service, ttl: ttlOf(served) };
  }
  return undefined;
}

/** `_PORT._PROTO.NAME`, and what is above all of those. */
const SERVICE_NAME = /^(?:_(?<port>[^.]+)\._(?<protocol>[^.]+)|_(?:tcp|udp))\.(?<rest>.+)$/;

function candidates(name: string, network: Network): readonly string[] {
  const bare = suffixes(network).flatMap((suffix) =>
    name.endsWith(`.${suffix}`) ? [name.slice(0, -suffix.length - 1)] : [],
  );
  return [name, ...bare];
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

/** What becomes of a name that none of the client's networks has, and why. */
function outsideOf(
  name: string,
  client: Client,
  elsewhere: readonly Found[],
): { readonly outcome: Resolution['Outcome']; readonly reason: string } {
  const no = (reason: string) => ({ outcome: 'nxdomain' as const, reason });
  const address = parseIp(name) ?? addressOfReverseName(name);
  const own = client.networks.find((network) =>
    address === undefined
      ? suffixes(network).some((suffix) => name === suffix || name.endsWith(`.${suffix}`))
      : network.subnets.some((subnet) => subnetContains(subnet, address)),
  );
  if (own !== undefined) {
    if (suffixes(own).includes(name))
      return { outcome: 'nodata', reason: `it is the name of network ${own.spec.name}` };
    return no(`it belongs to network ${own.spec.name}, which has no such name`);
  }
  if (address === undefined && !/\./.test(name.replace(/^(tasks\.|_[^.]+\._[^.]+\.|_(tcp|udp)\.)/, '')))
    return no('a name of one label is never asked for outside');
  if (!client.forwards)
    return { outcome: 'refused', reason: 'not a name of ours, and from internal networks no question leaves' };
  const other = elsewhere.find(({ network }) => suffixes(network).some((suffix) => name.endsWith(`.${suffix}`)));
  if (other !== undefined) return no(`a name of network ${other.network.spec.name}, which this client is not on`);
  return { outcome: 'forwarded', reason: 'not a name of ours; servers outside are asked' };
}

function stepText(name: string, first: Found | undefined, network: Network): string {
  if (first?.network !== network) return `nothing is called ${name}`;
  const { values, kind, service } = first;
  const of = service === undefined ? '' : ` of service ${service}`;
  const what = { vip: 'VIP', endpoints: 'endpoints', task: 'a task', name: 'the name', port: 'a port', outside: '' }[
    kind
  ];
  return `${what}${of}: ${values.length === 0 ? 'it exists and has nothing to answer' : values.join(', ')}`;
}

function describe(found: Found): { Kind: Kind; Addresses: string[]; Service?: string } {
  const described = { Kind: found.kind, Addresses: [...found.values] };
  return found.service === undefined ? described : { ...described, Service: found.service };
}

function hidden(found: Found, reason: string): Resolution['Hidden'][number] {
  const { Kind: _, ...rest } = describe(found);
  return { Network: found.network.spec.name, ...rest, Reason: reason };
}
