// Overlay networks across nodes, on the real kernel: each node is a network namespace with a process of its own.
import { mayBeNode } from './support/node.ts';
import t from 'tap';
import { close } from '../../src/native/libc.ts';
import { network as anyNetwork } from '../support/builders.ts';
import { ping, serveTcp, tryTcp } from '../support/netns.ts';
import { bridgeOn, Nodes, overlay, serviceOn } from './support/nodes.ts';

const back = overlay(anyNetwork('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64'], { internal: true }), 'back', 4097);

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
  const server = serveTcp(b.netns, 80);
  t.teardown(() => void close(server));
  t.equal(tryTcp(a.netns, '10.64.0.3', 80, server), '10.64.0.2 met at 10.64.0.3:80');
  t.equal(tryTcp(a.netns, 'fd00:64::3', 80, server), 'fd00:64::2 met at [fd00:64::3]:80');
  t.equal(ping(a.netns, '10.64.0.3'), 'answered');
  t.equal(ping(a.netns, 'fd00:64::3'), 'answered');
  for (const node of nodes.nodes) t.equal(await node.tell({ do: 'repair' }), 0, 'all is as planned');
});
