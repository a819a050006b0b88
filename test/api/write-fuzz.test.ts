// B4, S9: whatever body a write is sent, it is answered below 500 (or with 501, or with Docker's 500 for a stale version), what
// is refused has changed nothing, and the next request is answered.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { dockerService } from '../../src/api/schema.ts';
import { type ApiWorld, openApiWorld } from './world.ts';

// Tests run in the project's directory; the corpus is not compiled. One folder for each path.
const corpus = join(process.cwd(), 'test', 'corpus', 'api');

const PATHS: Readonly<Record<string, (world: ApiWorld) => string>> = {
  'services-create': () => '/services/create',
  'services-update': (world) => `/services/fixed/update?version=${world.context.revisionOf(idOf(world, 'fixed'))}`,
  'networks-create': () => '/networks/create',
  'nodes-update': (world) => `/nodes/self/update?version=${world.context.revisionOf(world.control.nodeId)}`,
  endpoints: () => '/vipmesh/endpoints',
  stacks: () => '/vipmesh/stacks/shop',
};

const SEEDS = Object.keys(PATHS).flatMap((route) =>
  readdirSync(join(corpus, route)).map((name) => ({ route, name, body: readFileSync(join(corpus, route, name)) })),
);

function idOf(world: ApiWorld, name: string): string {
  return world.catalog.snapshot.serviceByName.get(name) ?? '';
}

async function openFixed(t: Parameters<typeof openApiWorld>[0]): Promise<ApiWorld> {
  const world = await openApiWorld(t);
  await world.ask('POST', '/networks/create', { Name: 'back' });
  await world.ask('POST', '/services/create', { Name: 'fixed', EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
  return world;
}

/** Why an answer, or what came of it, is not what is promised. */
async function broken(world: ApiWorld, route: string, body: Uint8Array): Promise<string | undefined> {
  const before = await world.revision();
  const { status, text, json } = await world.ask('POST', PATHS[route]?.(world) ?? '', body);
  if (status === 500 ? !text.includes('update out of sequence') : status > 501 || status < 200)
    return `${status} ${text}`;
  if (status < 300) return undefined;
  if (typeof json?.message !== 'string' || json.message === '') return `no message: ${text}`;
  return (await world.revision()) === before ? undefined : `${status} ${json.message}, and yet something was written`;
}

t.test('the corpus', async (t) => {
  const world = await openFixed(t);
  t.ok(SEEDS.length >= 15, 'is there');
  for (const { route, name, body } of SEEDS) t.equal(await broken(world, route, body), undefined, `${route}/${name}`);
  const { json } = await world.ask('GET', '/services');
  t.same(dockerService.array().parse(json), json, 'our own client drops nothing');
});

t.test('property: mutated bytes', async (t) => {
  const world = await openFixed(t);
  const fragments = [
    'null',
    '{}',
    '[]',
    '"',
    ',',
    ':',
    '1e999',
    '-1',
    '0',
    '"\\u0000"',
    '[[[[',
    '"__proto__":{},',
    '\xff\xfe',
  ].map((text) => Buffer.from(text, 'latin1'));
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.nat(12),
    insert: fc.oneof(fc.constantFrom(...fragments), fc.uint8Array({ maxLength: 3 })),
  });
  const mutated = fc
    .tuple(fc.constantFrom(...SEEDS), fc.array(edit, { minLength: 1, maxLength: 4 }))
    .map(([{ route, body }, edits]) => ({
      route,
      body: edits.reduce((bytes: Buffer, { at, remove, insert }) => {
        const start = at % (bytes.length + 1);
        return Buffer.concat([bytes.subarray(0, start), insert, bytes.subarray(start + remove)]);
      }, body),
    }));
  await fc.assert(
    fc.asyncProperty(mutated, async ({ route, body }) => {
      const problem = await broken(world, route, body);
      if (problem !== undefined) throw new Error(`${route}: ${problem}`);
    }),
    { numRuns: 1000 },
  );
});

t.test('property: mutated values', async (t) => {
  const world = await openFixed(t);
  const trees = SEEDS.flatMap(({ route, name, body }) =>
    name === 'deep.json' ? [] : [{ route, value: JSON.parse(body.toString()) as unknown }],
  );
  const odd = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.constantFrom<unknown>(
        null,
        '',
        0,
        -1,
        1.5,
        65536,
        2 ** 53,
        1e308,
        true,
        [],
        {},
        [null],
        '\u0000',
        'a.b',
        '::1',
        '10.0.0.0/8',
      ),
    },
    { weight: 2, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) },
  );
  const mutated = fc
    .tuple(fc.constantFrom(...trees), fc.array(fc.tuple(fc.nat(), odd), { minLength: 1, maxLength: 3 }))
    .map(([{ route, value }, changes]) => ({
      route,
      value: changes.reduce((tree: unknown, [which, to]) => replaced(tree, which, to), value),
    }));
  await fc.assert(
    fc.asyncProperty(mutated, async ({ route, value }) => {
      const problem = await broken(world, route, Buffer.from(JSON.stringify(value)));
      if (problem !== undefined) throw new Error(`${route}: ${problem}`);
    }),
    { numRuns: 1000 },
  );
  const { status, json } = await world.ask('GET', '/services');
  t.equal(status, 200);
  t.same(dockerService.array().parse(json), json, 'what was taken is shown as it should be');
  t.ok(json.length > 5, `${json.length} services were made`);
});

/** The tree with one of its values, the root included, replaced. */
function replaced(tree: unknown, which: number, to: unknown): unknown {
  const places: (readonly [object, string])[] = [];
  const walk = (value: unknown) => {
    if (typeof value !== 'object' || value === null) return;
    for (const [key, child] of Object.entries(value)) {
      places.push([value, key]);
      walk(child);
    }
  };
  const copy = structuredClone(tree);
  walk(copy);
  const place = places[which % (places.length + 1)];
  if (place === undefined) return to;
  (place[0] as Record<string, unknown>)[place[1]] = to;
  return copy;
}
