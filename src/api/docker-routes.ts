// Docker Engine's paths (API 1.41) for what exists here, read from the snapshot.
import type { FastifyInstance } from 'fastify';
import { findNetwork, findService, findTask } from '../control/lookup.ts';
import type { ApiContext } from './context.ts';
import {
  type ShapeSource,
  shapeInfo,
  shapeNetwork,
  shapeNetworkDetail,
  shapeNode,
  shapeService,
  shapeTask,
  shapeVersion,
} from './docker-shape.ts';
import { networkMatches, nodeMatches, parseFilters, serviceMatches, taskMatches } from './filters.ts';
import { findNode } from './lookup.ts';

/** First parts of Docker's paths that have no meaning here, and the sentence that says what to do instead. */
export const NOT_HERE: Readonly<Record<string, string>> = {
  containers:
    'vipmesh does not run containers; start a task with `vipmesh run`, or add what something else runs with `vipmesh endpoint add`',
  exec: 'vipmesh does not run containers; use the tool that started the task',
  images: 'vipmesh has no images; it balances what something else runs',
  build: 'vipmesh builds no images',
  commit: 'vipmesh has no images',
  distribution: 'vipmesh has no images',
  volumes: 'vipmesh has no volumes; it only does the network',
  secrets: 'vipmesh has no secrets; it only does the network',
  configs: 'vipmesh has no configs; it only does the network',
  plugins: 'vipmesh has no plugins',
  swarm: 'vipmesh has no swarm to join or leave; the nodes of a cluster share a store',
  auth: 'vipmesh uses no registry',
  session: 'vipmesh builds no images',
  system: 'vipmesh stores no images or volumes',
};

interface ListQuery {
  readonly Querystring: { readonly filters?: string; readonly status?: string };
}
interface OneParams {
  readonly Params: { readonly id: string };
}

export function addDockerRoutes(app: FastifyInstance, context: ApiContext): void {
  const { facts } = context;
  const source = (): ShapeSource => ({ snapshot: context.snapshot(), revisionOf: (id) => context.revisionOf(id) });

  app.get('/_ping', (_request, reply) => {
    reply.header('Cache-Control', 'no-cache, no-store, must-revalidate').header('Pragma', 'no-cache');
    reply.header('Docker-Experimental', 'false').header('Swarm', 'active/manager');
    return reply.type('text/plain; charset=utf-8').send('OK');
  });
  app.get('/version', () => shapeVersion(facts));
  app.get('/info', () => shapeInfo(facts, context.snapshot()));

  app.get<ListQuery>('/services', (request) => {
    const filters = parseFilters(request.query.filters);
    const withStatus = request.query.status === 'true' || request.query.status === '1';
    const from = source();
    return byAge(from.snapshot.services.values(), (service) => serviceMatches(service, filters)).map((service) =>
      shapeService(service, from, withStatus),
    );
  });
  app.get<OneParams>('/services/:id', (request) => {
    const from = source();
    return shapeService(findService(from.snapshot, request.params.id), from);
  });

  app.get<ListQuery>('/tasks', (request) => {
    const filters = parseFilters(request.query.filters);
    const from = source();
    return byAge(from.snapshot.tasks.values(), (task) => taskMatches(task, filters, from.snapshot)).map((task) =>
      shapeTask(task, from),
    );
  });
  app.get<OneParams>('/tasks/:id', (request) => {
    const from = source();
    return shapeTask(findTask(from.snapshot, request.params.id), from);
  });

  app.get<ListQuery>('/networks', (request) => {
    const filters = parseFilters(request.query.filters);
    return byAge(source().snapshot.networks.values(), (network) => networkMatches(network, filters)).map(shapeNetwork);
  });
  app.get<OneParams>('/networks/:id', (request) => {
    const from = source();
    return shapeNetworkDetail(findNetwork(from.snapshot, request.params.id), from, facts);
  });

  app.get<ListQuery>('/nodes', (request) => {
    const filters = parseFilters(request.query.filters);
    const from = source();
    return byAge(from.snapshot.nodes.values(), (node) => nodeMatches(node, filters)).map((node) =>
      shapeNode(node, from, facts),
    );
  });
  app.get<OneParams>('/nodes/:id', (request) => {
    const from = source();
    return shapeNode(findNode(from.snapshot, request.params.id, facts.nodeId), from, facts);
  });
}

/** Oldest first: hash tries have no order of their own, and a list should not change its order when something is added. */
export function byAge<T extends { readonly id: string; readonly createdAt: number }>(
  values: Iterable<T>,
  keep: (value: T) => boolean,
): readonly T[] {
  return [...values].filter(keep).sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
}
