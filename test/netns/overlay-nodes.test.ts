// Overlay networks across nodes, on the real kernel: each node is a network namespace with a process of its own.
import { mayBeNode, namespaces } from './support/node.ts';
import { setTimeout as later } from 'node:timers/promises';
import t from 'tap';
import { network as anyNetwork } from '../support/builders.ts';
import { ping, receiveUdp, sendUdp, serveTcp, serveUdp, tryTcp } from '../support/netns.ts';
import { Capture, vxlanPacket } from './support/frames.ts';
import { bridgeOn, Nodes, overlay, presence, serviceOn, taskOn } from './support/nodes.ts';
import { eventually, meshOf, serverIn } from './support/overlay-mesh.ts';

const internal = { internal: true };
const back = overlay(anyNetwork('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64'], internal), 'back', 4097);
const twin = overlay(anyNetwork('twin', 'overlay', ['10.64.0.0/24', 'fd00:64::/64'], internal), 'twin', 4098);

t.test('containers on different nodes reach each other by address, over IPv4 and IPv6', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await Nodes.make(t, 2);
  nodes.put({ kind: 'network', after: back }, { kind: 'service', after: serviceOn(back) });
  await nodes.start();
  await nodes.commit(
    { kind: 'bridge', after: bridgeOn(nodes.node(1), back, '10.64.0.1', 'fd00:64::1') },
    { kind: 'bridge', after: bridgeOn(nodes.node(2), back, '10.64.0.254', 'fd00:64::254') },
  );
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(2, back, '10.64.0.3', 'fd00:64::3');
  const server = serverIn(t, serveTcp, b, 80);
  t.equal(tryTcp(a.netns, '10.64.0.3', 80, server), '10.64.0.2 met at 10.64.0.3:80');
  t.equal(tryTcp(a.netns, 'fd00:64::3', 80, server), 'fd00:64::2 met at [fd00:64::3]:80');
  for (const address of ['10.64.0.3', 'fd00:64::3', '10.64.0.254', 'fd00:64::254'])
    t.equal(await eventually('answered', () => ping(a.netns, address)), 'answered', address);
  for (const node of nodes.nodes) t.equal(await node.tell({ do: 'repair' }), 0, 'all is as planned');
});

t.test('nobody asks and nobody calls out on the underlay', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 3, [back]);
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(2, back, '10.64.0.3', 'fd00:64::3');
  await nodes.run(3, back, '10.64.0.4', 'fd00:64::4');
  const capture = new Capture(0);
  t.teardown(() => capture.close());
  for (const address of ['10.64.0.77', 'fd00:64::77', '10.64.0.255']) ping(a.netns, address);
  for (const all of ['10.64.0.255', 'ff05::1']) sendUdp(a.netns, all, 5353, Buffer.from('all'));
  t.strictSame(capture.read().frames, [], 'for an address that nobody has, and for all');
  const server = serverIn(t, serveTcp, b, 80);
  for (const address of ['10.64.0.3', 'fd00:64::3']) t.match(tryTcp(a.netns, address, 80, server), `met at`, address);
  const { frames } = capture.read();
  t.strictSame([...new Set(frames.map(({ inner }) => inner))], ['unicast']);
  t.strictSame([...new Set(frames.map(({ vni }) => vni))], [4097]);
  t.strictSame([...new Set(frames.map(({ from }) => from))].sort(), ['192.0.2.1', '192.0.2.2'], 'and not the third');
});

t.test('O1: networks with the same subnet are strangers to each other, on all nodes', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back, twin]);
  const a = await nodes.run(1, back, '10.64.0.2');
  const other = await nodes.run(1, twin, '10.64.0.2');
  const b = await nodes.run(2, back, '10.64.0.3');
  const twinOfB = await nodes.run(2, twin, '10.64.0.3');
  await nodes.run(2, twin, '10.64.0.4');
  const servers = [b, twinOfB].map((one) => serverIn(t, serveUdp, one, 53));
  const [ofB = -1, ofTwin = -1] = servers;
  sendUdp(a.netns, '10.64.0.3', 53, Buffer.from('from back'));
  sendUdp(other.netns, '10.64.0.3', 53, Buffer.from('from twin'));
  t.equal(receiveUdp(ofB), 'from back');
  t.equal(receiveUdp(ofTwin), 'from twin');
  t.equal(receiveUdp(ofB), 'nobody', 'and nothing else');
  t.equal(ping(a.netns, '10.64.0.4'), 'nobody', 'who is on the other network only');
});

t.test('O2: frames of strangers and of unknown networks are never delivered', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back]);
  await nodes.run(1, back, '10.64.0.2');
  const b = await nodes.run(2, back, '10.64.0.3');
  const server = serverIn(t, serveUdp, b, 53);
  const stranger = await nodes.machine(9);
  const frame = (vni: number, text: string) =>
    vxlanPacket(vni, {
      from: '10.64.0.2',
      fromMac: '02:42:0a:40:00:02',
      to: '10.64.0.3',
      toMac: '02:42:0a:40:00:03',
      port: 53,
      text,
    });
  const node1 = nodes.open('/run/netns/machine1');
  const to = '192.0.2.2';
  const dropped = async () => ((await nodes.node(2).tell({ do: 'dropped' })) as { readonly stranger: number }).stranger;
  sendUdp(stranger, to, 4789, frame(4097, 'from a stranger'));
  t.equal(await eventually<unknown>(1, dropped), 1, 'dropped and counted');
  sendUdp(node1, to, 4789, frame(9999, 'of no network'));
  sendUdp(node1, to, 4789, frame(4097, 'from a node'));
  t.equal(receiveUdp(server), 'from a node', 'the first that came');
  await nodes.commit({ kind: 'presence', before: presence(nodes.node(1)) });
  sendUdp(node1, to, 4789, frame(4097, 'from a node that is gone'));
  t.equal(await eventually<unknown>(2, dropped), 2);
  await nodes.commit({ kind: 'presence', after: presence(nodes.node(1)) });
  sendUdp(node1, to, 4789, frame(4097, 'back again'));
  t.equal(receiveUdp(server), 'back again');
  t.equal(await dropped(), 2, 'the count goes on over changes of the nodes');
});

t.test('a container comes back on another node, a node moves, a node goes', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 3, [back]);
  const a = await nodes.run(1, back, '10.64.0.2');
  const b = await nodes.run(2, back, '10.64.0.3');
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered');
  await nodes.stop(b);
  t.equal(ping(a.netns, '10.64.0.3'), 'nobody');
  const again = await nodes.run(3, back, '10.64.0.3');
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', 'on node 3');
  await nodes.stop(again);
  const here = await nodes.run(1, back, '10.64.0.3');
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', 'beside it');
  await nodes.stop(here);
  const last = await nodes.run(2, back, '10.64.0.3');
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', 'on node 2 again');
  const gone = { kind: 'presence', before: presence(nodes.node(2)) } as const;
  await nodes.commit(gone);
  t.equal(ping(a.netns, '10.64.0.3'), 'nobody', 'its node is gone');
  await nodes.commit({ kind: 'presence', after: presence(nodes.node(2)) });
  t.equal(await eventually('answered', () => ping(last.netns, '10.64.0.2')), 'answered', 'and has come back');
  for (const node of nodes.nodes) t.equal(await node.tell({ do: 'repair' }), 0, `node ${node.number} is as planned`);
});

t.test('a node gets another address', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back, twin]);
  const a = await nodes.run(1, back, '10.64.0.2');
  await nodes.run(2, back, '10.64.0.3');
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered');
  const node = nodes.node(2);
  const machine = await nodes.kernel.ensureNamespace('machine2');
  const address = (end: number) => ({ address: nodes.addressOf(end), prefixLength: 24, deprecated: false });
  await machine.apply({ kind: 'add-address', link: 'eth0', address: address(22) });
  await machine.apply({ kind: 'remove-address', link: 'eth0', address: address(2) });
  await machine.apply({ kind: 'add-address', link: 'eth0', address: address(22) });
  await node.tell({ do: 'moveTunnels', dataAddress: nodes.addressOf(22) });
  t.strictSame(await node.tell({ do: 'problems' }), []);
  t.equal(await node.tell({ do: 'repair' }), 0, 'its tunnels end there');
  const before = presence(node);
  await nodes.commit({ kind: 'presence', before, after: { ...before, dataAddress: nodes.addressOf(22) } });
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', 'and the other follows');
  t.equal(await nodes.node(1).tell({ do: 'repair' }), 0);
  machine.close();
});

t.test('what something else changes is mended', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back]);
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  await nodes.run(2, back, '10.64.0.3', 'fd00:64::3');
  const [node] = nodes.nodes;
  const networkName = namespaces().find((name) => name === `${node?.prefix}back${'x'.repeat(4)}`) ?? '';
  const there = await nodes.kernel.ensureNamespace(networkName);
  const machine = await nodes.kernel.ensureNamespace('machine1');
  const mac = '02:42:0a:40:00:03' as never;
  const vtep = nodes.addressOf(2);
  const harm: Readonly<Record<string, () => Promise<void>>> = {
    'the tunnel is deleted': () => there.apply({ kind: 'remove-link', name: 'vx0' }),
    'the bridge forgets': () => there.apply({ kind: 'remove-forwarding', link: 'vx0', entry: { kind: 'port', mac } }),
    'the tunnel forgets': () =>
      there.apply({ kind: 'remove-forwarding', link: 'vx0', entry: { kind: 'tunnel', mac, vtep } }),
    'the tunnel leads elsewhere': () =>
      there.apply({ kind: 'set-forwarding', link: 'vx0', entry: { kind: 'tunnel', mac, vtep: nodes.addressOf(7) } }),
    'a neighbour is forgotten': () =>
      there.apply({ kind: 'remove-neighbour', link: 'br0', neighbour: { address: '10.64.0.3' as never, mac } }),
    'the port floods': () => there.apply({ kind: 'set-link', name: 'vx0', port: { broadcastFlood: true } }),
    'packets are too large': () => there.apply({ kind: 'set-link', name: 'vx0', mtu: 1500 }),
    'the table of the tunnels is deleted': () =>
      machine.apply({ kind: 'remove-ruleset', name: `vipmesh_${node?.instance}_tunnels` }),
  };
  for (const [what, work] of Object.entries(harm)) {
    const before = Number(await node?.tell({ do: 'mended' }));
    await work();
    const mended = await eventually(true, async () => Number(await node?.tell({ do: 'mended' })) > before);
    t.ok(mended, what);
    t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', what);
    t.equal(await node?.tell({ do: 'repair' }), 0, what);
  }
  there.close();
  machine.close();
});

t.test('its own changes do not make a node look again', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back]);
  await nodes.run(1, back, '10.64.0.2');
  const b = await nodes.run(2, back, '10.64.0.3');
  await nodes.commit({ kind: 'task', before: b.task });
  await nodes.commit({ kind: 'task', after: b.task });
  await later(200);
  for (const node of nodes.nodes) t.equal(await node.tell({ do: 'mended' }), 0, `node ${node.number} mended nothing`);
});

t.test('M12: containers talk while their agent is dead, and the next one takes over', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back, twin]);
  const a = await nodes.run(1, back, '10.64.0.2');
  const b = await nodes.run(2, back, '10.64.0.3');
  const [node1, node2] = nodes.nodes;
  await node2?.kill();
  t.equal(await eventually('answered', () => ping(a.netns, '10.64.0.3')), 'answered', 'without its agent');
  // Meanwhile a network goes, and another takes over its number; a container comes elsewhere.
  const renewed = { ...twin, id: 'renewed'.padEnd(25, 'x') as never };
  await nodes.commit(
    { kind: 'network', before: twin },
    ...nodes.nodes.map((node) => ({ kind: 'bridge', before: bridgeOn(node, twin) }) as const),
    { kind: 'network', after: renewed },
    { kind: 'service', after: serviceOn(renewed) },
    ...nodes.nodes.map(
      (node) => ({ kind: 'bridge', after: bridgeOn(node, renewed, `10.64.0.${250 + node.number}`) }) as const,
    ),
  );
  t.match(await node1?.tell({ do: 'problems' }), [/./], 'two networks cannot have one number at once');
  await node1?.tell({ do: 'remove', network: twin.id });
  t.equal(
    await eventually('[]', async () => JSON.stringify(await node1?.tell({ do: 'problems' }))),
    '[]',
    'tried again by itself',
  );
  const c = await nodes.run(1, back, '10.64.0.4');
  const adopted = await node2?.tell({ do: 'adopt', changes: nodes.all, containers: [b.spec] });
  t.strictSame(adopted, { containers: 1, removed: 1, networks: 2 });
  t.strictSame(await node2?.tell({ do: 'problems' }), []);
  for (const { netns } of [a, c]) t.equal(await eventually('answered', () => ping(netns, '10.64.0.3')), 'answered');
  t.equal(await node2?.tell({ do: 'repair' }), 0);
});

t.test(
  'an agent killed at any moment while it makes a network leaves nothing that the next cannot use or remove',
  async (t) => {
    if (!(await mayBeNode(t))) return;
    const nodes = await meshOf(t, 2, [back]);
    const a = await nodes.run(1, back, '10.64.0.2');
    const [node1, node2] = nodes.nodes;
    if (node1 === undefined || node2 === undefined) return;
    const [b, c] = ['10.64.0.3', '10.64.0.4'].map((address) => nodes.specOf(node2, back, address));
    if (b === undefined || c === undefined) return;
    await node2.tell({ do: 'removeAll' });
    await node2.kill();
    await nodes.commit(...[b, c].map(({ task }) => ({ kind: 'task', after: task }) as const));
    for (const afterMs of [0, 3, 10, 20, 30, 45, 60, 90]) {
      await node2.tell({ do: 'problems' });
      const work = [
        node2.tell({ do: 'adopt', changes: nodes.all, containers: [b.spec, c.spec] }),
        node2.tell({ do: 'attach', spec: b.spec }),
        node2.tell({ do: 'attach', spec: c.spec }),
      ];
      const ended = Promise.allSettled(work);
      await later(afterMs);
      await node2.kill();
      await ended;
      await node2.tell({ do: 'adopt', changes: nodes.all, containers: [b.spec, c.spec] });
      for (const { spec } of [b, c]) await node2.tell({ do: 'attach', spec });
      t.equal(await node2.tell({ do: 'repair' }), 0, `killed after ${afterMs} ms: all is as planned`);
      for (const address of ['10.64.0.3', '10.64.0.4'])
        t.equal(await eventually('answered', () => ping(a.netns, address)), 'answered');
      await node2.tell({ do: 'removeAll' });
      await node2.kill();
      t.notOk(
        namespaces().some((name) => name.startsWith(node2.prefix)),
        'and nothing is left',
      );
    }
  },
);

t.test('in the end nothing is left', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back]);
  const a = await nodes.run(1, back, '10.64.0.2');
  await nodes.run(2, back, '10.64.0.3');
  const [node1, node2] = nodes.nodes;
  await nodes.stop(a);
  const bridge = bridgeOn(nodes.node(1), back, '10.64.0.251', 'fd00:64::251');
  t.match(await node1?.tell({ do: 'change', changes: [{ kind: 'bridge', before: bridge }] }), { idle: [back.id] });
  await node1?.tell({ do: 'remove', network: back.id });
  await node2?.tell({ do: 'removeAll' });
  t.strictSame(namespaces(), ['machine1', 'machine2']);
  for (const name of ['machine1', 'machine2']) {
    const machine = await nodes.kernel.ensureNamespace(name);
    const links = (await machine.observe()).links.map((link) => link.name);
    t.strictSame(links, ['lo', 'eth0'], name);
    for (const { instance } of nodes.nodes) {
      t.notOk(await machine.hasRuleset(`vipmesh_${instance}_tunnels`), `${name} has no table of ${instance}`);
      t.notOk(await machine.hasRuleset(`vipmesh_${instance}`));
    }
    machine.close();
  }
  await node1?.kill();
  await node2?.kill();
});

t.test('a network that this node has no place on is not made', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await Nodes.make(t, 1);
  nodes.put({ kind: 'network', after: back }, { kind: 'service', after: serviceOn(back) });
  await nodes.start();
  t.strictSame(namespaces(), ['machine1']);
  const [node] = nodes.nodes;
  if (node === undefined) return;
  const attachments = [{ network: back, addresses: ['10.64.0.2' as never] }];
  const spec = { taskId: taskOn(node, back, ['10.64.0.2']).id, attachments };
  await t.rejects(node.tell({ do: 'attach', spec }), /no address of its own on network back/);
  t.strictSame(namespaces(), ['machine1']);
});
