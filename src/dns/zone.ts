// What the names on each network mean, out of the catalog: commands for the workers' tables that say, change by change, only
// what became different. Work is proportional to the services and tasks that a change touches. PURE.
//
// When several claim one name, RANK decides, then the age of the service: a service's own name cannot be taken away by an
// alias, and of two equal claims the older stays. Two services are never mixed under one name: clients would reach the
// wrong one every other time. Tasks of one service that share a name or alias stand together.
import type { Change } from '../catalog/change.ts';
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { servicesOfChangedNodes, standingOf } from '../catalog/standing.ts';
import { type IpAddress, isLoopback, subnetContains } from '../model/address.ts';
import { networkDnsTtl } from '../model/dns-ttl.ts';
import { shortName } from '../model/name.ts';
import type { Network, NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import { type Service, type ServiceId, serviceNames, vipsOn } from '../model/service.ts';
import type { Attachment, Task, TaskId } from '../model/task.ts';
import { type Claim, Claims, type Meaning } from './claims.ts';
import type { DnsCommand, NameRecord, PointerRecord } from './command.ts';
import { encodePorts } from './service-ports.ts';
import { servicePorts } from './zone-ports.ts';

const RANK = { serviceName: 0, stackShortName: 1, serviceAlias: 2, taskName: 3, taskAlias: 4 } as const;

/** A start tells everything at once: in parts, so that workers answer in between and need no memory for the whole of it. */
const RECORDS_PER_COMMAND = 1000;

/** As Docker abbreviates ids, which is also a container's default host name. */
const SHORT_ID_LENGTH = 12;

interface Zone {
  readonly number: number;
  readonly network: Network;
  readonly names: Claims;
  readonly pointers: Claims;
  readonly touchedNames: Set<string>;
  readonly touchedAddresses: Set<string>;
}

export class Zones {
  readonly #zones = new Map<NetworkId, Zone>();
  /** On which networks a service or task claims something, so that the others need not be looked at. */
  readonly #claimedOn = new Map<ServiceId | TaskId, readonly NetworkId[]>();
  /** Where something may have become different since the last update. */
  readonly #touched = new Set<Zone>();
  readonly #self: NodeId;
  readonly #numberOf: (network: NetworkId) => number;

  /** `numberOf` gives a network's small and dense number; it is asked once per network, when that is added. */
  constructor(self: NodeId, numberOf: (network: NetworkId) => number) {
    this.#self = self;
    this.#numberOf = numberOf;
  }

  /** Takes over one commit: its changes, and the snapshots after and before them. What the workers have to be told. */
  apply(changes: readonly Change[], after: Snapshot, before: Snapshot): readonly DnsCommand[] {
    const commands: DnsCommand[] = [];
    const services = new Set(servicesOfChangedNodes(after, before, changes));
    const tasks = new Set<TaskId>();
    for (const change of changes) {
      const value = change.after ?? change.before;
      if (value === undefined) continue;
      if (change.kind === 'network')
        commands.push(...this.#applyNetwork(value.id as NetworkId, after, services, tasks));
      if (change.kind === 'service') {
        services.add(value.id as ServiceId);
        if (whatTasksTake(change.before) !== whatTasksTake(change.after)) addTasks(tasks, value.id as ServiceId, after);
      }
      if (change.kind === 'task') {
        tasks.add(value.id as TaskId);
        services.add((value as Task).serviceId);
      }
    }
    for (const id of services) this.#claimService(id, after);
    for (const id of tasks) this.#claimTask(id, after);
    return [...commands, ...this.#updates()];
  }

  /** What a name means on a network, as the resolver answers `NAME`; undefined when there is no such name. */
  name(network: NetworkId, name: string): Meaning | undefined {
    return this.#zones.get(network)?.names.get(name.toLowerCase());
  }

  /** The same of an address, whose meaning is its name. */
  address(network: NetworkId, address: string): Meaning | undefined {
    return this.#zones.get(network)?.pointers.get(address);
  }

  /** Networks come, go, and begin anew when what their zone says of them became different. */
  #applyNetwork(id: NetworkId, after: Snapshot, services: Set<ServiceId>, tasks: Set<TaskId>): DnsCommand[] {
    const known = this.#zones.get(id);
    const network = after.networks.get(id);
    if (known !== undefined && network !== undefined && sameZone(known.network, network)) return [];
    const commands: DnsCommand[] = [];
    if (known !== undefined) {
      commands.push({ kind: 'zone-remove', network: known.number });
      this.#zones.delete(id);
    }
    if (network !== undefined) {
      const zone = newZone(known?.number ?? this.#numberOf(id), network);
      this.#zones.set(id, zone);
      commands.push(zoneAdd(zone));
      for (const service of after.servicesByNetwork.get(id)?.keys() ?? []) {
        services.add(service);
        addTasks(tasks, service, after);
      }
    }
    return commands;
  }

  #claimService(id: ServiceId, after: Snapshot): void {
    const service = after.services.get(id);
    const tasks = service === undefined ? [] : tasksOf(after, id);
    const here = service?.networks.map(({ networkId }) => networkId) ?? [];
    for (const zone of this.#zonesOf(id, here)) {
      if (service === undefined || !here.includes(zone.network.id)) this.#claim(zone, id, NO_CLAIMS, NO_CLAIMS);
      else
        this.#claim(
          zone,
          id,
          this.#serviceClaims(service, tasks, zone.network, after),
          vipClaims(service, zone.network),
        );
    }
  }

  #claimTask(id: TaskId, after: Snapshot): void {
    const task = after.tasks.get(id);
    const service = task && after.services.get(task.serviceId);
    const networks = service?.networks.map(({ networkId }) => networkId) ?? [];
    const places = task?.attachments.filter(({ networkId }) => networks.includes(networkId)) ?? [];
    for (const zone of this.#zonesOf(
      id,
      places.map(({ networkId }) => networkId),
    )) {
      const attachment = places.find(({ networkId }) => networkId === zone.network.id);
      const here = attachment && task && service ? { attachment, task, service } : undefined;
      this.#claim(
        zone,
        id,
        here === undefined ? NO_CLAIMS : taskClaims(here),
        here === undefined ? NO_CLAIMS : endpointClaims(here, zone.network),
      );
    }
  }

  /** The zones in which it claims something from now on, and those in which it did. */
  #zonesOf(claimant: ServiceId | TaskId, networks: readonly NetworkId[]): readonly Zone[] {
    const all = new Set([...networks, ...(this.#claimedOn.get(claimant) ?? [])]);
    if (networks.length === 0) this.#claimedOn.delete(claimant);
    else this.#claimedOn.set(claimant, networks);
    return [...all].flatMap((id) => this.#zones.get(id) ?? []);
  }

  /** Its names, which exist as long as it does, and below `tasks.` its endpoints in use. */
  #serviceClaims(service: Service, tasks: readonly Task[], network: Network, after: Snapshot): ClaimMap {
    const inUse = tasksInUse(tasks, network, after, this.#self);
    const endpoints = inUse.flatMap(({ attachment }) => addressesOf(attachment));
    const vips = vipsOn(service, network.id);
    const { ofVip, ofEndpoints } = servicePorts(
      service,
      tasks,
      inUse.map(({ task }) => task),
    );
    const own =
      service.spec.endpointMode === 'vip' ? { values: vips, ports: ofVip } : { values: endpoints, ports: ofEndpoints };
    const short = shortName(service.spec.name, service.spec.labels)?.toLowerCase();
    const claims = new Map<string, Claim>();
    for (const [i, name] of serviceNames(service, network.id).entries()) {
      const rank = i === 0 ? RANK.serviceName : name === short ? RANK.stackShortName : RANK.serviceAlias;
      const claim = { rank, order: 0, ...ownerOf(service) };
      claims.set(name, { ...claim, ...own });
      claims.set(`tasks.${name}`, { ...claim, values: endpoints, ports: ofEndpoints });
    }
    return claims;
  }

  #claim(zone: Zone, claimant: string, names: ClaimMap, addresses: ClaimMap): void {
    zone.names.replace(claimant, names, zone.touchedNames);
    zone.pointers.replace(claimant, addresses, zone.touchedAddresses);
    this.#touched.add(zone);
  }

  #updates(): DnsCommand[] {
    const commands: DnsCommand[] = [];
    for (const zone of this.#touched) {
      const names = zone.names
        .changed(zone.touchedNames)
        .map(([name, meaning]): NameRecord => nameRecord(name, meaning));
      const pointers = zone.pointers
        .changed(zone.touchedAddresses)
        .map(([address, meaning]) => pointerRecord(address, meaning));
      zone.touchedNames.clear();
      zone.touchedAddresses.clear();
      for (let at = 0; at < Math.max(names.length, pointers.length); at += RECORDS_PER_COMMAND) {
        const part = <T>(all: readonly T[]) => all.slice(at, at + RECORDS_PER_COMMAND);
        commands.push({
          kind: 'zone-update',
          update: { network: zone.number, names: part(names), pointers: part(pointers) },
        });
      }
    }
    this.#touched.clear();
    return commands;
  }
}

type ClaimMap = ReadonlyMap<string, Claim>;

const NO_CLAIMS: ClaimMap = new Map();

interface TaskThere {
  readonly attachment: Attachment;
  readonly task: Task;
}

interface TaskHere extends TaskThere {
  readonly service: Service;
}

function nameRecord(name: string, meaning: Meaning | undefined): NameRecord {
  if (meaning === undefined) return { name, addresses: [], exists: false };
  const { values, ports = [], ttl } = meaning;
  const record = {
    name,
    addresses: values,
    exists: true,
    ...(ports.length === 0 ? {} : { ports: encodePorts(ports) }),
  };
  return ttl === undefined ? record : { ...record, ttl };
}

function pointerRecord(address: string, meaning: Meaning | undefined): PointerRecord {
  const name = meaning?.values[0] ?? null;
  return meaning?.ttl === undefined ? { address, name } : { address, name, ttl: meaning.ttl };
}

function newZone(number: number, network: Network): Zone {
  const [names, pointers] = [new Claims(), new Claims()];
  return { number, network, names, pointers, touchedNames: new Set(), touchedAddresses: new Set() };
}

function zoneAdd({ number, network }: Zone): DnsCommand {
  const { name, labels } = network.spec;
  const short = shortName(name, labels);
  const ttl = networkDnsTtl(network);
  const timed = ttl === undefined ? {} : { ttl };
  const named = { kind: 'zone-add', network: number, name, subnets: network.subnets, ...timed } as const;
  return short === undefined ? named : { ...named, shortName: short };
}

function sameZone(a: Network, b: Network): boolean {
  return (
    a.spec.name === b.spec.name &&
    shortName(a.spec.name, a.spec.labels) === shortName(b.spec.name, b.spec.labels) &&
    a.subnets.join() === b.subnets.join() &&
    networkDnsTtl(a) === networkDnsTtl(b)
  );
}

/** Tasks have names where their service is, and as long as it says, so they follow when that changes. */
function whatTasksTake(service: Service | undefined): string | undefined {
  return service && [service.spec.dnsTtlS ?? '', ...service.networks.map((network) => network.networkId)].join();
}

function addTasks(tasks: Set<TaskId>, service: ServiceId, after: Snapshot): void {
  for (const task of after.tasksByService.get(service)?.keys() ?? []) tasks.add(task);
}

/**
 * Those of last resort are left out as long as there are others: answers are rotated and clients often take any one of them, so
 * that the end of the list would be no safe place.
 */
function tasksInUse(tasks: readonly Task[], network: Network, snapshot: Snapshot, self: NodeId): readonly TaskThere[] {
  const eligible: TaskThere[] = [];
  const lastResort: TaskThere[] = [];
  for (const task of tasks) {
    const attachment = task.attachments.find((one) => one.networkId === network.id);
    if (attachment === undefined) continue;
    const standing = standingOf(snapshot, task, attachment.address, self);
    if (standing !== 'out') (standing === 'eligible' ? eligible : lastResort).push({ task, attachment });
  }
  return eligible.length > 0 ? eligible : lastResort;
}

function vipClaims(service: Service, network: Network): ClaimMap {
  const claim = { rank: RANK.serviceName, order: 0, ...ownerOf(service) };
  return new Map(
    vipsOn(service, network.id).map((vip) => [vip, { ...claim, values: [service.spec.name.toLowerCase()] }]),
  );
}

/** A task's own names lead to it as long as it exists, whether or not it is eligible: who asks for it wants that one. */
function taskClaims({ attachment, task, service }: TaskHere): ClaimMap {
  const values = addressesOf(attachment);
  const claim = { ...ownerOf(service), order: task.slot, values };
  const claims = new Map<string, Claim>();
  const hostname = task.hostname === undefined ? [] : [task.hostname];
  for (const name of [...hostname, ...attachment.aliases]) {
    claims.set(name.toLowerCase(), { ...claim, rank: RANK.taskAlias });
  }
  for (const name of [task.name, task.id.slice(0, SHORT_ID_LENGTH)]) {
    claims.set(name.toLowerCase(), { ...claim, rank: RANK.taskName });
  }
  return claims;
}

function endpointClaims({ attachment, task, service }: TaskHere, network: Network): ClaimMap {
  const claim = { ...ownerOf(service), rank: RANK.taskName, order: task.slot, values: [task.name.toLowerCase()] };
  const ours = addressesOf(attachment).filter((address) => isOurs(address, network));
  return new Map(ours.map((address) => [address, claim]));
}

function ownerOf({ id, spec, createdAt }: Service): Pick<Claim, 'owner' | 'since' | 'ttl'> {
  return { owner: id, since: createdAt, ttl: spec.dnsTtlS };
}

/** 127.0.0.1 as the address of a static endpoint is `localhost` to everybody else, and stays so. */
function isOurs(address: IpAddress, network: Network): boolean {
  return !isLoopback(address) || network.subnets.some((subnet) => subnetContains(subnet, address));
}

function addressesOf(attachment: Attachment): readonly IpAddress[] {
  return [attachment.address, ...(attachment.moreAddresses ?? [])];
}
