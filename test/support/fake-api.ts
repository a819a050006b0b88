// An agent's API over plain data: what the server asks for is what a test put in.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  ApiContext,
  EndpointFacts,
  FrontendFacts,
  NameQuestion,
  Publishing,
  TaskSession,
} from '../../src/api/context.ts';
import type { RunTaskRequest } from '../../src/api/requests.ts';
import type { Resolution, TaskEvent } from '../../src/api/schema.ts';
import { type ApiServer, startApiServer } from '../../src/api/server.ts';
import { applyChanges, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { StackChange } from '../../src/control/stacks.ts';
import type { Network } from '../../src/model/network.ts';
import type { Node, NodeId } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import type { Service, ServiceId } from '../../src/model/service.ts';
import type { Task, TaskId } from '../../src/model/task.ts';
import type { TrafficReading } from '../../src/api/status-schema.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, NODE, network, published, service, snapshot, task } from './builders.ts';
import { CONNECTIONS, trafficAfter } from './traffic.ts';

/** 2026-11-20T22:45:03Z */
export const CREATED = Date.UTC(2026, 10, 20, 22, 45, 3);

export interface FakeApi {
  context: ApiContext;
  /** Every command that was called, as text. */
  readonly calls: string[];
  snapshot: Snapshot;
  frontends: readonly FrontendFacts[];
  endpointFacts: Readonly<Record<string, EndpointFacts>>;
  resolution: Resolution;
  traffic: () => TrafficReading;
  /** What the next command rejects with. */
  failure: Error | undefined;
  /** Lines of the next task stream, then it stays open until `endTask`. */
  events: readonly TaskEvent[];
  endTask(): void;
  /** Resolves when the client of a task has gone. */
  readonly abandoned: Promise<void>;
}

export function fakeApi(): FakeApi {
  const calls: string[] = [];
  let abandon = () => {};
  let end = () => {};
  const abandoned = new Promise<void>((resolve) => {
    abandon = resolve;
  });
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const call = async (text: string) => {
    calls.push(text);
    if (fake.failure !== undefined) throw fake.failure;
  };
  const fake: FakeApi = {
    calls,
    snapshot: shopSnapshot(),
    frontends: shopFrontends(),
    endpointFacts: {},
    resolution: { Name: 'web', Outcome: 'nxdomain', Answers: [], Hidden: [] },
    traffic: () => trafficAfter(0),
    failure: undefined,
    events: [],
    endTask: () => end(),
    abandoned,
    context: {
      facts: {
        version: '0.1.0',
        pid: 4242,
        nodeId: NODE,
        nodeName: 'alpha',
        privileged: false,
        startedAt: CREATED,
        socket: '/tmp/fake.sock',
        stateDir: '/tmp/state',
        admin: '127.0.0.1:7980',
        architecture: 'x64',
        kernelVersion: '6.1.0',
        cpus: 2,
        memoryBytes: 1024,
      },
      commands: {
        async addEndpoint(id, endpoint) {
          await call(`add ${id} ${endpoint}`);
          return shopTasks()[2] as Task;
        },
        removeEndpoint: (id) => call(`remove ${id}`),
        setTaskState: (id, state) => call(`state ${id} ${state}`),
        async createService(spec) {
          await call(`create service ${JSON.stringify(spec)}`);
          return { ...service(spec.name), spec };
        },
        async updateService(id, spec, version) {
          await call(`update service ${id} ${version} ${JSON.stringify(spec)}`);
          return { ...service(spec.name), id, spec };
        },
        async removeService(id) {
          await call(`remove service ${id}`);
          return fake.snapshot.services.get(id) as Service;
        },
        async createNetwork(spec) {
          await call(`create network ${JSON.stringify(spec)}`);
          return { ...network(spec.name), spec };
        },
        async removeNetwork(id) {
          await call(`remove network ${id}`);
          return fake.snapshot.networks.get(id) as Network;
        },
        async updateNode(id, change) {
          await call(`update node ${id} ${JSON.stringify(change)}`);
          return { ...(fake.snapshot.nodes.get(id) as Node), ...change };
        },
        async removeNode(id) {
          await call(`remove node ${id}`);
          return fake.snapshot.nodes.get(id) as Node;
        },
        async deployStack(name, file) {
          await call(`deploy ${name} ${JSON.stringify(file)}`);
          return { ok: true, change: UNCHANGED, warnings: [], unused: [] };
        },
        async removeStack(name) {
          await call(`remove stack ${name}`);
          return { ...UNCHANGED, removed: [`service ${name}_db`] };
        },
      },
      tasks: {
        async start(request: Publishing<RunTaskRequest>): Promise<TaskSession> {
          await call(`start ${JSON.stringify(request)}`);
          async function* events() {
            yield* fake.events;
            await Promise.race([ended, abandoned]);
          }
          return { taskId: 'task-web-1' as TaskId, events: events(), abandon: () => abandon() };
        },
        running: (id, pid) => call(`running ${id} ${pid}`),
        leave: (id) => call(`leave ${id}`),
        exited: (id, how) => call(`exited ${id} ${how.exitCode} ${how.signal}`),
        probed: (id, number, result) => call(`probed ${id} ${number} ${result.exitCode} ${result.output}`),
      },
      attachments: {
        async attach(request) {
          await call(`attach ${JSON.stringify(request)}`);
          const [task] = shopTasks();
          return { task: { ...(task as Task), source: 'attached' }, warnings: ['a warning of the container'] };
        },
        detach: (id) => call(`detach ${id}`),
        at: ({ PID, Netns }) => {
          calls.push(`at ${PID ?? Netns}`);
          return [];
        },
      },
      snapshot: () => fake.snapshot,
      subscribe: () => () => {},
      revisionOf: (id) => id.length,
      frontends: () => fake.frontends,
      endpoint: (id) => fake.endpointFacts[id],
      warnings: (id: ServiceId) => (id === 'svc-shop_db' ? ['a warning of the node'] : []),
      status: () => ({
        state: 'ready',
        appliedRevision: undefined,
        dns: {
          Listen: ['127.0.0.11:1053/udp', '127.0.0.11:1053/tcp'],
          Upstreams: ['9.9.9.9:53'],
          Routes: [{ Suffix: 'corp.example', Upstreams: ['10.0.0.53:53', '9.9.9.9:53'] }],
          Servers: [
            { Address: '9.9.9.9:53', State: 'answers', Questions: 12, Answers: 11 },
            { Address: '10.0.0.53:53', State: 'silent', Questions: 2, Answers: 0 },
          ],
          Cache: { Entries: 11, Bytes: 6000, Limit: 4_194_304 },
        },
        workers: [{ ID: 0, State: 'running', Connections: 3, Flows: 1 }],
        stacks: [{ Name: 'shop', File: '/srv/shop.yaml', State: 'rejected', Error: 'shop.yaml:3:5: unknown key' }],
        warnings: ['port 53 needs root'],
      }),
      async dnsCache(below, atMost) {
        calls.push(`dns cache ${below} ${atMost}`);
        const kept = { Name: 'www.example.com', Type: 'A', State: 'fresh', Left: 51, Rcode: 'NOERROR' } as const;
        const failed = { Name: 'example.org', Type: 'AAAA', State: 'failed', Left: 2, Rcode: 'SERVFAIL' } as const;
        return {
          Entries: [
            { ...kept, Answers: 2, Bytes: 480, Worker: 0 },
            { ...failed, Answers: 0, Bytes: 330, Worker: 1 },
          ].slice(0, atMost),
          Total: 2,
        };
      },
      connections: async (service, atMost) => {
        calls.push(`connections ${service} ${atMost}`);
        return { Connections: CONNECTIONS.slice(0, atMost), Total: CONNECTIONS.length };
      },
      traffic: () => fake.traffic(),
      flushDnsCache: (below) => call(`flush ${below}`),
      async resolve({ name, as, explain }: NameQuestion) {
        calls.push(['resolve', name, as.kind, ...('id' in as ? [as.id] : []), ...(explain ? ['why'] : [])].join(' '));
        return { ...fake.resolution, Name: name };
      },
    },
  };
  return fake;
}

const UNCHANGED: StackChange = { created: [], updated: [], removed: [], unchanged: [], overridden: [], kept: [] };

/** A server of this fake on a socket of its own; both end with the test. */
export async function serveFake(
  fake: FakeApi,
  test: { teardown(run: () => unknown): void },
): Promise<{ readonly socket: string; readonly server: ApiServer }> {
  const folder = mkdtempSync(join(tmpdir(), 'vipmesh-api-'));
  const socket = join(folder, 'vipmesh.sock');
  const server = await startApiServer({ socket, mode: 0o600, context: fake.context, log: SILENT_LOG });
  test.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { socket, server };
}

const LOCAL = { ...network('default'), createdAt: CREATED, updatedAt: CREATED };
const BACKEND: Network = {
  ...network('backend', 'overlay', ['10.64.0.0/24'], { internal: true, labels: { tier: 'back' } }),
  vni: 4096,
  createdAt: CREATED + 1,
  updatedAt: CREATED + 1,
};

/** `web` published on 8080 (ingress) and 8083 (host), and `shop_db` of a stack without published ports. */
export function shopServices(): readonly Service[] {
  const web = service('web', {
    on: [{ network: LOCAL, vip: '127.64.0.2', aliases: ['www'] }],
    ports: [published(8080, 80), published(8081, 81), published(8083, 80, { mode: 'host' })],
    labels: { tier: 'front' },
    mode: { kind: 'replicated', replicas: 3 },
    health: { probe: { kind: 'http', path: '/up' }, intervalMs: 1000, timeoutMs: 500, retries: 2, startPeriodMs: 0 },
    createdAt: CREATED,
  });
  const db = service('shop_db', {
    on: [{ network: BACKEND }],
    endpointMode: 'dnsrr',
    labels: { 'com.docker.stack.namespace': 'shop' },
    mode: { kind: 'global' },
    expose: [{ protocol: 'tcp', port: 5432 as PortNumber }],
    createdAt: CREATED + 1,
  });
  return [web, db];
}

export function shopTasks(): readonly Task[] {
  const [web, db] = shopServices();
  if (web === undefined || db === undefined) throw new Error('there are two services');
  const times = { createdAt: CREATED, updatedAt: CREATED };
  return [
    task(web, 1, { default: '127.64.0.10' }, { ...times, pid: 99, health: 'healthy' }),
    task(web, 2, { default: '127.64.0.11' }, { ...times, pid: 98, health: 'unhealthy' }),
    task(db, 1, { backend: '127.0.0.1' }, { ...times, source: 'static', portMap: [{ targetPort: 5432, port: 5433 }] }),
  ];
}

export function shopSnapshot(): Snapshot {
  const node: Node = {
    id: NODE as NodeId,
    name: 'alpha',
    availability: 'active',
    labels: {},
    createdAt: CREATED,
    updatedAt: CREATED,
  };
  const objects = snapshot({ networks: [LOCAL, BACKEND], services: shopServices(), tasks: shopTasks() });
  return applyChanges(objects, 7, [{ kind: 'node', after: node }]);
}

function shopFrontends(): readonly FrontendFacts[] {
  const web = { serviceId: 'svc-web' as ServiceId, connections: { open: 1, total: 12 } };
  return [
    {
      ...web,
      kind: 'published',
      protocol: 'tcp',
      port: 8080,
      targetPort: 80,
      publishMode: 'ingress',
      state: 'listening',
    },
    {
      ...web,
      kind: 'published',
      protocol: 'tcp',
      port: 8081,
      targetPort: 81,
      publishMode: 'ingress',
      state: 'blocked',
      reason: 'another program has the port',
    },
    {
      ...web,
      kind: 'vip',
      networkId: LOCAL.id,
      protocol: 'tcp',
      address: ip('127.64.0.2'),
      port: 80,
      targetPort: 80,
      state: 'refusing',
    },
    {
      serviceId: web.serviceId,
      kind: 'vip',
      networkId: BACKEND.id,
      protocol: 'udp',
      address: ip('10.64.1.2'),
      state: 'listening',
    },
  ];
}
