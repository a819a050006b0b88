// What a container reaches outside its networks, and who reaches it: another machine (a namespace behind a link), the node's
// published ports, other networks, the agent itself.
import './support/node.ts';
import { createServer } from 'node:net';
import t from 'tap';
import { inNetns } from '../../src/native/netns.ts';
import { LinuxKernel } from '../../src/netlink/linux-kernel.ts';
import { startAgent } from '../support/agent.ts';
import { ping, tryTcp, tryUdp } from '../support/netns.ts';
import { connectFrom, httpGet, lines } from './support/clients.ts';
import { vipOf } from './support/mesh.ts';
import { makeOutside, mayBeNode, OUTSIDE } from './support/node.ts';
import { startServer } from './support/tasks.ts';

const EGRESS = '100.127.0.0/20';
const EGRESS_NODE = '100.127.0.1';
const STACK = `services:
  web: {networks: [front], ports: ["8080:8000"]}
  shell: {networks: [front]}
  other: {networks: [back]}
  vault: {networks: [secret]}
networks:
  front: {driver: overlay}
  back: {driver: overlay}
  secret: {driver: overlay, internal: true}
`;
/** What a connection meets where there is no way. */
const NO_WAY = /^(nobody|ENETUNREACH|EHOSTUNREACH|ETIMEDOUT)$/;

t.test('containers and the world', async (t) => {
  if (!(await mayBeNode(t))) return;
  const kernel = new LinuxKernel();
  t.teardown(() => kernel.close());
  const outside = await makeOutside(kernel, EGRESS);
  const agent = await startAgent({ stacks: { shop: STACK }, args: ['--egress-subnet', EGRESS, '--drain', '0s'] });
  const { adminPort, dnsPort } = agent.folder;
  const [web, shell, other, vault] = await Promise.all(
    ['web', 'shell', 'other', 'vault'].map((name) => startServer(agent, name)),
  );
  if (web === undefined || shell === undefined || other === undefined || vault === undefined)
    throw new Error('no tasks');

  await t.test('a container reaches the outside as its node', async (t) => {
    const world = createServer((connection) => {
      connection.on('error', () => undefined);
      connection.end(`you are ${connection.remoteAddress}\n`);
    });
    inNetns(outside, () => world.listen(80));
    t.teardown(() => world.close());
    for (const task of [shell, other]) {
      const met = await lines(connectFrom(task.netns, OUTSIDE.address, 80)).line();
      t.equal(met, `you are ::ffff:${OUTSIDE.node}`, `${task.name} is masqueraded`);
    }
    t.equal(ping(shell.netns, OUTSIDE.address), 'answered');
    t.equal(tryUdp(shell.netns, OUTSIDE.address, 9), 'ECONNREFUSED', 'errors from outside come back');
  });

  await t.test("a container reaches the node's published ports", async (t) => {
    for (const address of [OUTSIDE.node, EGRESS_NODE])
      for (const task of [shell, other, web])
        t.match(await httpGet(task.netns, address, 8080), `${web.name} met `, `${task.name} at ${address}`);
    t.match(await httpGet(outside, OUTSIDE.node, 8080), `${web.name} met `, 'so does the outside');
  });

  await t.test('an internal network leads nowhere', async (t) => {
    for (const address of [OUTSIDE.address, OUTSIDE.node, EGRESS_NODE]) {
      t.match(tryTcp(vault.netns, address, 8080), NO_WAY, address);
      t.match(tryUdp(vault.netns, address, 53), NO_WAY);
    }
    t.match(
      await httpGet(vault.netns, await vipOf(agent, 'shop_secret', 'vault'), 8000),
      `${vault.name} met `,
      'but to itself',
    );
  });

  await t.test('nobody outside, nor on another network, reaches a container', async (t) => {
    const vip = await vipOf(agent, 'shop_front', 'web');
    for (const [who, netns] of [
      ['another network', other.netns],
      ['an internal network', vault.netns],
      ['the node', 0],
      ['the outside', outside],
    ] as const)
      for (const address of [vip, web.address]) t.match(tryTcp(netns, address, 8000), NO_WAY, `${who} to ${address}`);
    const egress = [2, 3, 4].map((host) => `100.127.0.${host}`);
    for (const address of egress) t.match(tryTcp(outside, address, 8000), NO_WAY, `the outside to ${address}`);
    const reached = egress.filter((address) => !NO_WAY.test(tryTcp(other.netns, address, 8000)));
    t.equal(reached.length, 1, 'through the bridge that leads outside a container reaches itself alone');
  });

  await t.test('S7: a container reaches nothing of the agent', async (t) => {
    for (const address of ['127.0.0.1', OUTSIDE.node, EGRESS_NODE, gatewayOf(shell.address)]) {
      t.equal(tryTcp(shell.netns, address, adminPort), 'ECONNREFUSED', `metrics at ${address}`);
      t.equal(tryTcp(shell.netns, address, dnsPort), 'ECONNREFUSED', `the node's resolver at ${address}`);
      t.equal(tryUdp(shell.netns, address, dnsPort), 'ECONNREFUSED');
      t.equal(tryTcp(shell.netns, address, 53), 'ECONNREFUSED', `a resolver at ${address}`);
    }
    t.equal(tryTcp(outside, OUTSIDE.node, adminPort), 'ECONNREFUSED', 'nor does the outside');
  });
  t.equal(await agent.stop(), 0);
});

/** The node's own address on a network with a prefix of 24 bits. */
function gatewayOf(address: string): string {
  return address.replace(/\d+$/, '1');
}
