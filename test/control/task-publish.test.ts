// Ports that a task asks for (`vipmesh run --publish`): they are its service's, which is made for them when there is none. And names
// of tasks that would mean another service.
import t from 'tap';
import type { PublishSpec } from '../../src/model/port.ts';
import { networkSpec, openWorld, publishSpec, refusal, serviceSpec, type World } from './world.ts';

async function world(t: Parameters<typeof openWorld>[0]): Promise<World> {
  const w = await openWorld(t);
  await w.control.createNetwork(networkSpec('front', { attachable: true }));
  await w.control.createNetwork(networkSpec('back'));
  return w;
}

/** `*:8080->80/tcp ingress`, in the service's order. */
function ports(w: World, name: string): readonly string[] {
  const id = w.catalog.snapshot.serviceByName.get(name);
  const service = id === undefined ? undefined : w.catalog.snapshot.services.get(id);
  return (service?.ports ?? []).map(
    ({ hostAddress, publishedPort, targetPort, protocol, mode }) =>
      `${hostAddress ?? '*'}:${publishedPort}->${targetPort}/${protocol} ${mode}`,
  );
}

t.test('a service that is there', async (t) => {
  const w = await world(t);
  await w.control.createService(serviceSpec('web', { networks: ['front', 'back'], publish: ['7000:7000'] }));
  const first = await w.control.addTask({ service: 'web', networks: ['back'], publish: [publishSpec('8080:80')] });
  t.same(ports(w, 'web'), ['*:7000->7000/tcp ingress', '*:8080->80/tcp ingress'], 'gets the port');
  t.equal(first.attachments.length, 1, 'and the task the networks that it asked for');
  const before = w.catalog.snapshot.services.get(first.serviceId);
  t.equal(before?.networks.length, 2, 'which are not those of the service');
  const chosen: PublishSpec = { ...publishSpec('80'), mode: 'ingress' };
  await w.control.addTask({ service: 'web', publish: [publishSpec('8080:80'), chosen] });
  t.equal(w.catalog.snapshot.services.get(first.serviceId), before, 'what is published already changes nothing');
  await w.control.addTask({ service: 'web', publish: [publishSpec('5353:53/udp'), { ...chosen, mode: 'host' }] });
  const [, , udp, host] = ports(w, 'web');
  t.equal(udp, '*:5353->53/udp ingress');
  t.match(host, /^\*:3\d{4}->80\/tcp host$/, 'another mode is another port');
  for (const { id } of [...w.catalog.snapshot.tasks.values()]) await w.control.removeTask(id);
  t.equal(ports(w, 'web').length, 4, 'they stay when the tasks have ended');
  await w.control.rollbackService('web');
  t.same(ports(w, 'web'), ['*:7000->7000/tcp ingress', '*:8080->80/tcp ingress'], 'one update each, to be rolled back');
});

t.test('a service that is not', async (t) => {
  const w = await world(t);
  const task = await w.control.addTask({
    service: 'web',
    networks: ['front', 'back', 'front'],
    name: 'first',
    publish: [publishSpec('8080:80')],
  });
  t.same(ports(w, 'web'), ['*:8080->80/tcp ingress']);
  const service = w.catalog.snapshot.services.get(task.serviceId);
  t.match(service, { spec: { name: 'web', mode: { kind: 'replicated', replicas: 1 } }, vips: [{}, {}] });
  t.same(
    task.attachments.map(({ networkId }) => w.catalog.snapshot.networks.get(networkId)?.spec.name),
    ['front', 'back'],
  );
  const plain = await w.control.addTask({ service: 'plain', publish: [publishSpec('9090:90')] });
  t.equal(plain.attachments.length, 1);
  t.equal(w.catalog.snapshot.networks.get(plain.attachments[0]?.networkId ?? ('' as never))?.spec.name, 'default');
  const attached = await w.control.tasks.addAttached({
    Service: 'guest',
    PID: 1,
    Networks: ['front'],
    Publish: [publishSpec('8090:80')],
  });
  t.equal(attached.source, 'attached');
  t.same(ports(w, 'guest'), ['*:8090->80/tcp ingress'], 'also for one that is attached');
});

t.test('refused, with nothing changed', async (t) => {
  const w = await world(t);
  await w.control.createService(serviceSpec('web', { networks: ['front=www'], publish: ['8080:80'] }));
  await w.control.createService(serviceSpec('db', { networks: ['back'] }));
  const before = await w.revision();
  const publish = [publishSpec('8080:80')];
  const table: readonly (readonly [Parameters<World['control']['addTask']>[0], RegExp])[] = [
    [{ service: 'wbe' }, /^not-found: no service is called "wbe" .*; make it first .* --publish/],
    [{ service: 'new', publish }, /^conflict: service new: port 8080\/tcp is published by service web; choose another/],
    [{ service: 'db', publish }, /^conflict: service db: port 8080\/tcp is published by service web; choose another/],
    [
      { service: 'web', publish: [publishSpec('8080:81')] },
      /^conflict: service web publishes port 8080\/tcp already, otherwise \(target port 80, mode ingress, no name\); choose another/,
    ],
    [
      { service: 'web', publish: [{ ...publishSpec('8080:80'), name: 'http' }] },
      /^conflict: service web publishes port 8080\/tcp already, otherwise \(target port 80, mode ingress, no name\)/,
    ],
    [
      { service: 'new', networks: ['nowhere'], publish: [publishSpec('1:1')] },
      /^not-found: service new: no network is called "nowhere"; create it first/,
    ],
    [{ service: 'n w', publish: [publishSpec('1:1')] }, /^invalid: the service name "n w" may hold only/],
    [
      { service: 'db', networks: ['front'], publish: [publishSpec('1:1')] },
      /^invalid: service db is not on network front, only on back; add it to the service first$/,
    ],
    [
      { service: 'new', networks: ['front'], name: 'WWW', publish: [publishSpec('1:1')] },
      /^conflict: on network front the name WWW means service web, and would never lead to a task of new; choose another/,
    ],
  ];
  for (const [task, message] of table) t.match(await refusal(w.control.addTask(task)), message, String(message));
  t.equal(await w.revision(), before);
  t.same([...w.catalog.snapshot.tasks.keys()], []);
});

t.test('a name that means another service', async (t) => {
  const w = await world(t);
  await w.control.createService(serviceSpec('web', { networks: ['front=www'] }));
  await w.control.createService(serviceSpec('app', { networks: ['front', 'back'] }));
  const hidden = /^conflict: on network front the name \w+ means service web, and would never lead to a task of app/;
  t.match(await refusal(w.control.addTask({ service: 'app', name: 'web' })), hidden);
  t.match(await refusal(w.control.addTask({ service: 'app', aliases: ['one', 'www'] })), hidden);
  const elsewhere = await w.control.addTask({ service: 'app', name: 'web', networks: ['back'] });
  t.equal(elsewhere.name, 'web', 'where that service is not, the name is free');
  t.equal((await w.control.addTask({ service: 'web', name: 'www' })).name, 'www', 'its own service may share it');
  t.equal(
    (await w.control.addTask({ service: 'app', hostname: 'web' })).hostname,
    'web',
    'a host name is its own affair',
  );
});
