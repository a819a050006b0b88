// Model objects for tests: only what a test says differs from an ordinary one.
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import { type IpAddress, parseIp, parseSubnet, type Subnet } from '../../src/model/address.ts';
import type { Network, NetworkDriver, NetworkId } from '../../src/model/network.ts';
import type { NodeId } from '../../src/model/node.ts';
import type { PortNumber, PublishedPort } from '../../src/model/port.ts';
import type { Service, ServiceId, ServiceSpec } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';

export const NODE = 'node1' as NodeId;

export function ip(text: string): IpAddress {
  const address = parseIp(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

export function subnet(text: string): Subnet {
  const value = parseSubnet(text);
  if (value === undefined) throw new Error(`${text} is no subnet`);
  return value;
}

export function network(
  name: string,
  driver: NetworkDriver = 'local',
  subnets: readonly string[] = ['127.64.0.0/16'],
  more: Partial<Network['spec']> = {},
): Network {
  const spec = {
    name,
    driver,
    subnets: [],
    ipv6: false,
    internal: false,
    attachable: false,
    labels: {},
    options: {},
    ...more,
  };
  return { id: `net-${name}` as NetworkId, spec, subnets: subnets.map(subnet), createdAt: 0, updatedAt: 0 };
}

export interface ServiceOptions extends Partial<ServiceSpec> {
  readonly on?: readonly { readonly network: Network; readonly vip?: string; readonly aliases?: readonly string[] }[];
  readonly ports?: readonly PublishedPort[];
  readonly createdAt?: number;
}

export function service(name: string, { on = [], ports = [], createdAt = 0, ...spec }: ServiceOptions = {}): Service {
  return {
    id: `svc-${name}` as ServiceId,
    spec: {
      name,
      labels: {},
      mode: { kind: 'replicated', replicas: 1 },
      endpointMode: 'vip',
      networks: on.map(({ network, aliases }) => ({ network: network.spec.name, aliases: aliases ?? [] })),
      publish: ports,
      expose: [],
      endpoints: [],
      drainTimeoutMs: 10_000,
      ...spec,
    },
    networks: on.map(({ network, aliases }) => ({ networkId: network.id, aliases: aliases ?? [] })),
    vips: on.flatMap(({ network, vip }) => (vip === undefined ? [] : [{ networkId: network.id, address: ip(vip) }])),
    ports,
    createdAt,
    updatedAt: createdAt,
  };
}

export function task(
  service: Service,
  slot: number,
  addresses: Readonly<Record<string, string>>,
  more: Partial<Task> = {},
): Task {
  const id = `task-${service.spec.name}-${slot}` as TaskId;
  return {
    id,
    serviceId: service.id,
    slot,
    name: `${service.spec.name}.${slot}.${id}`,
    nodeId: NODE,
    source: 'process',
    state: 'running',
    health: 'none',
    attachments: Object.entries(addresses).map(([name, address]) => ({
      networkId: `net-${name}` as NetworkId,
      address: ip(address),
      aliases: [],
    })),
    portMap: [],
    createdAt: 0,
    updatedAt: 0,
    ...more,
  };
}

export function published(publishedPort: number, targetPort: number, more: Partial<PublishedPort> = {}): PublishedPort {
  return {
    protocol: 'tcp',
    targetPort: targetPort as PortNumber,
    publishedPort: publishedPort as PortNumber,
    mode: 'ingress',
    ...more,
  };
}

export function snapshot(objects: {
  readonly networks?: readonly Network[];
  readonly services?: readonly Service[];
  readonly tasks?: readonly Task[];
}): Snapshot {
  return applyChanges(EMPTY_SNAPSHOT, 1, [
    ...(objects.networks ?? []).map((after) => ({ kind: 'network', after }) as const),
    ...(objects.services ?? []).map((after) => ({ kind: 'service', after }) as const),
    ...(objects.tasks ?? []).map((after) => ({ kind: 'task', after }) as const),
  ]);
}
