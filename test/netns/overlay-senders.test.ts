// Who may send what on an overlay network, with real frames: what is somebody's own arrives, what is in another's name is dropped and
// counted, from containers here and from other nodes.
import { mayBeNode } from './support/node.ts';
import { execFileSync } from 'node:child_process';
import t from 'tap';
import type { NetworkId } from '../../src/model/network.ts';
import { PORT_TABLE, linkLocalOf, macOf } from '../../src/overlay/names.ts';
import type { FramesDropped } from '../../src/overlay/networks.ts';
import { ip, network as anyNetwork } from '../support/builders.ts';
import { ping, receiveUdp, sendUdp, serveTcp, serveUdp, tryTcp } from '../support/netns.ts';
import { needsPrograms } from '../support/requirements.ts';
import { Capture, claimFrame, sendFrame, udpFrame, vxlanPacket } from './support/frames.ts';
import { bridgeOn, type Nodes, overlay } from './support/nodes.ts';
import { eventually, meshOf, serverIn } from './support/overlay-mesh.ts';

const back = overlay(anyNetwork('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64'], { internal: true }), 'back', 4097);
const VIP = '10.64.0.99';

const droppedBy = async (nodes: Nodes, number: number, reason: keyof FramesDropped) =>
  ((await nodes.node(number).tell({ do: 'dropped' })) as FramesDropped)[reason];

const macs = (address: string) => macOf(ip(address));

t.test('a container sends in its own name only', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back], { vip: VIP });
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(1, back, '10.64.0.3', 'fd00:64::3');
  const far = await nodes.run(2, back, '10.64.0.4', 'fd00:64::4');
  const servers = [b, far].map((one) => serverIn(t, serveUdp, one, 53));
  const forged = () => droppedBy(nodes, 1, 'forged-by-container');
  const [own, beside, other] = [macs('10.64.0.2'), macs('10.64.0.3'), macs('10.64.0.4')];
  const places = [
    { to: '10.64.0.3', toMac: beside, server: servers[0] ?? -1 },
    { to: '10.64.0.4', toMac: other, server: servers[1] ?? -1 },
  ] as const;
  const six = (address: string) => address.replace('10.64.0.', 'fd00:64::');
  for (const { to, toMac, server } of places) {
    const say = (from: string, fromMac: string, text: string) =>
      sendFrame(
        a.netns,
        'eth0',
        udpFrame({ from, fromMac, to: from.includes(':') ? six(to) : to, toMac, port: 53, text }),
      );
    const before = await forged();
    say('10.64.0.77', own, 'from an address that is nobody');
    say('10.64.0.251', own, 'from the bridge');
    say(VIP, own, 'from the VIP');
    say('10.64.0.2', '02:42:0a:40:00:4d', 'from another MAC address');
    say('10.64.0.4', other, 'all of another');
    say('fd00:64::77', own, 'over IPv6');
    say(linkLocalOf(other), own, "from another's link-local address");
    say('10.64.0.2', own, 'its own');
    t.equal(receiveUdp(server), 'its own', `${to}: the first that came`);
    say('fd00:64::2', own, 'its own over IPv6');
    t.equal(receiveUdp(server), 'its own over IPv6');
    t.equal(await eventually(before + 7, forged), before + 7, 'the others were dropped and counted');
  }
  t.equal(await droppedBy(nodes, 2, 'forged-by-node'), 0, 'before they came to another node');

  const claims = await forged();
  const claim = (address: string, mac: string, more: { readonly fromMac?: string; readonly from?: string } = {}) =>
    sendFrame(
      a.netns,
      'eth0',
      claimFrame({ address, mac, to: address.includes(':') ? 'fd00:64::3' : '10.64.0.3', toMac: beside, ...more }),
    );
  const capture = new Capture(b.netns);
  t.teardown(() => capture.close());
  claim('10.64.0.4', own);
  claim('10.64.0.4', other);
  claim('10.64.0.2', other, { fromMac: own });
  claim('fd00:64::4', own);
  claim('fd00:64::4', own, { from: 'fd00:64::2' });
  t.equal(await eventually(claims + 5, forged), claims + 5, "nobody says that another's address is its own");
  claim('10.64.0.2', own);
  claim('fd00:64::2', own);
  t.equal(ping(a.netns, '10.64.0.3'), 'answered');
  t.equal(await forged(), claims + 5, 'but that its own is');
  // An EtherType for experiments (IEEE 802).
  const experiment = udpFrame({ from: '10.64.0.2', fromMac: own, to: '10.64.0.3', toMac: beside, port: 53, text: '' });
  experiment.writeUInt16BE(0x88b5, 12);
  sendFrame(a.netns, 'eth0', experiment);
  t.equal(await eventually(claims + 6, forged), claims + 6, 'what is neither IP nor ARP is nobody');
});

t.test('what is in order is never dropped: ND, ARP, VIPs, the node itself, several nodes', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'ip')) return;
  const nodes = await meshOf(t, 2, [back], { vip: VIP });
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(1, back, '10.64.0.3', 'fd00:64::3');
  const far = await nodes.run(2, back, '10.64.0.4', 'fd00:64::4');
  const node1 = nodes.open(`/run/netns/${nodes.kernel.listNamespaces(`${nodes.node(1).prefix}back`)[0]}`);
  for (const address of ['10.64.0.3', 'fd00:64::3', '10.64.0.4', 'fd00:64::4', VIP, '10.64.0.251', 'fd00:64::252'])
    t.equal(await eventually('answered', () => ping(a.netns, address)), 'answered', address);
  for (const address of ['10.64.0.2', 'fd00:64::2', '10.64.0.4', 'fd00:64::4'])
    t.equal(await eventually('answered', () => ping(node1, address)), 'answered', `the node itself, ${address}`);
  const server = serverIn(t, serveTcp, far, 80);
  t.equal(tryTcp(a.netns, '10.64.0.4', 80, server), '10.64.0.2 met at 10.64.0.4:80');
  t.equal(tryTcp(node1, 'fd00:64::4', 80, server), 'fd00:64::251 met at [fd00:64::4]:80');
  // A neighbour that was not heard of for a while is asked whether it is still there: through the tunnel, too.
  for (const { path } of [a, b])
    for (const address of ['10.64.0.4', 'fd00:64::4']) {
      const name = path.replace('/run/netns/', '');
      const neighbour = (...words: readonly string[]) =>
        execFileSync('ip', ['-n', name, 'neigh', ...words], { encoding: 'utf8' });
      ping(name === a.path.replace('/run/netns/', '') ? a.netns : b.netns, address);
      neighbour('change', address, 'dev', 'eth0', 'nud', 'probe');
      const state = () => /REACHABLE/.exec(neighbour('show', address))?.[0];
      t.equal(await eventually('REACHABLE', state), 'REACHABLE', `${address} is still there`);
    }
  for (const number of [1, 2])
    t.same(
      await nodes.node(number).tell({ do: 'dropped' }),
      { stranger: 0, 'forged-by-node': 0, 'forged-by-container': 0, 'unknown-network': 0 },
      `node ${number} has dropped nothing`,
    );
});

t.test('O5: a node sends what is from its own containers only', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 3, [back], { vip: VIP });
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(2, back, '10.64.0.3', 'fd00:64::3');
  await nodes.run(3, back, '10.64.0.4', 'fd00:64::4');
  const server = serverIn(t, serveUdp, b, 53);
  const machines = [1, 3].map((number) => nodes.open(`/run/netns/machine${number}`));
  const toMac = macs('10.64.0.3');
  const forged = () => droppedBy(nodes, 2, 'forged-by-node');
  const say = (machine: number, from: string, fromMac: string, text: string, vni = 4097) => {
    const to = from.includes(':') ? 'fd00:64::3' : '10.64.0.3';
    const frame = vxlanPacket(vni, udpFrame({ from, fromMac, to, toMac, port: 53, text }));
    sendUdp(machines[machine] ?? -1, '192.0.2.2', 4789, frame);
  };
  say(0, '10.64.0.4', macs('10.64.0.4'), 'what is on node 3');
  say(0, '10.64.0.77', macs('10.64.0.77'), 'what is nowhere');
  say(0, '10.64.0.3', toMac, 'what is on the receiver');
  say(0, '10.64.0.4', macs('10.64.0.2'), "with another's address");
  say(0, '10.64.0.2', macs('10.64.0.4'), "with another's MAC address");
  say(0, 'fd00:64::4', macs('10.64.0.4'), 'over IPv6');
  say(0, VIP, macs('10.64.0.2'), 'in the name of the VIP');
  say(0, '10.64.0.2', macs('10.64.0.2'), 'what is there');
  t.equal(receiveUdp(server), 'what is there', 'the first that came');
  say(0, 'fd00:64::2', macs('10.64.0.2'), 'what is there, over IPv6');
  t.equal(receiveUdp(server), 'what is there, over IPv6');
  t.equal(await eventually(7, forged), 7, 'dropped and counted');
  const claim = (mac: string, address = '10.64.0.2') =>
    vxlanPacket(4097, claimFrame({ address, mac, fromMac: macs('10.64.0.2'), to: '10.64.0.3', toMac }));
  sendUdp(machines[0] ?? -1, '192.0.2.2', 4789, claim(macs('10.64.0.4')));
  sendUdp(machines[0] ?? -1, '192.0.2.2', 4789, claim(macs('10.64.0.2'), '10.64.0.4'));
  t.equal(await eventually(9, forged), 9, 'ARP too');
  sendUdp(machines[0] ?? -1, '192.0.2.2', 4789, claim(macs('10.64.0.2')));
  const unknown = () => droppedBy(nodes, 2, 'unknown-network');
  say(0, '10.64.0.2', macs('10.64.0.2'), 'of no network', 9999);
  t.equal(await eventually(1, unknown), 1, 'a network that is not here');

  const { task } = a;
  await nodes.commit({ kind: 'task', before: task, after: { ...task, nodeId: nodes.node(3).id } });
  say(0, '10.64.0.2', macs('10.64.0.2'), 'where it was');
  say(1, '10.64.0.2', macs('10.64.0.2'), 'where it is now');
  t.equal(receiveUdp(server), 'where it is now', 'a container that has moved');
  t.equal(await eventually(10, forged), 10);
  for (const node of nodes.nodes) t.equal(await node.tell({ do: 'repair' }), 0, `node ${node.number} is as planned`);
  await node2WithoutNetwork(nodes);
  t.equal(await forged(), 10, 'the count goes on when the last network has gone');
});

/** Its container, and its place on the network. */
async function node2WithoutNetwork(nodes: Nodes): Promise<void> {
  const node = nodes.node(2);
  const tasks = nodes.all.flatMap((change) =>
    change.kind === 'task' && change.after?.nodeId === node.id ? [change.after] : [],
  );
  for (const task of tasks) await node.tell({ do: 'detach', taskId: task.id });
  await nodes.commit({ kind: 'bridge', before: bridgeOn(node, back, '10.64.0.252', 'fd00:64::252') });
  await node.tell({ do: 'remove', network: back.id as NetworkId });
}

t.test('nodes whose tunnels are over IPv6', async (t) => {
  if (!(await mayBeNode(t))) return;
  const nodes = await meshOf(t, 2, [back], { vip: VIP, prefix: '2001:db8::' });
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const b = await nodes.run(2, back, '10.64.0.3', 'fd00:64::3');
  for (const address of ['10.64.0.3', 'fd00:64::3'])
    t.equal(await eventually('answered', () => ping(a.netns, address)), 'answered', address);
  const server = serverIn(t, serveUdp, b, 53);
  const machine = nodes.open('/run/netns/machine1');
  const say = (from: string, text: string) => {
    const inner = { from, fromMac: macs(from), to: '10.64.0.3', toMac: macs('10.64.0.3'), port: 53, text };
    sendUdp(machine, '2001:db8::2', 4789, vxlanPacket(4097, inner));
  };
  say('10.64.0.9', 'what is nowhere');
  say('10.64.0.2', 'what is there');
  t.equal(receiveUdp(server), 'what is there');
  t.equal(await eventually(1, () => droppedBy(nodes, 2, 'forged-by-node')), 1);
});

t.test('a table that something else removes or changes is made anew, and the count goes on', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'nft')) return;
  const nodes = await meshOf(t, 1, [back], { vip: VIP });
  const a = await nodes.run(1, back, '10.64.0.2');
  const b = await nodes.run(1, back, '10.64.0.3');
  const node = nodes.node(1);
  const server = serverIn(t, serveUdp, b, 53);
  const forged = () => droppedBy(nodes, 1, 'forged-by-container');
  const say = (from: string, text: string) =>
    sendFrame(
      a.netns,
      'eth0',
      udpFrame({ from, fromMac: macs('10.64.0.2'), to: '10.64.0.3', toMac: macs('10.64.0.3'), port: 53, text }),
    );
  say('10.64.0.7', 'forged');
  t.equal(await eventually(1, forged), 1);
  const place = `--net=/run/netns/${nodes.kernel.listNamespaces(`${node.prefix}back`)[0]}`;
  const nft = (...words: readonly string[]) => execFileSync('nsenter', [place, 'nft', ...words], { encoding: 'utf8' });
  const harm = {
    'a set is emptied': ['flush', 'set', 'bridge', PORT_TABLE, 'senders_ipv4'],
    'the rules are': ['flush', 'chain', 'bridge', PORT_TABLE, 'arrivals'],
    'something is added': ['add', 'rule', 'bridge', PORT_TABLE, 'arrivals', 'accept'],
  };
  let count = 1;
  for (const [what, words] of Object.entries({
    ...harm,
    'all of it is deleted': ['delete', 'table', 'bridge', PORT_TABLE],
  })) {
    const before = Number(await node.tell({ do: 'mended' }));
    nft(...words);
    t.equal(await eventually(true, async () => Number(await node.tell({ do: 'mended' })) > before), true, what);
    const deleted = words[0] === 'delete';
    say('10.64.0.7', 'forged');
    say('10.64.0.2', 'its own');
    t.equal(receiveUdp(server), 'its own');
    // What a table has counted goes with it.
    count = deleted ? count : count + 1;
    t.equal(await eventually(count, forged), count);
    t.equal(await node.tell({ do: 'repair' }), 0);
  }
  t.match(
    nft('list', 'table', 'bridge', PORT_TABLE),
    /"t-t\d+x*" \. 02:42:0a:40:00:02 \. 10\.64\.0\.2/,
    'and nft shows it',
  );
  const machine = `--net=/run/netns/machine1`;
  const shown = execFileSync('nsenter', [machine, 'nft', 'list', 'table', 'inet', `vipmesh_${node.instance}_tunnels`], {
    encoding: 'utf8',
  });
  t.match(shown, /set frames_ipv4 \{\s+type ipv4_addr \. ipv4_addr \. ether_addr \. ipv4_addr/);
});
