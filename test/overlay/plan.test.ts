// What a namespace should hold, as `ip` would show it.
import t from 'tap';
import { applyChanges, EMPTY_SNAPSHOT } from '../../src/catalog/snapshot.ts';
import { gatewayOf } from '../../src/model/network.ts';
import type { TaskId } from '../../src/model/task.ts';
import { egressPlace, planEgress } from '../../src/overlay/egress.ts';
import { type ContainerSpec, hasEgress, planContainer, planNetwork } from '../../src/overlay/plan.ts';
import { wantedNetworks } from '../../src/overlay/wanted.ts';
import { ip, NODE, network, service, subnet } from '../support/builders.ts';
import { planText } from '../support/overlay-text.ts';

const back = network('back', 'overlay', ['10.64.0.0/24', 'fd00:64::/64']);
const inner = network('inner', 'overlay', ['10.65.0.0/24'], { internal: true });
const app: ContainerSpec = {
  taskId: 'aaaaaaaa1' as TaskId,
  attachments: [
    { network: back, addresses: [ip('10.64.0.2'), ip('fd00:64::2')] },
    { network: inner, addresses: [ip('10.65.0.2')] },
  ],
};

t.test('a network: bridge, ports, VIPs of both families', async (t) => {
  const plan = planNetwork(
    'ab12cd',
    { network: back, own: back.subnets.map(gatewayOf), vips: [ip('10.64.0.9'), ip('fd00:64::9')] },
    [app],
  );
  t.strictSame(planText(plan), [
    'link lo',
    'link br0 bridge mac 02:42:0a:40:00:01',
    'link t-aaaaaaaa veth to eth0 02:42:0a:40:00:02 in vipmesh-ab12cd-t-aaaaaaaa, port of br0, -learning -unicastFlood',
    'address 10.64.0.1/24 on br0',
    'address fd00:64::1/64 on br0',
    'address fd00:64::9/128 on br0 deprecated',
    'local 10.64.0.9/32 on lo',
    'neighbour 10.64.0.2 is 02:42:0a:40:00:02 on br0',
    'neighbour fd00:64::2 is 02:42:0a:40:00:02 on br0',
    'forward 02:42:0a:40:00:02 over t-aaaaaaaa',
    'sysctl ipv4/ip_forward = 0',
    'sysctl ipv4/conf/all/arp_ignore = 0',
    'sysctl ipv4/conf/br0/arp_ignore = 0',
    'sysctl ipv6/conf/br0/addr_gen_mode = 0',
    'sysctl ipv6/conf/br0/accept_ra = 0',
    'sysctl ipv6/conf/br0/disable_ipv6 = 0',
    'sysctl ipv6/conf/t-aaaaaaaa/accept_ra = 0',
    'sysctl ipv6/conf/t-aaaaaaaa/disable_ipv6 = 1',
  ]);
});

t.test('a network on which no container is', async (t) => {
  t.strictSame(
    planText(planNetwork('ab12cd', { network: inner, own: inner.subnets.map(gatewayOf), vips: [] }, [])).slice(0, 3),
    ['link lo', 'link br0 bridge mac 02:42:0a:41:00:01', 'address 10.65.0.1/24 on br0'],
  );
});

t.test('a container with a way outside', async (t) => {
  const range = subnet('100.127.0.0/20');
  const plan = planContainer(app, { subnet: range, place: egressPlace(range, 2) });
  t.strictSame(planText(plan), [
    'link lo',
    'link eth0 mac 02:42:0a:40:00:02',
    'link eth1 mac 02:42:0a:41:00:02',
    'link egress',
    'address 10.64.0.2/24 on eth0',
    'address fd00:64::2/64 on eth0',
    'address 10.65.0.2/24 on eth1',
    'address 100.127.0.2/20 on egress',
    'unicast 0.0.0.0/0 via 100.127.0.1 on egress',
    'sysctl ipv4/ip_forward = 0',
    'sysctl ipv4/ip_unprivileged_port_start = 0',
    'sysctl ipv6/conf/eth0/addr_gen_mode = 0',
    'sysctl ipv6/conf/eth0/accept_ra = 0',
    'sysctl ipv6/conf/eth0/disable_ipv6 = 0',
    'sysctl ipv6/conf/eth1/accept_ra = 0',
    'sysctl ipv6/conf/eth1/disable_ipv6 = 1',
    'sysctl ipv6/conf/egress/accept_ra = 0',
    'sysctl ipv6/conf/egress/disable_ipv6 = 1',
  ]);
});

t.test('O5: a container on internal networks only has no route at all', async (t) => {
  const spec = { ...app, attachments: app.attachments.slice(1) };
  t.notOk(hasEgress(spec));
  t.ok(hasEgress(app));
  t.notMatch(planText(planContainer(spec, undefined)).join('\n'), /unicast/);
});

t.test('the egress bridge in the node', async (t) => {
  const range = subnet('100.127.0.0/20');
  const plan = planEgress('ab12cd', range, new Map([[app.taskId, egressPlace(range, 300)]]));
  t.strictSame(planText(plan), [
    'link vmeg-ab12cd bridge mac 02:42:64:7f:00:01',
    'link vmab12cd-12c veth to egress 02:42:64:7f:01:2c in vipmesh-ab12cd-t-aaaaaaaa, port of vmeg-ab12cd, isolated',
    'address 100.127.0.1/20 on vmeg-ab12cd',
    'neighbour 100.127.1.44 is 02:42:64:7f:01:2c on vmeg-ab12cd',
    'sysctl ipv4/ip_forward = 1',
    'sysctl ipv6/conf/vmeg-ab12cd/accept_ra = 0',
    'sysctl ipv6/conf/vmeg-ab12cd/disable_ipv6 = 1',
    'sysctl ipv6/conf/vmab12cd-12c/accept_ra = 0',
    'sysctl ipv6/conf/vmab12cd-12c/disable_ipv6 = 1',
  ]);
});

t.test('the networks of a snapshot: overlays only, with the VIPs of their services', async (t) => {
  const web = service('web', {
    on: [
      { network: back, vip: '10.64.0.9' },
      { network: inner, vip: '10.65.0.9' },
    ],
  });
  const db = service('db', { on: [{ network: back, vip: '10.64.0.5' }] });
  const noVip = service('dns', { on: [{ network: back }] });
  const snapshot = applyChanges(EMPTY_SNAPSHOT, 1, [
    ...[back, inner, network('home')].map((after) => ({ kind: 'network', after }) as const),
    ...[web, db, noVip].map((after) => ({ kind: 'service', after }) as const),
  ]);
  t.strictSame(
    wantedNetworks(snapshot, { id: NODE }).map(({ network, vips }) => `${network.spec.name}: ${vips.join(' ')}`),
    ['back: 10.64.0.5 10.64.0.9', 'inner: 10.65.0.9'],
  );
});
