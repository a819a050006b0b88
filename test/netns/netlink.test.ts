// The kernel port on the real kernel, in a network namespace of this process.
import { inOwnNetns } from '../support/own-netns.ts';
import { spawnSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { MacAddress } from '../../src/netlink/kernel.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { deleteFdbRequest, dumpRequest, readFdbEntry, setFdbRequest } from '../../src/netlink/rtnetlink.ts';
import { getLinkRequest, readLink } from '../../src/netlink/rtnetlink-link.ts';
import { NetlinkSocket } from '../../src/netlink/socket.ts';
import { egressRuleset } from '../../src/overlay/egress.ts';
import { guardRuleset } from '../../src/overlay/guard.ts';
import { ip, subnet } from '../support/builders.ts';
import { needsPrograms, needsRoot } from '../support/requirements.ts';

const why = 'it makes network namespaces and links';
const MAC = '02:42:0a:40:00:02' as MacAddress;
const NAME = `vipmesh-test-${process.pid}`;

t.test('everything that can be applied is observed, and can be taken back', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const kernel = new LinuxKernel();
  const there = await kernel.ensureNamespace(NAME);
  t.teardown(() => {
    kernel.close();
    kernel.deleteNamespace(NAME);
  });
  t.strictSame(kernel.listNamespaces(NAME), [NAME]);
  const address = { address: ip('10.64.0.1'), prefixLength: 24, deprecated: false };
  const vip = { address: ip('fd00::9'), prefixLength: 128, deprecated: true };
  const route = { kind: 'unicast', destination: ip('10.9.0.0'), prefixLength: 16, via: ip('10.64.0.7') } as const;
  const neighbour = { address: ip('10.64.0.2'), mac: MAC };
  await there.apply({ kind: 'add-bridge', name: 'br0' });
  await there.apply({ kind: 'add-veth', name: 'port', peer: { namespace: '', name: 'far', mac: MAC } });
  await there.apply({ kind: 'set-link', name: 'port', up: true, master: 'br0', port: { isolated: true }, mtu: 1400 });
  await there.apply({ kind: 'set-link', name: 'br0', up: true, mac: '02:42:0a:40:00:01' as MacAddress });
  for (const one of [address, vip]) await there.apply({ kind: 'add-address', link: 'br0', address: one });
  await there.apply({ kind: 'add-route', link: 'br0', route });
  await there.apply({ kind: 'set-neighbour', link: 'br0', neighbour });
  t.match(await there.observe(), {
    links: [
      { name: 'lo', up: true },
      { name: 'br0', kind: 'bridge', up: true, mac: '02:42:0a:40:00:01' },
      { name: 'port', kind: 'veth', up: true, master: 'br0', port: { isolated: true, learning: true }, mtu: 1400 },
    ],
    routes: [{ ...route, link: 'br0' }],
    neighbours: [{ ...neighbour, link: 'br0' }],
  });
  const onBridge = (await there.observe()).addresses.filter(({ link }) => link === 'br0');
  t.match(onBridge, [
    { ...address, link: 'br0' },
    { ...vip, link: 'br0' },
  ]);
  t.match((await kernel.own.observe()).links.at(-1), { name: 'far', kind: 'veth', mac: MAC, up: false });
  t.match(await there.routed(), [
    { destination: '10.9.0.0/16', link: 'br0' },
    { destination: '10.64.0.0/24', link: 'br0' },
  ]);

  for (let again = 0; again < 2; again++) {
    await there.apply({ kind: 'remove-neighbour', link: 'br0', neighbour });
    await there.apply({ kind: 'remove-route', link: 'br0', route });
    for (const one of [address, vip]) await there.apply({ kind: 'remove-address', link: 'br0', address: one });
    if (again === 1) for (const name of ['port', 'br0']) await there.apply({ kind: 'remove-link', name });
  }
  for (const name of ['port', 'br0']) await there.apply({ kind: 'remove-link', name });
  t.match(await there.observe(), { links: [{ name: 'lo' }], routes: [], neighbours: [] });
  t.notOk(
    (await kernel.own.observe()).links.some(({ name }) => name === 'far'),
    'both ends are gone',
  );
});

t.test('links by their names, and the settings that come with them', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const kernel = new LinuxKernel();
  const there = await kernel.ensureNamespace(NAME);
  t.teardown(() => {
    kernel.close();
    kernel.deleteNamespace(NAME);
  });
  await there.apply({ kind: 'add-bridge', name: 'br0' });
  await there.apply({ kind: 'add-veth', name: 'port', peer: { namespace: '', name: 'far', mac: MAC } });
  await there.apply({ kind: 'set-link', name: 'port', up: true, master: 'br0' });
  for (const [acceptRa, disabled] of [
    ['0', '1'],
    ['2', '0'],
  ] as const) {
    const sysctls = { 'ipv6/conf/port/accept_ra': acceptRa, 'ipv6/conf/port/disable_ipv6': disabled };
    for (const [path, value] of Object.entries(sysctls)) await there.apply({ kind: 'set-sysctl', path, value });
    t.match(await there.observeLinks(['gone', 'port']), [{ name: 'port', master: 'br0', sysctls }]);
    t.strictSame((await there.observeLinks()).find(({ name }) => name === 'port')?.sysctls, sysctls);
    for (const path of Object.keys(sysctls)) t.equal(sysctls[path as keyof typeof sysctls], there.sysctl(path));
  }
  t.strictSame(await there.observeLinks(['gone']), []);
});

t.test('forwarding entries', async (t) => {
  if (!needsRoot(t, why)) return;
  const kernel = new LinuxKernel();
  const { own } = kernel;
  await own.apply({ kind: 'add-bridge', name: 'br9' });
  await own.apply({ kind: 'add-veth', name: 'a9', peer: { namespace: '', name: 'b9', mac: MAC } });
  await own.apply({ kind: 'set-link', name: 'a9', up: true, master: 'br9' });
  const socket = new NetlinkSocket(0, 'route');
  t.teardown(async () => {
    socket.close();
    for (const name of ['a9', 'br9']) await own.apply({ kind: 'remove-link', name });
    kernel.close();
  });
  const purpose = { operation: 'test', object: 'fdb' };
  const dump = async () =>
    (await socket.dump(dumpRequest('fdb'), purpose)).flatMap(({ body }) => readFdbEntry(body) ?? []);
  const [answer] = await socket.request(getLinkRequest('a9'), purpose);
  const port = answer === undefined ? 0 : (readLink(answer.body)?.index ?? 0);
  const mac = '02:42:0a:40:00:77' as MacAddress;
  await socket.request(setFdbRequest(port, { kind: 'port', mac }), purpose);
  const isThere = async () => (await dump()).some((entry) => entry.mac === mac && entry.linkIndex === port);
  t.ok(await isThere());
  await socket.request(deleteFdbRequest(port, { kind: 'port', mac }), purpose);
  t.notOk(await isThere());
});

t.test('a VXLAN device, its port and its entries', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const kernel = new LinuxKernel();
  const there = await kernel.ensureNamespace(`${NAME}-vxlan`);
  t.teardown(async () => {
    await there.apply({ kind: 'remove-link', name: 'vx0' });
    kernel.close();
    kernel.deleteNamespace(`${NAME}-vxlan`);
  });
  const tunnel = { vni: 4097, port: 4789, local: ip('127.0.0.1') };
  const port = {
    learning: false,
    unicastFlood: false,
    multicastFlood: false,
    broadcastFlood: false,
    suppressNeighbours: true,
  };
  await there.apply({ kind: 'add-bridge', name: 'br0' });
  await there.apply({ kind: 'add-vxlan', name: 'vx0', tunnel });
  await there.apply({ kind: 'set-link', name: 'vx0', up: true, master: 'br0', port });
  const entries = [
    { kind: 'port', mac: MAC },
    { kind: 'tunnel', mac: MAC, vtep: ip('127.0.0.2') },
  ] as const;
  for (const entry of entries) await there.apply({ kind: 'set-forwarding', link: 'vx0', entry });
  const observed = await there.observe();
  t.match(observed.links.at(-1), { name: 'vx0', kind: 'vxlan', tunnel, port: { ...port, isolated: false } });
  t.strictSame(
    observed.forwarding,
    entries.map((entry) => ({ ...entry, link: 'vx0' })),
    'what was set, and nothing of what the kernel has for itself',
  );
  t.notOk(
    (await kernel.own.observe()).links.some(({ name }) => name === 'vx0'),
    'it never was in the node',
  );
  await t.rejects(there.apply({ kind: 'add-vxlan', name: 'vx1', tunnel }), { code: 'exists' }, 'the socket is there');
  for (let again = 0; again < 2; again++)
    for (const entry of entries) await there.apply({ kind: 'remove-forwarding', link: 'vx0', entry });
  t.strictSame((await there.observe()).forwarding, []);
});

t.test('sets and counters of a ruleset', async (t) => {
  if (!needsRoot(t, why)) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const { own } = kernel;
  const name = 'vipmesh_sets';
  const ruleset = guardRuleset({
    port: 4789,
    version: 4,
    vnis: [4097],
    nodes: [ip('192.0.2.1'), ip('2001:db8::1')],
    frames: new Map(),
  });
  t.equal(await own.packetsCounted(name, 'strangers'), undefined, 'no table');
  await own.apply({ kind: 'set-ruleset', name, ruleset });
  t.equal(await own.packetsCounted(name, 'strangers'), 0);
  t.equal(await own.packetsCounted(name, 'others'), undefined, 'no such counter');
  const elements = Array.from({ length: 2500 }, (_, i) => [ip(`10.0.${i >> 8}.${i & 255}`)]);
  for (const some of [elements, [], elements.slice(0, 1)])
    await own.apply({ kind: 'set-elements', name, set: { name: 'nodes_ipv4', of: ['ipv4'], elements: some } });
  await t.rejects(own.apply({ kind: 'set-elements', name, set: { name: 'nodes', of: ['ipv4'], elements } }), {
    code: 'absent',
    message: /set nodes of nftables table inet vipmesh_sets/,
  });
  await own.apply({ kind: 'remove-ruleset', name });
});

t.test('refusals say what was attempted and why', async (t) => {
  if (!needsRoot(t, why)) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const { own } = kernel;
  await t.rejects(own.apply({ kind: 'set-link', name: 'nope', up: true }), {
    code: 'absent',
    errno: 'ENODEV',
    message:
      "cannot set link nope in the node's namespace: ENODEV, there is no such link; something else may have removed it",
  });
  await t.rejects(own.apply({ kind: 'add-bridge', name: 'lo' }), { code: 'exists', operation: 'add bridge' });
  const peer = { namespace: `${NAME}-missing`, name: 'eth0', mac: MAC };
  await t.rejects(own.apply({ kind: 'add-veth', name: 'v9', peer }), {
    code: 'absent',
    message: /no network namespace/,
  });
  await own.apply({ kind: 'remove-link', name: 'nope' });
  t.equal(own.sysctl('ipv4/no_such_setting'), undefined);
  await own.apply({ kind: 'set-sysctl', path: 'ipv4/no_such_setting', value: '1' });
});

t.test('a ruleset is replaced as a whole, and gone when removed', async (t) => {
  if (!needsRoot(t, why)) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const { own } = kernel;
  const ruleset = egressRuleset('ab12cd', subnet('100.127.0.0/20'));
  t.equal(await own.hasRuleset('vipmesh_test'), false);
  await own.apply({ kind: 'remove-ruleset', name: 'vipmesh_test' });
  for (let again = 0; again < 2; again++) await own.apply({ kind: 'set-ruleset', name: 'vipmesh_test', ruleset });
  t.equal(await own.hasRuleset('vipmesh_test'), true);
  const broken = {
    chains: [{ ...ruleset.chains[0], type: 'nat', hook: 'forward', priority: 0, name: 'x', rules: [] } as const],
  };
  await t.rejects(own.apply({ kind: 'set-ruleset', name: 'vipmesh_test', ruleset: broken }), { name: 'KernelError' });
  t.equal(await own.hasRuleset('vipmesh_test'), true, 'a refused batch changes nothing');
  await own.apply({ kind: 'remove-ruleset', name: 'vipmesh_test' });
  t.equal(await own.hasRuleset('vipmesh_test'), false);
});

t.test('changes are told, of links and of nftables', async (t) => {
  if (!needsRoot(t, why)) return;
  const kernel = new LinuxKernel();
  const told = new EventEmitter();
  const stop = kernel.own.watch(() => told.emit('change'));
  // Notices alone keep no process alive.
  const alive = setInterval(() => {}, 1_000_000);
  t.teardown(() => {
    clearInterval(alive);
    stop();
    kernel.close();
  });
  const link = once(told, 'change');
  await kernel.own.apply({ kind: 'add-bridge', name: 'br8' });
  await link;
  await kernel.own.apply({ kind: 'remove-link', name: 'br8' });
  const table = once(told, 'change');
  await kernel.own.apply({ kind: 'set-ruleset', name: 'vipmesh_told', ruleset: { chains: [] } });
  await table;
  t.pass('both');
  await kernel.own.apply({ kind: 'remove-ruleset', name: 'vipmesh_told' });
});

t.test('more changes at once than notices have room for', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns) || !needsPrograms(t, 'ip')) return;
  const kernel = new LinuxKernel();
  const told = new EventEmitter();
  const stop = kernel.own.watch((notice) => told.emit(notice.kind));
  const alive = setInterval(() => {}, 1_000_000);
  t.teardown(() => {
    clearInterval(alive);
    stop();
    kernel.close();
  });
  const any = once(told, 'any');
  // This process waits, so that nobody reads the notices meanwhile.
  for (const what of ['add', 'del']) {
    const input = Array.from({ length: 3000 }, (_, i) => `address ${what} 10.9.${i >> 8}.${i & 255}/32 dev lo\n`).join(
      '',
    );
    t.match(spawnSync('ip', ['-batch', '-'], { input }), { status: 0 });
  }
  await any;
  t.strictSame(
    (await kernel.own.observe()).addresses.filter(({ address }) => address.startsWith('10.9.')),
    [],
  );
});

t.test('a process that ends with a socket open and notices waiting ends well', async (t) => {
  if (!needsRoot(t, why) || !needsPrograms(t, 'ip')) return;
  const script = fileURLToPath(new URL('../support/netlink-leaver.js', import.meta.url));
  t.match(spawnSync(process.execPath, [script]), { status: 0, signal: null });
});
