// Stacks and draining over the socket, kept by a real control.
import t from 'tap';
import { stackDeployed, stackListing, stackRemoved } from '../../src/api/requests.ts';
import { openApiWorld } from './world.ts';

const SHOP = `services:
  web:
    ports: ["$PORT:80"]
    networks: [front]
  db:
    image: postgres
    networks: [front]
networks:
  front: {}
`;

t.test('deployed, again, pruned, removed', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  const deploy = (Text: string, more: object = {}) =>
    ask('POST', '/vipmesh/stacks/shop', { File: 'shop.yaml', Text, Environment: { PORT: '8080' }, ...more });
  const first = await deploy(SHOP);
  t.equal(first.status, 200);
  t.same(stackDeployed.parse(first.json), {
    Name: 'shop',
    Created: ['network shop_front', 'service shop_web', 'service shop_db'],
    Updated: [],
    Removed: [],
    Unchanged: [],
    Overridden: [],
    Kept: [],
    Warnings: [],
    Unused: first.json.Unused,
  });
  t.match(first.json.Unused, [/^shop\.yaml:6:5: .*image/]);
  t.match((await ask('GET', '/services/shop_web')).json, { Endpoint: { Ports: [{ PublishedPort: 8080 }] } });
  t.same(stackListing.array().parse((await ask('GET', '/vipmesh/stacks')).json), [
    { Name: 'shop', Services: 2, Networks: 1 },
  ]);
  const before = await world.state();
  t.match((await deploy(SHOP)).json, { Created: [], Updated: [], Unchanged: { length: 3 } });
  t.equal(await world.state(), before, 'the same file again changes nothing');

  const without = SHOP.replace(/ {2}db:[\s\S]*?(?=networks:\n {2}front)/, '');
  t.match((await deploy(without, { Environment: { PORT: '8081' } })).json, {
    Updated: ['service shop_web'],
    Removed: [],
  });
  t.match((await deploy(without, { Environment: { PORT: '8081' }, Prune: true })).json, {
    Removed: ['service shop_db'],
  });
  const removed = await ask('DELETE', '/vipmesh/stacks/shop');
  t.same(stackRemoved.parse(removed.json), { Removed: ['service shop_web', 'network shop_front'] });
  t.same((await ask('GET', '/vipmesh/stacks')).json, []);
  t.match(await ask('DELETE', '/vipmesh/stacks/shop'), { status: 404, json: { message: /there is no stack shop/ } });
});

t.test('what is refused changes nothing', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  await ask('POST', '/services/create', { Name: 'shop_web' });
  const before = await world.state();
  const broken = await ask('POST', '/vipmesh/stacks/shop', {
    File: 'shop.yaml',
    Text: 'services:\n  web:\n    ports: ["99999:80"]\n    netwroks: [x]\n',
  });
  t.equal(broken.status, 400);
  t.match(broken.json.Errors, [/^shop\.yaml:3:13: .*99999/, /^shop\.yaml:4:5: .*netwroks/]);
  t.equal(broken.json.message, broken.json.Errors.join('\n'));
  const cases: readonly (readonly [string, string, object | string, number, RegExp])[] = [
    [
      'POST',
      'shop',
      { File: 'f', Text: SHOP, Environment: { PORT: '1' } },
      409,
      /shop_web exists already and was not made by a stack/,
    ],
    ['POST', 'a b', { File: 'f', Text: SHOP }, 400, /the stack's name "a b"/],
    ['POST', 'shop', { File: 'f' }, 400, /^invalid stack: Text/],
    ['POST', 'shop', { File: 'f', Text: '', Environment: { A: 1 } }, 400, /Environment\.A/],
    ['POST', 'shop', { File: 'f', Text: '', Colour: 1 }, 400, /Colour/],
    ['POST', 'kept', { File: 'f', Text: SHOP }, 409, /stack kept is kept by the agent as \/srv\/kept\.yaml says/],
    ['DELETE', 'kept', '', 409, /change that file instead/],
  ];
  for (const [method, name, body, status, message] of cases)
    t.match(
      await ask(method, `/vipmesh/stacks/${encodeURIComponent(name)}`, body),
      { status, json: { message } },
      name,
    );
  t.equal(await world.state(), before);
});

t.test('an endpoint is drained, and taken into use again', async (t) => {
  const { ask, control } = await openApiWorld(t);
  await ask('POST', '/services/create', { Name: 'web', Vipmesh: { Expose: [{ Port: 80 }] } });
  const { ID } = (await ask('POST', '/vipmesh/endpoints', { Service: 'web', Endpoint: '10.0.0.7:8000' })).json;
  await control.setTaskHealth(ID, 'healthy');
  t.match((await ask('POST', `/vipmesh/endpoints/${ID}/drain`)).json, [
    { Service: 'web', TaskID: ID, State: 'draining', Eligible: false, OpenConnections: 0 },
  ]);
  t.equal((await ask('POST', `/vipmesh/endpoints/${ID}/drain`)).status, 200, 'twice is as once');
  t.match((await ask('DELETE', `/vipmesh/endpoints/${ID}/drain`)).json, [{ State: 'running', Eligible: true }]);
  const task = await control.addTask({ service: 'web' });
  t.match(await ask('DELETE', `/vipmesh/endpoints/${task.id}/drain`), { status: 409 });
  t.equal((await ask('POST', '/vipmesh/endpoints/nope/drain')).status, 404);
});
