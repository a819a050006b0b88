// A path that takes less than a segment: the kernel refuses the message, and its datagrams go singly, in fragments.
import { execFileSync } from 'node:child_process';
import t from 'tap';
import { DatagramBatch } from '../../src/native/datagram-batch.ts';
import { bindUdp, connectUdp } from '../../src/native/datagram-socket.ts';
import { addressOf, close } from '../../src/native/libc.ts';
import { closeNetns, createNetns, deleteNetns, openNetns } from '../../src/native/netns.ts';
import { localAddress } from '../../src/native/stream-socket.ts';
import { needsRoot } from '../support/requirements.ts';

t.test('segments longer than the path takes', async (t) => {
  if (!needsRoot(t, 'it makes a network namespace')) return;
  const name = `vipmesh-segments-${process.pid}`;
  createNetns(`/run/netns/${name}`);
  t.teardown(() => deleteNetns(`/run/netns/${name}`));
  execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up', 'mtu', '1300']);
  const netns = openNetns(`/run/netns/${name}`);
  t.teardown(() => closeNetns(netns));
  const server = bindUdp('127.0.0.1', 0, { netns });
  const fd = connectUdp('127.0.0.1', localAddress(server).port, netns);
  const out = new DatagramBatch({ messages: 8, segments: true });
  const inbox = new DatagramBatch({ messages: 8 });
  const bytes = Buffer.alloc(1400);
  for (const size of [1400, 100, 1400]) {
    for (let i = 0; i < 5; i++) out.queue(addressOf(bytes), size, 0, 0);
    t.equal(out.flush(fd), 0);
    t.equal(inbox.receive(server), 5, `${size} bytes`);
    t.same(new Set([0, 1, 2, 3, 4].map((i) => inbox.length(i))), new Set([size]));
  }
  for (const one of [server, fd]) close(one);
});
