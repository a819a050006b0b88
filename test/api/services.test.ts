// Services over the socket, kept by a real control.
import t from 'tap';
import { dockerService, serviceDetail } from '../../src/api/schema.ts';
import { type ApiWorld, openApiWorld } from './world.ts';

const WEB = {
  Name: 'web',
  Labels: { tier: 'front' },
  TaskTemplate: {
    ContainerSpec: { Image: 'nginx:1', Env: ['A=1'] },
    Placement: { Constraints: ['node.role==manager'] },
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: { Parallelism: 1, Order: 'start-first' },
  EndpointSpec: {
    Mode: 'vip',
    Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
  },
  Vipmesh: { Endpoints: [{ Address: '10.9.0.1' }], DrainTimeout: 3e9 },
};

async function create({ ask }: ApiWorld, spec: object): Promise<string> {
  const answer = await ask('POST', '/v1.41/services/create', spec);
  if (answer.status !== 201) throw new Error(answer.text);
  return answer.json.ID as string;
}

t.test('created, shown, removed', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  await ask('POST', '/networks/create', { Name: 'back' });
  const created = await ask('POST', '/services/create', {
    ...WEB,
    TaskTemplate: { ...WEB.TaskTemplate, Networks: [{ Target: 'back', Aliases: ['www'] }] },
  });
  t.equal(created.status, 201);
  t.match(created.json.Warnings, [/^vipmesh starts no containers: service web exists/]);
  const { json } = await ask('GET', `/services/${created.json.ID}?insertDefaults=true`);
  t.same(dockerService.parse(json), json);
  t.match(json.UpdateStatus, { State: 'completed' }, "or Docker's client would wait for tasks");
  const network = (await ask('GET', '/networks/back')).json;
  t.match(json, {
    Spec: {
      Name: 'web',
      Labels: WEB.Labels,
      TaskTemplate: { ...WEB.TaskTemplate, Networks: [{ Target: network.Id, Aliases: ['www'] }], ForceUpdate: 0 },
      UpdateConfig: WEB.UpdateConfig,
      EndpointSpec: WEB.EndpointSpec,
      Vipmesh: WEB.Vipmesh,
    },
    Endpoint: { Ports: WEB.EndpointSpec.Ports, VirtualIPs: [{ NetworkID: network.Id, Addr: /^10\.64\.0\.\d+\/24$/ }] },
  });
  serviceDetail.parse((await ask('GET', '/vipmesh/services/web')).json);
  t.match((await ask('GET', '/services?status=true')).json, [{ ServiceStatus: { DesiredTasks: 2 } }]);
  const removed = await ask('DELETE', '/services/web');
  t.same([removed.status, removed.text], [200, '']);
  t.same((await ask('GET', '/services')).json, []);
  t.same((await ask('GET', '/tasks')).json, [], 'its tasks went with it');
  t.equal((await ask('DELETE', '/services/web')).status, 404);
});

t.test('updated, as Docker counts versions', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  const id = await create(world, WEB);
  const first = (await ask('GET', `/services/${id}`)).json;
  const more = { ...first.Spec, Labels: { tier: 'back' } };
  const done = await ask('POST', `/v1.43/services/${id}/update?version=${first.Version.Index}`, more);
  t.same([done.status, done.json], [200, { Warnings: null }], 'the image is no news');
  const second = (await ask('GET', `/services/${id}`)).json;
  t.ok(second.Version.Index > first.Version.Index);
  t.same(second.Spec, more);
  t.same(second.PreviousSpec, first.Spec);
  t.same(second.Endpoint, first.Endpoint, 'the VIP and the ports stay');

  const before = await world.state();
  const late = await ask('POST', `/services/${id}/update?version=${first.Version.Index}`, first.Spec);
  t.equal(late.status, 500, "Docker's status");
  t.equal(late.headers['content-type'], 'application/json', "without a charset, which Docker's client would not read");
  t.match(late.json.message, /^rpc error: code = Unknown desc = update out of sequence: service web has changed since/);
  t.equal(await world.state(), before, 'nothing was changed');

  const { Vipmesh: _, ...docker } = second.Spec;
  await ask('POST', `/services/web/update?version=${second.Version.Index}`, { ...docker, Labels: {} });
  const third = (await ask('GET', `/services/${id}`)).json;
  t.same(third.Spec, { ...second.Spec, Labels: {} }, "what Docker's client does not know stays");
});

t.test("Docker's own networks are left out, and that is said", async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  await ask('POST', '/networks/create', { Name: 'back' });
  const spec = {
    ...WEB,
    TaskTemplate: { ...WEB.TaskTemplate, Networks: [{ Target: 'host' }, { Target: 'back' }] },
  };
  const created = await ask('POST', '/services/create', spec);
  t.match(created, {
    status: 201,
    json: { Warnings: [/starts no containers/, /^service web: network host is Docker's own/] },
  });
  const { Spec, Version } = (await ask('GET', '/services/web')).json;
  t.equal(Spec.TaskTemplate.Networks.length, 1);
  await ask('POST', `/services/web/update?version=${Version.Index}`, spec);
  t.same((await ask('GET', '/services/web')).json.Version, Version, 'the same again changes nothing');
  t.match(await ask('GET', '/networks/host'), { status: 501, json: { message: /^network host is Docker's own/ } });
  const alone = await create(world, { ...WEB, Name: 'alone', EndpointSpec: {}, Networks: [{ Target: 'host' }] });
  const before = (await ask('GET', `/services/${alone}`)).json;
  await ask('POST', `/services/${alone}/update?version=${before.Version.Index}`, {
    ...WEB,
    Name: 'alone',
    EndpointSpec: {},
    Networks: [{ Target: 'host' }],
  });
  t.same((await ask('GET', `/services/${alone}`)).json, before, 'on the default network, as without any');
  await ask('POST', '/networks/create', { Name: 'bridge' });
  t.equal((await ask('GET', '/networks/bridge')).status, 200, 'unless somebody made one of that name');
});

t.test('an update that changes nothing is none', async (t) => {
  const world = await openApiWorld(t);
  const id = await create(world, WEB);
  const { Version, Spec } = (await world.ask('GET', `/services/${id}`)).json;
  t.equal((await world.ask('POST', `/services/${id}/update?version=${Version.Index}`, Spec)).status, 200);
  const after = (await world.ask('GET', `/services/${id}`)).json;
  t.same(after.Version, Version);
  t.notOk('PreviousSpec' in after);
});

t.test('rolled back', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  const id = await create(world, WEB);
  const version = async () => (await ask('GET', `/services/${id}`)).json.Version.Index as number;
  const none = await ask('POST', `/services/${id}/update?version=${await version()}&rollback=previous`);
  t.match(none, { status: 400, json: { message: /web has no previous spec/ } });
  const scaled = { ...WEB, Mode: { Replicated: { Replicas: 5 } } };
  await ask('POST', `/services/${id}/update?version=${await version()}`, scaled);
  // Docker's client sends a spec along, which does not count.
  const back = await ask('POST', `/services/${id}/update?version=${await version()}&rollback=previous`, scaled);
  t.equal(back.status, 200);
  const { Spec, PreviousSpec } = (await ask('GET', `/services/${id}`)).json;
  t.same([Spec.Mode.Replicated.Replicas, PreviousSpec.Mode.Replicated.Replicas], [2, 5]);
  t.equal((await ask('POST', `/services/${id}/update?version=1&rollback=previous`)).status, 500);
});

t.test('what is refused changes nothing', async (t) => {
  const world = await openApiWorld(t, {
    portProblem: (_protocol, port) => (port === 9999 ? 'another program holds it' : undefined),
  });
  const { ask } = world;
  const id = await create(world, WEB);
  await create(world, { Name: 'other', EndpointSpec: { Ports: [{ TargetPort: 1, PublishedPort: 9000 }] } });
  const { Index } = (await ask('GET', `/services/${id}`)).json.Version;
  const before = await world.state();
  const update = `/services/${id}/update?version=${Index}`;
  const ports = (PublishedPort: number) => ({ ...WEB, EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort }] } });
  const cases: readonly (readonly [string, string, number, RegExp, (string | object)?])[] = [
    ['POST', '/services/create', 409, /service WEB exists already/, { Name: 'WEB' }],
    ['POST', '/services/create', 400, /^invalid service spec: Name: /, ''],
    ['POST', '/services/create', 400, /^the body is not JSON/, '{"Name":'],
    ['POST', '/services/create', 400, /the service name "a b" may hold only/, { Name: 'a b' }],
    ['POST', '/services/create', 404, /no network is called "bakc"/, { Name: 'x', Networks: [{ Target: 'bakc' }] }],
    ['POST', '/services/create', 501, /mode GlobalJob/, { Name: 'x', Mode: { GlobalJob: {} } }],
    ['POST', '/services/create', 400, /Vipmesh: .*Drain/, { Name: 'x', Vipmesh: { Drain: 1 } }],
    ['POST', '/services/create', 400, /Replicas/, { Name: 'x', Mode: { Replicated: { Replicas: -1 } } }],
    [
      'POST',
      '/services/create',
      400,
      /Ports\.0\.TargetPort/,
      { Name: 'x', EndpointSpec: { Ports: [{ TargetPort: 70000 }] } },
    ],
    ['POST', update, 409, /9000\/tcp.*other/, ports(9000)],
    ['POST', update, 409, /9999.*another program holds it/, ports(9999)],
    ['POST', update, 400, /cannot be renamed/, { ...WEB, Name: 'site' }],
    ['POST', `/services/${id}/update`, 400, /^invalid query: version/, WEB],
    ['POST', `/services/${id}/update?version=x`, 400, /version: is the Version.Index of the service/, WEB],
    ['POST', `${update}&rollback=next`, 400, /rollback/, WEB],
    ['POST', '/services/nope/update?version=1', 404, /nope/, WEB],
    ['POST', `${update}&version=2`, 400, /version/, WEB],
    ['GET', '/services/web/logs?stdout=1', 501, /keeps no output/],
  ];
  for (const [method, path, status, message, body] of cases)
    t.match(await ask(method, path, body), { status, json: { message } }, `${method} ${path} ${JSON.stringify(body)}`);
  t.equal(await world.state(), before);
});
