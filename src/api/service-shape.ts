// PURE: a service as Docker Engine's API (1.41) shows it: swarm.Service, with our own object `Vipmesh` in its spec.
import type { Snapshot } from '../catalog/snapshot.ts';
import { shortName } from '../model/name.ts';
import type { Access } from '../model/access.ts';
import type { PublishedPort, PublishSpec } from '../model/port.ts';
import { EXEC_PROBE_DEFAULTS, type Service, type ServiceSpec, wantedTasks } from '../model/service.ts';
import { keptParts } from './docker-rest.ts';
import { shapeLimits } from './limits-shape.ts';
import type { DockerHealth, DockerPort, DockerService, DockerServiceSpec, ProbeShape } from './schema.ts';
import { cidr, rfc3339, type ShapeSource, shapeTaskState } from './shape.ts';

const NANOSECONDS_PER_MS = 1_000_000;
const NANOSECONDS_PER_S = 1_000_000_000;

export function shapeService(service: Service, source: ShapeSource, withStatus = false): DockerService {
  const { spec } = service;
  const ports = service.ports.map(shapePort);
  const virtualIps = service.vips.map(({ networkId, address }) => ({
    NetworkID: networkId,
    Addr: cidr(address, source.snapshot.networks.get(networkId)),
  }));
  const asked = spec.publish.map(shapePort);
  const isVip = spec.endpointMode === 'vip';
  return {
    ID: service.id,
    Version: { Index: source.revisionOf(service.id) },
    CreatedAt: rfc3339(service.createdAt),
    UpdatedAt: rfc3339(service.updatedAt),
    Spec: shapeServiceSpec(spec, source.snapshot),
    ...(service.previousSpec === undefined
      ? {}
      : { PreviousSpec: shapeServiceSpec(service.previousSpec, source.snapshot) }),
    Endpoint: {
      Spec: isVip ? { Mode: 'vip', ...(asked.length > 0 ? { Ports: asked } : {}) } : {},
      ...(ports.length > 0 ? { Ports: ports } : {}),
      ...(virtualIps.length > 0 ? { VirtualIPs: virtualIps } : {}),
    },
    ...(withStatus ? { ServiceStatus: shapeServiceStatus(service, source.snapshot) } : {}),
  };
}

export function shapeServiceSpec(spec: ServiceSpec, snapshot: Snapshot): DockerServiceSpec {
  const ports = spec.publish.map(shapePort);
  const kept = keptParts(spec.docker);
  const healthcheck = { ...kept.health, ...shapeHealthcheck(spec.health) };
  const forced = kept.template.ForceUpdate;
  return {
    Name: spec.name,
    Labels: { ...spec.labels },
    TaskTemplate: {
      ...kept.template,
      ContainerSpec: {
        ...kept.container,
        ...(Object.keys(healthcheck).length === 0 ? {} : { Healthcheck: { Test: [], ...healthcheck } }),
      },
      Networks: shapeNetworkTargets(spec, snapshot),
      ForceUpdate: typeof forced === 'number' ? forced : 0,
      Runtime: 'container',
    },
    Mode: spec.mode.kind === 'global' ? { Global: {} } : { Replicated: { Replicas: spec.mode.replicas } },
    ...kept.spec,
    EndpointSpec: { ...kept.endpoint, Mode: spec.endpointMode, ...(ports.length > 0 ? { Ports: ports } : {}) },
    Vipmesh: shapeOwnSpec(spec),
  };
}

/** A service of a stack also has its name within the stack, which Docker's client writes among its aliases. */
export function shapeNetworkTargets(
  spec: ServiceSpec,
  snapshot: Snapshot,
): DockerServiceSpec['TaskTemplate']['Networks'] {
  const short = shortName(spec.name, spec.labels);
  return spec.networks.map(({ network, aliases }) => {
    const names = short === undefined || aliases.includes(short) ? aliases : [...aliases, short];
    return {
      Target: snapshot.networkByName.get(network) ?? network,
      ...(names.length > 0 ? { Aliases: [...names] } : {}),
    };
  });
}

function shapeOwnSpec(spec: ServiceSpec): DockerServiceSpec['Vipmesh'] {
  const probe = shapeProbe(spec.health);
  return {
    ...(probe === undefined ? {} : { Health: probe }),
    Expose: spec.expose.map(({ protocol, port, name }) => ({
      Protocol: protocol,
      Port: port,
      ...(name === undefined ? {} : { Name: name }),
    })),
    Endpoints: spec.endpoints.map(({ address, targetPort, port, weight }) => ({
      Address: address,
      ...(targetPort === undefined ? {} : { TargetPort: targetPort }),
      ...(port === undefined ? {} : { Port: port }),
      ...(weight === undefined ? {} : { Weight: weight }),
    })),
    DrainTimeout: spec.drainTimeoutMs * NANOSECONDS_PER_MS,
    ...(spec.dnsTtlS === undefined ? {} : { DNSTTL: spec.dnsTtlS * NANOSECONDS_PER_S }),
    OnUnhealthy: spec.onUnhealthy ?? 'keep',
    ...(spec.limits === undefined ? {} : { Limits: shapeLimits(spec.limits) }),
    ...(spec.access === undefined ? {} : { Access: shapeAccess(spec.access) }),
    ...(spec.proxyProtocol === undefined ? {} : { ProxyProtocol: spec.proxyProtocol }),
    Balance: {
      Method: spec.balance?.method ?? 'round-robin',
      Affinity: (spec.balance?.affinityMs ?? 0) * NANOSECONDS_PER_MS,
      LocalFirst: spec.balance?.localFirst ?? false,
    },
  };
}

function shapeAccess({ allow, deny, acceptProxy }: Access): DockerServiceSpec['Vipmesh']['Access'] {
  return {
    ...(allow && { Allow: [...allow] }),
    ...(deny && { Deny: [...deny] }),
    ...(acceptProxy && { AcceptProxy: [...acceptProxy] }),
  };
}

/** As in Docker, what is the default is left out. */
function shapeHealthcheck(health: ServiceSpec['health']): DockerHealth | undefined {
  if (health === undefined) return undefined;
  if (health === 'none') return { Test: ['NONE'] };
  const { probe, intervalMs, timeoutMs, retries, startPeriodMs } = health;
  if (probe.kind !== 'exec') return undefined;
  const defaults = EXEC_PROBE_DEFAULTS;
  return {
    Test: [probe.shell ? 'CMD-SHELL' : 'CMD', ...probe.command],
    ...(intervalMs === defaults.intervalMs ? {} : { Interval: intervalMs * NANOSECONDS_PER_MS }),
    ...(timeoutMs === defaults.timeoutMs ? {} : { Timeout: timeoutMs * NANOSECONDS_PER_MS }),
    ...(retries === defaults.retries ? {} : { Retries: retries }),
    ...(startPeriodMs === 0 ? {} : { StartPeriod: startPeriodMs * NANOSECONDS_PER_MS }),
  };
}

/** A check that the agent makes itself: what Docker has no words for. */
function shapeProbe(health: ServiceSpec['health']): ProbeShape | undefined {
  if (health === undefined || health === 'none' || health.probe.kind === 'exec') return undefined;
  const { probe } = health;
  const port = probe.port === undefined ? {} : { Port: probe.port };
  return {
    ...(probe.kind === 'tcp'
      ? { TCP: port }
      : {
          HTTP: {
            ...port,
            Path: probe.path,
            ...(probe.expectStatus === undefined ? {} : { Status: probe.expectStatus }),
          },
        }),
    Interval: health.intervalMs * NANOSECONDS_PER_MS,
    Timeout: health.timeoutMs * NANOSECONDS_PER_MS,
    Retries: health.retries,
    ...(health.startPeriodMs > 0 ? { StartPeriod: health.startPeriodMs * NANOSECONDS_PER_MS } : {}),
  };
}

export function shapePort(spec: PublishSpec | PublishedPort): DockerPort {
  return {
    ...(spec.name === undefined ? {} : { Name: spec.name }),
    Protocol: spec.protocol,
    TargetPort: spec.targetPort,
    ...(spec.publishedPort === undefined ? {} : { PublishedPort: spec.publishedPort }),
    PublishMode: spec.mode,
    ...(spec.hostAddress === undefined ? {} : { HostIP: spec.hostAddress }),
  };
}

/** Running: as Docker counts, what has started and is not being drained; `ps` says which of them is unhealthy. */
function shapeServiceStatus(service: Service, snapshot: Snapshot): NonNullable<DockerService['ServiceStatus']> {
  const tasks = [...(snapshot.tasksByService.get(service.id)?.values() ?? [])];
  const active = [...snapshot.nodes.values()].filter((node) => node.availability === 'active').length;
  return {
    RunningTasks: tasks.filter((task) => shapeTaskState(task) === 'running' && task.state !== 'draining').length,
    DesiredTasks: wantedTasks(service.spec.mode, active),
    CompletedTasks: 0,
  };
}
