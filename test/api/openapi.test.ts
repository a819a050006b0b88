// GET /vipmesh/openapi.json describes every route, and what it says is what the server takes and answers.
import t from 'tap';
import { z } from 'zod';
import { openApiWorld } from './world.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': Content } };
  readonly responses: Readonly<Record<string, { readonly content?: { readonly 'application/json': Content } }>>;
}

interface Content {
  readonly schema: Parameters<typeof z.fromJSONSchema>[0];
  readonly example?: unknown;
}

/** What this agent has, written down apart from the code that makes it. */
const ROUTES = `
delete /networks/{id}
delete /nodes/{id}
delete /services/{id}
delete /vipmesh/attachments/{id}
delete /vipmesh/endpoints/{id}
delete /vipmesh/endpoints/{id}/drain
delete /vipmesh/stacks/{name}
get /_ping
get /configs
get /configs/{id}
get /distribution/*
get /events
get /info
get /networks
get /networks/{id}
get /nodes
get /nodes/{id}
get /secrets
get /secrets/{id}
get /services
get /services/{id}
get /tasks
get /tasks/{id}
get /version
get /vipmesh/attachments
get /vipmesh/connections
get /vipmesh/dns/cache
get /vipmesh/endpoints
get /vipmesh/openapi.json
get /vipmesh/resolve
get /vipmesh/services/{id}
get /vipmesh/stacks
get /vipmesh/status
get /vipmesh/traffic
post /configs/create
post /configs/{id}/update
post /networks/create
post /networks/prune
post /nodes/{id}/update
post /secrets/create
post /secrets/{id}/update
post /services/create
post /services/{id}/update
post /vipmesh/attachments
post /vipmesh/dns/cache/flush
post /vipmesh/endpoints
post /vipmesh/endpoints/{id}/drain
post /vipmesh/stacks/{name}
post /vipmesh/tasks
post /vipmesh/tasks/{id}/exited
post /vipmesh/tasks/{id}/leave
post /vipmesh/tasks/{id}/probes/{number}
post /vipmesh/tasks/{id}/running
`.trim();

t.test('the description', async (t) => {
  const { ask } = await openApiWorld(t);
  const { json: document } = await ask('GET', '/v1.41/vipmesh/openapi.json');
  t.equal(document.openapi, '3.1.0');
  const operations = Object.entries(document.paths as Record<string, Record<string, Operation>>).flatMap(
    ([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );
  t.same(operations.map(({ path, method }) => `${method} ${path}`).sort(), ROUTES.split('\n'), 'every route is in it');
  const ids = operations.map(({ operation }) => operation.operationId);
  t.equal(new Set(ids).size, ids.length, 'their ids differ');
  for (const { path, method, operation } of operations) {
    const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const inPath = (operation.parameters ?? []).filter((one) => one.in === 'path' && one.required);
    t.same(
      inPath.map((one) => one.name),
      named,
      `${method} ${path}: its parameters`,
    );
    const body = operation.requestBody?.content['application/json'];
    if (body === undefined) continue;
    const parsed = z.fromJSONSchema(body.schema).safeParse(body.example);
    t.ok(parsed.success, `${method} ${path}: the example fits its schema ${parsed.error?.message ?? ''}`);
  }

  await ask('POST', '/services/create', {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Secrets: [{ SecretName: 'key' }], Configs: [{ ConfigName: 'site' }] } },
    EndpointSpec: { Ports: [{ TargetPort: 80 }] },
  });
  await ask('POST', '/vipmesh/endpoints', { Service: 'web', Endpoint: '10.0.0.1:80' });
  const ids_ = { services: 'web', tasks: 'web.1', networks: 'default', nodes: 'self', secrets: 'key', configs: 'site' };
  for (const { path, method, operation } of operations) {
    const schema = operation.responses['200']?.content?.['application/json'].schema;
    if (method !== 'get' || schema === undefined || path === '/events') continue;
    const room = path.split('/').find((part): part is keyof typeof ids_ => Object.hasOwn(ids_, part));
    const url = `${path.replace('{id}', room === undefined ? '' : ids_[room])}?name=web`;
    const { status, json } = await ask('GET', url);
    t.equal(status, 200, url);
    const parsed = z.fromJSONSchema(schema).safeParse(json);
    t.ok(parsed.success, `${url}: the answer fits its schema ${parsed.error?.message ?? ''}`);
  }
});

t.test('its examples are taken', async (t) => {
  const { ask } = await openApiWorld(t);
  const { paths } = (await ask('GET', '/vipmesh/openapi.json')).json;
  const example = (path: string) => paths[path].post.requestBody.content['application/json'].example;
  for (const [path, url, status] of [
    ['/networks/create', '/networks/create', 201],
    ['/services/create', '/services/create', 201],
    ['/vipmesh/endpoints', '/vipmesh/endpoints', 409],
    ['/vipmesh/stacks/{name}', '/vipmesh/stacks/shop', 409],
  ] as const) {
    const answer = await ask('POST', url, example(path));
    t.equal(answer.status, status, `${url}: ${answer.text}`);
  }
});
