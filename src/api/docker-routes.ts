// Docker Engine's paths (API 1.41) that read, for what exists here, from the snapshot.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { findNetwork, findService, findTask } from '../control/lookup.ts';
import { isNetworkOfDocker } from '../model/network.ts';
import type { ApiContext } from './context.ts';
import { shapeInfo, shapeNetwork, shapeNetworkDetail, shapeNode, shapeTask, shapeVersion } from './docker-shape.ts';
import { networkMatches, nodeMatches, parseFilters, serviceMatches, taskMatches } from './filters.ts';
import { addReferenceRoutes } from './docker-references.ts';
import { ApiError } from './errors.ts';
import { findNode } from './lookup.ts';
import { described } from './openapi.ts';
import { dockerNetwork, dockerNode, type DockerService, dockerService, dockerTask } from './schema.ts';
import { dockerDistribution, dockerInfo, dockerVersion } from './system-schema.ts';
import { shapeService } from './service-shape.ts';
import type { ShapeSource } from './shape.ts';
import { validated } from './validate.ts';

/** First parts of Docker's paths that have no meaning here, and the sentence that says what to do instead. */
const NOT_HERE: Readonly<Record<string, string>> = {
  containers:
    'vipmesh does not run containers; start a task with `vipmesh run`, or add what something else runs with `vipmesh endpoint add`',
  exec: 'vipmesh does not run containers; use the tool that started the task',
  images: 'vipmesh has no images; it balances what something else runs',
  build: 'vipmesh builds no images',
  commit: 'vipmesh has no images',
  distribution: 'vipmesh has no images',
  volumes: 'vipmesh has no volumes; it only does the network',
  secrets: 'vipmesh keeps no secrets; a name is there as long as a service refers to it',
  configs: 'vipmesh keeps no configs; a name is there as long as a service refers to it',
  plugins: 'vipmesh has no plugins',
  swarm: 'vipmesh has no swarm to join or leave; the nodes of a cluster share a store',
  auth: 'vipmesh uses no registry',
  session: 'vipmesh builds no images',
  system: 'vipmesh stores no images or volumes',
};

/** What is not here below paths that are. */
const PARTS_NOT_HERE: readonly (readonly [RegExp, string])[] = [
  [/^DELETE \/nodes\/[^/]+$/, 'vipmesh removes no nodes; a node is gone when its agent has stopped'],
  [
    /^GET \/(services|tasks)\/[^/]+\/logs$/,
    'vipmesh keeps no output of tasks; look where the command or container writes it',
  ],
  [
    /^POST \/networks\/[^/]+\/(connect|disconnect)$/,
    'vipmesh attaches no containers by this path; a task joins the networks of its service when it starts, and vipmesh attach makes a container a task',
  ],
];

/** `docker inspect NAME` asks for one kind of object after the other, and goes on only after a plain "no". */
const LOOKUP = /^GET \/(?:(container|image|plugin)s\/([^?]+)\/json|(volume)s\/([^/]+))$/;

/** That there is no such object, for kinds of which there are none here; undefined when the path asks for something else. */
export function noneHere(method: string, path: string): string | undefined {
  const [, kind, name, otherKind, otherName] = LOOKUP.exec(`${method} ${path}`) ?? [];
  const what = kind ?? otherKind;
  return what === undefined ? undefined : `No such ${what}: ${name ?? otherName}; vipmesh has no ${what}s`;
}

/** Why a path that Docker has does not exist here; undefined when Docker has no such path either. */
export function notHere(method: string, path: string): string | undefined {
  const part = PARTS_NOT_HERE.find(([pattern]) => pattern.test(`${method} ${path}`));
  if (part !== undefined) return part[1];
  const room = path.split('/')[1] ?? '';
  return Object.hasOwn(NOT_HERE, room) ? NOT_HERE[room] : undefined;
}

const listQuery = z.object({
  filters: z.string().optional().describe('JSON of lists: {"name":["web"],"label":["tier=front"]}'),
});
const serviceListQuery = listQuery.extend({ status: z.string().optional().describe('true: with ServiceStatus') });

interface OneParams {
  readonly Params: { readonly id: string };
}

export function addDockerRoutes(app: FastifyInstance, context: ApiContext): void {
  addSystemRoutes(app, context);
  addReferenceRoutes(app, context);
  const { facts } = context;
  const source = (): ShapeSource => ({ snapshot: context.snapshot(), revisionOf: (id) => context.revisionOf(id) });
  const filtersOf = (query: unknown) => parseFilters(validated(listQuery, query, 'query').filters);

  app.get('/services', list('The services, the oldest first', dockerService, serviceListQuery), ({ query }) => {
    const filters = filtersOf(query);
    const { status } = validated(serviceListQuery, query, 'query');
    const from = source();
    return byAge(from.snapshot.services.values(), (service) => serviceMatches(service, filters)).map((service) =>
      withUpdateStatus(shapeService(service, from, status === 'true' || status === '1')),
    );
  });
  app.get<OneParams>('/services/:id', one('A service', dockerService), ({ params }) => {
    const from = source();
    return withUpdateStatus(shapeService(findService(from.snapshot, params.id), from));
  });
  app.get('/tasks', list('The tasks, the oldest first', dockerTask), ({ query }) => {
    const filters = filtersOf(query);
    const from = source();
    return byAge(from.snapshot.tasks.values(), (task) => taskMatches(task, filters, from.snapshot)).map((task) =>
      shapeTask(task, from),
    );
  });
  app.get<OneParams>('/tasks/:id', one('A task', dockerTask), ({ params }) => {
    const from = source();
    return shapeTask(findTask(from.snapshot, params.id), from);
  });
  app.get('/networks', list('The networks, the oldest first', dockerNetwork), ({ query }) => {
    const filters = filtersOf(query);
    const { snapshot } = source();
    return byAge(snapshot.networks.values(), (network) => networkMatches(network, filters, snapshot)).map(shapeNetwork);
  });
  app.get<OneParams>('/networks/:id', one('A network and what is on it', dockerNetwork), ({ params }) => {
    const from = source();
    if (isNetworkOfDocker(params.id) && !from.snapshot.networkByName.has(params.id))
      throw new ApiError(
        'NOT_SUPPORTED',
        `network ${params.id} is Docker's own on every node, and vipmesh has no part in it; leave it out`,
      );
    return shapeNetworkDetail(findNetwork(from.snapshot, params.id), from, facts);
  });
  app.get('/nodes', list('The nodes, the oldest first', dockerNode), ({ query }) => {
    const filters = filtersOf(query);
    const from = source();
    return byAge(from.snapshot.nodes.values(), (node) => nodeMatches(node, filters)).map((node) =>
      shapeNode(node, from, facts),
    );
  });
  app.get<OneParams>('/nodes/:id', one('A node; `self` is the one that answers', dockerNode), ({ params }) => {
    const from = source();
    return shapeNode(findNode(from.snapshot, params.id, facts.nodeId), from, facts);
  });
}

/**
 * Docker's client, unless it was told to detach, waits after each change until the tasks run or the update is over. Here it is
 * over when it is stored: nobody starts tasks, so nobody should wait for them.
 */
function withUpdateStatus(service: DockerService): DockerService {
  return {
    ...service,
    UpdateStatus: {
      State: 'completed',
      StartedAt: service.UpdatedAt,
      CompletedAt: service.UpdatedAt,
      Message: 'update completed; its tasks are what something else runs for it',
    },
  };
}

function addSystemRoutes(app: FastifyInstance, context: ApiContext): void {
  const { facts } = context;
  const ping = described({ summary: 'Whether an agent is there', answers: [{ status: 200, what: 'OK, as text' }] });
  app.get('/_ping', ping, (_request, reply) => {
    reply.header('Cache-Control', 'no-cache, no-store, must-revalidate').header('Pragma', 'no-cache');
    reply.header('Docker-Experimental', 'false').header('Swarm', 'active/manager');
    return reply.type('text/plain; charset=utf-8').send('OK');
  });
  app.get('/version', one('What answers, and which versions of the API', dockerVersion), () => shapeVersion(facts));
  // Docker's client asks before it makes a service, and warns at length where it is told nothing. With an empty digest it
  // leaves the image as its user wrote it.
  const image = one('Nothing is known of images: an empty descriptor', dockerDistribution);
  app.get('/distribution/*', image, () => ({ Descriptor: { mediaType: '', digest: '', size: 0 }, Platforms: [] }));
  app.get('/info', one('The node that answers', dockerInfo), () =>
    shapeInfo(facts, context.snapshot(), context.status().warnings),
  );
}

function one(summary: string, schema: z.ZodType) {
  return described({ summary, answers: [{ status: 200, what: summary, schema }] });
}

function list(summary: string, schema: z.ZodType, query: z.ZodObject = listQuery) {
  return described({ summary, query, answers: [{ status: 200, what: summary, schema: z.array(schema) }] });
}

/** Oldest first: hash tries have no order of their own, and a list should not change its order when something is added. */
export function byAge<T extends { readonly id: string; readonly createdAt: number }>(
  values: Iterable<T>,
  keep: (value: T) => boolean,
): readonly T[] {
  return [...values].filter(keep).sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
}
