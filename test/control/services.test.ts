// Services: addresses, ports and networks that they keep or give up, and every reason to be refused.
import t from 'tap';
import type { PortNumber } from '../../src/model/port.ts';
import type { HealthCheck } from '../../src/model/service.ts';
import { ip, subnet } from '../support/builders.ts';
import { networkSpec, openWorld, publishSpec, refusal, type ShortSpec, serviceSpec, type World } from './world.ts';

async function withNetworks(w: World, ...names: readonly string[]): Promise<void> {
  for (const name of names) await w.control.createNetwork(networkSpec(name));
}

t.test('a service gets an address on each network', async (t) => {
  const w = await openWorld(t);
  await withNetworks(w, 'front', 'back');
  const web = await w.control.createService(serviceSpec('web', { networks: ['front=www', 'back'] }));
  const db = await w.control.createService(serviceSpec('db', { networks: ['back'] }));
  t.same(
    web.vips.map((vip) => vip.address),
    ['10.64.0.2', '10.64.1.2'],
  );
  t.same(
    db.vips.map((vip) => vip.address),
    ['10.64.1.3'],
  );
  t.same(
    web.networks.map(({ aliases }) => aliases),
    [['www'], []],
  );
  t.same(w.catalog.snapshot.services.get(web.id), web);

  const dnsrr = await w.control.updateService(
    'web',
    serviceSpec('web', { networks: ['back', 'front'], endpointMode: 'dnsrr' }),
  );
  t.same([dnsrr.vips, dnsrr.id], [[], web.id]);
  const again = await w.control.updateService('web', serviceSpec('web', { networks: ['back', 'front'] }));
  t.same(
    again.vips.map((vip) => vip.address),
    ['10.64.1.4', '10.64.0.3'],
    'an address that was given up rests',
  );
  const fewer = await w.control.updateService('web', serviceSpec('web', { networks: ['back'], expose: ['80'] }));
  t.same(
    fewer.vips.map((vip) => vip.address),
    ['10.64.1.4'],
    'a network that stays keeps its address',
  );
  t.same(fewer.previousSpec, serviceSpec('web', { networks: ['back', 'front'] }));
});

t.test('on a network with IPv6 a service has a VIP of each family', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('dual', { subnets: [subnet('10.9.0.0/24'), subnet('fd09::/64')] }));
  const addresses = ({ vips }: { readonly vips: readonly { readonly address: string }[] }) =>
    vips.map(({ address }) => address);
  const web = await w.control.createService(serviceSpec('web', { networks: ['dual'] }));
  t.same(addresses(web), ['10.9.0.2', 'fd09::2']);
  const changed = await w.control.updateService('web', serviceSpec('web', { networks: ['dual'], expose: ['80'] }));
  t.same(addresses(changed), ['10.9.0.2', 'fd09::2'], 'and keeps both');
  const dnsrr = await w.control.updateService('web', serviceSpec('web', { networks: ['dual'], endpointMode: 'dnsrr' }));
  t.same(addresses(dnsrr), []);
});

t.test('an address rests for 30 s after it was freed, unless there is no other', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('tiny', { subnets: [subnet('10.9.0.0/29')] }));
  const names = ['a', 'b', 'c', 'd', 'e'];
  const vip = async (name: string) =>
    (await w.control.createService(serviceSpec(name, { networks: ['tiny'] }))).vips[0]?.address;
  const vips: unknown[] = [];
  for (const name of names) vips.push(await vip(name));
  t.same(vips, ['10.9.0.2', '10.9.0.3', '10.9.0.4', '10.9.0.5', '10.9.0.6']);
  t.match(await refusal(vip('f')), /^exhausted: service f gets no address on network tiny: .*10\.9\.0\.0\/29/);
  await w.control.removeService('b');
  await w.clock.advance(20_000);
  await w.control.removeService('d');
  await w.clock.advance(11_000);
  t.equal(await vip('g'), '10.9.0.3', 'free for 31 s');
  t.equal(await vip('h'), '10.9.0.5', 'free for 11 s only, but the last');
});

t.test('published ports', async (t) => {
  const held = new Set([30001]);
  const asked: number[] = [];
  const portProblem = (_: string, port: number) => {
    asked.push(port);
    return held.has(port) ? 'another program listens there' : undefined;
  };
  const w = await openWorld(t, { portProblem });
  await withNetworks(w, 'n');
  const ports = (service: { ports: readonly { publishedPort: number }[] }) =>
    service.ports.map((port) => port.publishedPort);
  const create = (name: string, publish: ShortSpec['publish']) =>
    w.control.createService(serviceSpec(name, { networks: ['n'], publish: publish ?? [] }));
  const web = await create('web', ['80', '8080:80', '443', '53/udp']);
  t.same(
    ports(web),
    [30000, 8080, 30002, 30000],
    'each protocol its own; one that another program holds is passed over',
  );
  t.same(ports(await create('two', ['80', '8081:80'])), [30003, 8081]);
  const update = (publish: readonly string[]) =>
    w.control.updateService('web', serviceSpec('web', { networks: ['n'], publish }));
  t.same(
    ports(await update(['443', '80', '8080:80', '9090:90'])),
    [30002, 30000, 8080, 9090],
    'they stay with their targets',
  );
  held.add(8080).add(9090);
  t.same(ports(await update(['8080:81', '9090:90'])), [8080, 9090], 'a port that we hold ourselves is no problem');
  t.same(ports(await update(['80'])), [30000]);

  const refuse = async (command: Promise<unknown>, expected: RegExp) => t.match(await refusal(command), expected);
  await refuse(
    create('x', ['8081:1']),
    /^conflict: service x: port 8081\/tcp is published by service two; choose another port, or remove it there$/,
  );
  await refuse(
    create('x', ['8080:1']),
    /^conflict: service x: port 8080\/tcp cannot be published here: another program listens there$/,
  );
  const at = (address: string) => [{ ...publishSpec('8081:1'), hostAddress: address }];
  await refuse(
    create('x', at('127.0.0.1')),
    /^conflict: service x: port 127\.0\.0\.1:8081\/tcp is published by service two/,
  );
  t.ok(await create('udp', ['8081:1/udp']), 'the other protocol is free');
  t.ok(await create('at1', [{ ...publishSpec('7000:1'), hostAddress: '127.0.0.1' }]));
  t.ok(await create('at2', [{ ...publishSpec('7000:1'), hostAddress: '127.0.0.2' }]), 'and so is another address');
  await refuse(create('x', ['7000:1']), /^conflict: service x: port 7000\/tcp is published by service at1/);
  const host = [{ ...publishSpec('7001:1'), mode: 'host' as const }];
  t.ok(await create('host1', host));
  t.ok(await create('host2', host), 'in host mode, each is on its own nodes');
  await refuse(create('x', ['7001:1']), /^conflict: service x: port 7001\/tcp is published by service host1/);
  await w.control.removeService('two');
  t.ok(await create('three', ['8081:80']), 'a successor may take a port');
});

t.test('refused', async (t) => {
  const w = await openWorld(t);
  await withNetworks(w, 'front', 'back');
  const web = await w.control.createService(serviceSpec('web', { networks: ['front'], expose: ['80', '81'] }));
  const before = await w.revision();
  const create = (name: string, more: ShortSpec = {}) =>
    w.control.createService(serviceSpec(name, { networks: ['front'], ...more }));
  const update = (more: ShortSpec, version?: number) =>
    w.control.updateService('web', serviceSpec('web', { networks: ['front'], ...more }), version);
  const check: HealthCheck = {
    probe: { kind: 'http', path: '/' },
    intervalMs: 1,
    timeoutMs: 1,
    retries: 1,
    startPeriodMs: 0,
  };
  const endpoint = (more: object) => ({ endpoints: [{ address: ip('10.0.0.1'), ...more }] });
  const table: readonly (readonly [Promise<unknown>, RegExp])[] = [
    [
      create('web'),
      /^conflict: service web exists already \(web, [a-z0-9]{12}\); choose another name, or update that one$/,
    ],
    [create('WEB'), /^conflict: service WEB exists already \(web, /],
    [create('-x'), /^invalid: the service name "-x" may hold only/],
    [
      create('tasks.web'),
      /^invalid: the service name "tasks\.web" begins with "tasks", which in DNS asks for the endpoints/,
    ],
    [
      create('x', { networks: ['frnot'] }),
      /^not-found: service x: no network is called "frnot" \(did you mean "front"\?\); create it first \(vipmesh network create\)$/,
    ],
    [create('x', { networks: ['front', 'front=a'] }), /^invalid: service x names network front twice$/],
    [create('x', { networks: ['front=a b'] }), /^invalid: service x: its alias "a b" may hold only/],
    [create('x', { publish: ['80:1', '80:2'] }), /^invalid: service x: it publishes port 80\/tcp twice$/],
    [
      create('x', { publish: [{ ...publishSpec('80:1'), hostAddress: 'localhost' }] }),
      /^invalid: service x: "localhost" is no address of a node, and no interface such as %eth1$/,
    ],
    [
      create('x', { publish: [{ ...publishSpec('80:1'), targetPort: 0 as PortNumber }] }),
      /^invalid: service x: target port 0; ports are 1 to 65535$/,
    ],
    [
      create('x', { publish: [{ ...publishSpec('80:1'), publishedPort: 70000 as PortNumber }] }),
      /^invalid: service x: published port 70000; ports are/,
    ],
    [
      create('x', { mode: { kind: 'replicated', replicas: -1 } }),
      /^invalid: service x: -1 replicas; give a whole number from 0$/,
    ],
    [create('x', { dnsTtlS: 3601 }), /^invalid: service x: its DNS TTL of 3601 s; give whole seconds from 0 to 3600$/],
    [
      create('x', { limits: { maxConnections: 0 } }),
      /^invalid: service x: its max connections must be a whole number from 1 to 1000000000$/,
    ],
    [
      create('x', { limits: { keepAliveMs: 40_000_000 } }),
      /^invalid: service x: its keep-alive must be from 1s to 9h$/,
    ],
    [create('x', { drainTimeoutMs: Number.NaN }), /^invalid: service x: its drain timeout is no duration$/],
    [
      create('x', { health: { ...check, intervalMs: 0 } }),
      /^invalid: service x: its health check needs an interval and a timeout above 0$/,
    ],
    [
      create('x', { health: { ...check, retries: 0 } }),
      /^invalid: service x: its health check needs at least one retry$/,
    ],
    [
      create('x', { health: { ...check, probe: { kind: 'http', path: 'up' } } }),
      /^invalid: service x: its health check's path "up" does not begin with "\/"$/,
    ],
    [
      create('x', { health: { ...check, probe: { kind: 'exec', command: [], shell: false } } }),
      /^invalid: service x: its health check has no command$/,
    ],
    [
      create('x', { health: { ...check, probe: { kind: 'tcp', port: 99999 } } }),
      /^invalid: service x: its health check's port 99999 is not 1 to 65535$/,
    ],
    [
      create('x', endpoint({ port: 0 })),
      /^invalid: service x: endpoint 10\.0\.0\.1:0 has a port that is not 1 to 65535$/,
    ],
    [
      create('x', endpoint({ port: 8, targetPort: 9 })),
      /^invalid: service x: endpoint 9=10\.0\.0\.1:8 stands for target port 9, but the service declares none; add it with --expose$/,
    ],
    [
      create('x', { expose: ['1', '2'], ...endpoint({ port: 8, targetPort: 9 }) }),
      /^invalid: .* stands for target port 9, but the service declares 1, 2$/,
    ],
    [
      create('x', { expose: ['1', '2'], ...endpoint({ port: 8 }) }),
      /^invalid: .* does not say which target port it serves \(1, 2\); write TARGET=10\.0\.0\.1:8, or the address alone/,
    ],
    [
      create('x', { endpoints: [{ address: ip('224.0.0.1') }] }),
      /^invalid: .* endpoint 224\.0\.0\.1 is no address of a single machine$/,
    ],
    [
      create('x', { endpoints: [{ address: ip('10.0.0.1') }, { address: ip('10.0.0.1') }] }),
      /^invalid: service x: endpoint 10\.0\.0\.1 stands twice$/,
    ],
    [
      w.control.updateService('web', serviceSpec('web2')),
      /^invalid: service web cannot be renamed to web2; create the new one and remove the old one$/,
    ],
    [
      update({ expose: ['1'] }, 1),
      /^conflict: service web has changed since version 1 \(it is at \d+ now\); look at it again and repeat the update$/,
    ],
    [update({ networks: ['none'] }), /^not-found: service web: no network is called "none"/],
    [
      w.control.rollbackService('web'),
      /^invalid: service web has no previous spec to go back to; it was never updated$/,
    ],
    [w.control.removeService('wbe'), /^not-found: no service is called "wbe" \(did you mean "web"\?\)$/],
    [
      w.control.addEndpoint('web', '10.0.0.1:80'),
      /^invalid: service web: endpoint 10\.0\.0\.1:80 does not say which target port/,
    ],
    [w.control.addEndpoint('web', 'localhost:80'), /^invalid: endpoint "localhost:80" has a host name/],
    [
      w.control.removeEndpointsAt('web', ip('10.0.0.1')),
      /^not-found: service web has no endpoint 10\.0\.0\.1; it has none$/,
    ],
  ];
  for (const [command, expected] of table) t.match(await refusal(command), expected);
  t.equal(await w.revision(), before, 'none of them wrote anything');
  t.same(w.catalog.snapshot.services.get(web.id), web);
  const version = w.catalog.revisionOf('service', web.id);
  t.ok(await update({ expose: ['80'] }, version), 'the version that is known is the one that is');
  await t.rejects(update({ expose: ['81'] }, version), { code: 'conflict' });
});

t.test('the same spec changes nothing; rollback goes back and forth', async (t) => {
  const w = await openWorld(t);
  await withNetworks(w, 'n');
  const spec = (port: string) => serviceSpec('web', { networks: ['n'], expose: [port] });
  const first = await w.control.createService(spec('80'));
  const before = await w.revision();
  t.same(await w.control.updateService('web', spec('80')), first);
  t.equal(await w.revision(), before);
  await w.control.updateService('web', spec('81'));
  t.match(await w.control.rollbackService('web'), { spec: spec('80'), previousSpec: spec('81') });
  t.match(await w.control.rollbackService('web'), { spec: spec('81'), previousSpec: spec('80'), vips: first.vips });
});

t.test('removing a service removes its tasks', async (t) => {
  const w = await openWorld(t);
  await withNetworks(w, 'n');
  await w.control.createService(
    serviceSpec('web', { networks: ['n'], expose: ['80'], endpoints: [{ address: ip('10.0.0.1') }] }),
  );
  await w.control.addTask({ service: 'web' });
  t.equal(w.catalog.snapshot.tasks.size, 2);
  await w.control.removeService('web');
  t.same(
    [w.catalog.snapshot.tasks.size, w.catalog.snapshot.tasksByService.size, w.catalog.snapshot.services.size],
    [0, 0, 0],
  );
});
