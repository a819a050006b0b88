// UDP through VIPs of an overlay namespace: any port, led to the group by sk_lookup, answered from VIP and port.
import { execFileSync } from 'node:child_process';
import t, { type Test } from 'tap';
import type { BackendEndpoint } from '../../src/balancer/command.ts';
import { DatagramBatch } from '../../src/native/datagram-batch.ts';
import { bindUdp, connectUdp } from '../../src/native/datagram-socket.ts';
import { EAGAIN, errno, errnoName } from '../../src/native/errno.ts';
import { addressOf, close, type Fd, recv, send } from '../../src/native/libc.ts';
import { closeNetns, createNetns, deleteNetns, openNetns } from '../../src/native/netns.ts';
import { closeVipGroup, openVipGroup, SkLookup, VIP_GROUP_PORT } from '../../src/native/sk-lookup.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { ProxyThread } from '../balancer/udp-harness.ts';
import { needsRoot } from '../support/requirements.ts';

const NETWORK = 3;
const ANSWER = Buffer.from('answer');
const buffer = Buffer.alloc(2048);
const batch = new DatagramBatch({ messages: 1 });

/** A namespace with VIPs on its loopback device, its program, and a proxy that serves it. */
async function overlay(t: Test, vips: readonly string[]): Promise<{ proxy: ProxyThread; netns: Fd; lookup: SkLookup }> {
  const name = `vipmesh-udp-${process.pid}-${vips.length}`;
  const path = `/run/netns/${name}`;
  createNetns(path);
  t.teardown(() => deleteNetns(path));
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  for (const vip of vips) {
    if (vip.includes(':')) execFileSync('ip', ['-n', name, 'addr', 'add', `${vip}/128`, 'dev', 'lo']);
    else execFileSync('ip', ['-n', name, 'route', 'add', 'local', vip, 'dev', 'lo']);
  }
  const netns = openNetns(path);
  t.teardown(() => closeNetns(netns));
  const group = openVipGroup(netns, 1);
  t.teardown(() => closeVipGroup(group));
  const lookup = SkLookup.attach({ netns, ownPort: VIP_GROUP_PORT, workers: 1 });
  t.teardown(() => lookup.close());
  const fd = group.udp[0] as Fd;
  lookup.setSocket('udp', 0, fd);
  const proxy = new ProxyThread();
  t.teardown(() => proxy.post({ kind: 'frontend-remove', id: 0 }).then(() => proxy.stop()));
  await proxy.post({
    kind: 'frontend-add',
    frontend: { id: 0, protocol: 'udp', fd, target: { kind: 'vips', network: NETWORK, netns } },
  });
  return { proxy, netns, lookup };
}

/** What comes to a socket next, while the proxy goes round its loop. */
async function next(proxy: ProxyThread, fd: Fd): Promise<string> {
  let length = -1;
  await proxy.until(() => {
    length = recv(fd, buffer, buffer.length, 0);
    if (length < 0 && errno() !== EAGAIN) throw new Error(errnoName(errno()));
    return length >= 0;
  });
  return buffer.toString('utf8', 0, length);
}

for (const [vip, stranger, serverAddress] of [
  ['10.70.0.2', '10.70.0.9', '127.0.0.1'],
  ['fd70::2', 'fd70::9', '::1'],
] as const) {
  t.test(`VIP ${vip}`, async (t) => {
    if (!needsRoot(t, 'makes a network namespace and loads BPF')) return;
    const { proxy, netns, lookup } = await overlay(t, [vip, stranger]);
    const open = (fd: Fd): Fd => {
      t.teardown(() => void close(fd));
      return fd;
    };
    const servers = [0, 1].map(() => open(bindUdp(serverAddress, 0, { netns })));
    const endpoint = (slot: number, port: number): BackendEndpoint => ({
      slot,
      address: serverAddress,
      portMap: [{ targetPort: port, port: localAddress(servers[slot] as Fd).port }],
      netns,
      weight: 1,
    });
    await proxy.post({ kind: 'vip-set', network: NETWORK, address: vip, backend: 0 });
    lookup.setVip(vip, true);
    for (const port of [53, 9999, VIP_GROUP_PORT]) {
      await proxy.setEndpoints(0, endpoint(0, port), endpoint(1, port));
      const flows = proxy.total(TOTAL.udpFlowsOpened);
      const clients = [0, 1].map(() => open(connectUdp(vip, port, netns)));
      const answers: string[] = [];
      for (let round = 0; round < 3; round++) {
        for (const client of clients) send(client, Buffer.from('ask'), 3, 0);
        for (const server of servers) await answer(proxy, server);
        for (const client of clients) answers.push(await next(proxy, client));
      }
      t.strictSame(answers, Array(6).fill('answer'), `port ${port}`);
      t.equal(proxy.total(TOTAL.udpFlowsOpened) - flows, 2);
    }
    const refused = open(connectUdp(stranger, 53, netns));
    send(refused, Buffer.from('x'), 1, 0);
    const told = recv(refused, buffer, 1, 0) < 0 ? errnoName(errno()) : 'an answer';
    t.equal(told, 'ECONNREFUSED', 'an address that is no VIP');
  });
}

/** Plays an endpoint: answers the next datagram that comes. */
async function answer(proxy: ProxyThread, server: Fd): Promise<void> {
  await proxy.until(() => batch.receive(server) > 0);
  batch.queueReply(0, addressOf(ANSWER), ANSWER.length);
  batch.flush(server);
}
