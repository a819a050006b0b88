// A store as an agent leaves it that has served many services: written once, so that what is measured begins with a start.
import { openEmbeddedStore } from '../src/store/embedded.ts';
import { encodeRecord, HEAD_KEY } from '../src/store/record.ts';
import type { Store } from '../src/store/store.ts';
import type { IpAddress, Subnet } from '../src/model/address.ts';
import type { Network, NetworkId } from '../src/model/network.ts';
import type { NodeId } from '../src/model/node.ts';
import type { PortNumber } from '../src/model/port.ts';
import type { Service, ServiceId } from '../src/model/service.ts';
import type { Task, TaskId } from '../src/model/task.ts';

export interface Extent {
  readonly services: number;
  readonly endpoints: number;
}

export const NODE_ID = 'node000000000000000000000' as NodeId;
export const NETWORK_NAME = 'mesh';
/** The port of every service that has one. */
export const SERVICE_PORT = 21_808;
/** Each port of a `local` VIP takes a descriptor per worker, and a process may have 20,000: the services after these have none. */
export const WITH_PORT = 1000;
const NETWORK_ID = 'net0000000000000000000000' as NetworkId;
const SUBNET = '127.96.0.0/16' as Subnet;
/** Records written in one commit, at most. */
const BATCH = 5500;

export function serviceName(index: number): string {
  return `service-${index}`;
}

export function vipOf(index: number): IpAddress {
  return `127.96.${1 + (index >> 8)}.${index & 255}` as IpAddress;
}

export function taskId(service: number, slot: number): TaskId {
  return `t${String(service).padStart(12, '0')}${String(slot).padStart(12, '0')}` as TaskId;
}

/** Services with one VIP on one `local` network, and endpoints that nobody checks: this is about state, not about probes. */
export async function prefill(directory: string, extent: Extent): Promise<void> {
  const store = openEmbeddedStore({ directory });
  await store.commit([{ key: 'self', value: NODE_ID }]);
  await fill(store, extent, BATCH);
  await store.close();
}

/** The same in whatever store, with at most so many records in a commit. */
export async function fill(
  store: Pick<Store, 'commit'>,
  { services, endpoints }: Extent,
  batchRecords: number,
): Promise<void> {
  await store.commit([
    encodeRecord({ kind: 'network', value: network() }),
    { key: HEAD_KEY, value: JSON.stringify({ node: NODE_ID, at: 1 }) },
  ]);
  const step = Math.max(1, Math.floor(batchRecords / (endpoints + 1)));
  for (let from = 0; from < services; from += step) {
    const batch = Array.from({ length: Math.min(step, services - from) }, (_, i) => from + i);
    await store.commit(
      batch.flatMap((index) => [
        encodeRecord({ kind: 'service', value: service(index, endpoints) }),
        ...Array.from({ length: endpoints }, (_, slot) =>
          encodeRecord({ kind: 'task', value: task(index, slot + 1, endpoints) }),
        ),
      ]),
    );
  }
}

function network(): Network {
  const spec = {
    name: NETWORK_NAME,
    driver: 'local',
    subnets: [SUBNET],
    ipv6: false,
    internal: false,
    attachable: true,
    labels: {},
    options: {},
  } as const;
  return { id: NETWORK_ID, spec, subnets: [SUBNET], createdAt: 1, updatedAt: 1 };
}

function service(index: number, endpoints: number): Service {
  const port = { protocol: 'tcp', port: SERVICE_PORT as PortNumber } as const;
  return {
    id: `s${String(index).padStart(24, '0')}` as ServiceId,
    spec: {
      name: serviceName(index),
      labels: {},
      mode: { kind: 'replicated', replicas: endpoints },
      endpointMode: 'vip',
      networks: [{ network: NETWORK_NAME, aliases: [] }],
      publish: [],
      expose: index < WITH_PORT ? [port] : [],
      endpoints: Array.from({ length: endpoints }, (_, slot) => ({
        address: endpointAddress(index, slot + 1, endpoints),
      })),
      health: 'none',
      drainTimeoutMs: 10_000,
    },
    networks: [{ networkId: NETWORK_ID, aliases: [] }],
    vips: [{ networkId: NETWORK_ID, address: vipOf(index) }],
    ports: [],
    createdAt: 1,
    updatedAt: 1,
  };
}

function task(index: number, slot: number, endpoints: number): Task {
  const id = taskId(index, slot);
  return {
    id,
    serviceId: `s${String(index).padStart(24, '0')}` as ServiceId,
    slot,
    name: `${serviceName(index)}.${slot}.${id}`,
    nodeId: NODE_ID,
    source: 'static',
    state: 'running',
    health: 'none',
    attachments: [{ networkId: NETWORK_ID, address: endpointAddress(index, slot, endpoints), aliases: [] }],
    portMap: [],
    createdAt: 1,
    updatedAt: 1,
  };
}

/** Addresses that nobody has: nothing is sent to them. */
function endpointAddress(index: number, slot: number, endpoints: number): IpAddress {
  const number = index * endpoints + slot;
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}` as IpAddress;
}
