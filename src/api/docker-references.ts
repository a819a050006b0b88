// Docker's secrets and configs, of which only the names are here: whatever runs the containers has to give them their contents.
// Docker's client looks for each one that a stack or a service names, and makes those of a stack file, before it makes
// services. So a name that it asks for is there, an id follows from the name, and what is in it is thrown away unread.
import { createHash } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Snapshot } from '../catalog/snapshot.ts';
import { STACK_LABEL } from '../model/name.ts';
import type { Service } from '../model/service.ts';
import type { ApiContext } from './context.ts';
import { keptParts } from './docker-rest.ts';
import { ApiError } from './errors.ts';
import { type Filters, hasLabel, holds, parseFilters } from './filters.ts';
import { described } from './openapi.ts';
import { rfc3339 } from './shape.ts';
import { validated } from './validate.ts';

const KINDS = [
  { path: '/secrets', what: 'secret', list: 'Secrets', name: 'SecretName' },
  { path: '/configs', what: 'config', list: 'Configs', name: 'ConfigName' },
] as const;
type Kind = (typeof KINDS)[number];

/** A name that a service refers to, and when the oldest such service was made. */
interface Reference {
  readonly name: string;
  readonly createdAt: number;
}

const reference = z.object({
  ID: z.string(),
  Version: z.object({ Index: z.number() }),
  CreatedAt: z.string(),
  UpdatedAt: z.string(),
  Spec: z.object({ Name: z.string(), Labels: z.record(z.string(), z.string()) }),
});
type ReferenceShape = z.infer<typeof reference>;

const referenceRequest = z.looseObject({
  Name: z.string().min(1).max(256),
  Labels: z.record(z.string(), z.string()).nullish(),
});
const EXAMPLE = { Name: 'shop_key', Labels: { [STACK_LABEL]: 'shop' } };
const listQuery = z.object({ filters: z.string().optional() });

interface OneParams {
  readonly Params: { readonly id: string };
}

export function addReferenceRoutes(app: FastifyInstance, context: ApiContext): void {
  for (const kind of KINDS) addKind(app, context, kind);
}

function addKind(app: FastifyInstance, context: ApiContext, kind: Kind): void {
  const { path, what } = kind;
  const list = described({
    summary: `The ${what}s that services name; with a filter by name also that very name, as if it were there`,
    query: listQuery,
    answers: [{ status: 200, what: 'Their names', schema: z.array(reference) }],
  });
  app.get(path, list, ({ query }) => {
    const filters = parseFilters(validated(listQuery, query, 'query').filters);
    return listed(referencesOf(context.snapshot(), kind), kind, filters);
  });
  const one = described({
    summary: `A ${what} that a service names`,
    answers: [{ status: 200, what: 'Its name', schema: reference }],
  });
  app.get<OneParams>(`${path}/:id`, one, ({ params }) => {
    const found = referencesOf(context.snapshot(), kind).find(
      ({ name }) => name === params.id || idOf(kind, name) === params.id,
    );
    // In Docker's words, by which its client knows that it has to make it.
    if (found === undefined) throw new ApiError('NOT_FOUND', `${what} ${params.id} not found: no service names it`);
    return shape(kind, found);
  });
  const create = described({
    summary: `Takes the name of a ${what} of a stack and forgets its contents; others are refused`,
    body: referenceRequest,
    example: EXAMPLE,
    answers: [{ status: 201, what: 'Its id', schema: z.object({ ID: z.string() }) }],
  });
  app.post(`${path}/create`, create, ({ body }, reply) => {
    const name = nameOfStack(kind, body);
    return reply.status(201).send({ ID: idOf(kind, name) });
  });
  const update = described({
    summary: `As for creating it`,
    body: referenceRequest,
    example: EXAMPLE,
    answers: [{ status: 200, what: 'Done' }],
  });
  app.post<OneParams>(`${path}/:id/update`, update, ({ body }, reply) => {
    nameOfStack(kind, body);
    return reply.status(200).send();
  });
}

function nameOfStack({ what }: Kind, body: unknown): string {
  const { Name, Labels } = validated(referenceRequest, body, what);
  if (Labels?.[STACK_LABEL] !== undefined) return Name;
  throw new ApiError(
    'NOT_SUPPORTED',
    `vipmesh keeps no ${what}s: a service may name ${Name} without it, and whatever runs its containers has to give it to them`,
  );
}

function listed(references: readonly Reference[], kind: Kind, filters: Filters): readonly ReferenceShape[] {
  const matches = (name: string) =>
    holds(filters, {
      id: (value) => idOf(kind, name).startsWith(value),
      name: (value) => name.startsWith(value),
      label: (value) => hasLabel({}, value),
    });
  matches(''); // Refuses unknown filters also where nothing is listed.
  const asked = (filters.get('name') ?? []).filter((name) => references.every((one) => one.name !== name));
  return [...references, ...asked.map((name) => ({ name, createdAt: 0 }))]
    .filter(({ name }) => matches(name))
    .map((one) => shape(kind, one));
}

function shape(kind: Kind, { name, createdAt }: Reference): ReferenceShape {
  const time = rfc3339(createdAt);
  return {
    ID: idOf(kind, name),
    Version: { Index: 1 },
    CreatedAt: time,
    UpdatedAt: time,
    Spec: { Name: name, Labels: {} },
  };
}

/** As long as Docker's ids, and the same on every node. */
function idOf({ what }: Kind, name: string): string {
  const digest = createHash('sha256').update(`${what} ${name}`).digest('hex');
  return BigInt(`0x${digest}`).toString(36).padStart(25, '0').slice(0, 25);
}

function referencesOf(snapshot: Snapshot, kind: Kind): readonly Reference[] {
  const found = new Map<string, number>();
  for (const service of snapshot.services.values()) {
    for (const name of namesIn(keptParts(service.spec.docker).container, kind))
      found.set(name, Math.min(service.createdAt, found.get(name) ?? service.createdAt));
  }
  return [...found].map(([name, createdAt]) => ({ name, createdAt })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function namesIn(container: Readonly<Record<string, unknown>>, { list, name }: Kind): readonly string[] {
  const references: unknown = container[list];
  if (!Array.isArray(references)) return [];
  return references.flatMap((one: unknown) => {
    const value: unknown = typeof one === 'object' && one !== null ? Reflect.get(one, name) : undefined;
    return typeof value === 'string' ? [value] : [];
  });
}

/** `secret db_password`, `config site.conf`: what the containers of a service are to be given by something else. */
export function referenceNames(spec: Service['spec']): readonly string[] {
  const { container } = keptParts(spec.docker);
  return KINDS.flatMap((kind) => namesIn(container, kind).map((name) => `${kind.what} ${name}`));
}
