import t from 'tap';
import { planService, type ServicePlan } from '../../src/balancer/frontends.ts';
import { NODE, network, published, service, snapshot, task } from '../support/builders.ts';

/** A plan as a reader would write it down. */
function show(plan: ServicePlan): readonly string[] {
  return [
    ...plan.frontends.map((one) => `${one.kind} ${one.key} to ${one.targetPort} of ${one.backend}`),
    ...plan.overlayVips.map((one) => `vip ${one.address} of ${one.backend}`),
    ...plan.backends.map(
      (one) =>
        `${one.key}: ${one.endpoints.map((e) => `${e.address}${e.standing === 'eligible' ? '' : ' (not eligible)'} by ${e.reach}`).join(', ')}`,
    ),
  ];
}

const local = network('front');
const overlay = network('back', 'overlay', ['10.64.0.0/24']);

t.test('a service on a local network listens on its VIP and on its published port', async (t) => {
  const web = service('web', { on: [{ network: local, vip: '127.64.0.2' }], ports: [published(8080, 80)] });
  const tasks = [task(web, 1, { front: '127.64.0.3' }), task(web, 2, { front: '127.64.0.4' }, { health: 'unhealthy' })];
  t.same(show(planService(snapshot({ networks: [local], services: [web], tasks }), web, NODE)), [
    'published tcp/*/8080 to 80 of svc-web/ingress',
    'vip tcp/127.64.0.2/80 to 80 of svc-web/net-front',
    'svc-web/ingress: 127.64.0.3 by node, 127.64.0.4 (not eligible) by node',
    'svc-web/net-front: 127.64.0.3 by node, 127.64.0.4 (not eligible) by node',
  ]);
});

t.test('a VIP of an overlay has no ports of its own, and its containers are reached from inside', async (t) => {
  const db = service('db', { on: [{ network: overlay, vip: '10.64.0.2' }] });
  const tasks = [task(db, 1, { back: '10.64.0.3' }), task(db, 2, { back: '127.0.0.1' }, { source: 'static' })];
  t.same(show(planService(snapshot({ networks: [overlay], services: [db], tasks }), db, NODE)), [
    'vip 10.64.0.2 of svc-db/net-back',
    'svc-db/net-back: 10.64.0.3 by network, 127.0.0.1 by node',
  ]);
});

t.test('a published port uses the first network on which a task is', async (t) => {
  const web = service('web', {
    on: [
      { network: local, vip: '127.64.0.2' },
      { network: overlay, vip: '10.64.0.2' },
    ],
    ports: [published(8080, 80)],
    endpointMode: 'vip',
  });
  const tasks = [task(web, 1, { front: '127.64.0.3', back: '10.64.0.3' }), task(web, 2, { back: '10.64.0.4' })];
  const plan = planService(snapshot({ networks: [local, overlay], services: [web], tasks }), web, NODE);
  t.match(show(plan), [
    'published tcp/*/8080 to 80 of svc-web/ingress',
    /vip tcp/,
    /vip 10/,
    'svc-web/ingress: 127.64.0.3 by node, 10.64.0.4 by network',
  ]);
});

t.test('host mode listens only where a task is, and only for that task', async (t) => {
  const web = service('web', {
    on: [{ network: local }],
    ports: [published(8080, 80, { mode: 'host', hostAddress: '127.0.0.1' })],
    endpointMode: 'dnsrr',
  });
  const elsewhere = task(web, 1, { front: '127.64.0.3' }, { nodeId: 'node2' as never });
  t.same(show(planService(snapshot({ networks: [local], services: [web], tasks: [elsewhere] }), web, NODE)), []);
  const tasks = [elsewhere, task(web, 2, { front: '127.64.0.4' })];
  t.same(show(planService(snapshot({ networks: [local], services: [web], tasks }), web, NODE)), [
    'published tcp/127.0.0.1/8080 to 80 of svc-web/host',
    'svc-web/host: 127.64.0.4 by node',
  ]);
});

t.test('without declared ports, that of the first endpoint stands in', async (t) => {
  const db = service('db', { on: [{ network: local, vip: '127.64.0.2' }] });
  const tasks = [task(db, 1, { front: '127.0.0.1' }, { source: 'static', ownPort: 5432 })];
  t.match(show(planService(snapshot({ networks: [local], services: [db], tasks }), db, NODE)), [
    'vip tcp/127.64.0.2/5432 to 5432 of svc-db/net-front',
  ]);
});
