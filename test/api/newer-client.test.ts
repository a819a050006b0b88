// What Docker's client of version 28 sends for `network create`, `service create`, `update` and `rm`, request by request, recorded
// from it: newer ones than Debian's ask for the version first, and use the newest that both know.
import t from 'tap';
import { openApiWorld } from './world.ts';

const NETWORK = {
  Driver: 'overlay',
  Scope: '',
  IPAM: { Driver: 'default', Options: {}, Config: [] },
  Internal: false,
  Attachable: true,
  Ingress: false,
  ConfigOnly: false,
  ConfigFrom: null,
  Options: {},
  Labels: {},
  Name: 'back',
};

function service(network: string) {
  return {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        Image: 'nginx:latest',
        Init: false,
        Healthcheck: { Test: ['CMD-SHELL', 'true'], StartInterval: 2_000_000_000 },
        DNSConfig: {},
      },
      Resources: { Limits: {}, Reservations: {} },
      Placement: {},
      Networks: [{ Target: network, Aliases: ['w'] }],
      ForceUpdate: 0,
    },
    Mode: { Replicated: { Replicas: 2 } },
    EndpointSpec: {
      Mode: 'vip',
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' }],
    },
  };
}

t.test('a newer client', async (t) => {
  const { ask } = await openApiWorld(t);
  const ping = await ask('HEAD', '/_ping');
  t.equal(ping.status, 200);
  const offered = String(ping.headers['api-version']);
  t.match(offered, /^1\.\d\d$/);
  t.ok(Number(offered.split('.')[1]) >= 44, 'Docker 29 and later speak nothing older');
  const api = `/v${offered}`;

  const made = await ask('POST', `${api}/networks/create`, NETWORK);
  t.match(made, { status: 201, json: { Id: /^[a-z0-9]{25}$/, Warning: '' } });
  const found = (await ask('GET', `${api}/networks/back?scope=swarm`)).json;
  t.match(found, { Id: made.json.Id, EnableIPv4: true, EnableIPv6: false });
  t.equal((await ask('GET', `${api}/distribution/nginx:latest/json`)).status, 200);

  const wanted = service(found.Id);
  const created = await ask('POST', `${api}/services/create`, wanted);
  t.equal(created.status, 201);
  const { Version, Spec, UpdateStatus } = (await ask('GET', `${api}/services/${created.json.ID}?insertDefaults=false`))
    .json;
  t.equal(UpdateStatus.State, 'completed', 'so that it does not wait');
  const { Vipmesh: _, ...shown } = Spec;
  t.same(shown, { ...wanted, TaskTemplate: { ...wanted.TaskTemplate, Runtime: 'container' } }, 'all that it sent');
  const update = `${api}/services/${created.json.ID}/update?registryAuthFrom=spec&version=${Version.Index}`;
  t.equal((await ask('POST', update, { ...shown, Mode: { Replicated: { Replicas: 3 } } })).status, 200);
  const late = await ask('POST', update, shown);
  t.match(late, { status: 500, json: { message: /update out of sequence/ } });
  const after = (await ask('GET', `${api}/services/web?insertDefaults=false`)).json;
  t.same(after.Spec, { ...Spec, Mode: { Replicated: { Replicas: 3 } } });
  t.equal((await ask('DELETE', `${api}/services/web`)).status, 200);
  t.equal((await ask('DELETE', `${api}/networks/back`)).status, 204);
});
