// Containers that something else made: what is ours in them, what is in the way, and what the driver does to them.
import t from 'tap';
import { gatewayOf } from '../../src/model/network.ts';
import type { TaskId } from '../../src/model/task.ts';
import type { Link, MacAddress, Observed, RoutedSubnet } from '../../src/netlink/kernel.ts';
import { OverlayDriver } from '../../src/overlay/driver.ts';
import { guestProblem, planGuest } from '../../src/overlay/guest.ts';
import { macOf } from '../../src/overlay/names.ts';
import { type ContainerSpec, planContainer, planNetwork } from '../../src/overlay/plan.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, NODE, network, snapshot, subnet } from '../support/builders.ts';
import { FakeKernel } from '../support/fake-kernel.ts';
import { planText } from '../support/overlay-text.ts';

const front = network('front', 'overlay', ['10.64.0.0/24']);
const inner = network('inner', 'overlay', ['10.65.0.0/24', 'fd00:65::/64'], { internal: true });
const PATH = '/run/netns/blue';
const spec: ContainerSpec = {
  taskId: 'aaaaaaaa1' as TaskId,
  attachments: [
    { network: front, addresses: [ip('10.64.0.2')] },
    { network: inner, addresses: [ip('10.65.0.2'), ip('fd00:65::2')] },
  ],
  netns: PATH,
};
const innerOnly: ContainerSpec = { ...spec, attachments: spec.attachments.slice(1) };

/** `eth0`, `vm0 10.64.0.2` (a veth with the MAC of that address, and the address), `vm0! 10.64.0.2` (of another kind). */
function observed(...lines: readonly string[]): Observed {
  const parts = lines.map((line) => line.split(' '));
  const links = parts.map(([name = '', address]): Link => {
    const mac = address === undefined ? ('02:00:00:00:00:01' as MacAddress) : macOf(ip(address));
    const kind = name.endsWith('!') ? 'other' : 'veth';
    return {
      name: name.replace('!', ''),
      kind,
      mac,
      up: true,
      ready: true,
      mtu: 1500,
      master: undefined,
      port: undefined,
      tunnel: undefined,
    };
  });
  const addresses = parts.flatMap(([link = '', address]) =>
    address === undefined ? [] : [{ link, address: ip(address), prefixLength: 24, deprecated: false }],
  );
  return { links, addresses, routes: [], neighbours: [], forwarding: [] };
}

/** `0.0.0.0/0 eth0` */
function routes(...lines: readonly string[]): readonly RoutedSubnet[] {
  return lines.map((line) => {
    const [destination = '', link = ''] = line.split(' ');
    return { destination: subnet(destination), link };
  });
}

t.test('names of links, and whether it is led outside', async (t) => {
  const table: readonly (readonly [string, ContainerSpec, readonly string[], readonly string[], string])[] = [
    ['bare', spec, ['lo!'], [], 'vm0 vm1 egress'],
    ['with its own eth0', spec, ['lo!', 'eth0'], ['192.0.2.0/24 eth0'], 'vm0 vm1 egress'],
    ['with a default route', spec, ['eth0'], ['0.0.0.0/0 eth0'], 'vm0 vm1'],
    ['with a default route of IPv6 alone', spec, ['eth0'], ['::/0 eth0'], 'vm0 vm1 egress'],
    ['internal networks only', innerOnly, ['lo!'], [], 'vm0'],
    ['numbers that are taken', spec, ['vm0', 'vm2', 'vm7'], [], 'vm1 vm3 egress'],
    ['made before', spec, ['vm3 10.64.0.2', 'vm0'], [], 'vm3 vm1 egress'],
    ['made before, all of it', spec, ['vm1 10.64.0.2', 'vm0 10.65.0.2'], [], 'vm1 vm0 egress'],
    ['the same MAC, but not our name', spec, ['eth0 10.64.0.2'], [], 'vm0 vm1 egress'],
    ['the same MAC and name, but no pair', spec, ['vm0! 10.64.0.2'], [], 'vm1 vm2 egress'],
    ['led outside by us before', spec, ['egress 100.127.0.2'], ['0.0.0.0/0 egress'], 'vm0 vm1 egress'],
    ['a default route came later', spec, ['egress 100.127.0.2'], ['0.0.0.0/0 eth0'], 'vm0 vm1 egress'],
    ['a link called egress, and a default route', spec, ['egress'], ['0.0.0.0/0 egress'], 'vm0 vm1'],
  ];
  for (const [what, container, links, routed, expected] of table) {
    const guest = planGuest(container, 'ns', observed(...links), routes(...routed));
    t.equal([...guest.links, ...(guest.egress ? ['egress'] : [])].join(' '), expected, what);
  }
});

t.test('what is in the way', async (t) => {
  const table: readonly (readonly [string, readonly string[], readonly string[], RegExp | undefined])[] = [
    ['nothing', ['eth0'], ['192.0.2.0/24 eth0', '0.0.0.0/0 eth0'], undefined],
    ['our own route', ['vm0 10.64.0.2'], ['10.64.0.0/24 vm0'], undefined],
    [
      'a part of the subnet',
      ['eth0'],
      ['10.64.0.128/25 eth0'],
      /^routes .*10\.64\.0\.0\/24, the subnet of network front, over its eth0/,
    ],
    ['all of it', ['eth1'], ['10.0.0.0/8 eth1'], /over its eth1/],
    ['IPv6', ['eth0'], ['fd00::/8 eth0'], /fd00:65::\/64, the subnet of network inner/],
    ['a link called egress', ['egress'], [], /has a link egress of its own and no default route/],
    ['the same with a default route', ['egress'], ['0.0.0.0/0 egress'], undefined],
  ];
  for (const [what, links, routed, expected] of table) {
    const [seen, ways] = [observed(...links), routes(...routed)];
    const problem = guestProblem(spec, planGuest(spec, 'ns', seen, ways), seen, ways);
    if (expected === undefined) t.equal(problem, undefined, what);
    else t.match(problem, expected, what);
  }
});

t.test('the plans name its namespace and links, and leave its settings alone', async (t) => {
  const fitted = { ...spec, guest: { namespace: '/proc/self/fd/9', links: ['vm1', 'vm2'], egress: false } };
  t.strictSame(planText(planContainer(fitted, undefined)), [
    'link lo',
    'link vm1 mac 02:42:0a:40:00:02',
    'link vm2 mac 02:42:0a:41:00:02',
    'address 10.64.0.2/24 on vm1',
    'address 10.65.0.2/24 on vm2',
    'address fd00:65::2/64 on vm2',
    'sysctl ipv6/conf/vm1/accept_ra = 0',
    'sysctl ipv6/conf/vm1/disable_ipv6 = 1',
    'sysctl ipv6/conf/vm2/addr_gen_mode = 0',
    'sysctl ipv6/conf/vm2/accept_ra = 0',
    'sysctl ipv6/conf/vm2/disable_ipv6 = 0',
  ]);
  t.match(
    planText(planNetwork('ab12cd', { network: front, own: front.subnets.map(gatewayOf), vips: [] }, [fitted])).find(
      (line) => line.includes('t-aaaaaaaa'),
    ),
    'link t-aaaaaaaa veth to vm1 02:42:0a:40:00:02 in /proc/self/fd/9, port of br0',
  );
});

/** A kernel with a container of somebody else in it. */
async function world() {
  const kernel = new FakeKernel();
  const home = await kernel.ensureNamespace(PATH);
  await kernel.own.apply({
    kind: 'add-veth',
    name: 'theirs',
    peer: { namespace: PATH, name: 'eth0', mac: macOf(ip('192.0.2.7')) },
  });
  const driver = () => new OverlayDriver({ instance: 'ab12cd', node: { id: NODE }, kernel, log: SILENT_LOG });
  return { kernel, home, driver, links: () => [...home.links.keys()].join(' ') };
}

t.test('attached, again, and detached: the namespace and what was in it stay', async (t) => {
  const { kernel, home, driver: make, links } = await world();
  const driver = make();
  const first = await driver.attachContainer(spec);
  t.match(first, { netnsPath: PATH, interfaces: [{ name: 'vm0' }, { name: 'vm1' }], egressGateway: '100.127.0.1' });
  t.equal(links(), 'lo eth0 vm0 vm1 egress');
  const done = kernel.history.length;
  t.strictSame(await driver.attachContainer(spec), first);
  t.equal(kernel.history.length, done, 'nothing is done twice');
  t.equal(await driver.repair(), 0);
  await driver.detachContainer(spec.taskId);
  t.equal(links(), 'lo eth0');
  t.equal(home.sysctl('ipv4/ip_forward'), '1', 'its settings are its own');
  t.notMatch(kernel.history.join('\n'), `${PATH}: remove-far-ends`);
  t.ok(kernel.namespaces.has(PATH));
});

t.test('a namespace that is somebody else is refused', async (t) => {
  const { kernel, driver: make, links } = await world();
  const driver = make();
  const run: ContainerSpec = { taskId: 'bbbbbbbb2' as TaskId, attachments: innerOnly.attachments };
  await driver.attachContainer({ ...run, attachments: [{ network: inner, addresses: [ip('10.65.0.9')] }] });
  const at = (netns: string, taskId = spec.taskId) => driver.attachContainer({ ...innerOnly, taskId, netns });
  kernel.namespaces.set('/proc/1/ns/net', kernel.own);
  for (const [name, namespace] of [...kernel.namespaces]) kernel.namespaces.set(`/run/netns/${name}`, namespace);
  await t.rejects(at('/no/such'), { code: 'container-not-found', message: /no network namespace at \/no\/such/ });
  await t.rejects(at('/proc/1/ns/net'), { code: 'namespace-taken', message: /the node's own/ });
  await t.rejects(at('/run/netns/vipmesh-ab12cd-net-inne'), { code: 'namespace-taken', message: /of network inner/ });
  await t.rejects(at('/run/netns/vipmesh-ab12cd-t-bbbbbbbb'), { code: 'namespace-taken', message: /vipmesh run runs/ });
  await at(PATH);
  await t.rejects(at(PATH, 'cccccccc3' as TaskId), { code: 'namespace-taken', message: /already, as task aaaaaaaa1/ });
  t.equal(links(), 'lo eth0 vm0', 'and what is attached stays');
});

t.test('an attachment that fails leaves nothing of it', async (t) => {
  const { kernel, driver: make, links } = await world();
  kernel.refuses = ({ kind }, { path }) => kind === 'add-address' && path === PATH;
  await t.rejects(make().attachContainer(spec), { code: 'refused' });
  t.equal(links(), 'lo eth0');
  t.notOk([...kernel.own.links.keys()].some((name) => name.startsWith('vmab12cd-')));
});

t.test('after a restart: only a container with links of ours is adopted', async (t) => {
  const { kernel, home, driver: make, links } = await world();
  const first = make();
  await first.attachContainer(spec);
  await first.close();
  const other: ContainerSpec = { ...spec, taskId: 'dddddddd4' as TaskId, netns: '/run/netns/gone' };
  const fresh: ContainerSpec = {
    taskId: 'eeeeeeee5' as TaskId,
    attachments: [{ network: front, addresses: [ip('10.64.0.9')] }],
    netns: '/run/netns/fresh',
  };
  await kernel.ensureNamespace('/run/netns/fresh');
  const second = make();
  const { containers } = await second.adopt(snapshot({ networks: [front, inner] }), [spec, other, fresh]);
  t.strictSame(
    containers.map(({ taskId }) => taskId),
    [spec.taskId],
  );
  t.equal(links(), 'lo eth0 vm0 vm1 egress');
  t.equal(await second.repair(), 0);
  await second.close();
  const third = make();
  t.match(await third.adopt(snapshot({ networks: [front, inner] }), []), { containers: [] });
  t.equal(links(), 'lo eth0', 'what nobody wants any more is removed, from outside');
  t.ok(home.links.has('eth0'));
});
