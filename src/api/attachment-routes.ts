// Containers that something else started: they become tasks, and cease to be.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Snapshot } from '../catalog/snapshot.ts';
import { findTask } from '../control/lookup.ts';
import type { Task } from '../model/task.ts';
import type { ApiContext } from './context.ts';
import { byAge } from './docker-routes.ts';
import { ApiError } from './errors.ts';
import { networkName, serviceName } from './lookup.ts';
import { described } from './openapi.ts';
import { attached, attachment, attachRequest } from './requests.ts';
import { publishedBy } from './service-request.ts';
import { validated } from './validate.ts';

const listQuery = z.object({
  pid: z.string().optional().describe('Only what is attached in the namespace of this process'),
  netns: z.string().optional().describe('Only what is attached in the namespace at this path'),
});

export function addAttachmentRoutes(app: FastifyInstance, context: ApiContext): void {
  const list = described({
    summary: 'The containers that are attached on this node',
    query: listQuery,
    answers: [{ status: 200, what: 'The tasks that they are', schema: z.array(attachment) }],
  });
  app.get('/vipmesh/attachments', list, (request) => {
    const { pid, netns } = validated(listQuery, request.query, 'query');
    const snapshot = context.snapshot();
    const wanted = pid === undefined && netns === undefined ? undefined : new Set<string>(tasksAt(context, pid, netns));
    return byAge(
      snapshot.tasks.values(),
      ({ id, source, nodeId }) =>
        source === 'attached' && nodeId === context.facts.nodeId && (wanted === undefined || wanted.has(id)),
    ).map((task) => shapeAttachment(task, snapshot));
  });
  const attach = described({
    summary: 'Makes a container that something else started a task of a service: links, addresses, a resolver',
    body: attachRequest,
    example: { Service: 'web', PID: 4711 },
    answers: [{ status: 201, what: 'The task, and what should be known about it', schema: attached }],
  });
  app.post('/vipmesh/attachments', attach, async (request, reply) => {
    const body = validated(attachRequest, request.body);
    if ((body.PID === undefined) === (body.Netns === undefined))
      throw new ApiError('BAD_REQUEST', 'name the container by its PID or by its Netns, one of the two');
    const { task, warnings } = await context.attachments.attach(publishedBy(body));
    return reply.status(201).send({ ...shapeAttachment(task, context.snapshot()), Warnings: [...warnings] });
  });
  const detach = described({
    summary: 'Drains the endpoint, then takes its links away; answers when that is done. The container goes on',
    answers: [{ status: 204, what: 'Done' }],
  });
  app.delete<{ readonly Params: { readonly id: string } }>(
    '/vipmesh/attachments/:id',
    detach,
    async (request, reply) => {
      const task = findTask(context.snapshot(), request.params.id);
      if (task.source !== 'attached') {
        throw new ApiError('CONFLICT', `${task.name} is no attached container; ${INSTEAD[task.source]} instead`);
      }
      await context.attachments.detach(task.id);
      return reply.status(204).send();
    },
  );
}

const INSTEAD = {
  static: 'remove the endpoint (vipmesh endpoint rm)',
  bridged: 'stop it (docker stop)',
  process: 'end its command',
} as const;

function tasksAt(context: ApiContext, pid: string | undefined, netns: string | undefined): readonly string[] {
  if (pid !== undefined && !/^[1-9]\d{0,9}$/.test(pid))
    throw new ApiError('BAD_REQUEST', 'pid is the number of a process, such as 4711');
  return context.attachments.at({ PID: pid === undefined ? undefined : Number(pid), Netns: netns });
}

function shapeAttachment(task: Task, snapshot: Snapshot): z.infer<typeof attachment> {
  return {
    ID: task.id,
    Name: task.name,
    Service: serviceName(snapshot, task.serviceId),
    ...(task.pid === undefined ? {} : { PID: task.pid }),
    ...(task.netns === undefined ? {} : { Netns: task.netns }),
    Addresses: task.attachments.flatMap(({ networkId, address, moreAddresses }) =>
      [address, ...(moreAddresses ?? [])].map((one) => ({ Network: networkName(snapshot, networkId), Address: one })),
    ),
  };
}
