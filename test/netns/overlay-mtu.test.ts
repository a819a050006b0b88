// How large packets are that go through tunnels. Segmentation by the links is off, so that what is captured is what would be on a
// wire: a packet that is too large would be sent in pieces, which are counted.
import { mayBeNode } from './support/node.ts';
import { execFileSync } from 'node:child_process';
import { setTimeout as later } from 'node:timers/promises';
import t from 'tap';
import { close } from '../../src/native/libc.ts';
import { network as anyNetwork } from '../support/builders.ts';
import { serveTcp, transfer } from '../support/netns.ts';
import { findProgram, needsPrograms } from '../support/requirements.ts';
import { Capture } from './support/frames.ts';
import { bridgeOn, Nodes, overlay, serviceOn } from './support/nodes.ts';

const MIB = 1 << 20;
const PATIENCE_MS = 20_000;
const subnets = ['10.64.0.0/24', 'fd00:64::/64'];

const back = overlay(anyNetwork('back', 'overlay', subnets, { internal: true }), 'back', 4097);
const small = overlay(
  anyNetwork('small', 'overlay', subnets, { internal: true, options: { 'com.docker.network.driver.mtu': '1300' } }),
  'small',
  4098,
);
const huge = overlay(
  anyNetwork('huge', 'overlay', subnets, { internal: true, options: { 'com.docker.network.driver.mtu': '9000' } }),
  'huge',
  4099,
);

const CASES = [
  { name: 'an ordinary underlay', mtu: 1500, prefix: '192.0.2.', network: back, inner: 1450 },
  { name: 'a smaller underlay', mtu: 1400, prefix: '192.0.2.', network: back, inner: 1350 },
  { name: 'an IPv6 underlay', mtu: 1500, prefix: '2001:db8::', network: back, inner: 1430 },
  { name: 'an option that asks for less', mtu: 1500, prefix: '192.0.2.', network: small, inner: 1300 },
  { name: 'an option that asks for too much', mtu: 1500, prefix: '192.0.2.', network: huge, inner: 1450 },
] as const;

for (const { name, mtu, prefix, network, inner } of CASES) {
  t.test(`${name}: 32 MiB go through, in packets that fit`, async (t) => {
    if (!(await mayBeNode(t)) || !needsPrograms(t, 'ip')) return;
    const nodes = await Nodes.make(t, 2, { mtu, prefix });
    nodes.put({ kind: 'network', after: network }, { kind: 'service', after: serviceOn(network) });
    for (const node of nodes.nodes) {
      const end = 250 + node.number;
      nodes.put({ kind: 'bridge', after: bridgeOn(node, network, `10.64.0.${end}`, `fd00:64::${end}`) });
      ip('-n', `machine${node.number}`, 'link', 'set', 'eth0', 'gso_max_segs', '1');
    }
    await nodes.start();
    const a = await nodes.run(1, network, '10.64.0.2', 'fd00:64::2');
    const b = await nodes.run(2, network, '10.64.0.3', 'fd00:64::3');
    const server = serveTcp(b.netns, 80);
    const capture = new Capture(nodes.open('/run/netns/machine1'));
    t.teardown(() => {
      capture.close();
      close(server);
    });
    for (const address of ['10.64.0.3', 'fd00:64::3']) {
      t.equal(transfer(a.netns, address, 80, server, 16 * MIB), 16 * MIB, address);
      const { frames, fragments } = capture.read();
      t.equal(fragments, 0, 'no packet in pieces');
      const largest = Math.max(...frames.filter(({ from }) => from === nodes.addressOf(1)).map(({ bytes }) => bytes));
      t.equal(largest, inner + (prefix.includes(':') ? 70 : 50), 'and the largest is as large as it may be');
    }
  });
}

t.test('a change of the underlay reaches all links', async (t) => {
  if (!(await mayBeNode(t)) || !needsPrograms(t, 'ip')) return;
  const nodes = await Nodes.make(t, 1);
  const [node] = nodes.nodes;
  if (node === undefined) return;
  nodes.put(
    { kind: 'network', after: back },
    { kind: 'service', after: serviceOn(back) },
    { kind: 'bridge', after: bridgeOn(node, back, '10.64.0.1', 'fd00:64::1') },
  );
  await nodes.start();
  const a = await nodes.run(1, back, '10.64.0.2', 'fd00:64::2');
  const places = [`${node.prefix}backxxxx`, a.path.replace('/run/netns/', '')];
  const mtus = async (): Promise<string> => {
    const all: string[] = [];
    for (const place of places) {
      const namespace = await nodes.kernel.ensureNamespace(place);
      const { links } = await namespace.observe();
      all.push(...links.filter(({ kind }) => kind !== 'other').map((link) => `${link.name} ${link.mtu}`));
      namespace.close();
    }
    return all.map((text) => text.replace(/^t-\w+/, 'port')).join(', ');
  };
  t.equal(await mtus(), 'br0 1450, vx0 1450, port 1450, eth0 1450');
  ip('-n', 'machine1', 'link', 'set', 'eth0', 'mtu', '1400');
  const end = Date.now() + PATIENCE_MS;
  while ((await mtus()).includes('1450') && Date.now() < end) await later(20);
  t.equal(await mtus(), 'br0 1350, vx0 1350, port 1350, eth0 1350');
});

function ip(...words: readonly string[]): void {
  execFileSync(findProgram('ip') ?? 'ip', words);
}
