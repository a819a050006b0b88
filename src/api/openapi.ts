// Every route says what it takes and answers; from that the OpenAPI description is made, so that it cannot differ from what
// is checked.
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { errorBody } from './schema.ts';

export interface RouteDescription {
  /** One line. */
  readonly summary: string;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** A body that the route takes. */
  readonly example?: unknown;
  /** In the case of success; errors are the same everywhere. */
  readonly answers: readonly RouteAnswer[];
}

interface RouteAnswer {
  readonly status: number;
  readonly what: string;
  /** Absent: no body, or one that is not JSON. */
  readonly schema?: z.ZodType;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    description?: RouteDescription;
  }
}

/** To be given to a route as its options. */
export function described(description: RouteDescription): { readonly config: { description: RouteDescription } } {
  return { config: { description } };
}

interface Route extends RouteDescription {
  readonly method: string;
  readonly url: string;
}

/** Adds GET /vipmesh/openapi.json, which tells of every route that is added afterwards; one without a description is a bug. */
export function addOpenApi(app: FastifyInstance, version: string): void {
  const routes: Route[] = [];
  app.addHook('onRoute', ({ method, url, config }) => {
    for (const one of [method].flat()) {
      if (one === 'HEAD') continue;
      if (config?.description === undefined) throw new Error(`route ${one} ${url} has no description`);
      routes.push({ method: one, url, ...config.description });
    }
  });
  let document: object | undefined;
  app.get(
    '/vipmesh/openapi.json',
    described({ summary: 'This description', answers: [{ status: 200, what: 'OpenAPI 3.1' }] }),
    () => {
      document ??= openApiDocument(routes, version);
      return document;
    },
  );
}

function openApiDocument(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const path = route.url.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'vipmesh agent',
      version,
      description:
        'On a unix socket. Paths, fields and statuses are those of Docker Engine (API 1.25 to 1.50, every path also with a prefix such as /v1.41); what Docker lacks is under /vipmesh/ and in fields named Vipmesh.',
    },
    paths,
    components: { schemas: { Error: jsonSchema(errorBody, 'output') } },
  };
}

function operation({ method, url, summary, query, body, example, answers }: Route): object {
  const parts = [...url.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
  const parameters = [...parts, ...(query === undefined ? [] : queryParameters(query))];
  return {
    operationId: `${method.toLowerCase()}${url.replaceAll(/[^\w]+(\w?)/g, (_, first: string) => first.toUpperCase())}`,
    summary,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: requestBody(body, example) }),
    responses: {
      ...Object.fromEntries(answers.map((answer) => [String(answer.status), response(answer)])),
      default: {
        description: 'Refused, or failed; nothing was changed',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  };
}

function queryParameters(query: z.ZodObject): readonly object[] {
  const schema = jsonSchema(query, 'input') as {
    readonly properties?: Readonly<Record<string, object>>;
    readonly required?: readonly string[];
  };
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    in: 'query',
    required: schema.required?.includes(name) ?? false,
    schema: property,
  }));
}

function requestBody(body: z.ZodType, example: unknown): object {
  const content = { schema: jsonSchema(body, 'input'), ...(example === undefined ? {} : { example }) };
  return { required: true, content: { 'application/json': content } };
}

function response({ what, schema }: RouteAnswer): object {
  if (schema === undefined) return { description: what };
  return { description: what, content: { 'application/json': { schema: jsonSchema(schema, 'output') } } };
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
}
