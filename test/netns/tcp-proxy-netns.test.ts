import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import t from 'tap';
import { closeNetns, createNetns, deleteNetns, openNetns } from '../../src/native/netns.ts';
import { listenTcp, localAddress } from '../../src/native/stream-socket.ts';
import { needsRoot } from '../support/requirements.ts';
import { ask, endpoint, TcpRig } from '../support/tcp-rig.ts';

t.test('endpoints are connected to inside their own namespaces, each with the same address', async (t) => {
  if (!needsRoot(t, 'it makes network namespaces')) return;
  const own = readlinkSync('/proc/self/ns/net');
  const rooms = ['a', 'b'].map((name) => {
    const path = `/run/netns/vipmesh-${name}-${process.pid}`;
    createNetns(path);
    execFileSync('ip', ['-n', `vipmesh-${name}-${process.pid}`, 'link', 'set', 'lo', 'up']);
    return { name, path, netns: openNetns(path) };
  });
  const rig = await TcpRig.start(1);
  const servers = await Promise.all(
    rooms.map(async ({ name, netns }) => {
      const fd = listenTcp('127.0.0.1', 4000, { netns });
      t.equal(localAddress(fd).port, 4000);
      const server = createServer((socket) => void socket.end(name)).listen({ fd });
      await once(server, 'listening');
      return server;
    }),
  );
  const here = await rig.serve((socket) => void socket.end('here'));
  const [a, b] = rooms.map(({ netns }, slot) => endpoint(slot, 4000, { netns }));
  if (a === undefined || b === undefined) throw new Error('there are two rooms');
  const front = await rig.publish(a, b, endpoint(2, here));
  const names = await Promise.all(Array.from({ length: 30 }, () => ask(front.port)));
  for (const name of ['a', 'b', 'here']) t.equal(names.filter((one) => one === name).length, 10, name);

  t.equal(readlinkSync('/proc/self/ns/net'), own);

  for (const server of servers) server.close();
  rig.backend(9, [endpoint(4, 4000, { netns: 999_999 }), endpoint(5, here)]);
  const mixed = await rig.listen({ kind: 'port', backend: 9, targetPort: 80 });
  t.same(
    [await ask(mixed.port), await ask(mixed.port)],
    ['here', 'here'],
    'a namespace that is gone is a failed attempt',
  );
  t.ok(rig.plane.endpointCounters(4).failures > 0);
  await rig.stop();
  for (const { netns, path } of rooms) {
    closeNetns(netns);
    deleteNetns(path);
  }
});
