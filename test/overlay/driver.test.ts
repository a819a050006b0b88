// The driver against a kernel that is not one.
import t from 'tap';
import type { TaskId } from '../../src/model/task.ts';
import { applyChanges, EMPTY_SNAPSHOT } from '../../src/catalog/snapshot.ts';
import { OverlayDriver, type OverlayOptions } from '../../src/overlay/driver.ts';
import type { ContainerSpec } from '../../src/overlay/plan.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, NODE, network, service, snapshot, subnet } from '../support/builders.ts';
import { FakeKernel } from '../support/fake-kernel.ts';

const front = network('front', 'overlay', ['10.64.0.0/24']);
const inner = network('inner', 'overlay', ['10.65.0.0/24'], { internal: true });

function container(number: number, on = front): ContainerSpec {
  const prefix = on.subnets[0]?.slice(0, -4) ?? '';
  return {
    taskId: `task${number}`.padEnd(25, 'x') as TaskId,
    attachments: [{ network: on, addresses: [ip(`${prefix}${number}`)] }],
  };
}

function make(
  kernel = new FakeKernel(),
  more: Partial<OverlayOptions> = {},
): { kernel: FakeKernel; driver: OverlayDriver } {
  return {
    kernel,
    driver: new OverlayDriver({ instance: 'ab12cd', node: { id: NODE }, kernel, log: SILENT_LOG, ...more }),
  };
}

t.test('attaching twice changes nothing the second time', async (t) => {
  const { kernel, driver } = make();
  const first = await driver.attachContainer(container(2));
  const done = kernel.history.length;
  t.strictSame(await driver.attachContainer(container(2)), first);
  t.equal(kernel.history.length, done);
});

t.test('a container more is attached, and taken away, without a look at the others', async (t) => {
  const { kernel, driver } = make();
  await driver.attachContainer(container(2));
  const shared = [kernel.namespaces.get('vipmesh-ab12cd-net-fron'), kernel.own];
  const asked: string[] = [];
  for (const namespace of shared) {
    if (namespace === undefined) return t.fail('there is no network');
    const [observe, observeLinks] = [namespace.observe.bind(namespace), namespace.observeLinks.bind(namespace)];
    namespace.observe = () => {
      asked.push(`all of ${namespace.name}`);
      return observe();
    };
    namespace.observeLinks = async (names) => {
      if (names === undefined) asked.push(`all links of ${namespace.name}`);
      return names === undefined
        ? observeLinks()
        : [...namespace.links.values()].filter(({ name }) => names.includes(name));
    };
  }
  await driver.attachContainer(container(3));
  await driver.detachContainer(container(2).taskId);
  t.strictSame(asked, []);
  t.equal(await driver.repair(), 0, 'and yet all is as planned');
});

t.test("whoever has a former container's address by now keeps it", async (t) => {
  const { kernel, driver } = make();
  const [former, successor] = [container(2), { ...container(2), taskId: container(7).taskId }];
  await driver.attachContainer(former);
  await driver.attachContainer(successor);
  await driver.detachContainer(former.taskId);
  const { neighbours, forwarding } = (await kernel.namespaces.get('vipmesh-ab12cd-net-fron')?.observe()) ?? {};
  t.match(neighbours, [{ address: '10.64.0.2', link: 'br0' }]);
  t.match(forwarding, [{ kind: 'port', link: 't-task7xxx' }]);
  t.equal(await driver.repair(), 0);
});

t.test('calls made at once are carried out one after another', async (t) => {
  const { kernel, driver } = make();
  await Promise.all([2, 3, 4].map((number) => driver.attachContainer(container(number))));
  t.equal(await driver.repair(), 0);
  t.equal([...kernel.own.links.values()].filter(({ master }) => master === 'vmeg-ab12cd').length, 3);
  await Promise.all([2, 3, 4].map((number) => driver.detachContainer(container(number).taskId)));
  t.strictSame(kernel.listNamespaces(''), ['vipmesh-ab12cd-net-fron']);
});

t.test('an attachment that fails leaves nothing, and can be tried again', async (t) => {
  const { kernel, driver } = make();
  kernel.refuses = (operation) => operation.kind === 'add-route';
  await t.rejects(driver.attachContainer(container(2)), { name: 'KernelError', code: 'refused' });
  t.strictSame(kernel.listNamespaces('vipmesh-ab12cd-t-'), []);
  t.notOk([...kernel.own.links.keys()].some((name) => name.startsWith('vmab12cd-')));
  kernel.refuses = () => false;
  t.match(await driver.attachContainer(container(2)), { egressGateway: '100.127.0.1' });
});

t.test('the egress table goes although something else has removed its bridge', async (t) => {
  const { kernel, driver } = make();
  await driver.attachContainer(container(2));
  t.ok(kernel.own.rulesets.has('vipmesh_ab12cd'));
  kernel.own.removeLink('vmeg-ab12cd');
  await driver.removeAll();
  t.same([...kernel.own.rulesets.keys()], []);
});

t.test('half a link is replaced by a whole one', async (t) => {
  const { kernel, driver } = make();
  const spec = container(2);
  await driver.attachContainer(spec);
  await driver.close();
  // What cannot happen by itself, but by a hand that moved or renamed an end.
  const home = kernel.namespaces.get('vipmesh-ab12cd-t-task2xxx');
  const port = kernel.namespaces.get('vipmesh-ab12cd-net-fron')?.links;
  port?.delete('t-task2xxx');
  kernel.own.links.delete('vmab12cd-2');
  const next = make(kernel);
  const { containers } = await next.driver.adopt(snapshot({ networks: [front] }), [spec]);
  t.equal(containers.length, 1);
  t.same(await next.driver.verify(), [], 'and none of it is given up');
  t.ok(home?.links.has('eth0') && home.links.has('egress'));
  t.equal(await next.driver.repair(), 0);
});

t.test('one container that cannot be taken over does not keep the agent from starting', async (t) => {
  const { kernel, driver } = make();
  const specs = [2, 3, 4].map((number) => container(number));
  for (const spec of specs) await driver.attachContainer(spec);
  await driver.close();
  for (const link of ['eth0', 'egress']) kernel.namespaces.get('vipmesh-ab12cd-t-task3xxx')?.removeLink(link);
  kernel.refuses = (operation) => operation.kind === 'add-veth';
  const next = make(kernel);
  const { containers } = await next.driver.adopt(snapshot({ networks: [front] }), specs);
  t.equal(containers.length, 3, 'all are there');
  t.strictSame(
    (await next.driver.verify()).map((taskId) => taskId.slice(0, 5)),
    ['task3'],
  );
  const left = ['vipmesh-ab12cd-t-task2xxx', 'vipmesh-ab12cd-t-task4xxx'];
  t.strictSame(kernel.listNamespaces('vipmesh-ab12cd-t-'), left);
});

t.test('after a restart containers are served before their links are looked at, which nothing overtakes', async (t) => {
  const { kernel, driver } = make();
  const specs = Array.from({ length: 20 }, (_, i) => container(i + 2));
  for (const spec of specs) await driver.attachContainer(spec);
  await driver.close();
  const homes = specs.map(({ taskId }) => kernel.namespaces.get(`vipmesh-ab12cd-t-${taskId.slice(0, 8)}`));
  const isWhole = () => homes.map((home) => home?.addresses.some(({ link }) => link === 'eth0') ?? false);
  const damage = () => {
    for (const home of homes)
      if (home !== undefined) home.addresses = home.addresses.filter(({ link }) => link === 'lo');
  };
  const everywhere = homes.map(() => true);

  damage();
  const first = make(kernel);
  const { containers } = await first.driver.adopt(snapshot({ networks: [front] }), specs);
  t.same(
    containers.map(({ netnsPath }) => netnsPath),
    specs.map(({ taskId }) => `/run/netns/vipmesh-ab12cd-t-${taskId.slice(0, 8)}`),
  );
  t.notOk(isWhole().includes(true), 'they are as they were left');
  const verified = first.driver.verify();
  // A commit does not wait for all of them.
  await first.driver.applySnapshot(snapshot({ networks: [front] }));
  t.ok(isWhole().includes(false));
  t.same(await verified, []);
  t.same(isWhole(), everywhere);
  t.equal(await first.driver.repair(), 0);
  t.same(await first.driver.verify(), [], 'there is nothing more to do');
  await first.driver.close();

  for (const [what, overtake] of [
    ['attach', (one: OverlayDriver) => one.attachContainer(container(40))],
    ['repair', (one: OverlayDriver) => one.repair()],
    ['detach', (one: OverlayDriver) => one.detachContainer(container(40).taskId)],
  ] as const) {
    damage();
    const next = make(kernel);
    const known = what === 'detach' ? [...specs, container(40)] : specs;
    await next.driver.adopt(snapshot({ networks: [front] }), known);
    await overtake(next.driver);
    t.same(isWhole(), everywhere, what);
    const ports = [...kernel.own.links.values()].filter(({ master }) => master === 'vmeg-ab12cd');
    t.equal(ports.length, what === 'attach' ? 21 : 20, 'and nobody has lost its way outside');
    await next.driver.close();
  }
});

t.test('only what has this instance in its name is taken for its own', async (t) => {
  const { kernel, driver } = make();
  for (const name of ['vipmesh-ab12cd-t-gonegone', 'vipmesh-other1-t-theirs', 'mine'])
    await kernel.ensureNamespace(name);
  t.match(await driver.adopt(EMPTY_SNAPSHOT, []), { containers: [], removed: ['vipmesh-ab12cd-t-gonegone'] });
  t.strictSame(kernel.listNamespaces(''), ['mine', 'vipmesh-other1-t-theirs']);
});

t.test('a network in use is not removed', async (t) => {
  const { driver } = make();
  const spec = container(2);
  await driver.attachContainer(spec);
  await t.rejects(driver.removeNetwork(front.id), { code: 'in-use', message: /front still has containers/ });
  await driver.detachContainer(spec.taskId);
  await driver.removeNetwork(front.id);
  await driver.removeNetwork(front.id);
});

t.test('internal networks alone need nothing in the node', async (t) => {
  const { kernel, driver } = make();
  const { egressGateway } = await driver.attachContainer(container(2, inner));
  t.equal(egressGateway, undefined);
  t.strictSame([...kernel.own.links.keys()], ['lo']);
  t.equal(kernel.own.sysctl('ipv4/ip_forward'), '1', 'and it is not touched');
});

t.test('egress: an address stays with its container over a restart, and clashes are told', async (t) => {
  const { kernel, driver } = make();
  const specs = [2, 3, 4].map((number) => container(number));
  for (const spec of specs) await driver.attachContainer(spec);
  await driver.detachContainer(specs[0]?.taskId ?? ('' as TaskId));
  await driver.close();
  const next = make(kernel);
  await next.driver.adopt(snapshot({ networks: [front] }), specs.slice(1));
  await next.driver.attachContainer(container(9));
  const addresses = [3, 4, 9].map((number) => {
    const home = kernel.namespaces.get(`vipmesh-ab12cd-t-task${number}xxx`);
    return home?.addresses.find(({ link }) => link === 'egress')?.address;
  });
  t.strictSame(addresses, ['100.127.0.3', '100.127.0.4', '100.127.0.5']);

  const other = make(new FakeKernel(), { egressSubnet: subnet('10.9.0.0/24') });
  other.kernel.own.routedElsewhere = [{ destination: subnet('10.9.0.0/16'), link: 'eth1' }];
  await t.rejects(other.driver.attachContainer(container(2)), { code: 'egress-clash', message: /over eth1/ });
  t.throws(() => make(new FakeKernel(), { egressSubnet: subnet('fd00::/64') }), { code: 'bad-setting' });
  t.throws(() => make(new FakeKernel(), { instance: 'X' }), { code: 'bad-setting' });
});

t.test('egress: one that was half made when the agent died takes no address of one that runs', async (t) => {
  const { kernel, driver } = make();
  const [runs, broken] = [container(2), container(3)];
  for (const spec of [runs, broken]) await driver.attachContainer(spec);
  const homeOf = (number: number) => kernel.namespaces.get(`vipmesh-ab12cd-t-task${number}xxx`);
  const addressOf = (number: number) => homeOf(number)?.addresses.find(({ link }) => link === 'egress')?.address;
  const port = [...kernel.own.links.values()].find(({ name }) => name.endsWith('-3'))?.name ?? '';
  kernel.own.removeLink(port);
  homeOf(3)?.removeLink('egress');
  await driver.close();
  const next = make(kernel);
  await next.driver.adopt(snapshot({ networks: [front] }), [broken, runs]);
  await next.driver.verify();
  t.equal(addressOf(2), '100.127.0.2');
  t.equal(addressOf(3), '100.127.0.3');
});

t.test('egress: a subnet that is full says so', async (t) => {
  const { driver } = make(new FakeKernel(), { egressSubnet: subnet('10.9.0.0/29') });
  for (const number of [2, 3, 4, 5, 6]) await driver.attachContainer(container(number));
  await t.rejects(driver.attachContainer(container(7)), {
    code: 'egress-full',
    message: /all 5 addresses .*10\.9\.0\.0\/29/,
  });
});

t.test('a snapshot: networks come, VIPs change, networks go', async (t) => {
  const { kernel, driver } = make();
  const web = service('web', { on: [{ network: front, vip: '10.64.0.9' }] });
  const one = applyChanges(EMPTY_SNAPSHOT, 1, [
    { kind: 'network', after: front },
    { kind: 'network', after: inner },
    { kind: 'service', after: web },
  ]);
  const { places } = await driver.applySnapshot(one);
  t.equal(places.get(front.id)?.netnsPath, '/run/netns/vipmesh-ab12cd-net-fron');
  const routes = () => kernel.namespaces.get('vipmesh-ab12cd-net-fron')?.routes.map(({ destination }) => destination);
  t.strictSame(routes(), ['10.64.0.9']);
  const two = applyChanges(one, 2, [
    { kind: 'service', before: web },
    { kind: 'network', before: inner },
  ]);
  const then = await driver.applySnapshot(two);
  t.strictSame([...then.places.keys()], [front.id]);
  t.strictSame(then.idle, [inner.id]);
  t.strictSame(routes(), []);
  await driver.removeNetwork(inner.id);
  t.strictSame(kernel.listNamespaces(''), ['vipmesh-ab12cd-net-fron']);
});

t.test(
  'a network that cannot be made keeps no other from being made, is told, and tried again until it is',
  async (t) => {
    const { kernel, driver } = make();
    const both = snapshot({ networks: [front, inner] });
    kernel.refuses = (operation, { name }) => operation.kind === 'add-bridge' && name.endsWith('-net-fron');
    const { places } = await driver.applySnapshot(both);
    t.strictSame([...places.keys()], [front.id, inner.id], 'where its sockets can be made at least');
    t.match([...driver.problems], [[front.id, { code: 'refused', object: 'br0' }]]);
    // The driver's own timers keep no process alive.
    const alive = setInterval(() => {}, 1_000_000);
    t.teardown(() => clearInterval(alive));
    const made = new Promise<void>((resolve) => {
      kernel.refuses = (operation) => {
        if (operation.kind === 'add-address') resolve();
        return false;
      };
    });
    await made;
    t.equal(await driver.repair(), 0);
    t.equal(driver.problems.size, 0);
  },
);

t.test('a notice leads to repair', async (t) => {
  const kernel = new FakeKernel();
  const told = new Promise<unknown>((resolve) => {
    const log = { ...SILENT_LOG, warn: (_message: string, fields?: unknown) => resolve(fields) };
    const { driver } = make(kernel, { log });
    void driver.ensureNetwork(front).then(() => {
      const namespace = kernel.namespaces.get('vipmesh-ab12cd-net-fron');
      namespace?.removeLink('br0');
      for (const notice of namespace?.watchers ?? []) notice({ kind: 'any' });
    });
  });
  // The driver's own timer keeps no process alive.
  const alive = setInterval(() => {}, 1_000_000);
  t.teardown(() => clearInterval(alive));
  t.match(await told, {
    network: 'front',
    operations: ['add-bridge', ...Array(3).fill('set-sysctl'), 'set-link', 'add-address'],
  });
});

t.test('after removeAll nothing is left, and nothing can be asked', async (t) => {
  const { kernel, driver } = make();
  await driver.attachContainer(container(2));
  await kernel.ensureNamespace('vipmesh-ab12cd-t-leftover');
  await driver.removeAll();
  t.strictSame(kernel.listNamespaces(''), []);
  t.strictSame([...kernel.own.links.keys()], ['lo']);
  t.equal(kernel.own.rulesets.size, 0);
  await t.rejects(driver.ensureNetwork(front), { code: 'closed' });
});
