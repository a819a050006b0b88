// What Docker's API lacks: how the agent is, why something does not work, endpoints, and tasks that a client runs.
import type { FastifyInstance, FastifyReply } from 'fastify';
import { z } from 'zod';
import { findNetwork, findService, findTask } from '../control/lookup.ts';
import type { Task, TaskId } from '../model/task.ts';
import { addAttachmentRoutes } from './attachment-routes.ts';
import type { ApiContext, NameQuestion, TaskSession } from './context.ts';
import { addDnsRoutes } from './dns-routes.ts';
import { byAge } from './docker-routes.ts';
import { ApiError } from './errors.ts';
import { serviceName } from './lookup.ts';
import { described } from './openapi.ts';
import { addEndpointRequest, runTaskRequest } from './requests.ts';
import {
  type EndpointListing,
  endpointAdded,
  endpointListing,
  probeResultRequest,
  resolution,
  serviceDetail,
  taskEvent,
  taskExitedRequest,
  taskRunningRequest,
} from './schema.ts';
import { publishedBy } from './service-request.ts';
import { agentStatus } from './status-schema.ts';
import { addTrafficRoutes } from './traffic-routes.ts';
import { validated } from './validate.ts';
import { shapeEndpoints, shapeServiceDetail, shapeStatus } from './vipmesh-shape.ts';

interface OneParams {
  readonly Params: { readonly id: string };
}

/** `streams` holds a function for each answer that is being streamed; calling it ends that answer. */
export function addVipmeshRoutes(app: FastifyInstance, context: ApiContext, streams: Set<() => void>): void {
  const status = described({
    summary: 'How the agent is',
    answers: [{ status: 200, what: 'Its state', schema: agentStatus }],
  });
  app.get('/vipmesh/status', status, () => shapeStatus(context));
  const service = described({
    summary: 'A service, and what one wants to know when it does not work',
    answers: [{ status: 200, what: 'The service', schema: serviceDetail }],
  });
  app.get<OneParams>('/vipmesh/services/:id', service, (request) =>
    shapeServiceDetail(findService(context.snapshot(), request.params.id), context),
  );
  const resolve = described({
    summary: 'What the resolver says about a name, and what it does not say because another network hides it',
    query: resolveQuery,
    answers: [{ status: 200, what: 'The answers', schema: resolution }],
  });
  app.get('/vipmesh/resolve', resolve, (request) => {
    const { name, explain, ...as } = validated(resolveQuery, request.query, 'query');
    if (name === undefined || name === '')
      throw new ApiError('BAD_REQUEST', 'name is missing: /vipmesh/resolve?name=web');
    return context.resolve({ name, as: askerOf(as, context), explain: explain === 'true' });
  });
  addEndpointRoutes(app, context);
  addTaskRoutes(app, context, streams);
  addAttachmentRoutes(app, context);
  addDnsRoutes(app, context);
  addTrafficRoutes(app, context);
}

const resolveQuery = z.object({
  name: z.string().max(255).optional(),
  /** Name or id of a network: as a container on it alone. */
  network: z.string().optional(),
  /** Name or id of a task: as that. */
  task: z.string().optional(),
  explain: z.enum(['true', 'false']).optional(),
});

function askerOf(
  { network, task }: { readonly network?: string | undefined; readonly task?: string | undefined },
  context: ApiContext,
): NameQuestion['as'] {
  if (network !== undefined && task !== undefined)
    throw new ApiError('BAD_REQUEST', 'network and task are both given; a question comes from one of them');
  if (network !== undefined) return { kind: 'network', id: findNetwork(context.snapshot(), network).id };
  return task === undefined ? { kind: 'node' } : { kind: 'task', id: findTask(context.snapshot(), task).id };
}
const endpointsQuery = z.object({ service: z.string().optional() });
const DONE = [{ status: 204, what: 'Done' }];

function addEndpointRoutes(app: FastifyInstance, context: ApiContext): void {
  const list = described({
    summary: 'The endpoints: each task once for every network that it is on',
    query: endpointsQuery,
    answers: [{ status: 200, what: 'The endpoints', schema: z.array(endpointListing) }],
  });
  app.get('/vipmesh/endpoints', list, (request) => {
    const snapshot = context.snapshot();
    const { service } = validated(endpointsQuery, request.query, 'query');
    const only = service === undefined ? undefined : findService(snapshot, service).id;
    const tasks = byAge(snapshot.tasks.values(), (task) => only === undefined || task.serviceId === only);
    return tasks.flatMap((task) => listingsOf(task, context));
  });
  const add = described({
    summary: 'Adds an endpoint that something else serves: ADDR, ADDR:PORT or TARGET=ADDR:PORT',
    body: addEndpointRequest,
    example: { Service: 'web', Endpoint: '80=10.0.0.7:8000' },
    answers: [{ status: 201, what: 'The task that stands for it', schema: endpointAdded }],
  });
  app.post('/vipmesh/endpoints', add, async (request, reply) => {
    const { Service, Endpoint, Weight } = validated(addEndpointRequest, request.body);
    const service = findService(context.snapshot(), Service);
    const task = await context.commands.addEndpoint(service.id, Endpoint, Weight);
    return reply.status(201).send({ ID: task.id, Name: task.name });
  });
  const remove = described({ summary: 'Removes an endpoint that was added so', answers: DONE });
  app.delete<OneParams>('/vipmesh/endpoints/:id', remove, async (request, reply) => {
    const task = findTask(context.snapshot(), request.params.id);
    if (task.source !== 'static') {
      throw new ApiError('CONFLICT', `${task.name} is ${INSTEAD[task.source]} instead`);
    }
    await context.commands.removeEndpoint(task.id);
    return reply.status(204).send();
  });
  addDrainRoutes(app, context);
}

function addDrainRoutes(app: FastifyInstance, context: ApiContext): void {
  const answers = [{ status: 200, what: 'The endpoint on each of its networks', schema: z.array(endpointListing) }];
  const drain = described({
    summary: 'Gives an endpoint no new connection; those that are open may finish, and OpenConnections counts them',
    answers,
  });
  const setState = async (reference: string, state: 'draining' | 'running') => {
    const { id } = findTask(context.snapshot(), reference);
    await context.commands.setTaskState(id, state);
    return listingsOf(findTask(context.snapshot(), id), context);
  };
  app.post<OneParams>('/vipmesh/endpoints/:id/drain', drain, (request) => setState(request.params.id, 'draining'));
  const undrain = described({
    summary: 'Takes a drained endpoint that was added, or attached, into use again',
    answers,
  });
  app.delete<OneParams>('/vipmesh/endpoints/:id/drain', undrain, (request) => {
    const task = findTask(context.snapshot(), request.params.id);
    if (task.source === 'process')
      throw new ApiError(
        'CONFLICT',
        `${task.name} is a task of \`vipmesh run\` that is leaving; start its command again`,
      );
    return setState(task.id, 'running');
  });
}

function listingsOf(task: Task, context: ApiContext): readonly EndpointListing[] {
  const Service = serviceName(context.snapshot(), task.serviceId);
  return shapeEndpoints(task, context).map((endpoint) => ({ Service, ...endpoint }));
}

function addTaskRoutes(app: FastifyInstance, context: ApiContext, streams: Set<() => void>): void {
  const start = described({
    summary: 'Prepares a task whose command the client runs; the task lasts as long as the answer does',
    body: runTaskRequest,
    example: { Service: 'web', Hostname: 'web-1' },
    answers: [{ status: 200, what: 'A stream of objects, each on a line of its own', schema: taskEvent }],
  });
  app.post('/vipmesh/tasks', start, async (request, reply) => {
    const session = await context.tasks.start(publishedBy(validated(runTaskRequest, request.body)));
    reply.hijack();
    await streamEvents(session, reply, streams);
  });
  const running = described({
    summary: 'The command runs: the endpoint may be used',
    body: taskRunningRequest,
    example: { PID: 4711 },
    answers: DONE,
  });
  app.post<OneParams>('/vipmesh/tasks/:id/running', running, async (request, reply) => {
    const { PID } = validated(taskRunningRequest, request.body);
    await context.tasks.running(request.params.id as TaskId, PID);
    return reply.status(204).send();
  });
  const leave = described({
    summary: 'Drains the endpoint; answers when its connections have ended, or the drain time has',
    answers: DONE,
  });
  app.post<OneParams>('/vipmesh/tasks/:id/leave', leave, async (request, reply) => {
    await context.tasks.leave(request.params.id as TaskId);
    return reply.status(204).send();
  });
  addTaskReports(app, context);
}

function addTaskReports(app: FastifyInstance, context: ApiContext): void {
  const exited = described({
    summary: 'The command has ended: the task is removed',
    body: taskExitedRequest,
    example: { ExitCode: 0, Signal: null },
    answers: DONE,
  });
  app.post<OneParams>('/vipmesh/tasks/:id/exited', exited, async (request, reply) => {
    const { ExitCode, Signal } = validated(taskExitedRequest, request.body);
    await context.tasks.exited(request.params.id as TaskId, { exitCode: ExitCode, signal: Signal });
    return reply.status(204).send();
  });
  const probed = described({
    summary: 'The result of a check that an event asked for',
    body: probeResultRequest,
    example: { ExitCode: 1, Output: 'connection refused' },
    answers: DONE,
  });
  app.post<{ readonly Params: { readonly id: string; readonly number: string } }>(
    '/vipmesh/tasks/:id/probes/:number',
    probed,
    async (request, reply) => {
      const { ExitCode, Output } = validated(probeResultRequest, request.body);
      const number = Number(request.params.number);
      if (!Number.isSafeInteger(number) || number < 0)
        throw new ApiError('BAD_REQUEST', 'the number of a probe is a whole number');
      await context.tasks.probed(request.params.id as TaskId, number, { exitCode: ExitCode, output: Output });
      return reply.status(204).send();
    },
  );
}

/** One JSON object a line, until the task is gone, its client is, or the agent closes. The last two abandon the task. */
async function streamEvents(session: TaskSession, reply: FastifyReply, streams: Set<() => void>): Promise<void> {
  const { raw } = reply;
  const end = () => {
    session.abandon();
    raw.end();
  };
  streams.add(end);
  raw.once('close', () => session.abandon());
  raw.on('error', () => session.abandon());
  raw.writeHead(200, { 'content-type': 'application/x-ndjson' });
  try {
    for await (const event of session.events) {
      if (raw.writableEnded || raw.destroyed) break;
      raw.write(`${JSON.stringify(event)}\n`);
    }
  } finally {
    streams.delete(end);
    end();
  }
}

const INSTEAD = {
  attached: 'an attached container; detach it',
  bridged: 'a container of the Docker Engine; stop it',
  process: 'a task of `vipmesh run`; end its command',
} as const;
