// Secrets and configs: names without contents, as much as Docker's client needs for a stack that has some.
import t from 'tap';
import { STACK_LABEL } from '../../src/model/name.ts';
import { openApiWorld } from './world.ts';

/** What Docker's client sends for the service of a stack file. */
const WEB = {
  Name: 'shop_web',
  TaskTemplate: {
    ContainerSpec: {
      Image: 'nginx:1',
      Secrets: [{ File: { Name: 'key' }, SecretID: 'its id', SecretName: 'shop_key' }],
      Configs: [
        { File: { Name: 'a' }, ConfigID: 'x', ConfigName: 'shop_site' },
        { Runtime: {}, ConfigID: 'y' },
      ],
    },
  },
};

t.test('a stack with secrets, as its client goes about it', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  const ofStack = { Name: 'shop_key', Labels: { [STACK_LABEL]: 'shop' }, Data: 'c2VjcmV0' };
  t.match(await ask('GET', '/v1.41/secrets/shop_key'), {
    status: 404,
    json: { message: /^secret shop_key not found/ },
  });
  const made = await ask('POST', '/v1.41/secrets/create', ofStack);
  t.match(made, { status: 201, json: { ID: /^[a-z0-9]{25}$/ } });
  const filter = encodeURIComponent(JSON.stringify({ name: { shop_key: true, elsewhere: true } }));
  const found = (await ask('GET', `/secrets?filters=${filter}`)).json;
  t.match(found, [{ ID: made.json.ID, Spec: { Name: 'shop_key', Labels: {} } }, { Spec: { Name: 'elsewhere' } }]);

  const service = await ask('POST', '/services/create', WEB);
  t.match(service, {
    status: 201,
    json: { Warnings: [/starts no containers/, /no secrets and configs: .*secret shop_key, config shop_site$/] },
  });
  t.match((await ask('GET', '/secrets')).json, [{ ID: made.json.ID, Spec: { Name: 'shop_key' } }]);
  t.match((await ask('GET', '/configs')).json, [{ Spec: { Name: 'shop_site' } }]);
  for (const reference of ['shop_key', made.json.ID])
    t.match(await ask('GET', `/secrets/${reference}`), { status: 200, json: { ID: made.json.ID } });
  const ofThatStack = encodeURIComponent(JSON.stringify({ label: [`${STACK_LABEL}=shop`] }));
  t.same(
    (await ask('GET', `/secrets?filters=${ofThatStack}`)).json,
    [],
    'nothing that `stack rm` would have to remove',
  );
  t.equal((await ask('POST', `/secrets/${made.json.ID}/update?version=1`, ofStack)).status, 200);
  t.notMatch(await world.state(), /c2VjcmV0/, 'its contents are kept nowhere');

  await ask('DELETE', '/services/shop_web');
  t.same((await ask('GET', '/configs')).json, [], 'gone with the service that names it');
});

t.test('whoever wants something kept is told that nothing is', async (t) => {
  const { ask } = await openApiWorld(t);
  for (const [method, path, status, message, body] of [
    ['POST', '/secrets/create', 501, /^vipmesh keeps no secrets: a service may name key without/, { Name: 'key' }],
    ['POST', '/configs/create', 501, /^vipmesh keeps no configs/, { Name: 'site', Labels: { a: 'b' } }],
    ['POST', '/configs/x/update', 501, /^vipmesh keeps no configs/, { Name: 'site' }],
    ['POST', '/secrets/create', 400, /^invalid secret: Name/, {}],
    ['DELETE', '/secrets/key', 501, /^vipmesh keeps no secrets/],
    ['GET', '/secrets?filters=%7B%22size%22%3A%5B%22x%22%5D%7D', 400, /^invalid filter 'size'/],
  ] as const)
    t.match(await ask(method, path, body), { status, json: { message } }, `${method} ${path}`);
});

t.test('of images nothing is known, and nothing is warned of', async (t) => {
  const { ask } = await openApiWorld(t);
  t.match(await ask('GET', '/v1.41/distribution/registry.example:5000/shop/web:1.4/json'), {
    status: 200,
    json: { Descriptor: { digest: '' } },
  });
});
