// Overlay networks on the real kernel. The "node" is this process, in a network namespace of its own.
import { inOwnNetns } from '../support/own-netns.ts';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Network, NetworkId } from '../../src/model/network.ts';
import type { TaskId } from '../../src/model/task.ts';
import { close } from '../../src/native/libc.ts';
import { closeVipGroup, openVipGroup, SkLookup, VIP_GROUP_PORT } from '../../src/native/sk-lookup.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { OverlayDriver, type OverlayOptions } from '../../src/overlay/driver.ts';
import { OverlayError } from '../../src/overlay/overlay-error.ts';
import { namespacePrefix } from '../../src/overlay/names.ts';
import type { ContainerSpec } from '../../src/overlay/plan.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, NODE, network as anyNetwork, snapshot, subnet } from '../support/builders.ts';
import { ping, serveTcp, serveUdp, tryTcp, tryUdp } from '../support/netns.ts';
import type { VictimWork } from '../support/overlay-victim.ts';
import { needsRoot } from '../support/requirements.ts';
import { until } from './support/tasks.ts';

const why = 'it makes network namespaces, links and BPF programs';

function randomId(): string {
  return randomBytes(16).toString('hex').slice(0, 25);
}

function network(name: string, subnets: readonly string[], more: Partial<Network['spec']> = {}): Network {
  return { ...anyNetwork(name, 'overlay', subnets, more), id: randomId() as NetworkId };
}

function container(...on: readonly (readonly [Network, ...string[]])[]): ContainerSpec {
  return {
    taskId: randomId() as TaskId,
    attachments: on.map(([network, ...addresses]) => ({ network, addresses: addresses.map(ip) })),
  };
}

/** Runs an agent's driver in a process of its own until it says so, then kills it. */
async function killedAgent(work: VictimWork, moment: string): Promise<void> {
  const script = fileURLToPath(new URL('../support/overlay-victim.js', import.meta.url));
  const victim = spawn(process.execPath, [script, JSON.stringify(work)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(victim, 'exit');
  for await (const line of createInterface(victim.stdout)) if (line === moment) victim.kill('SIGKILL');
  await ended;
}

interface Teardown {
  teardown(work: () => Promise<void> | void): void;
}

function makeDriver(
  t: Teardown,
  more: Partial<OverlayOptions> = {},
): { driver: OverlayDriver; kernel: LinuxKernel; instance: string } {
  const kernel = new LinuxKernel();
  const instance = randomId().slice(0, 6);
  const driver = new OverlayDriver({ instance, node: { id: NODE }, kernel, log: SILENT_LOG, ...more });
  t.teardown(async () => {
    // One that was closed left everything to its successor.
    await driver.removeAll().catch((error: unknown) => {
      if (!(error instanceof OverlayError && error.code === 'closed')) throw error;
    });
    kernel.close();
  });
  return { driver, kernel, instance: more.instance ?? instance };
}

t.test('containers of one network reach each other by address, over IPv4 and IPv6', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver } = makeDriver(t);
  const back = network('back', ['10.64.0.0/24', 'fd00:64::/64'], { internal: true });
  const a = await driver.attachContainer(container([back, '10.64.0.2', 'fd00:64::2']));
  const b = await driver.attachContainer(container([back, '10.64.0.3', 'fd00:64::3']));
  const server = serveTcp(b.netnsFd, 80);
  t.teardown(() => void close(server));
  t.equal(tryTcp(a.netnsFd, '10.64.0.3', 80, server), '10.64.0.2 met at 10.64.0.3:80');
  t.equal(tryTcp(a.netnsFd, 'fd00:64::3', 80, server), 'fd00:64::2 met at [fd00:64::3]:80');
  t.equal(tryTcp(a.netnsFd, '10.64.0.3', 81), 'ECONNREFUSED', 'a port without a listener');
  t.equal(ping(a.netnsFd, '10.64.0.3'), 'answered');
  t.equal(ping(a.netnsFd, 'fd00:64::3'), 'answered');
  t.equal(ping(a.netnsFd, '10.64.0.1'), 'answered', "the node's own address");
  t.match(a.interfaces, [
    { name: 'eth0', networkId: back.id, mac: '02:42:0a:40:00:02', gateways: ['10.64.0.1', 'fd00:64::1'] },
  ]);
});

t.test('a VIP takes any port while its service has endpoints, and refuses every one otherwise', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver } = makeDriver(t);
  const back = network('back', ['10.64.0.0/24', 'fd00:64::/64'], { internal: true });
  const { netnsFd } = await driver.ensureNetwork(back);
  const a = await driver.attachContainer(container([back, '10.64.0.2', 'fd00:64::2']));
  const group = openVipGroup(netnsFd, 2);
  const lookup = SkLookup.attach({ netns: netnsFd, ownPort: VIP_GROUP_PORT, workers: 2 });
  t.teardown(() => {
    lookup.close();
    closeVipGroup(group);
  });
  for (const worker of [0, 1]) {
    lookup.setSocket('tcp', worker, group.tcp[worker] ?? -1);
    lookup.setSocket('udp', worker, group.udp[worker] ?? -1);
  }
  const vips = ['10.64.0.9', 'fd00:64::9'];
  await driver.setVips(back.id, vips.map(ip));
  for (const vip of vips) lookup.setVip(vip, false);
  for (const vip of vips) {
    t.equal(tryTcp(a.netnsFd, vip, 80), 'ECONNREFUSED', `${vip} has no endpoints`);
    t.equal(tryUdp(a.netnsFd, vip, 53), 'ECONNREFUSED', `${vip} has no endpoints, UDP`);
    t.equal(ping(a.netnsFd, vip), 'answered', 'and yet it is there');
    lookup.setVip(vip, true);
    for (const port of [1, 80, VIP_GROUP_PORT, 65535])
      t.equal(tryTcp(a.netnsFd, vip, port), 'connected', `${vip} port ${port}`);
  }
  t.equal(tryTcp(a.netnsFd, '10.64.0.1', VIP_GROUP_PORT), 'ECONNREFUSED', "the group's own port on the node's address");
  t.equal(tryUdp(a.netnsFd, '10.64.0.1', VIP_GROUP_PORT), 'ECONNREFUSED');
  lookup.removeVip('10.64.0.9');
  t.equal(tryTcp(a.netnsFd, '10.64.0.9', 80), 'ECONNREFUSED', 'no VIP any more: nobody listens');
  await driver.setVips(back.id, []);
  t.equal(tryTcp(a.netnsFd, 'fd00:64::9', 80), 'nobody', 'and then not even an address');
});

t.test('one worker after another leaves the VIP group, and connections go on', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver } = makeDriver(t);
  const back = network('back', ['10.64.0.0/24'], { internal: true });
  const { netnsFd } = await driver.ensureNetwork(back);
  await driver.setVips(back.id, [ip('10.64.0.9')]);
  const a = await driver.attachContainer(container([back, '10.64.0.2']));
  const lookup = SkLookup.attach({ netns: netnsFd, ownPort: VIP_GROUP_PORT, workers: 3 });
  const group = openVipGroup(netnsFd, 3);
  t.teardown(() => lookup.close());
  t.teardown(() => closeVipGroup({ tcp: [], udp: group.udp }));
  for (const [worker, fd] of group.tcp.entries()) lookup.setSocket('tcp', worker, fd);
  lookup.setVip('10.64.0.9', true);
  for (const fd of group.tcp) {
    t.equal(tryTcp(a.netnsFd, '10.64.0.9', 5432), 'connected');
    close(fd);
  }
  t.equal(tryTcp(a.netnsFd, '10.64.0.9', 5432), 'ECONNREFUSED', 'the last one is gone');
});

t.test('O1: networks are isolated, although they have the same subnet', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver } = makeDriver(t);
  const red = network('red', ['10.64.0.0/24'], { internal: true });
  const blue = network('blue', ['10.64.0.0/24'], { internal: true });
  const green = network('green', ['10.65.0.0/24'], { internal: true });
  const inRed = await driver.attachContainer(container([red, '10.64.0.2']));
  const inBlue = await driver.attachContainer(container([blue, '10.64.0.3']));
  const inBoth = await driver.attachContainer(container([red, '10.64.0.4'], [green, '10.65.0.4']));
  const inGreen = await driver.attachContainer(container([green, '10.65.0.5']));
  t.equal(ping(inRed.netnsFd, '10.64.0.3'), 'nobody', 'blue from red, by the address that red could have');
  t.equal(ping(inBlue.netnsFd, '10.64.0.2'), 'nobody');
  t.equal(ping(inRed.netnsFd, '10.65.0.5'), 'ENETUNREACH', 'green from red');
  t.equal(ping(inBoth.netnsFd, '10.64.0.2'), 'answered');
  t.equal(ping(inBoth.netnsFd, '10.65.0.5'), 'answered', 'a container on two networks reaches both');
  t.equal(inGreen.egressGateway, undefined);
  const server = serveTcp(0, 7980);
  t.teardown(() => void close(server));
  t.equal(tryTcp(inRed.netnsFd, '10.64.0.1', 7980), 'ECONNREFUSED', "the node's own programs are not on the network");
});

t.test('containers of a network that is not internal reach the outside as the node', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver, kernel, instance } = makeDriver(t, { egressSubnet: subnet('100.99.0.0/24') });
  const world = await kernel.ensureNamespace(`${namespacePrefix(instance)}world`);
  await kernel.own.apply({
    kind: 'add-veth',
    name: 'uplink',
    peer: { namespace: world.name, name: 'up', mac: '02:00:00:00:00:01' as never },
  });
  t.teardown(() => kernel.own.apply({ kind: 'remove-link', name: 'uplink' }));
  for (const [namespace, link, address] of [
    [kernel.own, 'uplink', '192.0.2.1'],
    [world, 'up', '192.0.2.2'],
  ] as const) {
    await namespace.apply({ kind: 'set-link', name: link, up: true });
    await namespace.apply({
      kind: 'add-address',
      link,
      address: { address: ip(address), prefixLength: 24, deprecated: false },
    });
  }
  const front = network('front', ['10.64.0.0/24']);
  const inner = network('inner', ['10.65.0.0/24'], { internal: true });
  const a = await driver.attachContainer(container([front, '10.64.0.2'], [inner, '10.65.0.2']));
  const b = await driver.attachContainer(container([front, '10.64.0.3']));
  const c = await driver.attachContainer(container([inner, '10.65.0.4']));
  const outside = serveTcp(world.fd, 443);
  const published = serveTcp(0, 8080);
  const inB = serveTcp(b.netnsFd, 80);
  const echo = serveUdp(world.fd, 53);
  t.teardown(() => {
    for (const fd of [outside, published, inB, echo]) close(fd);
  });
  t.equal(tryTcp(a.netnsFd, '192.0.2.2', 443, outside), '192.0.2.1 met at 192.0.2.2:443', 'masqueraded');
  t.equal(tryUdp(a.netnsFd, '192.0.2.2', 53, echo), 'received');
  t.equal(ping(a.netnsFd, '192.0.2.2'), 'answered');
  t.equal(tryTcp(c.netnsFd, '192.0.2.2', 443), 'ENETUNREACH', 'O5: from an internal network there is no route');
  t.equal(a.egressGateway, '100.99.0.1');
  t.equal(tryTcp(a.netnsFd, '100.99.0.1', 8080, published), '100.99.0.2 met at 100.99.0.1:8080', 'a published port');
  t.equal(tryTcp(a.netnsFd, '192.0.2.1', 8080, published), '100.99.0.2 met at 192.0.2.1:8080');
  t.equal(tryTcp(a.netnsFd, '10.64.0.3', 80, inB), '10.64.0.2 met at 10.64.0.3:80', 'its neighbour, over the network');
  t.equal(tryTcp(a.netnsFd, '100.99.0.3', 80), 'nobody', 'not over the egress bridge');
  await world.apply({
    kind: 'add-route',
    link: 'up',
    route: { kind: 'unicast', destination: ip('100.99.0.0'), prefixLength: 24, via: ip('192.0.2.1') },
  });
  t.equal(tryTcp(world.fd, '100.99.0.3', 80), 'nobody', 'the outside does not come in');
  world.close();
});

t.test('M12: what a killed agent left is taken over or removed by the next', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const front = network('front', ['10.64.0.0/24']);
  const gone = network('gone', ['10.66.0.0/24']);
  const [lives, died] = [container([front, '10.64.0.2']), container([front, '10.64.0.3'], [gone, '10.66.0.3'])];
  const { driver, kernel, instance } = makeDriver(t);
  await killedAgent({ instance, attach: [lives, died] }, 'attached');

  const neverMade = container([front, '10.64.0.9']);
  const { containers, removed } = await driver.adopt(snapshot({ networks: [front] }), [lives, neverMade]);
  t.equal(removed.length, 2, 'the dead container and the network that is gone');
  t.match(containers, [{ taskId: lives.taskId }]);
  t.same(await driver.verify(), []);
  const ports = (await kernel.own.observe()).links.filter(({ master }) => master !== undefined);
  t.equal(ports.length, 1, 'one egress link');
  const next = await driver.attachContainer(container([front, '10.64.0.3']));
  const server = serveTcp(next.netnsFd, 80);
  t.teardown(() => void close(server));
  const [adopted] = containers;
  t.equal(tryTcp(adopted?.netnsFd ?? -1, '10.64.0.3', 80, server), '10.64.0.2 met at 10.64.0.3:80');
  t.equal(await driver.repair(), 0, 'all is as planned');
});

t.test('an agent killed at any moment leaves nothing that the next cannot remove', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const front = network('front', ['10.64.0.0/24', 'fd00:64::/64']);
  const specs = Array.from({ length: 4 }, (_, i) => container([front, `10.64.0.${i + 2}`, `fd00:64::${i + 2}`]));
  for (const moment of ['attaching 0', 'attaching 2', 'attached', 'detaching 1', 'detaching 3']) {
    const { driver, kernel, instance } = makeDriver(t);
    await killedAgent({ instance, attach: specs, detach: true }, moment);
    const { containers } = await driver.adopt(snapshot({ networks: [front] }), specs);
    t.same(await driver.verify(), []);
    for (const { taskId } of containers) {
      t.equal(ping(containers.find((one) => one.taskId === taskId)?.netnsFd ?? -1, '10.64.0.1'), 'answered', moment);
    }
    await driver.removeAll();
    t.strictSame(kernel.listNamespaces(namespacePrefix(instance)), [], moment);
    t.strictSame(
      (await kernel.own.observe()).links.map(({ name }) => name),
      ['lo'],
      moment,
    );
    t.equal(await kernel.own.hasRuleset(`vipmesh_${instance}`), false, moment);
  }
});

t.test('what something else changes is mended', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  let mended: () => void = () => {};
  const told = new Promise<void>((resolve) => {
    mended = resolve;
  });
  const { driver, kernel } = makeDriver(t, { log: { ...SILENT_LOG, warn: () => mended() } });
  const front = network('front', ['10.64.0.0/24', 'fd00:64::/64']);
  await driver.ensureNetwork(front);
  await driver.setVips(front.id, [ip('10.64.0.9'), ip('fd00:64::9')]);
  const a = await driver.attachContainer(container([front, '10.64.0.2', 'fd00:64::2']));
  t.equal(await driver.repair(), 0);
  const namespace = await kernel.ensureNamespace(a.netnsPath.slice(a.netnsPath.lastIndexOf('/') + 1));
  const overlay = await kernel.ensureNamespace(
    (await driver.ensureNetwork(front)).netnsPath.replace('/run/netns/', ''),
  );
  // Notices and the driver's timer keep no process alive.
  const alive = setInterval(() => {}, 1_000_000);
  await overlay.apply({ kind: 'remove-link', name: 'br0' });
  await told;
  clearInterval(alive);
  // The kernel lets nothing through a new bridge's port for up to a second.
  for (const vip of ['10.64.0.9', 'fd00:64::9'])
    await until(
      `the bridge, its port and the VIP ${vip} are back`,
      () => ping(a.netnsFd, vip),
      (met) => met === 'answered',
    );
  namespace.close();
  overlay.close();
});

t.test('a hundred containers come and go, and nothing stays', async (t) => {
  if (!needsRoot(t, why) || !t.ok(inOwnNetns)) return;
  const { driver, kernel, instance } = makeDriver(t);
  const front = network('front', ['10.64.0.0/24']);
  await driver.ensureNetwork(front);
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const specs = Array.from({ length: 100 }, (_, i) => container([front, `10.64.0.${i + 2}`]));
  const started = process.hrtime.bigint();
  for (const spec of specs) await driver.attachContainer(spec);
  const attached = process.hrtime.bigint();
  t.equal(kernel.listNamespaces(namespacePrefix(instance)).length, 101);
  for (const { taskId } of specs) await driver.detachContainer(taskId);
  const detached = process.hrtime.bigint();
  t.comment(`attach ${Number(attached - started) / 1e8} ms, detach ${Number(detached - attached) / 1e8} ms each`);
  t.equal(kernel.listNamespaces(namespacePrefix(instance)).length, 1);
  t.equal((await kernel.own.observe()).links.filter(({ kind }) => kind === 'veth').length, 0);
  await driver.removeNetwork(front.id);
  t.strictSame(kernel.listNamespaces(namespacePrefix(instance)), []);
  t.ok(descriptors() < 60, 'no descriptor leaks');
  await driver.removeAll();
  t.strictSame(
    (await kernel.own.observe()).links.map(({ name }) => name),
    ['lo'],
    'no bridge',
  );
  t.equal(await kernel.own.hasRuleset(`vipmesh_${instance}`), false, 'no table');
});
