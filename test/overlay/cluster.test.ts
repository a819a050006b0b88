// Overlay networks in a cluster: which are wanted, what a commit changes, and what the driver then does, without a kernel.
import t from 'tap';
import type { Change } from '../../src/catalog/change.ts';
import { applyChanges, EMPTY_SNAPSHOT, type Snapshot } from '../../src/catalog/snapshot.ts';
import type { Network, NetworkId } from '../../src/model/network.ts';
import { type Bridge, bridgeId, type NodeId, type Presence } from '../../src/model/node.ts';
import type { PortNumber } from '../../src/model/port.ts';
import { overlayChanges } from '../../src/overlay/changes.ts';
import { OverlayDriver } from '../../src/overlay/driver.ts';
import { planNetwork } from '../../src/overlay/plan.ts';
import { remoteOperations, remotesOn } from '../../src/overlay/remotes.ts';
import { idleBridges, missingBridges, type OverlayNode, wantedNetworks } from '../../src/overlay/wanted.ts';
import { SILENT_LOG } from '../../src/runtime/log.ts';
import { ip, network as anyNetwork, published, service, task } from '../support/builders.ts';
import { FakeKernel } from '../support/fake-kernel.ts';
import { operationText, planText } from '../support/overlay-text.ts';

const SELF = 'self' as NodeId;
const OTHER = 'other' as NodeId;
const SELF_NODE: OverlayNode = { id: SELF, cluster: { dataAddress: ip('192.0.2.1') } };

const back: Network = { ...anyNetwork('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64']), vni: 4097 };
const front: Network = { ...anyNetwork('front', 'overlay', ['10.65.0.0/24']), vni: 4098, createdAt: 1 };
const web = service('web', { on: [{ network: back, vip: '10.64.0.9' }] });

function presence(id: NodeId, dataAddress: string): Presence {
  const address = ip(dataAddress);
  const probePort = 7946 as PortNumber;
  return { id, instance: '0'.repeat(16), address, dataAddress: address, probePort, version: '0', startedAt: 0 };
}

function bridge(nodeId: NodeId, { id }: Network, ...addresses: readonly string[]): Bridge {
  return { id: bridgeId(id, nodeId), networkId: id, nodeId, addresses: addresses.map(ip) };
}

const here = task(web, 1, { back: '10.64.0.2' }, { nodeId: SELF });
const there = task(web, 2, { back: '10.64.0.3' }, { nodeId: OTHER });
const BRIDGES = [bridge(SELF, back, '10.64.0.1', 'fd00:64::1'), bridge(OTHER, back, '10.64.0.254', 'fd00:64::254')];

const CLUSTER: readonly Change[] = [
  { kind: 'network', after: back },
  { kind: 'network', after: front },
  { kind: 'service', after: web },
  { kind: 'presence', after: presence(SELF, '192.0.2.1') },
  { kind: 'presence', after: presence(OTHER, '192.0.2.2') },
  ...BRIDGES.map((after) => ({ kind: 'bridge', after }) as const),
  { kind: 'task', after: there },
];

function snapshotOf(...changes: readonly Change[]): Snapshot {
  return applyChanges(EMPTY_SNAPSHOT, 1, changes);
}

t.test('a place on a network is wanted for containers and for published ports, and no longer', async (t) => {
  const names = (ids: readonly NetworkId[]) => ids.map((id) => id.replace('net-', '')).join(' ');
  const base = [
    { kind: 'network', after: back },
    { kind: 'network', after: front },
    { kind: 'network', after: anyNetwork('home') },
    { kind: 'service', after: web },
  ] as const;
  const ingress = service('shop', { on: [{ network: front }], ports: [published(8080, 80)] });
  const host = service('host', { on: [{ network: front }], ports: [published(8081, 80, { mode: 'host' })] });
  const staticTask = task(web, 3, { back: '192.0.2.7' }, { nodeId: SELF, source: 'static' });
  const held = BRIDGES.map((after) => ({ kind: 'bridge', after }) as const);
  const table: readonly (readonly [string, readonly Change[], string, string])[] = [
    ['nothing here', base, '', ''],
    ['a task elsewhere', [...base, { kind: 'task', after: there }], '', ''],
    ['a task here', [...base, { kind: 'task', after: here }], 'back', ''],
    ['a static endpoint', [...base, { kind: 'task', after: staticTask }], '', ''],
    ['a port on every node', [...base, { kind: 'service', after: ingress }], 'front', ''],
    ["a port on tasks' nodes", [...base, { kind: 'service', after: host }], '', ''],
    ['a place already', [...base, ...held, { kind: 'task', after: here }], '', ''],
    ['a place for nothing', [...base, ...held], '', 'back'],
    ['the network is gone', [...held], '', 'back'],
  ];
  for (const [name, changes, missing, idle] of table) {
    const snapshot = snapshotOf(...changes);
    t.equal(names(missingBridges(snapshot, SELF)), missing, `${name}: missing`);
    t.equal(names(idleBridges(snapshot, SELF)), idle, `${name}: idle`);
  }
});

t.test('a node has the networks on which it has a place, with its own addresses', async (t) => {
  const text = (node: OverlayNode) =>
    wantedNetworks(snapshotOf(...CLUSTER), node).map(({ network, own, vips }) =>
      [network.spec.name, ...own, 'vips', ...vips].join(' '),
    );
  t.strictSame(text(SELF_NODE), ['back 10.64.0.1 fd00:64::1 vips 10.64.0.9']);
  t.strictSame(text({ ...SELF_NODE, id: OTHER }), ['back 10.64.0.254 fd00:64::254 vips 10.64.0.9']);
  t.strictSame(text({ id: SELF }), ['back 10.64.0.1 fd00:64::1 vips 10.64.0.9', 'front 10.65.0.1 vips'], 'alone: all');
});

t.test('a network with a tunnel, a container here and one elsewhere', async (t) => {
  const snapshot = snapshotOf(...CLUSTER);
  const [wanted] = wantedNetworks(snapshot, SELF_NODE);
  if (wanted === undefined) return t.fail('not wanted');
  const spec = { taskId: here.id, attachments: [{ network: back, addresses: [ip('10.64.0.2')] }] };
  const tunnel = { vni: 4097, port: 4789, local: ip('192.0.2.1') };
  const remotes = remotesOn(snapshot, back, SELF).all();
  const lines = planText(planNetwork('ab12cd', { ...wanted, tunnel, mtu: 1450, remotes }, [spec]));
  t.strictSame(
    lines.filter((line) => /^(link|neighbour|forward)/.test(line)),
    [
      'link lo',
      'link br0 bridge mac 02:42:0a:40:00:01 mtu 1450',
      'link vx0 vxlan 4097 from 192.0.2.1:4789 mtu 1450, port of br0, ' +
        '-learning -unicastFlood -multicastFlood -broadcastFlood suppressNeighbours',
      'link t-task-web veth to eth0 02:42:0a:40:00:02 in vipmesh-ab12cd-t-task-web mtu 1450, port of br0, -learning -unicastFlood',
      'neighbour 10.64.0.2 is 02:42:0a:40:00:02 on br0',
      'neighbour 10.64.0.3 is 02:42:0a:40:00:03 on br0',
      'neighbour 10.64.0.254 is 02:42:0a:40:00:fe on br0',
      'neighbour fd00:64::254 is 02:42:0a:40:00:fe on br0',
      'forward 02:42:0a:40:00:02 over t-task-web',
      'forward 02:42:0a:40:00:03 over vx0',
      'forward 02:42:0a:40:00:03 over vx0 to 192.0.2.2',
      'forward 02:42:0a:40:00:fe over vx0',
      'forward 02:42:0a:40:00:fe over vx0 to 192.0.2.2',
    ],
  );
});

t.test('what is on a node without a presence, or has no container, is nowhere', async (t) => {
  const count = (...more: readonly Change[]) =>
    [...remotesOn(snapshotOf(...CLUSTER, ...more), back, SELF).all()].length;
  t.equal(count(), 2, 'a task and a bridge');
  t.equal(count({ kind: 'presence', before: presence(OTHER, '192.0.2.2') }), 0);
  t.equal(count({ kind: 'task', before: there, after: { ...there, source: 'static' } }), 1);
  t.equal(count({ kind: 'task', before: there, after: { ...there, nodeId: SELF } }), 1);
});

t.test('only what a commit changes is looked at', async (t) => {
  const before = snapshotOf(...CLUSTER);
  const moved = presence(OTHER, '192.0.2.3');
  const found = (...changes: readonly Change[]) => {
    const after = applyChanges(before, 2, changes);
    const { networks, remotes, nodes } = overlayChanges(after, before, changes, SELF, [back.id]);
    const ids = [...remotes].map(([id, all]) => `${id}: ${[...all].sort().join(' ')}`);
    return [[...networks].join(' '), ids.join(', '), nodes ? 'nodes' : ''].filter(Boolean).join(' | ');
  };
  const OTHERS_BRIDGE = `${back.id}other`;
  const table: readonly (readonly [string, Change, string])[] = [
    ["a task's health", { kind: 'task', before: there, after: { ...there, health: 'healthy' } }, ''],
    ["a task's end", { kind: 'task', before: there }, `${back.id}: ${there.id}`],
    ['a task here', { kind: 'task', after: here }, ''],
    ['an own place', { kind: 'bridge', after: bridge(SELF, front, '10.65.0.1') }, front.id],
    ["another's place", { kind: 'bridge', before: bridge(OTHER, back) }, `${back.id}: ${OTHERS_BRIDGE}`],
    ['a service', { kind: 'service', before: web, after: { ...web, vips: [] } }, back.id],
    ['a network', { kind: 'network', before: front }, front.id],
    [
      'a node that moves',
      { kind: 'presence', before: presence(OTHER, '192.0.2.2'), after: moved },
      `${back.id}: ${[OTHERS_BRIDGE, there.id].sort().join(' ')} | nodes`,
    ],
    ['a node that starts anew', { kind: 'presence', before: moved, after: { ...moved, startedAt: 1 } }, ''],
    ['the own presence', { kind: 'presence', before: presence(SELF, '192.0.2.1') }, ''],
    ['a suspicion', { kind: 'suspicion', after: { id: OTHER, since: 1 } }, ''],
  ];
  for (const [name, change, expected] of table) t.equal(found(change), expected, name);
});

t.test('remotes that move: what is new first, where frames go before who it is', async (t) => {
  const remote = (vtep: string, ...addresses: readonly string[]) => {
    const [mac] = [...remotesOn(snapshotOf(...CLUSTER), back, SELF).all()].map((one) => one.mac);
    return { addresses: addresses.map(ip), mac: mac ?? ('' as never), vtep: ip(vtep) };
  };
  const text = (...args: Parameters<typeof remoteOperations>) => remoteOperations(...args).map(operationText);
  t.strictSame(text([], [remote('192.0.2.2', '10.64.0.3')]), [
    'set-forwarding 02:42:0a:40:00:03 over vx0',
    'set-forwarding 02:42:0a:40:00:03 over vx0 to 192.0.2.2',
    'set-neighbour 10.64.0.3 on br0',
  ]);
  t.strictSame(
    text([remote('192.0.2.2', '10.64.0.3')], [remote('192.0.2.5', '10.64.0.3')]),
    ['set-forwarding 02:42:0a:40:00:03 over vx0 to 192.0.2.5'],
    'its node is another',
  );
  t.strictSame(text([remote('192.0.2.2', '10.64.0.3')], []), [
    'remove-neighbour 10.64.0.3 on br0',
    'remove-forwarding 02:42:0a:40:00:03 over vx0',
    'remove-forwarding 02:42:0a:40:00:03 over vx0 to 192.0.2.2',
  ]);
});

t.test('a task elsewhere costs a few operations, and no look at the network', async (t) => {
  const kernel = new FakeKernel();
  const driver = new OverlayDriver({ instance: 'ab12cd', node: SELF_NODE, kernel, log: SILENT_LOG });
  const one = snapshotOf(...CLUSTER);
  t.strictSame([...(await driver.applySnapshot(one)).places.keys()], [back.id]);
  const namespace = kernel.namespaces.get('vipmesh-ab12cd-net-back');
  let looks = 0;
  const observe = namespace?.observe.bind(namespace);
  if (namespace !== undefined && observe !== undefined)
    namespace.observe = () => {
      looks++;
      return observe();
    };
  const since = kernel.history.length;
  const next = task(web, 3, { back: '10.64.0.4' }, { nodeId: OTHER });
  const changes = [
    { kind: 'task', before: there },
    { kind: 'task', after: next },
  ] as const;
  const applied = await driver.applyChanges(applyChanges(one, 2, changes), one, changes);
  t.strictSame(
    kernel.history.slice(since).map((line) => line.replace('vipmesh-ab12cd-net-back: ', '')),
    [
      ': change-elements vipmesh_ab12cd_tunnels',
      'set-forwarding vx0',
      'set-forwarding vx0',
      'set-neighbour br0',
      'remove-neighbour br0',
      'remove-forwarding vx0',
      'remove-forwarding vx0',
    ],
  );
  t.equal(looks, 0);
  t.equal(applied.places.size, 0);
  t.equal(await driver.repair(), 0, 'and all is as planned');
});

t.test('a container that comes to this node while it is still told of as elsewhere', async (t) => {
  const kernel = new FakeKernel();
  const driver = new OverlayDriver({ instance: 'ab12cd', node: SELF_NODE, kernel, log: SILENT_LOG });
  const one = snapshotOf(...CLUSTER);
  await driver.applySnapshot(one);
  await driver.attachContainer({
    taskId: here.id,
    attachments: [{ network: { ...back, spec: { ...back.spec, internal: true } }, addresses: [ip('10.64.0.3')] }],
  });
  const places = () =>
    kernel.namespaces
      .get('vipmesh-ab12cd-net-back')
      ?.forwarding.filter(({ mac }) => mac === '02:42:0a:40:00:03')
      .map(({ kind, link }) => `${kind} ${link}`);
  t.strictSame(places(), ['port t-task-web']);
  const changes = [{ kind: 'task', before: there }] as const;
  await driver.applyChanges(applyChanges(one, 2, changes), one, changes);
  t.strictSame(places(), ['port t-task-web'], 'the news that it has left there take nothing away');
  t.equal(await driver.repair(), 0);
});

t.test('the table of the tunnels follows nodes and networks, and goes with the last network', async (t) => {
  const kernel = new FakeKernel();
  const driver = new OverlayDriver({ instance: 'ab12cd', node: SELF_NODE, kernel, log: SILENT_LOG });
  const sets = () =>
    (kernel.own.rulesets.get('vipmesh_ab12cd_tunnels')?.sets ?? []).map(
      (set) => `${set.name}: ${set.elements.map((element) => element.join(' . ')).join(', ')}`,
    );
  const bridgeFrames = [
    '192.0.2.2 . 4097 . 02:42:0a:40:00:fe . fd00:64::254, 192.0.2.2 . 4097 . 02:42:0a:40:00:fe . fe80::42:aff:fe40:fe',
    '192.0.2.2 . 4097 . 02:42:0a:40:00:fe . 10.64.0.254',
  ] as const;
  const taskFrame = (vtep: string) => `${vtep} . 4097 . 02:42:0a:40:00:03 . 10.64.0.3`;
  const frames = (...v4: readonly string[]) => [
    `frames_ipv4: ${v4.join(', ')}`,
    `frames_ipv6: ${v4.includes(bridgeFrames[1]) ? bridgeFrames[0] : ''}`,
  ];
  let snapshot = snapshotOf(...CLUSTER);
  await driver.applySnapshot(snapshot);
  const ofOther = frames(taskFrame('192.0.2.2'), bridgeFrames[1]);
  t.strictSame(sets(), ['vnis: 4097', 'nodes_ipv4: 192.0.2.1, 192.0.2.2', 'nodes_ipv6: ', ...ofOther]);
  const commit = (...changes: readonly Change[]) => {
    const previous = snapshot;
    snapshot = applyChanges(previous, previous.revision + 1, changes);
    return driver.applyChanges(snapshot, previous, changes);
  };
  await commit({ kind: 'presence', after: presence('third' as NodeId, '2001:db8::3') });
  t.strictSame(sets(), ['vnis: 4097', 'nodes_ipv4: 192.0.2.1, 192.0.2.2', 'nodes_ipv6: 2001:db8::3', ...ofOther]);
  const moved = { ...there, nodeId: 'fourth' as NodeId };
  await commit(
    { kind: 'presence', after: presence('fourth' as NodeId, '192.0.2.4') },
    { kind: 'task', before: there, after: moved },
  );
  t.strictSame(sets().slice(3), frames(bridgeFrames[1], taskFrame('192.0.2.4')), 'only from where it is');
  await commit({ kind: 'task', before: moved, after: { ...moved, nodeId: 'third' as NodeId } });
  t.strictSame(
    sets().slice(3),
    frames(bridgeFrames[1]),
    'there is no way from a node whose address is of the other kind',
  );
  await commit({ kind: 'presence', before: presence(OTHER, '192.0.2.2') });
  t.strictSame(sets().slice(3), frames(), 'nor from one that is gone');
  await commit({ kind: 'bridge', after: bridge(SELF, front, '10.65.0.1') });
  t.strictSame(sets()[0], 'vnis: 4097, 4098');
  const { idle } = await commit(
    ...[back, front].map((one) => ({ kind: 'bridge', before: bridge(SELF, one) }) as const),
  );
  t.strictSame(idle, [back.id, front.id]);
  t.equal(sets().length, 5, 'as long as there is a tunnel');
  for (const id of idle) await driver.removeNetwork(id);
  t.equal(kernel.own.rulesets.size, 0);
});
