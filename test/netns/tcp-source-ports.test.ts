// What becomes of connections to endpoints when the kernel has no source port left for them.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { probeTcp } from '../../src/health/probes.ts';
import type { IpAddress } from '../../src/model/address.ts';
import { closeNetns, createNetns, deleteNetns, openNetns } from '../../src/native/netns.ts';
import { listenTcp } from '../../src/native/stream-socket.ts';
import { TOTAL } from '../../src/runtime/worker-env.ts';
import { needsRoot } from '../support/requirements.ts';
import { endpoint, ending, TcpRig } from '../support/tcp-rig.ts';

const PORTS = 4;

t.test('source ports run out: others are tried, and it is told by the name of its setting', async (t) => {
  if (!needsRoot(t, 'it makes a network namespace')) return;
  const name = `vipmesh-ports-${process.pid}`;
  const path = `/run/netns/${name}`;
  createNetns(path);
  t.teardown(() => deleteNetns(path));
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
  const narrow = `echo 40000 ${40_000 + PORTS - 1} > /proc/sys/net/ipv4/ip_local_port_range`;
  execFileSync('ip', ['netns', 'exec', name, 'sh', '-c', narrow]);
  const netns = openNetns(path);
  const rig = await TcpRig.start(1);
  const answer = (word: string) => (socket: Socket) => {
    socket.on('error', () => {});
    socket.write(word);
  };
  const server = createServer(answer('inside')).listen({ fd: listenTcp('127.0.0.1', 4000, { netns }) });
  await once(server, 'listening');
  const inside = endpoint(0, 4000, { netns });
  const front = await rig.publish(inside);
  const hear = async () => {
    const socket = connect({ port: front.port, host: '127.0.0.1' });
    const served = once(socket, 'data').then(([data]) => String(data));
    served.catch(() => undefined);
    return { socket, how: await Promise.race([served, ending(socket)]) };
  };
  const open: Socket[] = [];
  for (let i = 0; i < PORTS; i++) {
    const { socket, how } = await hear();
    t.equal(how, 'inside');
    open.push(socket);
  }
  t.equal((await hear()).how, 'ECONNRESET');
  t.equal(rig.plane.total(TOTAL.portsExhausted), 1);
  await rig.until(() => rig.lines.length > 0);
  t.match(rig.lines, [{ level: 'error', message: /no source port left .*net\.ipv4\.ip_local_port_range/ }]);
  t.equal(rig.plane.endpointCounters(0).ejections, 0, 'which is no fault of the endpoint');
  const looked = await probeTcp({ address: '127.0.0.1' as IpAddress, port: 4000, netns }, new AbortController().signal);
  t.match(looked, { ok: false, reason: /no source port left to ask 127\.0\.0\.1:4000/, isOurs: true });

  rig.backend(front.id, [inside, endpoint(1, await rig.serve(answer('outside')))]);
  await rig.plane.barrier();
  const more = [await hear(), await hear()];
  t.same(
    more.map(({ how }) => how),
    ['outside', 'outside'],
    'there are others',
  );
  const { active } = rig.plane.endpointCounters(0);
  open[0]?.resetAndDestroy();
  await rig.until(() => rig.plane.endpointCounters(0).active < active);
  const again = [await hear(), await hear()];
  t.ok(
    again.some(({ how }) => how === 'inside'),
    'as soon as one is free it is used',
  );
  t.equal(rig.lines.length, 1, 'one line for all of it');
  for (const { socket } of [...more, ...again]) socket.destroy();
  for (const socket of open) socket.destroy();
  server.close();
  await rig.stop();
  closeNetns(netns);
});
