// Networks and nodes over the socket, kept by a real control.
import t from 'tap';
import { dockerNetwork, dockerNode } from '../../src/api/schema.ts';
import { openApiWorld } from './world.ts';

t.test('networks: created, shown, removed', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  const created = await ask('POST', '/v1.41/networks/create', {
    Name: 'back',
    CheckDuplicate: true,
    Driver: 'overlay',
    Internal: true,
    Attachable: true,
    EnableIPv6: true,
    IPAM: {
      Driver: 'default',
      Options: {},
      Config: [{ Subnet: '10.70.1.0/24', Gateway: '10.70.1.1' }, { Subnet: 'fd00:7::/64' }],
    },
    Options: { 'my.option': 'x' },
    Labels: { tier: 'back' },
  });
  t.match(created, { status: 201, json: { Id: /^[a-z0-9]{25}$/, Warning: '' } });
  const { json } = await ask('GET', '/networks/back');
  t.same(dockerNetwork.parse(json), json);
  t.match(json, {
    Id: created.json.Id,
    Driver: 'overlay',
    Scope: 'swarm',
    Internal: true,
    Attachable: true,
    EnableIPv6: true,
    IPAM: { Config: [{ Subnet: '10.70.1.0/24', Gateway: '10.70.1.1' }, { Subnet: 'fd00:7::/64' }] },
    Options: { 'my.option': 'x' },
    Labels: { tier: 'back' },
  });
  t.match(await ask('POST', '/networks/create', { Name: 'plain', Driver: 'bridge' }), {
    status: 201,
    json: { Warning: /plain is of the driver overlay, since vipmesh makes no bridge networks/ },
  });
  await ask('POST', '/services/create', { Name: 'db', TaskTemplate: { Networks: [{ Target: created.json.Id }] } });
  t.match(await ask('DELETE', '/networks/back'), { status: 409, json: { message: /used by db; remove that service/ } });
  const removed = await ask('DELETE', '/networks/plain');
  t.same([removed.status, removed.text], [204, '']);
  const names = async (filters: object) =>
    (await ask('GET', `/networks?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json.map(
      (one: { Name: string }) => one.Name,
    );
  t.same(await names({ dangling: ['false'] }), ['back']);
  t.same(await names({ dangling: ['true'] }), []);
});

t.test('networks: an ordinary user gets local ones', async (t) => {
  const { ask } = await openApiWorld(t, { privileged: false });
  t.equal((await ask('POST', '/networks/create', { Name: 'a' })).status, 201);
  t.match((await ask('GET', '/networks/a')).json, { Driver: 'local', Scope: 'local' });
  t.match(await ask('POST', '/networks/create', { Name: 'b', Driver: 'overlay' }), {
    status: 403,
    json: { message: /needs an agent that runs as root/ },
  });
});

t.test('networks: what is refused changes nothing', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  await ask('POST', '/networks/create', { Name: 'back' });
  const before = await world.state();
  const ipam = (config: object) => ({ Name: 'x', IPAM: { Config: [config] } });
  const cases: readonly (readonly [object, number, RegExp])[] = [
    [{ Name: 'BACK' }, 409, /exists already/],
    [{}, 400, /^invalid network: Name/],
    [{ Name: 'a b' }, 400, /"a b" may hold only/],
    [{ Name: 'x', Driver: 'macvlan' }, 501, /driver macvlan; it is overlay or local/],
    [{ Name: 'x', EnableIPv4: false }, 501, /no networks without IPv4/],
    [{ Name: 'x', Ingress: true }, 501, /needs no ingress network/],
    [{ Name: 'x', ConfigOnly: true }, 501, /only configuration/],
    [{ Name: 'x', ConfigFrom: { Network: 'y' } }, 501, /only configuration/],
    [{ Name: 'x', IPAM: { Driver: 'dhcp' } }, 501, /no IPAM driver dhcp/],
    [ipam({ Subnet: '10.0.0.0' }), 400, /"10.0.0.0" is no subnet/],
    [ipam({ Subnet: '10.0.0.0/24', Gateway: '10.0.0.254' }), 501, /gateway of 10.0.0.0\/24 is 10.0.0.1/],
    [ipam({ Subnet: '10.0.0.0/24', IPRange: '10.0.0.0/25' }), 501, /leave the IP range out/],
    [ipam({ Subnet: '10.0.0.1/32', Gateway: '10.0.0.1' }), 400, /has no room/],
    [{ Name: 'x', Driver: 'overlay', Options: { encrypted: '' } }, 403, /--allow-plaintext-overlays/],
  ];
  for (const [body, status, message] of cases)
    t.match(await ask('POST', '/networks/create', body), { status, json: { message } }, JSON.stringify(body));
  t.match(await ask('POST', '/networks/back/connect', { Container: 'x' }), { status: 501 });
  t.equal(await world.state(), before);
});

t.test('networks: pruned', async (t) => {
  const world = await openApiWorld(t);
  const { ask, clock } = world;
  await ask('POST', '/networks/create', { Name: 'used' });
  await ask('POST', '/services/create', { Name: 'db', TaskTemplate: { Networks: [{ Target: 'used' }] } });
  for (const [Name, keep] of [
    ['a', 'no'],
    ['b', 'yes'],
  ] as const)
    await ask('POST', '/networks/create', { Name, Labels: { keep } });
  const prune = async (filters: object) =>
    (await ask('POST', `/networks/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json;
  t.same(await prune({ until: [String(clock.wallTime() / 1000 - 60)] }), { NetworksDeleted: null });
  t.same(await prune({ 'label!': ['keep=yes'] }), { NetworksDeleted: ['a'] });
  t.match(await prune({ until: ['yesterday'] }), { message: /seconds since the epoch/ });
  t.same((await ask('POST', '/networks/prune')).json, { NetworksDeleted: ['b'] });
  t.match((await ask('GET', '/networks')).json, [{ Name: 'used' }]);
});

t.test('nodes: availability and labels', async (t) => {
  const world = await openApiWorld(t);
  const { ask } = world;
  await world.second('node2', 'two');
  await world.catalog.at(await world.revision());
  const node = (await ask('GET', '/nodes/self')).json;
  t.same(dockerNode.parse(node), node);
  const update = `/nodes/${node.ID}/update?version=${node.Version.Index}`;
  t.equal((await ask('POST', update, { Role: 'manager', Availability: 'drain', Labels: { zone: 'a' } })).status, 200);
  t.match((await ask('GET', '/nodes/one')).json, { Spec: { Availability: 'drain', Labels: { zone: 'a' } } });
  const before = await world.state();
  t.match(await ask('POST', update, { Availability: 'active' }), {
    status: 500,
    json: { message: /update out of sequence: node one has changed/ },
  });
  const now = (await ask('GET', '/nodes/self')).json.Version.Index;
  const cases: readonly (readonly [string, object, number, RegExp])[] = [
    ['one', { Availability: 'away' }, 400, /Availability/],
    ['one', { Role: 'worker' }, 501, /no workers/],
    ['two', { Availability: 'pause' }, 500, /update out of sequence: node two has changed/],
    ['three', { Availability: 'pause' }, 404, /there is (one, two|two, one)/],
  ];
  for (const [name, body, status, message] of cases)
    t.match(await ask('POST', `/nodes/${name}/update?version=${now}`, body), { status, json: { message } });
  t.equal(await world.state(), before);
  const two = (await ask('GET', '/nodes/two')).json;
  t.equal((await ask('POST', `/nodes/two/update?version=${two.Version.Index}`, { Availability: 'pause' })).status, 200);
  t.match((await ask('GET', '/nodes/two')).json, { Spec: { Availability: 'pause' } }, 'a node is updated by any agent');
  t.equal((await ask('DELETE', '/nodes/two')).status, 200, 'and forgotten, when its agent does not run');
  t.equal((await ask('GET', '/nodes/two')).status, 404);
});
