// A VIP's datagrams: any port, and a socket of each flow's own towards its client.
import t from 'tap';
import type { FrontendTarget } from '../../src/balancer/command.ts';
import { ENDPOINT, TOTAL } from '../../src/runtime/worker-env.ts';
import { Rig } from './udp-harness.ts';

for (const [vip, client, server] of [
  ['127.64.0.7', '127.0.0.1', '::1'],
  ['::1', '::1', '127.0.0.1'],
] as const) {
  t.test(`VIP ${vip}: any port, answered from VIP and port by a socket of the flow's own`, async (t) => {
    const rig = new Rig(t);
    const [a, b] = [await rig.server('a', 1, server), await rig.server('b', 2, server)];
    const target: FrontendTarget = { kind: 'vips', network: 3, netns: 0 };
    // Without sk_lookup, the listening socket is on the port itself, which it then must be willing to share.
    const port = await rig.proxy.listen(0, '::', target, { originalDestination: true, reuseAddress: true });
    const stray = await rig.client(port, vip);
    stray.send('no such VIP');
    await rig.proxy.until(() => rig.proxy.total(TOTAL.strayConnections) === 1);
    await rig.proxy.setEndpoints(0, a.endpoint(port), b.endpoint(port));
    await rig.proxy.post({ kind: 'vip-set', network: 3, address: vip, backend: 0 });
    const clients = [await rig.client(port, vip), await rig.client(port, vip)];
    for (let i = 0; i < 5; i++) {
      t.strictSame(await Promise.all(clients.map((one) => one.ask(`${i}`))), [`a:${i}`, `b:${i}`]);
    }
    t.equal(rig.proxy.total(TOTAL.udpFlowsOpened), 2);
    await rig.proxy.setEndpoints(0, b.endpoint(port));
    t.strictSame(await Promise.all(clients.map((one) => one.ask('moved'))), ['b:moved', 'b:moved'], 'U7');
    t.equal(rig.proxy.total(TOTAL.udpFlowsOpened), 2);
    t.equal(client.includes(':'), vip.includes(':'));
    const [one] = clients;
    await rig.proxy.setEndpoints(0, a.endpoint(port), b.endpoint(port));
    await rig.proxy.postBefore(
      async () => one?.sent('queued'),
      { kind: 'backend-set', backend: { id: 0, roundRobinSlot: 0, endpoints: [a.endpoint(port)] } },
      { kind: 'endpoint-close', slots: [2] },
    );
    t.equal(String(await one?.receive()), 'a:queued', 'what a client sent as its endpoint went is not lost');
    t.equal(rig.proxy.endpoint(2, ENDPOINT.flows), 0);
  });
}
