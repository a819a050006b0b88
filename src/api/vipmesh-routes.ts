// What Docker's API lacks: how the agent is, why something does not work, endpoints, and tasks that a client runs.
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { z } from 'zod';
import { findNetwork, findService, findTask } from '../control/lookup.ts';
import type { TaskId } from '../model/task.ts';
import type { ApiContext, TaskSession } from './context.ts';
import { byAge } from './docker-routes.ts';
import { ApiError } from './errors.ts';
import { serviceName } from './lookup.ts';
import {
  type EndpointListing,
  addEndpointRequest,
  probeResultRequest,
  runTaskRequest,
  taskExitedRequest,
  taskRunningRequest,
} from './schema.ts';
import { shapeEndpoints, shapeServiceDetail, shapeStatus } from './vipmesh-shape.ts';

interface OneParams {
  readonly Params: { readonly id: string };
}

/** `streams` holds a function for each answer that is being streamed; calling it ends that answer. */
export function addVipmeshRoutes(app: FastifyInstance, context: ApiContext, streams: Set<() => void>): void {
  app.get('/vipmesh/status', () => shapeStatus(context));
  app.get<OneParams>('/vipmesh/services/:id', (request) =>
    shapeServiceDetail(findService(context.snapshot(), request.params.id), context),
  );
  app.get<{ readonly Querystring: { readonly name?: string; readonly network?: string } }>(
    '/vipmesh/resolve',
    (request) => {
      const { name, network } = request.query;
      if (name === undefined || name === '')
        throw new ApiError('BAD_REQUEST', 'name is missing: /vipmesh/resolve?name=web');
      return context.resolve(name, network === undefined ? undefined : findNetwork(context.snapshot(), network).id);
    },
  );
  addEndpointRoutes(app, context);
  addTaskRoutes(app, context, streams);
}

function addEndpointRoutes(app: FastifyInstance, context: ApiContext): void {
  app.get<{ readonly Querystring: { readonly service?: string } }>('/vipmesh/endpoints', (request) => {
    const snapshot = context.snapshot();
    const { service } = request.query;
    const only = service === undefined ? undefined : findService(snapshot, service).id;
    const tasks = byAge(snapshot.tasks.values(), (task) => only === undefined || task.serviceId === only);
    return tasks.flatMap((task) => {
      const Service = serviceName(snapshot, task.serviceId);
      return shapeEndpoints(task, context).map((endpoint): EndpointListing => ({ Service, ...endpoint }));
    });
  });
  app.post('/vipmesh/endpoints', async (request, reply) => {
    const { Service, Endpoint } = validated(addEndpointRequest, request.body);
    const service = findService(context.snapshot(), Service);
    const task = await context.commands.addEndpoint(service.id, Endpoint);
    return reply.status(201).send({ ID: task.id, Name: task.name });
  });
  app.delete<OneParams>('/vipmesh/endpoints/:id', async (request, reply) => {
    const task = findTask(context.snapshot(), request.params.id);
    if (task.source !== 'static') {
      throw new ApiError('CONFLICT', `${task.name} is a task of \`vipmesh run\`; end its command instead`);
    }
    await context.commands.removeEndpoint(task.id);
    return reply.status(204).send();
  });
}

function addTaskRoutes(app: FastifyInstance, context: ApiContext, streams: Set<() => void>): void {
  app.post('/vipmesh/tasks', async (request, reply) => {
    const session = await context.tasks.start(validated(runTaskRequest, request.body));
    reply.hijack();
    await streamEvents(session, reply, streams);
  });
  app.post<OneParams>('/vipmesh/tasks/:id/running', async (request, reply) => {
    const { PID } = validated(taskRunningRequest, request.body);
    await context.tasks.running(request.params.id as TaskId, PID);
    return reply.status(204).send();
  });
  app.post<OneParams>('/vipmesh/tasks/:id/leave', async (request, reply) => {
    await context.tasks.leave(request.params.id as TaskId);
    return reply.status(204).send();
  });
  app.post<OneParams>('/vipmesh/tasks/:id/exited', async (request, reply) => {
    const { ExitCode, Signal } = validated(taskExitedRequest, request.body);
    await context.tasks.exited(request.params.id as TaskId, { exitCode: ExitCode, signal: Signal });
    return reply.status(204).send();
  });
  app.post<{ readonly Params: { readonly id: string; readonly number: string } }>(
    '/vipmesh/tasks/:id/probes/:number',
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

/** The body as its schema says, or ApiError BAD_REQUEST that names every field that is wrong. */
function validated<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  const result = schema.safeParse(body ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join('.')}: ${message}`,
  );
  throw new ApiError('BAD_REQUEST', `invalid request: ${problems.join('; ')}`);
}
