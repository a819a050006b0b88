// Stacks: what a Compose file declares, applied as a whole. Docker's API has none; its client takes the file apart itself.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Snapshot } from '../catalog/snapshot.ts';
import { STACK_LABEL } from '../model/name.ts';
import type { ApiContext } from './context.ts';
import { ApiError } from './errors.ts';
import { described } from './openapi.ts';
import {
  type StackDeployed,
  stackDeployed,
  stackDeployRequest,
  type StackListing,
  stackListing,
  stackRemoved,
} from './requests.ts';
import { validated } from './validate.ts';

interface NameParams {
  readonly Params: { readonly name: string };
}

export function addStackRoutes(app: FastifyInstance, context: ApiContext): void {
  const list = described({
    summary: 'The stacks, by name',
    answers: [{ status: 200, what: 'The stacks', schema: z.array(stackListing) }],
  });
  app.get('/vipmesh/stacks', list, () => stacksOf(context.snapshot(), (name) => fileOf(context, name)));

  const deploy = described({
    summary: 'Makes a stack what a Compose file says, all or nothing; the same file again changes nothing',
    body: stackDeployRequest,
    example: {
      File: 'compose.yaml',
      Text: 'services:\n  web:\n    ports: ["$PORT:80"]\n',
      Environment: { PORT: '8080' },
      Prune: true,
    },
    answers: [{ status: 200, what: 'What was changed', schema: stackDeployed }],
  });
  app.post<NameParams>('/vipmesh/stacks/:name', deploy, async (request): Promise<StackDeployed> => {
    const { name } = request.params;
    const { File, Text, Environment, Prune } = validated(stackDeployRequest, request.body, 'stack');
    refuseKept(context, name);
    const input = { file: File, text: Text, environment: Environment ?? {}, prune: Prune ?? false };
    const result = await context.commands.deployStack(name, input);
    if (!result.ok) throw new ApiError('BAD_REQUEST', result.errors.join('\n'), { errors: result.errors });
    const { created, updated, removed, unchanged, overridden, kept } = result.change;
    return {
      Name: name,
      Created: [...created],
      Updated: [...updated],
      Removed: [...removed],
      Unchanged: [...unchanged],
      Overridden: [...overridden],
      Kept: [...kept],
      Warnings: [...result.warnings],
      Unused: [...result.unused],
    };
  });

  const remove = described({
    summary: 'Removes a stack: its services, then its networks; status 409 when others use one of these',
    answers: [{ status: 200, what: 'What was removed', schema: stackRemoved }],
  });
  app.delete<NameParams>('/vipmesh/stacks/:name', remove, async (request) => {
    refuseKept(context, request.params.name);
    const { removed } = await context.commands.removeStack(request.params.name);
    return { Removed: [...removed] };
  });
}

function stacksOf(snapshot: Snapshot, file: (name: string) => string | undefined): readonly StackListing[] {
  const stacks = new Map<string, { services: number; networks: number }>();
  const countOf = (labels: Readonly<Record<string, string>>) => {
    const name = labels[STACK_LABEL];
    if (name === undefined) return undefined;
    const count = stacks.get(name) ?? { services: 0, networks: 0 };
    stacks.set(name, count);
    return count;
  };
  for (const { spec } of snapshot.services.values()) {
    const count = countOf(spec.labels);
    if (count !== undefined) count.services++;
  }
  for (const { spec } of snapshot.networks.values()) {
    const count = countOf(spec.labels);
    if (count !== undefined) count.networks++;
  }
  return [...stacks]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([Name, { services, networks }]) => {
      const File = file(Name);
      return { Name, Services: services, Networks: networks, ...(File === undefined ? {} : { File }) };
    });
}

/** The file of this agent's `--stack` for that name. */
function fileOf(context: ApiContext, name: string): string | undefined {
  return context.status().stacks.find((stack) => stack.Name === name)?.File;
}

function refuseKept(context: ApiContext, name: string): void {
  const file = fileOf(context, name);
  if (file === undefined) return;
  throw new ApiError(
    'CONFLICT',
    `stack ${name} is kept by the agent as ${file} says (--stack); change that file instead`,
  );
}
