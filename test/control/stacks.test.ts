// Stacks: what applying one changes, what it leaves alone, and whose it is.
import t from 'tap';
import { ip, subnet } from '../support/builders.ts';
import { readComposeFile } from '../../src/compose/compose-file.ts';
import type { StackChange, StackContent } from '../../src/control/stacks.ts';
import { networkSpec, openWorld, refusal, type ShortSpec, serviceSpec } from './world.ts';

const UNCHANGED: StackChange = { created: [], updated: [], removed: [], unchanged: [], overridden: [], kept: [] };

/** Names without their stack, which they get here. */
function content(services: Readonly<Record<string, ShortSpec>>, networks: readonly string[] = ['n']): StackContent {
  return {
    networks: networks.map((name) => networkSpec(`shop_${name}`)),
    services: Object.entries(services).map(([name, more]) =>
      serviceSpec(`shop_${name}`, { networks: networks.map((network) => `shop_${network}`), ...more }),
    ),
  };
}

t.test('a network may have a name of its own', async (t) => {
  const w = await openWorld(t);
  const stack = { networks: [networkSpec('proxy')], services: [serviceSpec('shop_web', { networks: ['proxy'] })] };
  const apply = (name: string, one: StackContent) => w.control.applyStack(name, one, { prune: true });
  t.same((await apply('shop', stack)).created, ['network proxy', 'service shop_web']);
  t.same((await apply('shop', stack)).unchanged, ['network proxy', 'service shop_web']);
  t.match(
    await refusal(apply('other', { ...stack, services: [] })),
    /^conflict: stack other: network proxy exists already and belongs to stack shop/,
  );
  t.same((await apply('shop', content({}, []))).removed, ['service shop_web', 'network proxy']);
});

t.test('applying a stack', async (t) => {
  const w = await openWorld(t);
  const apply = (stack: StackContent, prune = true) => w.control.applyStack('shop', stack, { prune });
  t.same(await apply(content({ web: { publish: ['8080:80'] }, db: {} })), {
    ...UNCHANGED,
    created: ['network shop_n', 'service shop_web', 'service shop_db'],
  });
  const ids = [...w.catalog.snapshot.services.keys()].sort();
  const revision = await w.revision();
  const unchanged = ['network shop_n', 'service shop_web', 'service shop_db'];
  t.same(await apply(content({ web: { publish: ['8080:80'] }, db: {} })), { ...UNCHANGED, unchanged });
  t.equal(await w.revision(), revision, 'the same again writes nothing');
  t.match(w.catalog.snapshot.services.get(ids[0] ?? ('' as never)), {
    spec: { labels: { 'com.docker.stack.namespace': 'shop' } },
  });

  t.same(await apply(content({ web: { publish: ['8081:80'] }, cache: { publish: ['8080:80'] } })), {
    ...UNCHANGED,
    created: ['service shop_cache'],
    updated: ['service shop_web'],
    removed: ['service shop_db'],
    unchanged: ['network shop_n'],
  });
  t.same(
    await apply(content({ web: { publish: ['8080:80'] }, cache: { publish: ['8081:80'] } })),
    {
      ...UNCHANGED,
      updated: ['service shop_web', 'service shop_cache'],
      unchanged: ['network shop_n'],
    },
    'two services may exchange their ports',
  );
  t.same(
    await apply(content({ web: { publish: ['8080:80'] } }), false),
    {
      ...UNCHANGED,
      unchanged: ['network shop_n', 'service shop_web'],
    },
    'without prune, what has gone from the file stays',
  );
  t.same((await apply(content({}, []))).removed, ['service shop_cache', 'service shop_web', 'network shop_n']);
  t.same([w.catalog.snapshot.services.size, w.catalog.snapshot.networks.size], [0, 0]);
});

t.test('edits made by hand', async (t) => {
  const w = await openWorld(t);
  const stack = content({ web: { expose: ['80'], endpoints: [{ address: ip('10.0.0.1') }] } });
  await w.control.applyStack('shop', stack);
  await w.control.addEndpoint('web', '10.0.0.9');
  t.same(
    (await w.control.applyStack('shop', stack)).unchanged,
    ['network shop_n', 'service shop_web'],
    'an endpoint added by hand is no edit',
  );
  t.same(w.warnings, []);
  await w.control.removeEndpointsAt('web', ip('10.0.0.1'));
  const change = await w.control.applyStack('shop', stack);
  t.same([change.updated, change.overridden], [['service shop_web'], ['service shop_web']]);
  t.same(w.warnings, [['stack applied over an edit made by hand', { stack: 'shop', object: 'service shop_web' }]]);
  t.same([...w.catalog.snapshot.tasks.values()].map((task) => task.attachments[0]?.address).sort(), [
    '10.0.0.1',
    '10.0.0.9',
  ]);
});

t.test('networks of a stack', async (t) => {
  const w = await openWorld(t);
  await w.control.applyStack('shop', content({ web: {} }, ['n', 'm']));
  await w.control.createService(serviceSpec('stranger', { networks: ['shop_n'] }));
  const change = await w.control.applyStack('shop', content({ web: {} }, ['m']));
  t.same([change.kept, change.removed], [['network shop_n'], []], 'one that others use stays');
  t.same(w.warnings, [['stack keeps what others use', { stack: 'shop', object: 'network shop_n' }]]);
  t.match(
    await refusal(w.control.removeStack('shop')),
    /^in-use: network shop_n is used by stranger; remove that service first$/,
  );
  t.equal(w.catalog.snapshot.services.size, 2, 'all or nothing');
  await w.control.removeService('stranger');
  t.same((await w.control.removeStack('shop')).removed, ['service shop_web', 'network shop_m', 'network shop_n']);

  const of = (more: object): StackContent => ({ networks: [{ ...networkSpec('shop_n'), ...more }], services: [] });
  await w.control.applyStack('shop', of({}));
  t.same((await w.control.applyStack('shop', of({ internal: true }))).updated, ['network shop_n']);
  t.match(
    await refusal(w.control.applyStack('shop', of({ subnets: [subnet('10.1.0.0/24')] }))),
    /^conflict: network shop_n exists with other subnets, which cannot change; remove it first, or use another name$/,
  );
  t.match(
    await refusal(w.control.applyStack('shop', of({ driver: 'local' }))),
    /^conflict: network shop_n exists with other driver, which/,
  );
  t.match(
    await refusal(
      w.control.applyStack('shop', { ...of({ driver: 'local' }), networkPlaces: { shop_n: 'shop.yml:7:3' } }),
    ),
    /^conflict: shop\.yml:7:3: network shop_n exists with other driver, which/,
  );
});

t.test('refused', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('shop_n'));
  await w.control.createService(serviceSpec('other', { networks: ['shop_n'], publish: ['80:80'] }));
  const before = await w.revision();
  const apply = (stack: StackContent) => refusal(w.control.applyStack('shop', stack));
  t.match(
    await apply(content({})),
    /^conflict: stack shop: network shop_n exists already and was not made by a stack; remove it, or give the stack another name$/,
  );
  t.match(
    await apply(content({ a: {}, b: { publish: ['80:1'] } }, ['m'])),
    /^conflict: service shop_b: port 80\/tcp is published by service other/,
  );
  t.match(
    await apply({ networks: [], services: [serviceSpec('n')] }),
    /^invalid: stack shop: the name n does not begin with shop_$/,
  );
  t.match(
    await apply({ networks: [], services: [], externalNetworks: [{ name: 'shop_m', place: 'a.yml:3:5' }] }),
    /^not-found: a\.yml:3:5: its external network: no network is called "shop_m" \(did you mean "shop_n"\?\); create it first/,
  );
  t.match(await refusal(w.control.removeStack('shop')), /^not-found: there is no stack shop$/);
  t.equal(await w.revision(), before, 'none of them left anything');
  await w.control.applyStack('shop', content({ web: {} }, ['m']));
  const shopb = {
    networks: [networkSpec('shop_b_n')],
    services: [serviceSpec('shop_b_web', { networks: ['shop_b_n'] })],
  };
  await w.control.applyStack('shop_b', shopb);
  t.match(
    await refusal(w.control.applyStack('shop', { networks: [networkSpec('shop_b_n')], services: [] })),
    /^conflict: stack shop: network shop_b_n exists already and belongs to stack shop_b; /,
  );
});

t.test('one agent keeps a stack', async (t) => {
  const w = await openWorld(t);
  const other = await w.second('node2', 'two');
  await w.control.applyStack('shop', content({ web: {} }));
  t.same(
    (await other.applyStack('shop', content({ web: {} }))).unchanged,
    ['network shop_n', 'service shop_web'],
    'the same content may come from several',
  );
  t.match(
    await refusal(other.applyStack('shop', content({ web: {}, db: {} }))),
    /^conflict: stack shop is kept by the agent of node one with other content; give both agents the same file, or remove the stack there first$/,
  );
  await w.control.removeStack('shop');
  t.ok(await other.applyStack('shop', content({ web: {}, db: {} })));
});

t.test('a Compose file', async (t) => {
  const w = await openWorld(t);
  const text = 'services: {web: {ports: ["8080:80"], x-vipmesh: {endpoints: ["127.0.0.1:8001", "127.0.0.1:8002"]}}}';
  const stack = readComposeFile({ file: 'f', text, stack: 'shop', environment: {}, defaultDriver: 'local' });
  if (!stack.ok) throw new Error(stack.errors.join());
  t.same((await w.control.applyStack('shop', stack)).created, ['network shop_default', 'service shop_web']);
  t.same(
    [...w.catalog.snapshot.tasks.values()].map(({ portMap }) => portMap),
    [[{ targetPort: 80, port: 8001 }], [{ targetPort: 80, port: 8002 }]],
  );
  t.equal((await w.control.applyStack('shop', stack)).unchanged.length, 2);
});
