// Docker Engine's paths that change something: services, networks and nodes.
import type { FastifyInstance } from 'fastify';
import type { z } from 'zod';
import { findNetwork, findService } from '../control/lookup.ts';
import type { Network, NetworkDriver } from '../model/network.ts';
import type { Service, ServiceSpec } from '../model/service.ts';
import { systemRandom } from '../runtime/random.ts';
import type { ApiContext } from './context.ts';
import { byAge } from './docker-routes.ts';
import { ApiError, outOfSequence } from './errors.ts';
import { isPruned, parseFilters } from './filters.ts';
import { findNode } from './lookup.ts';
import { networkRequestWarning, networkSpecOf } from './network-request.ts';
import { described } from './openapi.ts';
import {
  networkCreated,
  networkCreateRequest,
  networksPruned,
  nodeSpecRequest,
  nodeRemoveQuery,
  nodeUpdateQuery,
  pruneQuery,
  serviceCreated,
  serviceSpecRequest,
  serviceUpdated,
  serviceUpdateQuery,
} from './requests.ts';
import { serviceRequestWarnings, serviceSpecOf, withName } from './service-request.ts';
import { validated } from './validate.ts';

interface OneParams {
  readonly Params: { readonly id: string };
}

export function addDockerWrites(app: FastifyInstance, context: ApiContext): void {
  addServiceWrites(app, context);
  addNetworkWrites(app, context);
  addNodeWrites(app, context);
}

const EXAMPLE_SERVICE: z.input<typeof serviceSpecRequest> = {
  Name: 'web',
  Labels: { tier: 'front' },
  TaskTemplate: { ContainerSpec: {}, Networks: [{ Target: 'backend', Aliases: ['www'] }] },
  Mode: { Replicated: { Replicas: 3 } },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
  },
  Vipmesh: {
    Health: { HTTP: { Path: '/healthz' }, Interval: 1_000_000_000 },
    Expose: [{ Port: 9100, Name: 'metrics' }],
    Endpoints: [{ Address: '10.0.0.7', TargetPort: 80, Port: 8000 }],
    DrainTimeout: 10_000_000_000,
  },
};

function addServiceWrites(app: FastifyInstance, context: ApiContext): void {
  const create = described({
    summary: 'Creates a service',
    body: serviceSpecRequest,
    example: EXAMPLE_SERVICE,
    answers: [{ status: 201, what: 'Its id', schema: serviceCreated }],
  });
  app.post('/services/create', create, async (request, reply) => {
    const wanted = validated(serviceSpecRequest, withName(request.body, systemRandom), 'service spec');
    const spec = serviceSpecOf(wanted, context.snapshot());
    const service = await context.commands.createService(spec);
    const warnings = [...serviceRequestWarnings(wanted, spec, context.snapshot()), ...context.warnings(service.id)];
    return reply.status(201).send({ ID: service.id, ...(warnings.length === 0 ? {} : { Warnings: warnings }) });
  });
  const update = described({
    summary:
      'Gives a service another spec. Fails with status 500 and "update out of sequence" (as Docker does) when it has changed since `version`',
    query: serviceUpdateQuery,
    body: serviceSpecRequest,
    example: EXAMPLE_SERVICE,
    answers: [{ status: 200, what: 'Done', schema: serviceUpdated }],
  });
  app.post<OneParams>('/services/:id/update', update, async (request) => {
    const query = validated(serviceUpdateQuery, request.query, 'query');
    const snapshot = context.snapshot();
    const service = findService(snapshot, request.params.id);
    const parsed =
      query.rollback === 'previous' ? undefined : validated(serviceSpecRequest, request.body, 'service spec');
    const spec = parsed === undefined ? previousOf(service) : serviceSpecOf(parsed, snapshot, service.spec);
    await updateInSequence(context, service, spec, Number(query.version));
    const { docker } = service.spec;
    const isNews = parsed !== undefined && JSON.stringify(docker) !== JSON.stringify(spec.docker);
    const warnings = [
      ...(isNews ? serviceRequestWarnings(parsed, spec, snapshot) : []),
      ...context.warnings(service.id),
    ];
    return { Warnings: warnings.length === 0 ? null : warnings };
  });
  const remove = described({
    summary: 'Removes a service with its tasks',
    answers: [{ status: 200, what: 'Removed' }],
  });
  app.delete<OneParams>('/services/:id', remove, async (request, reply) => {
    await context.commands.removeService(findService(context.snapshot(), request.params.id).id);
    return reply.status(200).send();
  });
}

function previousOf({ spec, previousSpec }: Service): ServiceSpec {
  if (previousSpec !== undefined) return previousSpec;
  throw new ApiError('BAD_REQUEST', `service ${spec.name} has no previous spec to go back to; it was never updated`);
}

/** A conflict about an object that has changed meanwhile is that change, whatever else stood in the way. */
async function updateInSequence(
  context: ApiContext,
  { id, spec: { name } }: Service,
  spec: ServiceSpec,
  version: number,
): Promise<void> {
  try {
    await context.commands.updateService(id, spec, version);
  } catch (error) {
    const now = context.revisionOf(id);
    if (now === version || now === 0) throw error;
    throw outOfSequence(
      `service ${name} has changed since version ${version}, it is at ${now} now; look at it again and repeat the update`,
      error,
    );
  }
}

function addNetworkWrites(app: FastifyInstance, context: ApiContext): void {
  const defaultDriver: NetworkDriver = context.facts.privileged ? 'overlay' : 'local';
  const create = described({
    summary: 'Creates a network',
    body: networkCreateRequest,
    example: {
      Name: 'backend',
      Driver: 'overlay',
      Internal: true,
      IPAM: { Config: [{ Subnet: '10.64.7.0/24' }] },
      Labels: { tier: 'back' },
    },
    answers: [{ status: 201, what: 'Its id', schema: networkCreated }],
  });
  app.post('/networks/create', create, async (request, reply) => {
    const wanted = validated(networkCreateRequest, request.body, 'network');
    const network = await context.commands.createNetwork(networkSpecOf(wanted, defaultDriver));
    return reply.status(201).send({ Id: network.id, Warning: networkRequestWarning(wanted, network.spec.driver) });
  });
  const remove = described({
    summary: 'Removes a network that no service is on; status 409 otherwise',
    answers: [{ status: 204, what: 'Removed' }],
  });
  app.delete<OneParams>('/networks/:id', remove, async (request, reply) => {
    await context.commands.removeNetwork(findNetwork(context.snapshot(), request.params.id).id);
    return reply.status(204).send();
  });
  const prune = described({
    summary: 'Removes the networks that no service is on',
    query: pruneQuery,
    answers: [{ status: 200, what: 'Their names', schema: networksPruned }],
  });
  app.post('/networks/prune', prune, async (request) => {
    const filters = parseFilters(validated(pruneQuery, request.query, 'query').filters);
    const { networks, servicesByNetwork } = context.snapshot();
    const unused = byAge(networks.values(), (one) => !servicesByNetwork.has(one.id) && isPruned(one, filters));
    const removed: string[] = [];
    for (const network of unused) if (await removedUnused(context, network)) removed.push(network.spec.name);
    return { NetworksDeleted: removed.length === 0 ? null : removed };
  });
}

/** A service may have come to the network meanwhile, or somebody else may have removed it: both are fine. */
async function removedUnused(context: ApiContext, network: Network): Promise<boolean> {
  try {
    await context.commands.removeNetwork(network.id);
    return true;
  } catch (error) {
    const { networks, servicesByNetwork } = context.snapshot();
    if (!networks.has(network.id) || servicesByNetwork.has(network.id)) return false;
    throw error;
  }
}

function addNodeWrites(app: FastifyInstance, context: ApiContext): void {
  const update = described({
    summary: 'Sets the availability and the labels of a node; its role cannot be changed',
    query: nodeUpdateQuery,
    body: nodeSpecRequest,
    example: { Role: 'manager', Availability: 'drain' },
    answers: [{ status: 200, what: 'Done' }],
  });
  app.post<OneParams>('/nodes/:id/update', update, async (request, reply) => {
    const version = Number(validated(nodeUpdateQuery, request.query, 'query').version);
    const wanted = validated(nodeSpecRequest, request.body, 'node spec');
    const node = findNode(context.snapshot(), request.params.id, context.facts.nodeId);
    if ((wanted.Role ?? 'manager') !== 'manager')
      throw new ApiError('NOT_SUPPORTED', 'vipmesh has no workers; every node can be asked and changed');
    const now = context.revisionOf(node.id);
    if (now !== version) {
      throw outOfSequence(
        `node ${node.name} has changed since version ${version}, it is at ${now} now; look at it again and repeat the update`,
      );
    }
    await context.commands.updateNode(node.id, {
      ...(wanted.Availability ? { availability: wanted.Availability } : {}),
      ...(wanted.Labels ? { labels: wanted.Labels } : {}),
    });
    return reply.status(200).send();
  });
  const remove = described({
    summary: 'Forgets a node that is down',
    query: nodeRemoveQuery,
    answers: [{ status: 200, what: 'Done' }],
  });
  app.delete<OneParams>('/nodes/:id', remove, async (request, reply) => {
    const node = findNode(context.snapshot(), request.params.id, context.facts.nodeId);
    await context.commands.removeNode(node.id);
    return reply.status(200).send();
  });
}
