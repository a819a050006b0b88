// Containers that are attached, as records: their place, their addresses, and what is refused.
import t from 'tap';
import { networkSpec, openWorld, refusal, serviceSpec } from './world.ts';

const OPEN = { attachable: true };

t.test('what an attached container is', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front', OPEN));
  await w.control.createNetwork(networkSpec('back', { ...OPEN, ipv6: true }));
  await w.control.createService(serviceSpec('web', { networks: ['front', 'back'], expose: ['80'] }));
  const plain = await w.control.tasks.addAttached({ Service: 'web', PID: 4711 });
  t.match(plain, { source: 'attached', state: 'starting', health: 'none', pid: 4711, name: `web.1.${plain.id}` });
  t.notOk('netns' in plain);
  t.same(
    plain.attachments.map(({ address }) => address),
    ['10.64.0.3', '10.64.1.3'],
  );
  const full = await w.control.tasks.addAttached({
    Service: 'web',
    Netns: '/run/netns/blue',
    Networks: ['back', 'front', 'back'],
    Name: 'blue',
    Hostname: 'host',
    Port: 8080,
    Aliases: ['b'],
    Addresses: ['10.64.0.77', '10.64.1.99'],
  });
  t.match(full, {
    netns: '/run/netns/blue',
    name: 'blue',
    hostname: 'host',
    portMap: [{ targetPort: 80, port: 8080 }],
    attachments: [
      { address: '10.64.1.99', aliases: ['b'] },
      { address: '10.64.0.77', aliases: ['b'] },
    ],
  });
  t.match(full.attachments[0]?.moreAddresses, [/^fd/], 'the other family is allocated');
  t.same(w.catalog.snapshot.tasks.get(full.id), full, 'as it is on record');
  await w.control.removeTask(full.id);
  const again = await w.control.tasks.addAttached({
    Service: 'web',
    Netns: '/x',
    Networks: ['front'],
    Addresses: ['10.64.0.77'],
  });
  t.match(again.attachments, [{ address: '10.64.0.77' }], 'at once, by who asks for it');
});

t.test('with a check', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front', OPEN));
  const timing = { intervalMs: 1, timeoutMs: 1, retries: 1, startPeriodMs: 0 };
  const exec = { probe: { kind: 'exec', command: ['true'], shell: false }, ...timing } as const;
  const tcp = { probe: { kind: 'tcp' }, ...timing } as const;
  const table = [
    ['none', {}, 'none'],
    ['tcp', { health: tcp, expose: ['80'] }, 'starting'],
    ['a command, and a port to ask instead', { health: exec, expose: ['80'] }, 'starting'],
    ['a command, and no port', { health: exec }, 'none'],
    ['a command, and a UDP port', { health: exec, expose: ['53/udp'] }, 'none'],
  ] as const;
  for (const [i, [what, more, health]] of table.entries()) {
    await w.control.createService(serviceSpec(`s${i}`, { networks: ['front'], ...more }));
    t.equal((await w.control.tasks.addAttached({ Service: `s${i}`, PID: 1 })).health, health, what);
  }
});

t.test('refused', async (t) => {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front', OPEN));
  await w.control.createNetwork(networkSpec('home', { driver: 'local' }));
  await w.control.createService(serviceSpec('web', { networks: ['front'], expose: ['80'] }));
  await w.control.createService(serviceSpec('near', { networks: ['home'] }));
  await w.control.createService(serviceSpec('both', { networks: ['front', 'home'] }));
  const first = await w.control.tasks.addAttached({ Service: 'web', PID: 1, Name: 'first' });
  const before = await w.revision();
  const table: readonly (readonly [object, RegExp])[] = [
    [{ Service: 'wbe' }, /^not-found: no service is called "wbe"/],
    [{ Service: 'near' }, /^invalid: network home is local: .* use vipmesh endpoint add near ADDRESS:PORT$/],
    [{ Service: 'both' }, /^invalid: network home of service both is local, .*; name the others with --network/],
    [{ Service: 'web', Networks: ['home'] }, /^invalid: service web is not on network home/],
    [{ Service: 'web', Name: 'first' }, /^conflict: a task is called first already/],
    [{ Service: 'web', Addresses: ['nowhere'] }, /^invalid: "nowhere" is no IP address$/],
    [
      { Service: 'web', Addresses: ['10.1.2.3'] },
      /^invalid: address 10\.1\.2\.3 is in no subnet .*: front \(10\.64\.0\.0\/24\)$/,
    ],
    [{ Service: 'web', Addresses: ['10.64.0.7', '10.64.0.8'] }, /^invalid: address 10\.64\.0\.8 .* one too many there/],
    [
      { Service: 'web', Addresses: ['10.64.0.1'] },
      /^invalid: the new task of web cannot have 10\.64\.0\.1 .*kept back/,
    ],
    [{ Service: 'web', Addresses: ['10.64.0.2'] }, /^conflict: .*belongs to another service or task/],
    [
      { Service: 'web', Name: 'x', Addresses: [first.attachments[0]?.address] },
      /^conflict: task x cannot have 10\.64\.0\.4/,
    ],
  ];
  for (const [more, expected] of table) {
    const request = { PID: 2, ...more } as Parameters<typeof w.control.tasks.addAttached>[0];
    t.match(await refusal(w.control.tasks.addAttached(request)), expected);
  }
  t.equal(await w.revision(), before, 'and nothing was written');
  t.match(
    await refusal(w.control.removeEndpoint(first.id)),
    /^invalid: task first is an attached container; detach it/,
  );
});

t.test('a network that is not attachable', async (t) => {
  const w = await openWorld(t);
  for (const name of ['front', 'inner', 'core'])
    await w.control.createNetwork(networkSpec(name, { attachable: name === 'front' }));
  await w.control.createService(serviceSpec('web', { networks: ['inner', 'front'] }));
  await w.control.createService(serviceSpec('db', { networks: ['inner', 'core'] }));
  const attach = (Service: string, Networks?: string[]) =>
    refusal(w.control.tasks.addAttached({ Service, PID: 1, ...(Networks === undefined ? {} : { Networks }) }));
  t.match(
    await attach('web'),
    /^forbidden: network inner is not attachable: .*"attachable: true" in the stack file.* network create --attachable; or name the others with --network$/,
  );
  t.match(await attach('db'), /^forbidden: networks inner, core are not attachable: .* create --attachable$/);
  t.match(await w.control.tasks.addAttached({ Service: 'web', PID: 1, Networks: ['front'] }), { source: 'attached' });
  t.match(await w.control.addTask({ service: 'web' }), { attachments: [{}, {}] }, 'what runs for its service joins it');
  const container = { id: 'c0ffee', hasCheck: false };
  const ofEngine = { service: 'db', pid: 7, attached: { container } } as const;
  t.match(await w.control.addTask(ofEngine), { source: 'attached' }, 'so does a container that names its service');
});

t.test('the network of services that name none is attachable', async (t) => {
  const w = await openWorld(t);
  await w.control.createService(serviceSpec('web'));
  t.match(await w.control.tasks.addAttached({ Service: 'web', PID: 1 }), { source: 'attached' });
});

t.test('an agent without privilege', async (t) => {
  const w = await openWorld(t, { privileged: false });
  await w.control.createService(serviceSpec('web'));
  const expected = /^forbidden: attaching .* needs an agent that runs as root; .*vipmesh endpoint add web ADDRESS:PORT/;
  t.match(await refusal(w.control.tasks.addAttached({ Service: 'web', PID: 1 })), expected);
});
