// The keys of the store and what stands under them. Whatever comes out of the store is checked: another version or a person
// may have written it. Fields that this version does not know are passed over.
import { z } from 'zod';
import { type IpAddress, parseIp, parseSubnet, type Subnet } from '../model/address.ts';
import type { Network, NetworkId } from '../model/network.ts';
import { type Bridge, type BridgeId, bridgeId, type Node, type NodeId, type Presence } from '../model/node.ts';
import { isPortNumber, type PortNumber } from '../model/port.ts';
import type { Limits } from '../model/limits.ts';
import { BALANCE_METHODS, PROXY_PROTOCOLS, type Service, type ServiceId, type ServiceSpec } from '../model/service.ts';
import type { Task, TaskId } from '../model/task.ts';
import { isWeight } from '../model/weight.ts';
import { parsePlace } from '../model/publish-place.ts';
import { StoreError } from './errors.ts';
import type { Key } from './store.ts';

/** Who keeps a stack as its file says. */
export interface StackRecord {
  readonly name: string;
  /** The node whose agent applied it. */
  readonly owner: NodeId;
  /** SHA-256 of what it applied, hexadecimal. */
  readonly content: string;
  /** Milliseconds since the epoch. */
  readonly updatedAt: number;
}

export type StoredRecord =
  | { readonly kind: 'network'; readonly value: Network }
  | { readonly kind: 'service'; readonly value: Service }
  | { readonly kind: 'task'; readonly value: Task }
  | { readonly kind: 'node'; readonly value: Node }
  | { readonly kind: 'presence'; readonly value: Presence }
  | { readonly kind: 'bridge'; readonly value: Bridge }
  | { readonly kind: 'stack'; readonly value: StackRecord };

/**
 * Rewritten by every commit that depends on more than what it writes, and expected by it: of two such commits that were
 * decided on the same state, one is refused and decided anew.
 */
export const HEAD_KEY = 'head';

export function recordKey(kind: StoredRecord['kind'], id: string): Key {
  return `${kind}/${id}`;
}

export function encodeRecord(record: StoredRecord): { readonly key: Key; readonly value: string } {
  return { key: recordKey(record.kind, idOf(record)), value: JSON.stringify(record.value) };
}

/** Undefined for keys that hold none of the nouns. Throws StoreError `bad-record`, naming the key, the field and the likely cause. */
export function decodeRecord(key: Key, text: string): StoredRecord | undefined {
  const slash = key.indexOf('/');
  const kind = key.slice(0, slash);
  if (slash < 0 || !isKind(kind)) return undefined;
  const parsed = SCHEMAS[kind].safeParse(parseJson(key, text));
  if (!parsed.success) throw badRecord(key, describe(parsed.error.issues[0]), parsed.error);
  const record = { kind, value: parsed.data } as StoredRecord;
  if (idOf(record) !== key.slice(slash + 1)) throw badRecord(key, `it holds ${kind} ${idOf(record)}`);
  return record;
}

function isKind(kind: string): kind is StoredRecord['kind'] {
  return Object.hasOwn(SCHEMAS, kind);
}

function idOf({ kind, value }: StoredRecord): string {
  return kind === 'stack' ? value.name : value.id;
}

function parseJson(key: Key, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badRecord(key, `it is no JSON (${(error as Error).message})`, error);
  }
}

function badRecord(key: Key, what: string, cause?: unknown): StoreError {
  const message = `record ${key}: ${what}; it was written by another version or by hand. It is passed over until it is mended or removed`;
  return new StoreError('bad-record', message, { cause });
}

/** `field ports[0].publishedPort: Invalid input: expected number, received string`. */
function describe(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return 'it is not what its key says';
  const path = issue.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  return `field ${path.replace(/^\./, '') || '(the whole)'}: ${issue.message}`;
}

const text = z.string();
const texts = z.record(text, text);
const count = z.number().int().nonnegative();
const time = z.number().nonnegative();
const id = <Id extends string>() =>
  z.custom<Id>((value) => typeof value === 'string' && /^[a-z0-9]{1,64}$/.test(value), 'expected an id');
const address = z.custom<IpAddress>(
  (value) => typeof value === 'string' && parseIp(value) === value,
  'expected an IP address in its usual form',
);
const subnet = z.custom<Subnet>(
  (value) => typeof value === 'string' && parseSubnet(value) === value,
  'expected a subnet such as 10.64.0.0/24',
);
const sources = z.array(subnet).min(1);
const port = z.custom<PortNumber>(
  (value) => typeof value === 'number' && isPortNumber(value),
  'expected a port of 1 to 65535',
);
const protocol = z.enum(['tcp', 'udp']);
const optional = z.exactOptional;

const network: z.ZodType<Network> = z.object({
  id: id<NetworkId>(),
  spec: z.object({
    name: text,
    driver: z.enum(['local', 'overlay']),
    subnets: z.array(subnet),
    ipv6: z.boolean(),
    internal: z.boolean(),
    attachable: z.boolean(),
    labels: texts,
    options: texts,
  }),
  subnets: z.array(subnet),
  vni: optional(z.number().int().min(1).max(0xffffff)),
  createdAt: time,
  updatedAt: time,
});

const place = z.custom<string>(
  (value) => typeof value === 'string' && parsePlace(value) === value,
  'expected an IP address in its usual form, or %INTERFACE',
);

const publish = {
  protocol,
  targetPort: port,
  mode: z.enum(['ingress', 'host']),
  hostAddress: optional(place),
  name: optional(text),
};

const weight = z.custom<number>((value) => typeof value === 'number' && isWeight(value), 'expected a weight');

const staticEndpoint = z.object({
  address,
  targetPort: optional(port),
  port: optional(port),
  weight: optional(weight),
});

const probe = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('tcp'), port: optional(port) }),
  z.object({ kind: z.literal('http'), port: optional(port), path: text, expectStatus: optional(count) }),
  z.object({ kind: z.literal('exec'), command: z.array(text), shell: z.boolean() }),
]);

const healthCheck = z.object({
  probe,
  intervalMs: z.number().positive(),
  timeoutMs: z.number().positive(),
  retries: z.number().int().min(1),
  startPeriodMs: time,
});

const duration = optional(z.number().positive());
const most = optional(z.number().int().min(1));

const limits: z.ZodType<Limits> = z.object({
  connectTimeoutMs: duration,
  idleTimeoutMs: duration,
  halfClosedTimeoutMs: duration,
  maxDurationMs: duration,
  keepAliveMs: duration,
  maxConnections: most,
  maxConnectionsPerClient: most,
});

const serviceSpec: z.ZodType<ServiceSpec> = z.object({
  name: text,
  labels: texts,
  mode: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('replicated'), replicas: count }),
    z.object({ kind: z.literal('global') }),
  ]),
  endpointMode: z.enum(['vip', 'dnsrr']),
  networks: z.array(z.object({ network: text, aliases: z.array(text) })),
  publish: z.array(z.object({ ...publish, publishedPort: optional(port) })),
  expose: z.array(z.object({ protocol, port, name: optional(text) })),
  endpoints: z.array(staticEndpoint),
  health: optional(z.union([healthCheck, z.literal('none')])),
  onUnhealthy: optional(z.literal('close')),
  balance: optional(
    z.object({
      method: optional(z.enum(BALANCE_METHODS)),
      affinityMs: optional(z.number().positive()),
      localFirst: optional(z.literal(true)),
    }),
  ),
  limits: optional(limits),
  proxyProtocol: optional(z.enum(PROXY_PROTOCOLS)),
  access: optional(z.object({ allow: optional(sources), deny: optional(sources), acceptProxy: optional(sources) })),
  drainTimeoutMs: time,
  dnsTtlS: optional(count),
  docker: optional(z.record(text, z.unknown())),
});

const service: z.ZodType<Service> = z.object({
  id: id<ServiceId>(),
  spec: serviceSpec,
  previousSpec: optional(serviceSpec),
  addedEndpoints: optional(z.array(staticEndpoint)),
  networks: z.array(z.object({ networkId: id<NetworkId>(), aliases: z.array(text) })),
  vips: z.array(z.object({ networkId: id<NetworkId>(), address })),
  ports: z.array(z.object({ ...publish, publishedPort: port })),
  createdAt: time,
  updatedAt: time,
});

const task: z.ZodType<Task> = z.object({
  id: id<TaskId>(),
  serviceId: id<ServiceId>(),
  slot: z.number().int().min(1),
  name: text,
  nodeId: id<NodeId>(),
  source: z.enum(['process', 'attached', 'bridged', 'static']),
  state: z.enum(['starting', 'running', 'draining']),
  health: z.enum(['none', 'starting', 'healthy', 'unhealthy']),
  hostname: optional(text),
  pid: optional(z.number().int().positive()),
  netns: optional(text),
  container: optional(z.object({ id: text, hasCheck: z.boolean() })),
  attachments: z.array(
    z.object({
      networkId: id<NetworkId>(),
      address,
      moreAddresses: optional(z.array(address)),
      aliases: z.array(text),
    }),
  ),
  portMap: z.array(z.object({ targetPort: port, port })),
  ownPort: optional(port),
  weight: optional(weight),
  createdAt: time,
  updatedAt: time,
});

const node: z.ZodType<Node> = z.object({
  id: id<NodeId>(),
  name: text,
  availability: z.enum(['active', 'pause', 'drain']),
  labels: texts,
  createdAt: time,
  updatedAt: time,
});

const stack: z.ZodType<StackRecord> = z.object({ name: text, owner: id<NodeId>(), content: text, updatedAt: time });

const presence: z.ZodType<Presence> = z.object({
  id: id<NodeId>(),
  instance: z.string().regex(/^[0-9a-f]{16}$/, 'expected 16 hexadecimal digits'),
  address,
  dataAddress: address,
  probePort: port,
  version: text,
  startedAt: time,
});

const bridge: z.ZodType<Bridge> = z
  .object({
    id: id<BridgeId>(),
    networkId: id<NetworkId>(),
    nodeId: id<NodeId>(),
    addresses: z.array(address),
  })
  .refine(
    (value) => value.id === bridgeId(value.networkId, value.nodeId),
    'expected the id of its network and its node',
  );

const SCHEMAS = { network, service, task, node, presence, bridge, stack } as const;
