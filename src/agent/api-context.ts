// What the API is told about this node: joins the catalog with what the data path counts and the kernel let us have.
import { arch, cpus, release, totalmem } from 'node:os';
import type {
  AgentFacts,
  ApiContext,
  Attachments,
  EndpointFacts,
  FrontendFacts,
  NameQuestion,
  RuntimeStatus,
  TaskRunner,
} from '../api/context.ts';
import type { Resolution } from '../api/schema.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { Config } from '../config.ts';
import type { Control } from '../control/control.ts';
import type { DataPlane } from '../datapath/plane.ts';
import type { HealthMonitor } from '../health/monitor.ts';
import { formatHostPort } from '../model/address.ts';
import type { NetworkId } from '../model/network.ts';
import type { NodeId } from '../model/node.ts';
import { vipsOn } from '../model/service.ts';
import type { TaskId } from '../model/task.ts';
import { apiCommands } from './api-commands.ts';
import { listDnsCache } from './resolver-status.ts';
import { systemClock } from '../runtime/clock.ts';
import { systemRandom } from '../runtime/random.ts';
import type { Mesh } from './mesh.ts';
import { tryOutside } from './outside-trial.ts';
import { resolveName } from './resolution.ts';
import { listConnections, readTraffic } from './traffic.ts';

export interface ContextParts {
  readonly config: Pick<Config, 'upstreams' | 'dnsRoutes'>;
  readonly facts: AgentFacts;
  readonly catalog: Catalog;
  readonly plane: DataPlane;
  readonly mesh: Mesh;
  readonly monitor: HealthMonitor;
  readonly commands: Control;
  readonly tasks: TaskRunner;
  readonly attachments: Attachments;
  readonly status: () => RuntimeStatus;
}

export function agentFacts(config: Config, version: string, nodeId: NodeId, startedAt: number): AgentFacts {
  return {
    version,
    pid: process.pid,
    nodeId,
    nodeName: config.nodeName,
    privileged: config.privileged,
    startedAt,
    socket: config.socket,
    stateDir: config.stateDir,
    admin: formatHostPort(config.admin.address, config.admin.port),
    architecture: arch(),
    kernelVersion: release(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
  };
}

export function apiContext(parts: ContextParts): ApiContext {
  const { catalog, plane, mesh, monitor } = parts;
  return {
    facts: parts.facts,
    commands: apiCommands(parts.commands, parts.facts.privileged ? 'overlay' : 'local'),
    tasks: parts.tasks,
    attachments: parts.attachments,
    snapshot: () => catalog.snapshot,
    subscribe: (listener) => catalog.subscribe(listener),
    revisionOf: (id) => objectRevision(catalog, id),
    frontends: () => [...nodeFrontends(mesh, plane), ...overlayFrontends(mesh, catalog)],
    endpoint: (taskId, networkId) => endpointFacts(mesh, plane, monitor, taskId, networkId),
    warnings: () =>
      mesh.overlayProblems.map((problem) => `overlay networks are not as they should be on this node: ${problem}`),
    status: parts.status,
    dnsCache: (below, atMost) => listDnsCache(plane, below, atMost),
    connections: (service, atMost) => listConnections(parts, service, atMost),
    traffic: () => readTraffic(parts, systemClock.now()),
    flushDnsCache: async (below) => {
      plane.post({ kind: 'dns-cache-flush', ...(below === undefined ? {} : { below }) });
      await plane.barrier();
    },
    resolve: (question) => resolve(parts, question),
  };
}

async function resolve({ catalog, mesh, config }: ContextParts, question: NameQuestion): Promise<Resolution> {
  const { Explained, ...resolution } = resolveName(catalog.snapshot, mesh.names, question);
  if (!question.explain || Explained === undefined) return resolution;
  if (resolution.Outcome !== 'forwarded') return { ...resolution, Explained };
  const tried = await tryOutside(config, question.name, { clock: systemClock, random: systemRandom });
  return { ...resolution, Explained: { ...Explained, Steps: [...Explained.Steps, ...tried] } };
}

/** Ids are unique over all kinds, so the first kind that knows one is the right one. */
function objectRevision(catalog: Catalog, id: string): number {
  for (const kind of ['service', 'task', 'network', 'node'] as const) {
    const revision = catalog.revisionOf(kind, id);
    if (revision > 0) return revision;
  }
  return 0;
}

function nodeFrontends(mesh: Mesh, plane: DataPlane): readonly FrontendFacts[] {
  return mesh.listeners.all().map(({ plan, state, id }) => {
    const counts = plane.frontendCounters(id);
    return {
      serviceId: plan.serviceId,
      kind: plan.kind,
      protocol: plan.protocol,
      ...(plan.address === undefined ? {} : { address: plan.address }),
      port: plan.port,
      targetPort: plan.targetPort,
      ...(plan.kind === 'published'
        ? { publishMode: plan.backend.endsWith('/host') ? ('host' as const) : ('ingress' as const) }
        : { networkId: plan.backend.slice(plan.serviceId.length + 1) as NetworkId }),
      state: state.state,
      ...(state.state === 'blocked' ? { reason: state.reason } : {}),
      connections: { open: counts.active, total: counts.accepted },
    };
  });
}

/** The VIPs of overlay networks share one group of sockets, so what is counted there is counted per endpoint only. */
function overlayFrontends(mesh: Mesh, catalog: Catalog): readonly FrontendFacts[] {
  const { services, networks } = catalog.snapshot;
  return [...services.values()].flatMap((service) =>
    service.networks.flatMap(({ networkId }) => {
      const addresses = vipsOn(service, networkId);
      if (addresses.length === 0 || networks.get(networkId)?.spec.driver !== 'overlay') return [];
      const here = mesh.overlaySockets.has(networkId);
      const eligible = mesh.publisher.hasEligible(service.id, networkId);
      const groups = (['tcp', 'udp'] as const).flatMap((protocol) =>
        addresses.map((address) => ({ protocol, address })),
      );
      return groups.map((group) => ({
        serviceId: service.id,
        kind: 'vip' as const,
        networkId,
        ...group,
        state: here ? (eligible ? ('listening' as const) : ('refusing' as const)) : ('blocked' as const),
        ...(here ? {} : { reason: mesh.overlayProblems[0] ?? 'overlay networks need an agent that runs as root' }),
      }));
    }),
  );
}

function endpointFacts(
  mesh: Mesh,
  plane: DataPlane,
  monitor: HealthMonitor,
  taskId: TaskId,
  networkId: NetworkId,
): EndpointFacts | undefined {
  const [slot] = mesh.publisher.slotsOf(taskId, [networkId]);
  const failure = monitor.lastFailure(taskId);
  if (slot === undefined && failure === undefined) return undefined;
  const counts = slot === undefined ? undefined : plane.endpointCounters(slot);
  return {
    openConnections: (counts?.active ?? 0) + (counts?.flows ?? 0),
    totalConnections: counts?.total ?? 0,
    connectFailures: counts?.failures ?? 0,
    ejected: (counts?.ejected ?? 0) > 0,
    ...(failure === undefined ? {} : { lastProbeFailure: failure }),
  };
}
