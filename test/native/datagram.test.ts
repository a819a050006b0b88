import t from 'tap';
import { ECONNREFUSED } from '../../src/native/errno.ts';
import { DatagramBatch } from '../../src/native/datagram-batch.ts';
import { bindUdp, connectUdp } from '../../src/native/datagram-socket.ts';
import { addressOf, close, type Fd, send } from '../../src/native/libc.ts';
import { readSockaddr } from '../../src/native/sockaddr.ts';
import { localAddress } from '../../src/native/stream-socket.ts';

function sendText(fd: Fd, text: string): void {
  const bytes = Buffer.from(text);
  send(fd, bytes, bytes.length, 0);
}

for (const [family, address, client] of [
  ['IPv4', '127.0.0.1', '127.0.0.1'],
  ['IPv6', '::1', '::1'],
  ['IPv4 on a dual-stack socket', '::', '127.0.0.1'],
] as const) {
  t.test(`${family}: datagrams come with their senders, and replies go back to them`, async (t) => {
    const server = bindUdp(address, 0);
    const { port } = localAddress(server);
    const clients = [connectUdp(client, port), connectUdp(client, port)] as const;
    const batch = new DatagramBatch({ messages: 8, messageBytes: 512 });
    t.equal(batch.receive(server), 0);
    for (let round = 0; round < 3; round++) {
      for (const [i, fd] of clients.entries()) sendText(fd, `query ${i}`);
      t.equal(batch.receive(server), 2);
      for (const i of [1, 0]) {
        t.equal(batch.arena.toString('latin1', batch.offset(i), batch.offset(i) + batch.length(i)), `query ${i}`);
        t.same(batch.source(i), localAddress(clients[i] as Fd));
        batch.arena[batch.offset(i)] = 'Q'.charCodeAt(0);
        batch.queueReply(i, batch.arenaAddress + batch.offset(i), batch.length(i));
      }
      t.equal(batch.flush(server), 0);
      const answers = new DatagramBatch({ messages: 2 });
      for (const [i, fd] of clients.entries()) {
        t.equal(answers.receive(fd), 1);
        t.equal(answers.arena.toString('latin1', 0, answers.length(0)), `Query ${i}`);
      }
    }
    for (const fd of [server, ...clients]) close(fd);
  });
}

t.test('a datagram that is too long is cut and marked; an empty one has length 0', async (t) => {
  const server = bindUdp('127.0.0.1', 0);
  const client = connectUdp('127.0.0.1', localAddress(server).port);
  sendText(client, 'x'.repeat(100));
  send(client, Buffer.alloc(1), 0, 0);
  const batch = new DatagramBatch({ messages: 4, messageBytes: 64 });
  t.equal(batch.receive(server), 2);
  t.same([batch.truncated(0), batch.length(0)], [true, 64]);
  t.same([batch.truncated(1), batch.length(1)], [false, 0]);
  for (const fd of [server, client]) close(fd);
});

t.test('the original destination comes as control data, in every batch', async (t) => {
  for (const [address, client, level, type] of [
    ['0.0.0.0', '127.0.0.9', 0, 20],
    ['::', '127.0.0.9', 0, 20],
    ['::', '::1', 41, 74],
  ] as const) {
    const server = bindUdp(address, 0, { originalDestination: true, packetInfo: true });
    const { port } = localAddress(server);
    const fd = connectUdp(client, port);
    const batch = new DatagramBatch({ messages: 2, controlBytes: 160 });
    for (let round = 0; round < 2; round++) {
      sendText(fd, 'x');
      t.equal(batch.receive(server), 1);
      const at = batch.findControl(0, level, type);
      t.ok(at >= 0);
      t.same(readSockaddr(batch.controls, at), { address: client, port });
      t.equal(batch.findControl(0, 1, 1), -1);
    }
    for (const one of [server, fd]) close(one);
  }
});

t.test('a refused datagram is reported on the connected socket', async (t) => {
  const server = bindUdp('127.0.0.1', 0);
  const fd = connectUdp('127.0.0.1', localAddress(server).port);
  close(server);
  sendText(fd, 'x');
  const batch = new DatagramBatch();
  t.equal(batch.receive(fd), -ECONNREFUSED);
  t.equal(batch.receive(fd), 0);
  const text = Buffer.from('y');
  batch.queue(addressOf(text), 1, 0, 0);
  t.equal(batch.flush(fd), 0, 'a connected socket needs no name');
  close(fd);
});
