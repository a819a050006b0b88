// PURE: what Docker's API has no words for: why an endpoint is not chosen, what a frontend does, how the agent is.
import { type Snapshot, tasksOf } from '../catalog/snapshot.ts';
import { isAtDownNode, isElsewhere, nodeOf, standingOf } from '../catalog/standing.ts';
import type { NodeId } from '../model/node.ts';
import { type IpAddress, isLoopback } from '../model/address.ts';
import { declaredTargets, type Service, serviceNames } from '../model/service.ts';
import { cannotRunCheck, isEligible, servedPort, type Task } from '../model/task.ts';
import { weightOf } from '../model/weight.ts';
import type { ApiContext, EndpointFacts, FrontendFacts } from './context.ts';
import { networkName, serviceName } from './lookup.ts';
import type { EndpointShape, FrontendShape, ServiceDetail } from './schema.ts';
import type { AgentStatus } from './status-schema.ts';
import { shapeService } from './service-shape.ts';
import { rfc3339 } from './shape.ts';

export function shapeServiceDetail(service: Service, context: ApiContext): ServiceDetail {
  const snapshot = context.snapshot();
  const endpoints = tasksOf(snapshot, service.id).flatMap((task) => shapeEndpoints(task, context));
  return {
    ...shapeService(service, { snapshot, revisionOf: (id) => context.revisionOf(id) }, true),
    Vipmesh: {
      Path: 'proxied',
      VIPs: service.vips.map(({ networkId, address }) => ({
        Network: networkName(snapshot, networkId),
        Address: address,
        Names: [...serviceNames(service, networkId)],
      })),
      Endpoints: endpoints,
      Frontends: context
        .frontends()
        .filter((frontend) => frontend.serviceId === service.id)
        .map((frontend) => shapeFrontend(frontend, snapshot)),
      Warnings: [...serviceWarnings(service, endpoints), ...context.warnings(service.id)],
    },
  };
}

/** One entry for each network that the task is on. */
export function shapeEndpoints(task: Task, context: ApiContext): EndpointShape[] {
  const snapshot = context.snapshot();
  const service = snapshot.services.get(task.serviceId);
  const targets = service === undefined ? [] : declaredTargets(service.spec).map(({ port }) => port);
  const ports = targets.length > 0 ? targets : task.ownPort === undefined ? [] : [task.ownPort];
  return task.attachments.map((attachment) => {
    const facts = context.endpoint(task.id, attachment.networkId) ?? UNUSED;
    const reason =
      endpointReason(task, attachment.address, facts, snapshot, context.facts.nodeId) ?? checkNote(task, service);
    return {
      TaskID: task.id,
      Task: task.name,
      Slot: task.slot,
      Node: snapshot.nodes.get(task.nodeId)?.name ?? task.nodeId,
      Network: networkName(snapshot, attachment.networkId),
      Address: attachment.address,
      Ports: [...new Set(ports)].map((port) => ({ TargetPort: port, Port: servedPort(task, port) })),
      Source: task.source,
      State: task.state,
      Health: task.health,
      Weight: weightOf(task),
      Eligible: !facts.ejected && standingOf(snapshot, task, attachment.address, context.facts.nodeId) === 'eligible',
      ...(reason === undefined ? {} : { Reason: reason }),
      OpenConnections: facts.openConnections,
      TotalConnections: facts.totalConnections,
      ConnectFailures: facts.connectFailures,
    };
  });
}

function shapeFrontend(frontend: FrontendFacts, snapshot: Snapshot): FrontendShape {
  return {
    Kind: frontend.kind,
    Service: serviceName(snapshot, frontend.serviceId),
    Protocol: frontend.protocol,
    Address: frontend.address ?? '*',
    Port: frontend.port ?? '*',
    ...(frontend.targetPort === undefined ? {} : { TargetPort: frontend.targetPort }),
    ...(frontend.publishMode === undefined ? {} : { PublishMode: frontend.publishMode }),
    ...(frontend.networkId === undefined ? {} : { Network: networkName(snapshot, frontend.networkId) }),
    State: frontend.state,
    ...(frontend.reason === undefined ? {} : { Reason: frontend.reason }),
    ...(frontend.connections === undefined
      ? {}
      : { OpenConnections: frontend.connections.open, TotalConnections: frontend.connections.total }),
  };
}

export function shapeStatus(context: ApiContext): AgentStatus {
  const { facts } = context;
  const snapshot = context.snapshot();
  const runtime = context.status();
  return {
    Version: facts.version,
    PID: facts.pid,
    Node: { ID: facts.nodeId, Name: facts.nodeName },
    Privileged: facts.privileged,
    StartedAt: rfc3339(facts.startedAt),
    State: runtime.state,
    Socket: facts.socket,
    StateDir: facts.stateDir,
    Admin: facts.admin,
    Revision: snapshot.revision,
    AppliedRevision: runtime.appliedRevision ?? snapshot.revision,
    DNS: runtime.dns,
    Workers: [...runtime.workers],
    Stacks: [...runtime.stacks],
    Counts: {
      Networks: snapshot.networks.size,
      Services: snapshot.services.size,
      Tasks: snapshot.tasks.size,
      EligibleTasks: [...snapshot.tasks.values()].filter(isEligible).length,
    },
    Frontends: context.frontends().map((frontend) => shapeFrontend(frontend, snapshot)),
    ...(runtime.cluster === undefined ? {} : { Cluster: runtime.cluster }),
    Warnings: [...runtime.warnings],
  };
}

const UNUSED: EndpointFacts = { openConnections: 0, totalConnections: 0, connectFailures: 0, ejected: false };

function endpointReason(
  task: Task,
  address: IpAddress,
  facts: EndpointFacts,
  snapshot: Snapshot,
  self: NodeId,
): string | undefined {
  const failure = facts.lastProbeFailure === undefined ? '' : `: ${facts.lastProbeFailure}`;
  if (task.state === 'starting')
    return task.source === 'attached' ? 'it is being attached' : 'its command has not been started yet';
  if (task.state === 'draining') return 'draining: it gets no new connection, open ones may finish';
  if (task.health === 'starting') return `no healthy check yet${failure}`;
  if (task.health === 'unhealthy') return `unhealthy${failure}`;
  if (weightOf(task) === 0) return 'its weight is 0: it gets no new connection, open ones go on';
  if (facts.ejected) return 'ejected for a while by this node: connecting to it failed';
  if (isElsewhere(task, address, self))
    return isLoopback(address)
      ? 'a loopback address of another node'
      : 'on a bridge of another node, reached only there';
  const nodeId = nodeOf(snapshot, task);
  const node = nodeId && snapshot.nodes.get(nodeId);
  if (node?.availability === 'drain') return `node ${node.name} is being drained`;
  if (nodeId !== undefined && snapshot.suspicions.has(nodeId))
    return `node ${node?.name ?? nodeId} does not answer this one: used only where nothing else is eligible`;
  if (isAtDownNode(snapshot, task))
    return `node ${node?.name ?? nodeId} is down: used only where nothing else is eligible`;
  if (task.source === 'static' && isLoopback(address)) {
    return 'a loopback address: eligible on its own node only';
  }
  return undefined;
}

/** What limits the check of an endpoint that may well be eligible. */
function checkNote(task: Task, service: Service | undefined): string | undefined {
  if (service === undefined || task.source !== 'attached' || !cannotRunCheck(service, task)) return undefined;
  return "checked by tcp: the command of the service's check cannot be run in an attached container";
}

function serviceWarnings(service: Service, endpoints: readonly EndpointShape[]): string[] {
  if (endpoints.length === 0) return ['no task: its ports are refused until one is started or an endpoint is added'];
  if (endpoints.every((endpoint) => !endpoint.Eligible)) return ['no eligible endpoint: its ports are refused'];
  const undeclared = service.ports.length === 0 && declaredTargets(service.spec).length === 0;
  if (undeclared && endpoints.every((endpoint) => endpoint.Ports.length === 0)) {
    return ['no target port is known: declare one by --publish, --expose or ports in the stack file'];
  }
  return [];
}
